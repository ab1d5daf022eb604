"""Every config key with its meaning, type and default: ``--help KEY``, ``--help GROUP``, docs/keys.md (make keys)."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuna.config import checks, schema
from tuna.config.help import groups, summary
from tuna.config.meanings import comments, meanings, summary_of
from tuna.config.types import describe
from tuna.console import nearest
from tuna.errors import ConfigError

# The class with the keys of a primary config; train.py's are in tuna.config.checks.
SETTINGS = {
    "rank": "tuna.ranking.settings.Settings",
    "evaluate": "tuna.evaluation.run.Settings",
    "report": "tuna.reporting.run.Settings",
    "chat": "tuna.inference.chat.Settings",
    "reproduce": "tuna.reproduce.run.Settings",
}
# Keys that take a mapping, and the class with that mapping's keys.
MAPPINGS = {"model.lora": "tuna.models.lora.Lora"}
# Of groups whose files set keys of others, the nodes that are their own.
NODES = {"stage": ("stage", "data"), "experiment": ("experiment",)}
_OWN = "the choice's own"
_WIDTH = 118


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is explained. choices: of its group, those that have it so; none where all have it. default: that
    of most of them, then others, each with its choices.
    """

    name: str
    meaning: str
    takes: str
    default: str
    choices: tuple[str, ...] = ()


def own_keys(folders: Sequence[Path], config_name: str) -> list[Key]:
    """The keys that stand in the primary config itself."""
    file = next(path for folder in folders if (path := folder / f"{config_name}.yaml").is_file())
    values, said = _plain(file), comments(file.read_text(encoding="utf-8"))
    known = schema.parameters(SETTINGS[config_name]) if config_name in SETTINGS else {}
    expected = {key: p.expected for key, p in known.items()} if known else checks.TOP
    return [
        Key(key, said.get(key, ""), describe(expected.get(key, Any)), shown(values[key]))
        for key in values
        if key in expected
    ]


def group_keys(group: str, files: Mapping[str, Path]) -> list[Key]:
    """The keys of a group, those that several choices have alike once."""
    found: dict[Key, dict[str, list[str]]] = {}  # a key without its default, and the choices by default
    own: dict[str, Key] = {}  # keys of YAML files alone, whose comments may stand in one of them
    for choice, file in files.items():
        for key in choice_keys(group, file):
            if key.default == _OWN:
                said = own.get(key.name, key).meaning
                own[key.name] = replace(key, meaning=key.meaning or said)
            else:
                found.setdefault(replace(key, default=""), {}).setdefault(key.default, []).append(choice)
    merged = []
    for key, by_default in found.items():
        names = [name for name in files if name in {name for some in by_default.values() for name in some}]
        ordered = sorted(by_default, key=lambda text: -len(by_default[text]))
        texts = [*ordered[:1], *(f"{text} ({', '.join(by_default[text])})" for text in ordered[1:])]
        merged.append(replace(key, default="; ".join(texts), choices=tuple(names) if len(names) < len(files) else ()))
    return sorted([*merged, *own.values()], key=lambda key: key.name)


def choice_keys(group: str, file: Path) -> list[Key]:
    """The keys that one choice brings: its constructor's arguments, or what stands in its YAML."""
    values, text = _plain(file), file.read_text(encoding="utf-8")
    if isinstance(values.get("_target_"), str):
        target = values["_target_"]
        said = meanings(target)
        return [
            Key(f"{group}.{key}", said.get(key, ""), describe(p.expected), shown(values.get(key, p.default)))
            for key, p in schema.parameters(target).items()
        ]
    whole = "@package _global_" in text
    nodes = {node: values.get(node, {}) for node in NODES.get(group, ())} if whole else {group: values}
    said = comments(text)
    inner = [
        key
        for entry in values.get("defaults", ())
        if isinstance(entry, dict)
        for place, choice in entry.items()
        if place.endswith("@_here_")
        for key in choice_keys(group, file.parent / place.removesuffix("@_here_") / f"{choice}.yaml")
    ]
    return inner + [
        Key(f"{node}.{key}", said.get(f"{node}.{key}" if whole else key, ""), _kind(value), _OWN)
        for node, inner in nodes.items()
        for key, value in inner.items()
        if key != "defaults"
    ]


