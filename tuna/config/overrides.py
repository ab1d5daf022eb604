"""Everything that is wrong with a command line, said at once, before Hydra and before anything heavy is imported."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuna.config import checks
from tuna.config.arguments import CommandLine, each, values
from tuna.config.compose import compose
from tuna.config.help import OPTIONAL, groups
from tuna.config.types import fits, wrong_value
from tuna.console import nearest
from tuna.errors import ConfigError

_MOST_COMBINATIONS = 32  # of swept group choices; more are checked when their job starts
_NAMES_OF_ITS_OWN = "let it name each key that is swept, as in 'push_to_hub=OWNER/NAME-${seed}', or leave it out"
_ERRORS = (HydraException, OmegaConfBaseException, ConfigError)


def check_command_line(line: CommandLine, *, config_dir: Path, config_name: str) -> DictConfig:
    """The composed config, of a sweep the first values', with Hydra's node; a ConfigError with all faults."""
    checker = _Checker(line, config_dir, line.config_name or config_name)
    if found := list(dict.fromkeys([*line.wrong, *checker.problems()])):
        raise ConfigError("\n".join(found))
    return checker.configs[0]


class _Checker:
    def __init__(self, line: CommandLine, config_dir: Path, config_name: str) -> None:
        self.line, self.config_dir, self.config_name = line, config_dir, config_name
        self.groups = groups([config_dir, *line.config_dirs], config_name)
        self.configs: list[DictConfig] = []  # of each combination of choices

    def problems(self) -> list[str]:
        found = [m for o in self.line.overrides if (m := self._sweep_problem(o))]
        always = [f"hydra.searchpath=[file://{folder.resolve()}]" for folder in self.line.config_dirs]
        setting, options = [], []
        for override in self.line.overrides:
            if override.is_hydra_override():
                always += [] if override.is_sweep_override() else [str(override.input_line)]
            elif override.key_or_group not in self.groups:
                setting.append(override)
            else:
                choices = each(override, self.groups[override.key_or_group])
                chosen = {str(choice.input_line): self._choice_problems(choice) for choice in choices}
                found += itertools.chain(*chosen.values())
                options.append([text for text, wrong in chosen.items() if not wrong])
        for texts in itertools.islice(itertools.product(*filter(None, options)), _MOST_COMBINATIONS):
            found += self._combination([*always, *texts], setting)
        return found

    def _sweep_problem(self, override: Override) -> str | None:
        if not override.is_sweep_override():
            return None
        if override.key_or_group in ("name", "runs_dir"):
            return f"{override.input_line}: {override.key_or_group} cannot be swept; a sweep's jobs are runs/<name>/<n>"
        if override.key_or_group == "push_to_hub":
            return f"{override.input_line}: push_to_hub cannot be swept; {_NAMES_OF_ITS_OWN}"
        if not self.line.multirun and self.line.runs:
            return (
                f"{override.input_line}: several values are a sweep, which needs -m; "
                f"one text with a comma is quoted: '{override.key_or_group}=\"...\"'"
            )
        return None

    def _choice_problems(self, override: Override) -> list[str]:
        """What is wrong with one choice; or several, as a list: ``experiment=[a,b]``."""
        group, chosen = override.key_or_group, override.value()
        allowed = list(self.groups[group])
        if override.is_delete() or chosen is None:
            needed = f"{override.input_line}: a {group} is needed; choose one of {', '.join(allowed)}"
            return [] if group in OPTIONAL else [needed]
        wrong = [c for c in map(str, chosen if isinstance(chosen, list) else [chosen]) if c not in allowed]
        stages = self.groups.get("stage", ())  # a row of the paper that is a stage, or the nearest name
        return [
            f"{group}={choice}: expected one of {', '.join(allowed)}"
            + (f"; did you mean stage={choice}?" if choice in stages else nearest(choice, allowed))
            for choice in wrong
        ]

    def _combination(self, chosen: Sequence[str], setting: Sequence[Override]) -> list[str]:
        """What is wrong with the other overrides once the groups are chosen."""
        found: list[str] = []
        try:
            cfg = self._compose([*chosen, *firsts(setting)])
            sound = not _swept_by_file(cfg)
        except _ERRORS:
            sound = False
        if not sound:  # once more in two steps, to say what is wrong with each
            try:
                base = self._compose(chosen)
                setting = [*_swept_by_file(base), *setting]
                wrong = [self._key_problem(o, base) for o in setting]
                found += [message for message in wrong if message]
                good = [o for o, message in zip(setting, wrong, strict=True) if not message]
                cfg = self._compose([*chosen, *firsts(good)])
            except _ERRORS as error:
                return [*found, first_paragraph(error)]
        if leaks := checks.secret_problems(cfg):
            return leaks  # other messages might show them
        self.configs.append(cfg)
        found += self._sweep_file_problems(cfg)
        if self.line.runs:
            found += checks.problems(cfg)
            expected = checks.expectations(cfg)
            found += [
                message
                for override in setting
                if override.is_sweep_override() and override.key_or_group in expected
                for value in values(override)[1:]
                if (message := wrong_value(override.key_or_group, value, expected[override.key_or_group]))
            ]
        return found

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        cfg = compose(overrides, config_dir=self.config_dir, config_name=self.config_name, with_hydra=True)
        OmegaConf.set_readonly(cfg, False)
        OmegaConf.set_struct(cfg, False)
        return cfg

    def _sweep_file_problems(self, cfg: DictConfig) -> list[str]:
        """Of a sweep that a file asks for, and of a search that is not told what for."""
        swept = ", ".join(map(str, OmegaConf.select(cfg, "hydra.sweeper.params") or ()))
        several = [o for o in self.line.overrides if o.is_sweep_override() and o.key_or_group == "experiment"]
        if swept and self.line.runs and not self.line.multirun:
            return [f"this config sweeps over {swept}; run it with -m"]
        if swept and several:  # Hydra would take its values from no experiment
            return [f"{several[0].input_line}: one of these sweeps over {swept} itself; run it alone"]
        sweeper = str(OmegaConf.select(cfg, "hydra.sweeper._target_")).rpartition(".")[2]
        if self.line.multirun and sweeper != "BasicSweeper" and "optimize" in cfg and not cfg.optimize:
            return [f"optimize: missing; {sweeper} looks for its best value, as in optimize=val/loss"]
        own = OmegaConf.is_interpolation(cfg, "push_to_hub")
        swept_too = any(o.is_sweep_override() and o.key_or_group == "push_to_hub" for o in self.line.overrides)
        if self.line.multirun and cfg.get("push_to_hub") and not own and not swept_too:
            return [f"push_to_hub={cfg.push_to_hub}: all jobs of a sweep would be sent there; {_NAMES_OF_ITS_OWN}"]
        return []

    def _key_problem(self, override: Override, base: DictConfig) -> str | None:
        key = override.key_or_group
        if override.is_add() or override.is_force_add() or _exists(base, key):
            return None
        names = (name for name, _, last in checks.leaves(base) if last != "_target_" and not name.startswith("hydra."))
        known = list(dict.fromkeys(re.sub(r"\.\d+(\..*)?$", "", name) for name in names))  # a list is one key
        allowed = known if "." in key else [*known, *map(str, base), *self.groups]
        return f"{key}: no such key{_what_is_there(base, override)}{nearest(key, allowed)}"


def _swept_by_file(cfg: DictConfig) -> list[Override]:
    """The sweep values that stand in a file, as overrides."""
    found = OmegaConf.select(cfg, "hydra.sweeper.params") or {}
    parser = OverridesParser.create()
    return [parser.parse_override(f"{key}={found[key]}") for key in found]


def first_paragraph(error: Exception) -> str:
    """The first paragraph of a library's message, on one line."""
    if isinstance(error, ConfigError):
        return str(error)
    plugin = re.search(r"Could not find 'hydra/(launcher|sweeper)/((joblib|submitit|ray|optuna)(_\w+)?)'", str(error))
    if plugin:  # what an extra of ours brings to Hydra
        return f"hydra/{plugin[1]}={plugin[2]}: not installed; next: .venv/bin/pip install -e '.[{plugin[3]}]'"
    lines = [line.strip() for line in str(error).splitlines()[:2]]
    return " ".join(line for line in lines if line and not line.endswith(":"))


def firsts(overrides: Sequence[Override]) -> list[str]:
    """The overrides with one value each: their own, or the first of a sweep."""
    return [str(one.input_line) for override in overrides for one in each(override)[:1]]


def _exists(cfg: DictConfig, key: str) -> bool:
    """Whether there is such a key, whatever its value."""
    parent, _, last = key.replace("[", ".").replace("]", "").rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if OmegaConf.is_list(node):
        return last.isdigit() and int(last) < len(node)
    return isinstance(node, DictConfig) and last in map(str, node)


def _what_is_there(cfg: DictConfig, override: Override) -> str:
    """What stands where a key was looked for: another class's arguments, or a value that takes a mapping."""
    parent, _, last = override.key_or_group.rpartition(".")
    expected = checks.expectations(cfg).get(parent)
    if expected is not None and fits({}, expected):
        return f"; write {parent}={{{last}: {override.value()}}}"
    node = OmegaConf.select(cfg, parent) if parent else None
    if not (isinstance(node, DictConfig) and node.get("_target_")):
        return ""
    keys = ", ".join(str(key) for key in node if key != "_target_") or "none"
    return f"; {parent} is {str(node['_target_']).rpartition('.')[2]} here, with the keys: {keys}"
