"""Everything that is wrong with a command line, said at once, before Hydra and before anything heavy is imported."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuna.config import checks, secrets
from tuna.config.arguments import CommandLine, values
from tuna.config.compose import compose
from tuna.config.groups import OPTIONAL, groups
from tuna.config.types import fits, wrong_value
from tuna.console import nearest
from tuna.errors import ConfigError

_MOST_COMBINATIONS = 32  # of swept group choices; more are checked when their job starts


def check_command_line(line: CommandLine, *, config_dir: Path, config_name: str) -> None:
    """Check the overrides against the groups, the keys and the types.

    Raises:
        ConfigError: with all that is wrong, a line each.
    """
    checker = _Checker(line, config_dir, line.config_name or config_name)
    if found := list(dict.fromkeys([*line.wrong, *checker.problems()])):
        raise ConfigError("\n".join(found))


class _Checker:
    def __init__(self, line: CommandLine, config_dir: Path, config_name: str) -> None:
        self.line = line
        self.config_dir = config_dir
        self.config_name = config_name
        self.groups = groups([config_dir, *line.config_dirs], config_name)
        self.search = [f"hydra.searchpath=[{','.join(f'file://{d.resolve()}' for d in line.config_dirs)}]"]
        self.search = self.search if line.config_dirs else []

    def problems(self) -> list[str]:
        choosing = [o for o in self.line.overrides if o.key_or_group in self.groups]
        setting = [o for o in self.line.overrides if o.key_or_group not in self.groups and not o.is_hydra_override()]
        hydra_own = [o for o in self.line.overrides if o.is_hydra_override() and not o.is_sweep_override()]
        found = [m for o in self.line.overrides if (m := self._sweep_problem(o))]
        found += [m for o in choosing for m in self._choice_problems(o)]
        options = [texts for o in choosing if (texts := self._texts(o))]
        always = [*self.search, *(str(o.input_line) for o in hydra_own)]
        for choice in itertools.islice(itertools.product(*options), _MOST_COMBINATIONS):
            found += self._combination([*always, *choice], setting)
        return found

    def _sweep_problem(self, override: Override) -> str | None:
        if not override.is_sweep_override():
            return None
        if override.key_or_group in ("name", "runs_dir"):
            return f"{override.input_line}: {override.key_or_group} cannot be swept; a sweep's jobs are runs/<name>/<n>"
        if not self.line.multirun and self.line.runs:
            return (
                f"{override.input_line}: several values are a sweep, which needs -m; "
                f"one text with a comma is quoted: '{override.key_or_group}=\"...\"'"
            )
        return None

    def _choice_problems(self, override: Override) -> list[str]:
        group = override.key_or_group
        allowed = list(self.groups[group])
        if override.is_delete() or override.value() is None:
            needed = f"{override.input_line}: a {group} is needed; choose one of {', '.join(allowed)}"
            return [] if group in OPTIONAL else [needed]
        return [
            f"{group}={choice}: expected one of {', '.join(allowed)}{self._meant(str(choice), allowed)}"
            for chosen in values(override, allowed)
            for choice in (chosen if isinstance(chosen, list) else [chosen])
            if str(choice) not in allowed
        ]

    def _meant(self, choice: str, allowed: list[str]) -> str:
        """A row of the paper that is a stage, or the nearest name."""
        stage = f"; did you mean stage={choice}?" if choice in self.groups.get("stage", ()) else ""
        return stage or nearest(choice, allowed)

    def _texts(self, override: Override) -> list[str]:
        """The override once for each of its choices that exist."""
        if not override.is_sweep_override():
            return [] if self._choice_problems(override) else [str(override.input_line)]
        allowed = list(self.groups[override.key_or_group])
        return [f"{override.get_key_element()}={choice}" for choice in values(override, allowed) if choice in allowed]

    def _combination(self, chosen: Sequence[str], setting: Sequence[Override]) -> list[str]:
        """What is wrong with the other overrides once the groups are chosen."""
        found: list[str] = []
        try:
            cfg = self._compose([*chosen, *itertools.chain.from_iterable(map(_first, setting))])
            sound = not _swept_by_file(cfg)
        except _FAULTS:
            sound = False
        if not sound:  # once more in two steps, to say what is wrong with each
            try:
                base = self._compose(chosen)
            except _FAULTS as error:
                return [_words(error)]
            found = self._sweep_file_problems(base)
            setting = [*_swept_by_file(base), *setting]
            del base["hydra"]
            good: list[str] = []
            for override in setting:
                if message := self._key_problem(override, base):
                    found.append(message)
                else:
                    good += _first(override)
            try:
                cfg = self._compose([*chosen, *good])
            except _FAULTS as error:
                return [*found, _words(error)]
        if leaks := secrets.problems(cfg):
            return leaks  # other messages might show them
        found += self._search_problems(cfg)
        del cfg["hydra"]
        if self.line.runs:
            found += checks.problems(cfg)
            found += _swept_value_problems(setting, cfg)
        return found

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        cfg = compose(overrides, config_dir=self.config_dir, config_name=self.config_name, with_hydra=True)
        OmegaConf.set_readonly(cfg, False)
        OmegaConf.set_struct(cfg, False)
        return cfg

    def _sweep_file_problems(self, cfg: DictConfig) -> list[str]:
        swept = OmegaConf.select(cfg, "hydra.sweeper.params")
        if swept and self.line.runs and not self.line.multirun:
            return [f"this config sweeps over {', '.join(map(str, swept))}; run it with -m"]
        several = [
            str(o.input_line) for o in self.line.overrides if o.is_sweep_override() and not o.is_hydra_override()
        ]
        groups = [text for text in several if text.partition("=")[0] == "experiment"]
        if swept and groups:  # Hydra would take its values from no experiment
            return [f"{groups[0]}: one of these sweeps over {', '.join(map(str, swept))} itself; run it alone"]
        return []

    def _search_problems(self, cfg: DictConfig) -> list[str]:
        """A sweeper that searches needs to know what for."""
        sweeper = str(OmegaConf.select(cfg, "hydra.sweeper._target_") or "")
        if not self.line.multirun or sweeper.endswith(".BasicSweeper") or "optimize" not in cfg or cfg.optimize:
            return []
        return [f"optimize: missing; {sweeper.rpartition('.')[2]} looks for its best value, as in optimize=val/loss"]

    def _key_problem(self, override: Override, base: DictConfig) -> str | None:
        key = override.key_or_group
        if override.is_add() or override.is_force_add() or _exists(base, key):
            return None
        allowed = _leaves(base) if "." in key else [*_leaves(base), *base, *self.groups]
        return f"{key}: no such key{_what_is_there(base, override)}{nearest(key, [str(name) for name in allowed])}"


def _swept_by_file(cfg: DictConfig) -> list[Override]:
    """The sweep values that stand in a file, as overrides."""
    found = OmegaConf.select(cfg, "hydra.sweeper.params") or {}
    parser = OverridesParser.create()
    return [parser.parse_override(f"{key}={found[key]}") for key in found]


# What an extra of ours brings to Hydra.
_EXTRAS = {
    "joblib": "joblib", "submitit_slurm": "submitit", "submitit_local": "submitit", "ray": "ray", "optuna": "optuna",
}  # fmt: skip
_FAULTS = (HydraException, OmegaConfBaseException, ConfigError)


def _words(error: Exception) -> str:
    """The first paragraph of a library's message, on one line."""
    if isinstance(error, ConfigError):
        return str(error)
    plugin = re.search(r"Could not find '(hydra/(?:launcher|sweeper)/(\w+))'", str(error))
    if plugin and plugin[2] in _EXTRAS:
        group, _, choice = plugin[1].rpartition("/")
        return f"{group}={choice}: not installed; next: .venv/bin/pip install -e '.[{_EXTRAS[choice]}]'"
    lines = [line.strip() for line in str(error).splitlines()[:2]]
    return " ".join(line for line in lines if line and not line.endswith(":"))