def nested_keys(name: str) -> list[Key]:
    """The keys of the mapping that the key ``name`` takes, where it has any of its own."""
    if name not in MAPPINGS:
        return []
    known, said = schema.parameters(MAPPINGS[name]), meanings(MAPPINGS[name])
    return [Key(f"{name}.{key}", said.get(key, ""), describe(p.expected), shown(p.default)) for key, p in known.items()]


@cache
def all_keys(folders: tuple[Path, ...], config_name: str) -> list[Key]:
    """Every key of a program."""
    found, by_group = own_keys(folders, config_name), groups(folders, config_name)
    for group, files in by_group.items():
        if "/" not in group:
            found += group_keys(group, files)
    return found + [inner for key in found for inner in nested_keys(key.name)]


def explain(topics: Sequence[str], folders: Sequence[Path], config_name: str, cfg: DictConfig | None = None) -> str:
    """What ``--help TOPIC ...`` says of keys, groups and choices (loss.lambda, loss, loss=dpo).

    cfg: the composed config, whose values are told where they differ. Raises: ConfigError for an unknown topic.
    """
    by_group = groups(folders, config_name)
    keys = all_keys(tuple(folders), config_name)
    parts, wrong = [], []
    for topic in topics:
        name, _, choice = topic.lstrip("+~").partition("=")
        found = [key for key in keys if key.name == name or key.name.startswith(f"{name}.")]
        found = found or [key for key in keys if key.name.rpartition(".")[2] == name]
        found.sort(key=lambda key: not _is_of(key, cfg))  # what is chosen comes first
        if name in by_group and choice in by_group[name]:
            parts.append(_choice_text(name, choice, by_group, cfg))
        elif name in by_group and choice:
            wrong.append(
                f"--help {topic}: expected one of {', '.join(by_group[name])}{nearest(choice, [*by_group[name]])}"
            )
        elif name in by_group:
            parts.append(_group_text(name, by_group, cfg))
        elif found:
            parts.append(_keys_text(found, cfg))
        else:
            allowed = [*dict.fromkeys(key.name for key in keys), *by_group]
            wrong.append(f"--help {topic}: no such key or group{nearest(name, allowed)}; --help alone lists the groups")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return "\n\n".join(dict.fromkeys(parts))


def _group_text(group: str, by_group: Mapping[str, Mapping[str, Path]], cfg: DictConfig | None) -> str:
    files = by_group[group]
    width = max(map(len, files))
    lines = [f"{group}: one of"]
    lines += [f"  {group}={choice:<{width}}  {summary(file)}"[:_WIDTH].rstrip() for choice, file in files.items()]
    keys = group_keys(group, files)
    if any(key.choices for key in keys):
        names = ", ".join(dict.fromkeys(key.name for key in keys))
        lines += ["", *textwrap.wrap(f"keys: {names}", _WIDTH, subsequent_indent="  ")]
        lines.append(f"--help {group}=CHOICE explains those of one choice, --help KEY one key.")
    elif keys:
        lines += ["", "keys", *_rows(keys, cfg)]
    return "\n".join(lines)


def _choice_text(group: str, choice: str, by_group: Mapping[str, Mapping[str, Path]], cfg: DictConfig | None) -> str:
    file = by_group[group][choice]
    lines = [f"{group}={choice}: {summary(file)}"]
    values = _plain(file)
    if isinstance(values.get("_target_"), str):
        lines += textwrap.wrap(f"{values['_target_']}: {summary_of(values['_target_'])}", _WIDTH, initial_indent="  ",
                               subsequent_indent="  ")  # fmt: skip
        keys = choice_keys(group, file)
        return "\n".join([*lines, "", "keys", *(_rows(keys, None) or ["  none"])])
    sets = {key: value for key, value in _flat(values).items() if not key.startswith("defaults")}
    lines += [
        f"  builds on {group}={base}" for base in values.get("defaults", ()) if isinstance(base, str) and base[0] != "_"
    ]
    lines += [f"  {entry}" for entry in _chosen(values)]
    width = max(map(len, sets), default=0)
    prefix = "" if "@package _global_" in file.read_text(encoding="utf-8") else f"{group}."
    return "\n".join([*lines, *(f"  {prefix}{key:<{width}}  {shown(value)}"[:_WIDTH] for key, value in sets.items())])


