"""Super-NaturalInstructions as it lies in a clone: ``splits/default/test_tasks.txt`` and ``tasks/<name>.json``."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.console import shortened
from tuna.data.fields import describe
from tuna.data.json_text import parse_json
from tuna.errors import ConfigError, DataError

CLONE = "git clone --depth 1 https://github.com/allenai/natural-instructions.git"
SPLIT = Path("splits", "default", "test_tasks.txt")
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Instance:
    """One question of a task, with the answers that are right."""

    task: str
    id: str
    input: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One task. category: its first one, in lower case with underscores. positive: (input, output) of its examples."""

    name: str
    category: str
    definition: str
    positive: tuple[tuple[str, str], ...]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The test tasks in the split's order, and a hash of what was read."""

    tasks: tuple[Task, ...]
    sha256: str


def read_clone(root: str | None, instances: int) -> Data:
    """The test tasks with their first ``instances`` instances each (the official evaluation's are the first 100).

    Raises:
        ConfigError: there is no clone, with the command that gets it; or files are missing in it.
        DataError: what is wrong inside the files, all of it.
    """
    folder, names = _split(root)
    digest, tasks, wrong = hashlib.sha256(), [], list[str]()
    for name in names:
        content = (folder / "tasks" / f"{name}.json").read_bytes()
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        task = _read(name, f"{folder / 'tasks' / name}.json", content, instances, wrong)
        tasks += [task] if task else []
    seen: dict[str, str] = {}
    for task in tasks:
        for instance in task.instances:
            if instance.id in seen:
                wrong.append(
                    f"{folder}: {task.name}: id {instance.id}: expected ids that differ, {seen[instance.id]} has it too"
                )
            seen[instance.id] = task.name
    if wrong:
        raise DataError("\n".join(shortened(wrong, SHOWN)))
    return Data(tuple(tasks), digest.hexdigest())


def _split(root: str | None) -> tuple[Path, list[str]]:
    if root is None:
        raise ConfigError(
            "benchmark.root: missing; Super-NaturalInstructions is read from a clone of its repository; next: "
            f"{CLONE}, then benchmark.root=natural-instructions"
        )
    folder = Path(root).expanduser()
    if not (folder / SPLIT).is_file():
        got, into = (f"a folder without {SPLIT}", "") if folder.is_dir() else ("no such folder", f" {root}")
        raise ConfigError(
            f"benchmark.root={root}: expected a clone of allenai/natural-instructions, got {got}; next: {CLONE}{into}"
        )
    names = list(dict.fromkeys((folder / SPLIT).read_text(encoding="utf-8").split()))
    missing = [name for name in names if not (folder / "tasks" / f"{name}.json").is_file()]
    if missing or not names:
        raise ConfigError(
            f"{folder / SPLIT}: names {len(names)} tasks, {len(missing)} of which are not in {folder / 'tasks'}: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; next: {CLONE}"
        )
    return folder, names


def _read(name: str, path: str, content: bytes, instances: int, wrong: list[str]) -> Task | None:
    try:
        value = parse_json(content)
    except ValueError as error:
        wrong.append(f"{path}: expected a JSON object, got broken JSON ({error})")
        return None
    if not isinstance(value, dict):
        wrong.append(f"{path}: expected a JSON object, got {describe(value)}")
        return None
    before = len(wrong)
    definition, category = _first(value, "Definition", path, wrong), _first(value, "Categories", path, wrong)
    positive = [
        _positive(each, f"{path}: Positive Examples[{i}]", wrong)
        for i, each in _list(value, "Positive Examples", path, wrong)
    ]
    found = [
        _instance(name, each, f"{path}: Instances[{i}]", wrong)
        for i, each in _list(value, "Instances", path, wrong)[:instances]
    ]
    if len(wrong) > before:
        return None
    return Task(
        name,
        "_".join(category.lower().split()),
        definition,
        tuple(p for p in positive if p),
        tuple(i for i in found if i),
    )


def _first(value: Mapping[str, Any], key: str, path: str, wrong: list[str]) -> str:
    """A text, or the first of a list of them."""
    given = value.get(key)
    text = given[0] if isinstance(given, list) and given else given
    if not isinstance(text, str):
        wrong.append(f"{path}: {key}: expected a text or a list of texts, got {describe(given)}")
        return ""
    return text


def _list(value: Mapping[str, Any], key: str, path: str, wrong: list[str]) -> list[tuple[int, Any]]:
    given = value.get(key)
    if not isinstance(given, list):
        wrong.append(f"{path}: {key}: expected a list, got {describe(given)}")
        return []
    return list(enumerate(given))


def _positive(value: Any, where: str, wrong: list[str]) -> tuple[str, str] | None:
    if not isinstance(value, dict) or not (_is_text(value.get("input")) and _is_text(value.get("output"))):
        wrong.append(f"{where}: expected an object with the texts input and output, got {describe(value)}")
        return None
    return str(value["input"]), str(value["output"])


def _instance(task: str, value: Any, where: str, wrong: list[str]) -> Instance | None:
    if not isinstance(value, dict) or not (_is_text(value.get("id")) and _is_text(value.get("input"))):
        wrong.append(f"{where}: expected an object with the texts id and input, got {describe(value)}")
        return None
    references = value.get("output")
    if not isinstance(references, list) or not references or not all(map(_is_text, references)):
        wrong.append(f"{where}: output: expected a list of one text or more, got {references!r:.60}")
        return None
    return Instance(task, str(value["id"]), str(value["input"]), tuple(map(str, references)))


def _is_text(value: Any) -> bool:
    """Whether it is a text, or a number, which the official loader reads as a text too."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)
