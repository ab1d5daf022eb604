"""What can be wrong with a composed config, all of it, from text alone: nothing heavy is imported."""

import re
import shlex
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Ge
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuna.assets import MODELS, is_embedded
from tuna.config import schema
from tuna.config.arguments import ENVIRONMENT, LITERAL, READS_ENVIRONMENT
from tuna.config.compose import own_data, untyped
from tuna.config.types import describe, wrong_value
from tuna.console import nearest
from tuna.errors import ConfigError
from tuna.secrets import HIDDEN, is_variable, learn, secret_in

# The keys of the primary file, which no constructor takes.
TOP: dict[str, Any] = {
    "name": str | None,
    "seed": Annotated[int, Ge(0)],
    "resume": str | None,
    "runs_dir": str,
    "scale": Literal["auto", "tiny", "paper"],
    "evaluate": bool | Literal["auto"],
    "optimize": str | None,
    "push_to_hub": str | None,
    "push_private": bool,
    "dry_run": bool,
}
EXPERIMENT: dict[str, Any] = {"name": str, "system": str, "tables": list[int | str], "summary": str}
_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")


def check(cfg: DictConfig) -> None:
    """Raise a ConfigError with everything that is wrong with a composed config, one fault per line."""
    if found := secret_problems(cfg) or problems(cfg):
        raise ConfigError("\n".join(found))


def problems(cfg: DictConfig) -> list[str]:
    """All faults: unknown and missing arguments, wrong types, what cannot be resolved, a real model without data."""
    wrong = {key: text for key, expected in expectations(cfg).items() if (text := _value_problem(cfg, key, expected))}
    found = list(wrong.values())
    for key, node in targets(cfg):
        target = str(node["_target_"])
        found += _unknown(node, key, [*schema.parameters(target)], f"{target} has no such argument")
    experiment, known = cfg.get("experiment"), ", ".join(EXPERIMENT)
    if isinstance(experiment, DictConfig):
        found += _unknown(experiment, "experiment", list(EXPERIMENT), f"expected one of {known}")
    elif experiment is not None:
        found.append(f"experiment: expected {known}, got {experiment!r}")
    name = None if "name" in wrong else cfg.get("name")
    if name is not None and (not _NAME.fullmatch(name) or ".." in name.split("/")):
        found.append(f"name: expected letters, digits and . _ + - (no = and no spaces), got {name!r}")
    if "runs_dir" not in wrong and "=" in cfg.get("runs_dir", ""):
        found.append(f"runs_dir: expected a path without =, which Hydra cannot read back, got {cfg.runs_dir!r}")
    try:
        found += _data_problems(cfg)
    except OmegaConfBaseException:
        assert found  # the key that cannot be resolved has been named above
    return found