def _first(override: Override) -> list[str]:
    """The override with one value: its own, or the first of a sweep."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep() or override.is_delete():
        return []
    return [f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"]


def _swept_value_problems(setting: Sequence[Override], cfg: DictConfig) -> list[str]:
    expected = checks.expectations(cfg)
    return [
        message
        for override in setting
        if override.is_sweep_override() and override.key_or_group in expected
        for value in values(override)[1:]
        if (message := wrong_value(override.key_or_group, value, expected[override.key_or_group]))
    ]


def _exists(cfg: DictConfig, key: str) -> bool:
    node: Any = cfg
    for part in key.replace("[", ".").replace("]", "").split("."):
        if OmegaConf.is_list(node) and part.isdigit() and int(part) < len(node):
            node = node._get_node(int(part))
        elif isinstance(node, DictConfig) and part in [str(key) for key in node]:
            node = node._get_node(part)
        else:
            return False
    return True


def _what_is_there(cfg: DictConfig, override: Override) -> str:
    """What stands where a key was looked for: another class's arguments, or a value that takes a mapping."""
    parent, _, last = override.key_or_group.rpartition(".")
    expected = checks.expectations(cfg).get(parent)
    if expected is not None and fits({}, expected):
        return f"; write {parent}={{{last}: {override.value()}}}"
    node = OmegaConf.select(cfg, parent) if parent and _exists(cfg, parent) else None
    if not (isinstance(node, DictConfig) and node.get("_target_")):
        return ""
    keys = ", ".join(str(key) for key in node if key != "_target_") or "none"
    return f"; {parent} is {str(node['_target_']).rpartition('.')[2]} here, with the keys: {keys}"


def _leaves(cfg: DictConfig, prefix: str = "") -> list[str]:
    """All dotted keys."""
    found: list[str] = []
    for key in map(str, cfg):
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            found += _leaves(node, f"{prefix}{key}.")
        elif key != "_target_":
            found.append(f"{prefix}{key}")
    return found
