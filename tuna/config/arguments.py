"""The command line, taken apart before Hydra sees it: Hydra's flags, overrides, group choices, literal secrets."""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import OverrideParseException

from tuna.errors import ConfigError
from tuna.secrets import HIDDEN, is_secret, secret_in

ENVIRONMENT = (
    "${oc.env:...} is refused, since what it gives is written to files; name the variable of a key "
    "(judge.api_key_env=OPENAI_API_KEY), let the shell fill in anything else"
)
LITERAL = (
    "a literal key or password is refused, since configs are printed and written to files; put it into an environment "
    "variable and name that one: judge.api_key_env=OPENAI_API_KEY"
)
# An interpolation that names the environment's resolver, or takes its resolver's name from another key.
READS_ENVIRONMENT = re.compile(r"\$\{(\s*(oc\.)?env|[\w.\s]*\$\{[^{}]*\}[\w.\s]*)\s*:")


def refuse_environment(*_: object) -> None:
    """Stands for the resolver ``oc.env``, however it is reached: raises a ConfigError."""
    raise ConfigError(ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What the user typed. ``overrides`` are those that can be parsed, without secrets; ``wrong`` says what is not."""

    overrides: tuple[Override, ...] = ()
    wrong: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()  # everything, overrides first: Hydra takes none after an option that follows others
    multirun: bool = False
    runs: bool = False  # whether a job will run; else Hydra only shows something
    shows_help: bool = False
    topics: tuple[str, ...] = ()  # what help is asked for: keys, groups, choices; those with a value are set, too
    shows_version: bool = False
    only_hydra: bool = False  # --hydra-help, shell completion: nothing of ours is looked at
    config_name: str | None = None
    config_dirs: tuple[Path, ...] = ()


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """Take ``argv`` (without the program's name) apart."""
    if "--version" in argv:  # argparse would print and exit here
        return CommandLine(shows_version=True)
    wrong, harmless = _refuse(argv)
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        flags, unknown = parser.parse_known_intermixed_args(harmless)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error}; see --help") from None
    wrong += [f"{text}: no such option; see --help" for text in unknown if text.startswith("-")]
    typed = [*flags.overrides, *(text for text in unknown if not text.startswith("-"))]
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        wrong.append(f"--config-dir: {flags.config_dir} is not a folder")
        flags.config_dir = None
    topics = tuple(typed) if flags.help else ()
    overrides = []
    for text in typed:
        if text in topics and "=" not in text:
            continue
        try:
            overrides += OverridesParser.create().parse_overrides([text])
        except OverrideParseException as error:
            wrong.append(_malformed(text, error))
    return CommandLine(
        overrides=tuple(overrides),
        wrong=tuple(wrong),
        ordered=(*typed, *(text for text in argv if text not in typed)),
        multirun=bool(flags.multirun),
        runs=not (flags.cfg or flags.info),
        shows_help=bool(flags.help),
        topics=topics,
        only_hydra=bool(flags.hydra_help or flags.shell_completion or flags.experimental_rerun),
        config_name=flags.config_name,
        config_dirs=(Path(flags.config_dir),) if flags.config_dir else (),
    )


def _refuse(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Messages about arguments that hold or fetch a secret, and the other arguments.

    A shell cuts an unquoted ``x={api_key: abc}`` in two, and ``--token abc`` is two; what comes second is the secret.
    """
    messages: list[str] = []
    harmless: list[str] = []
    depth = 0  # of braces that a secret's argument has left open
    waits = False  # for the value of a secret's key
    for text in argv:
        key, separator, value = text.lstrip("+~").partition("=")
        rest = depth > 0 or (waits and not separator and not text.startswith("-"))
        name = secret_in(text)
        if rest and name is None:
            name = ""
        waits = not value and is_secret(key) and (bool(separator) or text.startswith("--"))
        if name is not None:
            depth = max(0, depth + text.count("{") - text.count("}"))
            messages.append(f"{name}{'=' if name else ''}{HIDDEN}: {LITERAL}")
        elif READS_ENVIRONMENT.search(text):
            messages.append(f"{f'{key}=' if separator and '$' not in key else ''}{HIDDEN}: {ENVIRONMENT}")
        else:
            harmless.append(text)
    return list(dict.fromkeys(messages)), harmless


def _malformed(text: str, error: Exception) -> str:
    key, separator, value = text.partition("=")
    if not separator:
        return f"{text}: expected key=value, for example loss.lambda=5"
    reason = str(error.__cause__ or error).splitlines()[0]
    return f"{text}: malformed ({reason}); text with odd characters is quoted twice: '{key}=\"{value}\"'"


def each(override: Override, choices: Iterable[str] = ()) -> list[Override]:
    """The override once for each of its values: one, or several where it is a sweep (at most 64 are looked at).

    ``choices`` are what a group's ``glob(...)`` selects from. An interval, which a sweeper draws from, gives none.
    """
    if not override.is_sweep_override():
        return [override]
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        glob: Any = override.value()
        texts = glob.filter(list(choices))
    else:
        discrete = override.is_discrete_sweep() and not override.is_delete()
        texts = list(islice(override.sweep_string_iterator(), 64)) if discrete else []
    return [OverridesParser.create().parse_override(f"{override.get_key_element()}={text}") for text in texts]


def values(override: Override) -> list[Any]:
    """The plain values that an override gives: 0, 1 and 2 for ``seed=range(0,3)``."""
    return [one.value() for one in each(override)]
