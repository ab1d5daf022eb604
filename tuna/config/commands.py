"""Commands that are printed to be run as they stand: quoted for shell and Hydra, from the folder one is in."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from tuna.console import CHECKOUT, as_typed
from tuna.secrets import secret_in


class Unsayable(Exception):
    """No word of a command line comes to this value."""


def command(program: str, values: Mapping[str, Any]) -> str:
    """``python PROGRAM key=value ...`` for a shell, as one starts it here.

    Raises: Unsayable for a value that no word of a command line comes to.

    >>> command("train.py", {"model.path": "runs/my model", "datamodule.path": "a.jsonl"}).partition("train.py ")[2]
    "'model.path=runs/my model' datamodule.path=a.jsonl"
    """
    words = [assignment(key, value) for key, value in values.items()]
    return as_typed(f"python {program}") + "".join(f" {shlex.quote(word)}" for word in words)


def assignment(key: str, value: object) -> str:
    """One word that Hydra reads back to the very value; Unsayable where there is none, or it looks like a secret.

    >>> assignment("name", "a"), assignment("first", 3), assignment("label", "3"), assignment("args", {"think": True})
    ('name=a', 'first=3', 'label="3"', 'args={think: true}')
    """
    for quoted in (False, True):
        word = f"{key}={_text(value, quoted)}"
        if "${" in word or secret_in(word) is not None:
            continue
        try:
            read_back = OverridesParser.create().parse_override(word).value()
        except HydraException:
            continue
        if type(read_back) is type(value) and read_back == value:
            return word
    raise Unsayable(key)


def install(extra: str) -> str:
    """The command that brings what an extra of pyproject.toml needs, by the packages' own names: no index has ours.

    >>> install("lmentry")
    "python -m pip install 'num2words>=0.5.10'"
    """
    try:
        lines = requires("tuna-ranking") or []
    except PackageNotFoundError:
        lines = []
    needed = [line.partition(";")[0].strip() for line in lines if re.search(rf"""extra == ['"]{extra}['"]""", line)]
    return shlex.join(["python", "-m", "pip", "install", *(needed or ["-e", f"{CHECKOUT or '.'}[{extra}]"])])


def typed_fields(node: Any, prefix: str) -> dict[str, Any]:
    """The arguments of a config node (a dataclass) that are not the constructor's defaults, by dotted key."""
    typed = [f.name for f in fields(node) if f.init and getattr(node, f.name) != f.default]
    return {f"{prefix}.{name}": getattr(node, name) for name in typed}


def _text(value: object, quoted: bool) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"' if quoted else value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(inner, quoted)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(inner, quoted) for inner in value) + "]"
    return json.dumps(value)
