"""LMentry's clone: data files, one per task, and scorers, in processes of their own: ours imports none of its code."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.config.commands import install
from tuna.console import Progress
from tuna.data.fields import FieldError, RowError, describe
from tuna.data.record import Record
from tuna.errors import ConfigError, RunError
from tuna.evaluation.lmentry.figures import ANSWER_ORDER, CORE, SCORER
from tuna.evaluation.questions import Faults, Question, read_files

REPOSITORY = "aviaefrat/lmentry"
CLONE = f"git clone https://github.com/{REPOSITORY}.git"
SCORERS = "lmentry/scorers"
WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Question):
    """One question. ``raw`` is what the official scorer is handed; answer_index is None where there are not two."""

    template: int
    answer_index: int | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One task. per_template: examples of each of its ``templates``, by its settings; canary: quoted with each."""

    name: str
    per_template: int
    templates: int
    canary: str
    examples: Sequence[Example]


def read_tasks(folder: Path, *, partial: bool) -> tuple[list[TaskFile], list[str], str]:
    """The 41 files (with ``partial``: those that are there), the names of missing ones, a hash of the former's content.

    Raises: ConfigError where files are missing; DataError with all that is wrong inside them.
    """
    missing = [name for name in SCORER if not (folder / f"{name}.json").is_file()]
    if len(missing) == len(SCORER) or (missing and not partial):
        raise ConfigError(
            f"{folder}: expected LMentry's {len(SCORER)} files, {len(missing)} are missing: "
            f"{', '.join(f'{name}.json' for name in missing[:5])}{' ...' if len(missing) > 5 else ''}; next: {CLONE}, "
            "or benchmark.data=FOLDER, or benchmark.partial=true for what is there"
        )
    files, sha256 = read_files(folder, [name for name in SCORER if name not in missing], _task)
    return files, missing, sha256


def _task(name: str, value: Mapping[str, Any], path: str, faults: Faults) -> TaskFile:
    settings, entries = value.get("settings"), value.get("examples")
    if not isinstance(settings, dict) or not isinstance(entries, dict):
        raise RowError(f"expected {{settings: {{...}}, examples: {{id: ...}}}}, got {describe(value)}")
    number, templates, canary = (settings.get(k) for k in ("num_examples_per_template", "input_templates", "canary"))
    if not (type(number) is int and number > 0 and isinstance(templates, list) and isinstance(canary, str) and canary):
        expected = "num_examples_per_template (1 or more), input_templates (a list) and canary (a text)"
        raise FieldError("settings", expected, settings)
    examples = []
    for key, raw in entries.items():
        with faults.at(path):
            examples.append(_example(name, key, raw, len(templates)))
    return TaskFile(name, number, len(templates), canary, examples)


def _example(task: str, key: str, raw: Any, templates: int) -> Example:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    if not isinstance(metadata, dict) or not isinstance(raw.get("input"), str):
        raise FieldError(f"examples.{key}", "an object with input and metadata", raw)
    template, index = metadata.get("template_id"), metadata.get("answer_index")
    if not isinstance(template, int) or template not in range(templates):
        raise FieldError(f"examples.{key}.metadata.template_id", f"0 to {templates - 1}", template)
    if task not in ANSWER_ORDER:
        index = None
    elif index not in (0, 1):
        raise FieldError(f"examples.{key}.metadata.answer_index", "0 or 1", index)
    name = f"{task}/{key}"
    return Example(name, Record(name, raw["input"]), task, template=template, answer_index=index, raw=raw)


def check_scorers(clone: Path) -> str:
    """Import a clone's scorers (an absolute path) once: a hash of their source; a ConfigError says what mends it."""
    with _worker(clone, []) as worker:
        first = _reply(worker)
    missing, lacking = str(first.get("missing") or ""), sorted({*CORE} - {*first.get("scorers", ())})
    if missing and missing.partition(".")[0] != "lmentry":
        problem = f"its scorers need the package {missing}, which is not installed"
        raise ConfigError(f"benchmark.root={clone}: {problem}; next: {install('lmentry')}")
    problem = f"its scorers cannot be imported ({first['error']})" if "error" in first else ""
    if lacking and not problem:
        problem = f"expected scorers for {len(CORE)} tasks, got none for {', '.join(lacking[:5])}"
    if problem:
        raise ConfigError(f"benchmark.root={clone}: {problem}; next: {CLONE}")
    digest = hashlib.sha256()
    for path in sorted((clone / SCORERS).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def mark(
    clone: Path, examples: Sequence[Example], predictions: Sequence[str], processes: int, *, truncate: bool = False
) -> list[tuple[int, int]]:
    """Score and certainty (0 or 1 each) of each prediction, in order; a RunError where a scorer failed.

    After ``check_scorers``. truncate: mark a prediction's first sentence only, as its owners do for base models.
    """
    asked = [
        {"scorer": SCORER[example.task], "prediction": text, "example": example.raw, "truncate": truncate}
        for example, text in zip(examples, predictions, strict=True)
    ]
    marks: list[tuple[int, int]] = []
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(contextlib.closing(Progress("scores", len(examples))))
        # They work at once, and each waits only where its pipe is full of replies that were not read yet.
        workers = [stack.enter_context(_worker(clone, asked[k::processes])) for k in range(min(processes, len(asked)))]
        for worker in workers:
            _reply(worker)  # of its import, which ``check_scorers`` has tried
        for index, example in enumerate(examples):
            reply = _reply(workers[index % len(workers)])
            if not isinstance(reply, list) or len(reply) != 2 or not {*reply} <= {0, 1}:
                got = reply.get("error") if isinstance(reply, dict) else reply
                expected = "a score and a certainty of 0 or 1 each"
                raise RunError(
                    f"{example.id}: LMentry's scorer gave {got!r}, expected {expected}; next: look at {clone / SCORERS}"
                )
            marks.append((int(reply[0]), int(reply[1])))
            progress.update(1)
    return marks


@contextlib.contextmanager
def _worker(clone: Path, asked: Sequence[Mapping[str, Any]]) -> Iterator["subprocess.Popen[str]"]:
    """A process that imports the scorers and marks each prediction: a line of its output each."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        lines.writelines(json.dumps(each) + "\n" for each in asked)
        lines.seek(0)
        # -P: nothing next to the script shadows a package; -B: the clone stays as it is; UTF-8 whatever the locale.
        process = subprocess.Popen(
            [sys.executable, "-P", "-B", str(WORKER), str(clone)], cwd=clone, text=True, encoding="utf-8",
            stdin=lines, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUTF8": "1"},
        )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def _reply(worker: "subprocess.Popen[str]") -> Any:
    """The next line of a worker's output."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    return json.loads(line) if line else {"error": f"it ended with status {worker.wait()}"}
