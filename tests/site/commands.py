"""Whether a command line of a page is one that works: its files, targets, options and keys exist, its values fit.

Composing takes a fifth of a second, so a config is composed once for the choices (``stage=``, ``loss=`` and their
like) that decide which keys there are, and every override is held against what it has.
"""

import re
import shlex
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tests.site.markdown import ROOT
from tuna.config import checks
from tuna.config.arguments import each, read_command_line, values
from tuna.config.compose import CONF, compose
from tuna.config.help import OPTIONAL, groups
from tuna.config.overrides import _exists
from tuna.config.types import wrong_value
from tuna.errors import ConfigError
from tuna.preview import read_options
from tuna.ranking import TOOLS

_WIDE = ("stage", "experiment", "debug", "pipeline", "sizes")  # groups whose files set keys outside of their own
PROGRAMS = ("train", "rank", "evaluate", "report", "reproduce", "chat")
# What is neither ours nor installed with it.
OUTSIDE = {
    "vllm": "a server for GPUs",
    "wandb": "sends to an account",
    "llama_cpp.server": "tests/live starts it, where it is installed",
    "head": "the system's",
    "source": "the shell's",
    "build": "makes a wheel, in an environment of its own",
    "pip-audit": "asks a service on the network",
}
# Commands that are not held against this repository's config, and why.
NOT_CHECKED = {
    "python train.py stage=tuna_d loss.lamda=5": "shows two errors; tests/test_docs.py compares them",
    "loss=cubic": "tests/site/test_guides.py builds it",
    "loss=tuna,cubic": "tests/site/test_guides.py",
    "loss=flat_hinge": "tests/test_extending.py applies the page's changes",
    "judge=brevity": "tests/test_extending.py",
    "generation=program": "tests/test_extending.py",
    "benchmark=exact": "tests/test_extending.py",
    "experiment=tuna_c_search": "takes Optuna's sweeper, an extra; tests/config/test_experiments.py",
}


def problems(text: str) -> list[str]:
    """What is wrong with a command line."""
    if any(part in text for part in NOT_CHECKED):
        return []
    found: list[str] = []
    for part in re.split(r" && | \| ", text.removeprefix("$ ")):
        words = shlex.split(re.sub(r"<[\w ]+>", "NAME", part), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # set for this command
            words.pop(0)
        found += _problems(words[: words.index(">")] if ">" in words else words) if words else []
    return found


def _problems(words: list[str]) -> list[str]:
    """Of one program with its arguments."""
    program = words[0].removeprefix(".venv/bin/")
    if program in OUTSIDE:
        return []
    if program in ("torchrun", "srun"):
        return _problems(["python", *words[next(n for n, word in enumerate(words) if word.endswith(".py")) :]])
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return [f"make has no {word}" for word in words[1:] if "=" not in word and word not in targets]
    if program in ("pip", "pre-commit"):
        return _packages(words)
    if program == "tuna":
        return _installed(words[1:])
    if program not in ("python", "python3", "LIVE_PYTHON") or len(words) < 2:
        return [f"{program}: neither a program of this project nor in the list of others"]
    if words[1] == "-c":
        return []
    if words[1] == "-m":
        return _module(words[2], words[3:])
    name = words[1].removesuffix(".py")
    if name in PROGRAMS:
        return _program(name, words[2:])
    return _script(words[1], words[2:])


def _installed(words: Sequence[str]) -> list[str]:
    """Of ``tuna COMMAND``."""
    if not words or words[0].startswith("-") or words[0] == "COMMAND":
        return []
    return _module("tuna.data", words[1:]) if words[0] == "data" else _program(words[0], words[1:])


def _packages(words: Sequence[str]) -> list[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    return [
        f"no extra {name}" for word in words for name in re.findall(r"^[\w.-]+\[(\w+)\]$", word) if name not in extras
    ]


def _module(module: str, words: Sequence[str]) -> list[str]:
    if module in OUTSIDE or module == "pytest":
        return []
    if module == "pip":
        return _packages(words)
    if module == "tuna":
        return _installed(words)
    if module == "tuna.data":
        try:
            read_options([word for word in words[1:] if "=" in word])
        except ConfigError as error:
            return [str(error)]
        return []
    file = ROOT.joinpath(*module.split("."))
    files = [file.with_suffix(".py"), file / "__main__.py"]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        return (
            [] if find_spec(module.partition(".")[0]) and not (ROOT / module.partition(".")[0]).is_dir() else [module]
        )
    return _script(path.relative_to(ROOT).as_posix(), words)


def _script(path: str, words: Sequence[str]) -> list[str]:
    """A file of ours that reads its options with argparse."""
    if not (ROOT / path).is_file():
        return [f"{path}: no such file"]
    text = (ROOT / path).read_text(encoding="utf-8")
    return [f"{path} has no {word}" for word in words if word.startswith("--") and f'"{word}"' not in text]


def _program(name: str, words: Sequence[str]) -> list[str]:
    if name not in PROGRAMS:
        return [f"{name}: expected one of {', '.join(PROGRAMS)}"]
    if name == "rank" and words and words[0] in TOOLS:
        return []
    line = read_command_line([word for word in words if not word.endswith("...")])
    found = [message for message in line.wrong if "is not a folder" not in message]
    if line.shows_help or line.only_hydra:
        return found
    known = _groups(name)
    choices = [o for o in line.overrides if o.key_or_group in known]
    for choice in choices:
        allowed = known[choice.key_or_group]
        for one in each(choice, allowed):
            chosen = one.value()
            missing = [c for c in (chosen if isinstance(chosen, list) else [chosen]) if c and str(c) not in allowed]
            found += [f"{choice.key_or_group}={c}: no such choice" for c in missing]
            if chosen is None and choice.key_or_group not in OPTIONAL:
                found.append(f"{choice.key_or_group}: one is needed")
    if any(o.key_or_group.startswith("hydra/") for o in choices):  # a launcher that may not be installed
        return found
    for override in () if found else line.overrides:
        if override not in choices and not (override.is_hydra_override() or override.is_add()):
            own = [o for o in choices if o.key_or_group in (*_WIDE, override.key_or_group.partition(".")[0])]
            firsts = (str(each(o, known[o.key_or_group])[0].input_line) for o in own)
            found += _key_problems(name, tuple(sorted(firsts)), override)
    return found


def _key_problems(name: str, choices: tuple[str, ...], override: Override) -> list[str]:
    """Of a key and its values, with the choices that decide whether there is such a key."""
    key = override.key_or_group
    try:
        cfg, expected = _composed(name, choices)
    except (HydraException, OmegaConfBaseException) as error:
        return [str(error).partition("\n")[0]]
    if key in expected:
        return [message for value in values(override) if (message := wrong_value(key, value, expected[key]))]
    takes_any = key.rpartition(".")[0] in expected  # a mapping of the user's own
    return [] if takes_any or _exists(cfg, key) else [f"{key}: no such key with {' '.join(choices) or 'the defaults'}"]


@cache
def _groups(name: str) -> dict[str, dict[str, Path]]:
    return groups([CONF], name)


@cache
def _composed(name: str, choices: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any]]:
    """The config with these choices, and the type that each of its keys takes."""
    cfg = compose(choices, config_name=name)
    return cfg, checks.expectations(cfg)
