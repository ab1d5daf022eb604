"""LMentry's data files, one a task, as they lie in its repository's ``data/``."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.console import shortened
from tuna.data.fields import describe
from tuna.data.json_text import parse_json
from tuna.errors import ConfigError, DataError
from tuna.evaluation.lmentry.tasks import ANSWER_ORDER, SCORER

CLONE = "git clone https://github.com/aviaefrat/lmentry.git"
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Example:
    """One question. ``raw`` is what the official scorer is handed; answer_index is None where there are not two."""

    task: str
    id: str
    input: str
    template: int
    answer_index: int | None
    raw: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name among all files' examples."""
        return f"{self.task}/{self.id}"


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One task. per_template: examples of each of its ``templates``, by its settings; canary: quoted beside."""

    name: str
    per_template: int
    templates: int
    canary: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The files that were read, those that are not there, and a hash of the former's content."""

    files: tuple[TaskFile, ...]
    missing: tuple[str, ...]
    sha256: str


def clone(root: str | None) -> Path:
    """The clone's folder.

    Raises:
        ConfigError: it is not named or not there, with the command that gets it.
    """
    if root is None:
        raise ConfigError(
            "benchmark.root: missing; LMentry is read from a clone of its repository, whose scorers are run; next: "
            f"{CLONE} lmentry, then benchmark.root=lmentry"
        )
    folder = Path(root).expanduser()
    if not (folder / "lmentry" / "scorers").is_dir():
        got, into = ("a folder without lmentry/scorers", "") if folder.is_dir() else ("no such folder", f" {root}")
        raise ConfigError(
            f"benchmark.root={root}: expected a clone of aviaefrat/lmentry, got {got}; next: {CLONE}{into}"
        )
    return folder


def read_files(folder: Path, *, partial: bool) -> Data:
    """Read the 41 files (with ``partial``: those that are there), in the order of their names in lmentry_tasks.

    Raises:
        ConfigError: files are missing.
        DataError: what is wrong inside them, all of it.
    """
    missing = tuple(name for name in SCORER if not (folder / f"{name}.json").is_file())
    if len(missing) == len(SCORER) or (missing and not partial):
        raise ConfigError(
            f"{folder}: expected LMentry's {len(SCORER)} files, {len(missing)} are missing: "
            f"{', '.join(f'{name}.json' for name in missing[:5])}{' ...' if len(missing) > 5 else ''}; next: {CLONE}, "
            "or benchmark.data=FOLDER, or benchmark.partial=true for what is there"
        )
    digest, files, wrong = hashlib.sha256(), [], list[str]()
    for name in SCORER:
        if name not in missing:
            content = (folder / f"{name}.json").read_bytes()
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
            file = _read(name, f"{folder / name}.json", content, wrong)
            files += [file] if file else []
    if wrong:
        raise DataError("\n".join(shortened(wrong, SHOWN)))
    return Data(tuple(files), missing, digest.hexdigest())


def _read(name: str, path: str, content: bytes, wrong: list[str]) -> TaskFile | None:
    try:
        value = parse_json(content)
        settings, examples = value["settings"], value["examples"]
        number, templates, canary = (
            settings.get(k) for k in ("num_examples_per_template", "input_templates", "canary")
        )
        entries = dict(examples)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        wrong.append(
            f"{path}: expected {{settings: {{...}}, examples: {{id: ...}}}}, got {type(error).__name__}: {error}"
        )
        return None
    before = len(wrong)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        wrong.append(f"{path}: settings.num_examples_per_template: expected 1 or more, got {describe(number)}")
    if not isinstance(templates, list) or not templates:
        wrong.append(f"{path}: settings.input_templates: expected a list of templates, got {describe(templates)}")
    if not isinstance(canary, str) or not canary:
        wrong.append(f"{path}: settings.canary: expected the canary line of LMentry's files, got {describe(canary)}")
    if len(wrong) > before:
        return None
    found = [_example(name, key, each, len(templates), path, wrong) for key, each in entries.items()]
    return TaskFile(name, number, len(templates), canary, tuple(example for example in found if example))


def _example(task: str, key: str, raw: Any, templates: int, path: str, wrong: list[str]) -> Example | None:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not isinstance(raw.get("input"), str):
        wrong.append(f"{path}: examples.{key}: expected an object with input and metadata, got {describe(raw)}")
        return None
    template, index = metadata.get("template_id"), metadata.get("answer_index")
    if not isinstance(template, int) or template not in range(templates):
        wrong.append(
            f"{path}: examples.{key}.metadata.template_id: expected 0 to {templates - 1}, got {describe(template)}"
        )
        return None
    if task in ANSWER_ORDER and index not in (0, 1):
        wrong.append(f"{path}: examples.{key}.metadata.answer_index: expected 0 or 1, got {describe(index)}")
        return None
    return Example(task, key, raw["input"], template, index if task in ANSWER_ORDER else None, raw)