def _chosen(values: Mapping[str, Any]) -> list[str]:
    """The choices of a defaults list, as words of a command line."""
    entries = [entry for entry in values.get("defaults", ()) if isinstance(entry, dict)]
    return [f"{key.removeprefix('override ').lstrip('/')}={value}" for entry in entries for key, value in entry.items()]


def _keys_text(keys: Sequence[Key], cfg: DictConfig | None) -> str:
    lines = []
    for key in keys:
        lines += textwrap.wrap(
            f"{key.name}: {key.meaning or 'not explained by its class'}", _WIDTH, subsequent_indent="  "
        )
        lines += textwrap.wrap(f"  takes    {key.takes}", _WIDTH, subsequent_indent=" " * 11)
        lines.append(f"  default  {key.default}")
        if now := _now(key, cfg):
            lines.append(f"  here     {now}")
        if key.choices:
            group = key.name.partition(".")[0]
            lines += textwrap.wrap(f"  with     {group}={', '.join(key.choices)}", _WIDTH, subsequent_indent=" " * 11)
    return "\n".join(lines)


def _rows(keys: Sequence[Key], cfg: DictConfig | None) -> list[str]:
    width = max((len(key.name) for key in keys), default=0) + 4
    lines = []
    for key in keys:
        now = _now(key, cfg)
        text = [
            key.meaning or "not explained by its class",
            f"{key.takes}; default {key.default}{now and f'; here {now}'}",
        ]
        for part, lead in zip(text, (f"  {key.name}".ljust(width), " " * width), strict=True):
            lines += textwrap.wrap(part, _WIDTH, initial_indent=lead, subsequent_indent=" " * width)
    return lines


def _now(key: Key, cfg: DictConfig | None) -> str:
    """The value in the composed config, where it is not the default."""
    parent, _, last = key.name.rpartition(".")
    node = OmegaConf.select(cfg, parent) if cfg is not None and parent else cfg
    if not isinstance(node, DictConfig) or last not in node:
        return ""
    try:
        resolved: Any = OmegaConf.to_container(node, resolve=True)
        text = shown(resolved[last])
    except OmegaConfBaseException:
        return ""
    return "" if text == key.default or not _is_of(key, cfg) else text


def _is_of(key: Key, cfg: DictConfig | None) -> bool:
    """Whether the composed config has the key as it is explained here."""
    chosen = f"hydra.runtime.choices.{key.name.partition('.')[0]}"
    return not key.choices or (cfg is not None and OmegaConf.select(cfg, chosen) in key.choices)


def shown(value: Any) -> str:
    """A value of a YAML file for people.

    >>> shown("${scale:128,16}"), shown("${untyped:0.02}"), shown(None), shown("${model.template}"), shown([1, 2])
    ('128; 16 with an embedded model', '0.02', 'null', 'as model.template', '[1, 2]')
    """
    if value == schema.MISSING:
        return "none: it has to be given"
    if not isinstance(value, str):
        return json.dumps(value, default=str)
    if match := re.fullmatch(r"\$\{untyped:(.*)\}", value):
        return shown(match[1])
    if match := re.fullmatch(r"\$\{oc\.select:([\w.]+),(\w+)\}", value):
        return f"{match[1]}, else {match[2]}"
    if match := re.fullmatch(r"\$\{scale:(.*?),(.*)\}", value):
        return f"{match[1]}; {shown(match[2])} with an embedded model"
    if match := re.fullmatch(r"\$\{held_out:(.*)\}", value):
        return f"null; the embedded {match[1]} with embedded data"
    if match := re.fullmatch(r"\$\{asset:(.*)\}", value):
        return f"the embedded {match[1]}"
    if match := re.fullmatch(r"\$\{([\w.]+)\}", value):
        return f"as {match[1]}"
    return value or '""'


def _kind(value: Any) -> str:
    if isinstance(value, str) and "${" in value:
        return "anything"
    return "anything" if value is None else describe(type(value))


def _plain(file: Path) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