def targets(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """The nodes that name a ``_target_``, with their keys; Hydra's own are left out."""
    for key in map(str, cfg):
        if OmegaConf.is_interpolation(cfg, key) or OmegaConf.is_missing(cfg, key) or f"{prefix}{key}" == "hydra":
            continue
        node = cfg[key]
        if isinstance(node, DictConfig):
            if node.get("_target_"):
                yield f"{prefix}{key}", node
            yield from targets(node, f"{prefix}{key}.")


def expectations(cfg: DictConfig) -> dict[str, Any]:
    """The type expected of each key that has one, by dotted key."""
    known = {key: expected for key, expected in TOP.items() if key in cfg}
    for key in map(str, cfg.get("data", {})):  # a mixed stage's sources
        known[f"data.{key}"] = int | None if key.endswith(("_first", "_last")) else str | None
    if isinstance(cfg.get("experiment"), DictConfig):
        known |= {f"experiment.{key}": expected for key, expected in EXPERIMENT.items()}
    for key, node in targets(cfg):
        known |= {f"{key}.{name}": p.expected for name, p in schema.parameters(node["_target_"]).items()}
    return known


def own_values(cfg: DictConfig, target: str) -> tuple[dict[str, Any], list[str]]:
    """The keys of a primary config that the class ``target`` takes, with their values; and what is wrong."""
    known = schema.parameters(target)
    values = {key: _plain(cfg[key]) for key in known if key in cfg}
    wrong = [text for key, value in values.items() if (text := wrong_value(key, value, known[key].expected))]
    return values, wrong


def _plain(value: object) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _value_problem(cfg: DictConfig, key: str, expected: object) -> str | None:
    parent, _, last = key.rpartition(".")
    try:
        if OmegaConf.is_missing(OmegaConf.select(cfg, parent) if parent else cfg, last):
            return f"{key}: missing; give {key}=<{describe(expected)}>"
        value = _plain(OmegaConf.select(cfg, key))
    except OmegaConfBaseException as error:
        return f"{key}: {str(error).splitlines()[0]}"
    return wrong_value(key, value, expected)


def _unknown(node: DictConfig, key: str, known: list[str], text: str) -> list[str]:
    names = [name for name in map(str, node) if name not in (*known, "_target_", "defaults")]
    return [f"{key}.{name}: {text}{nearest(name, known)}" for name in names]


def untyped_model(key: str, beside: str, embedded: object, asked: str) -> str:
    """What is wrong where an embedded model meets a user's own data unasked. asked: words that ask for it."""
    return (
        f"{key}: missing beside {beside}, which is data of your own; the embedded toy model {embedded} works on it "
        f"only where you ask for it. Next: {key}=<a folder, a run or a hub id>, or {asked} to use the toy"
    )


def _data_problems(cfg: DictConfig) -> list[str]:
    """A real model brings its own data; the embedded lists fit the embedded models, and these such lists alone."""
    if "datamodule" not in cfg or "model" not in cfg:
        return []
    source = cfg.datamodule
    if source.get("val_path") is not None and source.get("held_out") and not untyped(cfg, "datamodule.held_out"):
        return [
            f"datamodule.held_out: expected nothing beside val_path={source.val_path}, whose lists are held out, got "
            f"{source.held_out}; next: leave one of them away (datamodule.val_path=null)"
        ]
    if is_embedded(cfg.model.path):
        own = own_data(cfg) if untyped(cfg, "model.path") else []
        return [untyped_model("model.path", ", ".join(own), cfg.model.path, "model=tiny")] if own else []
    sources = source.get("sources")
    lacking = [(n, each) for n, each in enumerate(sources or ()) if each.get("path") is None]
    needs = [_key_of(each, f"datamodule.sources[{n}].path") for n, each in lacking]
    if not sources and source.get("path") is None:
        needs = ["datamodule.path"]
    if not needs:
        return []
    experiment, stage = OmegaConf.select(cfg, "experiment.name"), OmegaConf.select(cfg, "stage.name") or "sft"
    chosen = f"experiment={experiment}" if experiment else f"stage={stage}"
    named = shlex.quote(f"model.path={cfg.model.path}")
    command = f"python train.py {chosen} {named} " + " ".join(f"{key}=FILE" for key in needs)
    return [
        f"{' and '.join(needs)}: missing; only the embedded models ({', '.join(MODELS)}) come with data, "
        f"{cfg.model.path} does not. FILE: JSONL, JSON, CSV or Parquet, or a hub id (docs/data.md). Next: {command}"
    ]


def _key_of(source: DictConfig, key: str) -> str:
    """The key that a source's path is taken from, or its own."""
    written: Any = OmegaConf.to_container(source, resolve=False)
    name = re.fullmatch(r"\$\{([\w.]+)\}", str(written.get("path")))
    return name[1] if name else key


def secret_problems(cfg: DictConfig) -> list[str]:
    """Keys that hold a literal secret, or reach for the environment; no value is in the messages."""
    learn(OmegaConf.to_container(cfg, resolve=False))
    found = (_secret_problem(key, holder, last) for key, holder, last in leaves(cfg))
    return list(dict.fromkeys(message for message in found if message))


def _secret_problem(key: str, holder: Any, last: Any) -> str | None:
    raw = holder._get_node(last)._value()
    shown = key if secret_in(key) is None else HIDDEN
    if isinstance(raw, str) and "${" in raw:
        if READS_ENVIRONMENT.search(raw):
            return f"{shown}: {ENVIRONMENT}"
        try:
            raw = holder[last]
        except OmegaConfBaseException:
            return None  # told by another check
    if raw is None or isinstance(raw, DictConfig | ListConfig):
        return None
    if str(last).endswith("_env") and isinstance(raw, str) and not is_variable(raw):
        return f"{shown}: expected the name of an environment variable, got {HIDDEN}; never the key itself"
    return None if secret_in(f"{key}={raw}") is None else f"{shown}={HIDDEN}: {LITERAL}"


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value that is no mapping or list: its dotted key, what holds it, and its key there."""
    keys: Any = node if isinstance(node, DictConfig) else range(len(node))
    for last in keys:
        child = node._get_node(last)
        key = f"{prefix}.{last}" if prefix else str(last)
        if not isinstance(child, DictConfig | ListConfig) or child._is_none() or child._is_interpolation():
            yield key, node, last
        elif not child._is_missing():
            yield from leaves(child, key)
