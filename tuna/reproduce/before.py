"""What is told, or asked for, before any step runs: files that have to be there, keys, and what it may cost."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from tuna.config.compose import compose
from tuna.config.overrides import firsts
from tuna.config.schema import build_all
from tuna.errors import ConfigError, TunaError
from tuna.inference.cost import dollars
from tuna.inference.server import check_keys
from tuna.reproduce.losses import LATER
from tuna.reproduce.plan import Step

_ASKED = ("teacher", "judge", "sampler", "generation")  # nodes that may be servers


def missing_files(steps: Sequence[Step], sizes: Mapping[str, Any]) -> list[str]:
    """A line for each of the sizes' ``files`` that a step names and that is not there, with what gets it."""
    words = [word for step in steps for word in step.words]
    return [
        f"sizes.{key}: expected a file or folder, there is none at {sizes[key]}; next: {command}, or sizes.{key}=PATH"
        for key, command in (sizes.get("files") or {}).items()
        if sizes.get(key) is not None
        and any(str(sizes[key]) in word.partition("=")[2].split(",") for word in words)
        and not Path(str(sizes[key])).expanduser().exists()
    ]


def costs(steps: Sequence[Step]) -> list[str]:
    """What the steps that ask a server for money may spend at most, in all and each; none where nothing costs."""
    found = {step.name: most for step in steps if (most := _most(step.words)) is not None}
    each = ", ".join(f"{name} {dollars(most)}" for name, most in found.items())
    return [f"paid steps, at most {dollars(math.fsum(found.values()))} in all (max_cost): {each}"] if found else []


def _most(words: Sequence[str]) -> float | None:
    """A step's ``max_cost``, once for each job of a sweep."""
    found = _overrides(words)
    given = [override for override in found if override.key_or_group == "max_cost"]
    if not given:
        return None
    jobs = math.prod(len(_texts(override)) for override in found if override.key_or_group != "max_cost")
    return math.fsum(map(float, _texts(given[-1]))) * jobs


def _overrides(words: Sequence[str]) -> list[Override]:
    """The key=value words of a command, as Hydra reads them; without those that an earlier step has to give."""
    typed = [word for word in words if "=" in word and word[0] != "-" and not LATER.search(word)]
    return OverridesParser.create().parse_overrides(typed)


def _texts(override: Override) -> list[str]:
    """A text for each of the values that a sweep takes, one where nothing is swept."""
    swept = override.is_sweep_override() and override.is_discrete_sweep()
    return list(override.sweep_string_iterator()) if swept else [str(override.value())]


def check_servers(steps: Sequence[Step]) -> None:
    """Raise a ConfigError for a key that a step's server needs and the environment lacks."""
    wrong: dict[str, str] = {}
    for step in (step for step in steps if _most(step.words) is not None):
        program, *words = step.words
        cfg = compose(firsts(_overrides(words)), config_name=program.removesuffix(".py"))
        served = [key for key in _ASKED if "api_key_env" in (cfg.get(key) or {})]
        try:
            check_keys(build_all(cfg, *served))
        except ConfigError as error:
            wrong.setdefault(str(error), step.name)
    if wrong:
        raise ConfigError("\n".join(f"{name}: {problem}" for problem, name in wrong.items()))


def check_clones(steps: Sequence[Step]) -> None:
    """Raise what a step's benchmark says of the clone that it reads, or of a package that the clone's scorers lack."""
    tried: dict[tuple[str, ...], str] = {}
    for step in steps:
        mine = [override for override in _overrides(step.words[1:]) if override.key_or_group.startswith("benchmark")]
        if any(override.key_or_group == "benchmark.root" for override in mine):
            tried.setdefault(tuple(firsts(mine)), step.name)
    wrong = []
    for words, name in tried.items():
        try:
            build_all(compose([*words], config_name="evaluate"), "benchmark")["benchmark"].prepare(1)
        except TunaError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise ConfigError("\n".join(wrong))
