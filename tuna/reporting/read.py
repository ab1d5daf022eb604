"""Runs, rankings and results as they lie on disk. What cannot be read is told, never left out in silence.

And what the paper says (paper.json), whose numbers stand apart from ours, never among them.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from tuna.config.commands import script
from tuna.data.fields import parse_json
from tuna.errors import DataError

Row = Mapping[str, Any]
# Keys that a file has to have, with their types; without them it is not in the report.
_JOB: dict[str, type] = {"status": str}
_RUN: dict[str, type] = {"status": str, "config": dict}
_RANKING: dict[str, type] = {"ranking": dict, "config": dict}
_STARTED: dict[str, type] = {"status": str}
_RESULTS: dict[str, type] = {"benchmark": str, "model": dict, "scores": dict, "primary": str}


@cache
def paper() -> dict[str, Any]:
    """The embedded file: order of systems, titles, statements of the text and the claims that are checked.

    The cells of the paper's tables are not in it: the text that it was made from has lost them.
    """
    found: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return found


def place_in_order(label: str, base: str = "") -> tuple[int, str]:
    """Sorts systems as the paper's tables do, others after them by name.

    >>> sorted(["mine", "Tuna", "Alpaca"], key=place_in_order)
    ['Alpaca', 'Tuna', 'mine']
    """
    order: list[str] = paper()["order"]
    return next((order.index(name) for name in (label, base) if name in order), len(order)), label


@dataclass(frozen=True, slots=True)
class Run:
    """One run.json, found below the folder ``root``."""

    path: Path
    root: Path
    content: Row

    @property
    def name(self) -> str:
        """Its path below the folder of runs."""
        return self.path.name if self.path == self.root else self.path.relative_to(self.root).as_posix()

    @property
    def status(self) -> str:
        """finished, failed, interrupted, or running (or killed before it could say so)."""
        return str(self.content["status"])

    @property
    def stage(self) -> str:
        """As ``tuna_c``; empty where it says none."""
        return str(self.content.get("stage") or "")

    @property
    def config(self) -> Row:
        """The whole composed config."""
        return dict(self.content["config"])

    @property
    def experiment(self) -> Row | None:
        """The experiment that its config names."""
        found = self.config.get("experiment")
        return found if isinstance(found, Mapping) else None

    @property
    def row(self) -> Row:
        """The row of the paper that it is (``system``, ``tables``), as its experiment or else its stage says."""
        stage = self.config.get("stage")
        return self.experiment or (stage if isinstance(stage, Mapping) and "tables" in stage else {})

    @property
    def system(self) -> str:
        """The name of the system that it is a run of."""
        return str(self.row.get("system") or self.row.get("name") or self.stage or self.name)

    @property
    def seed(self) -> int:
        """The config's."""
        return int(self.config.get("seed") or 0)

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that it is a job of (runs/<sweep>/<n>)."""
        return self.path.parent if self.path.name.isdigit() and self.path.parent != self.root else None

    @property
    def metrics(self) -> dict[str, float]:
        """Its last figures, by name."""
        found = self.content.get("metrics") or {}
        return {key: float(v) for key, v in found.items() if isinstance(v, int | float) and v == v}

    @property
    def lists(self) -> int | None:
        """The number of lists that it was trained on."""
        found = ((self.content.get("parents") or {}).get("data") or {}).get("train_lists")
        return found if isinstance(found, int) else None


@dataclass(frozen=True, slots=True)
class Measured:
    """One results.json."""

    path: Path
    content: Row

    @property
    def benchmark(self) -> str:
        """The folder below results/."""
        return str(self.content["benchmark"])

    @property
    def model(self) -> Row:
        """name, source, fingerprint, run, kind."""
        return dict(self.content["model"])

    @property
    def settings(self) -> dict[str, Any]:
        """What shaped it, as dotted keys."""
        return flatten(dict(self.content.get("settings") or {}))

    @property
    def scores(self) -> dict[str, float]:
        """The figures that there are."""
        return {key: float(v) for key, v in self.content["scores"].items() if v is not None}

    @property
    def primary(self) -> str:
        """The name of the score that stands in tables."""
        return str(self.content["primary"])

    @property
    def finished(self) -> bool:
        """Whether every question was asked."""
        return self.content.get("status") == "finished"

    @property
    def coverage(self) -> tuple[int, int]:
        """Questions that count, of how many."""
        found = self.content.get("coverage") or {}
        return int(found.get("n") or 0), int(found.get("N") or 0)

    def interval(self, score: str) -> tuple[float, float] | None:
        """The benchmark's own 95% interval, where there is one."""
        pair = (self.content.get("intervals") or {}).get(score)
        return (float(pair[0]), float(pair[1])) if pair and None not in pair else None

    def lower_is_better(self, score: str) -> bool:
        """True if lower scores are better."""
        return score in (self.content.get("lower_is_better") or ())

    def examples(self) -> dict[tuple[str, str], Row]:
        """Rows of examples.jsonl by task and id; none where there is no file.

        Raises:
            DataError: the file cannot be read, or a line is no JSON object.
        """
        path = self.path.with_name("examples.jsonl")
        rows: dict[tuple[str, str], Row] = {}
        try:
            # Only "\n" ends a line: an answer may hold any other line end.
            lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error})") from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    row = dict(parse_json(line))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{path}:{number}: expected a JSON object, got {line[:40]!r}") from error
                rows[str(row.get("task", "")), str(row.get("id"))] = row
        return rows


@dataclass(frozen=True, slots=True)
class Ranking:
    """One <name>.report.json."""

    path: Path
    content: Row

    @property
    def name(self) -> str:
        """Of the ranking."""
        return self.path.name.removesuffix(".report.json")

    @property
    def lists(self) -> Path:
        """The JSONL file of the ranked lists, which lies in the same folder."""
        return self.path.with_name(f"{self.name}.jsonl")


@dataclass
class Found:
    """Everything on disk, in the order of the paths.

    unread: files that are not in the report, and why. problems: what else was wrong. jobs: of sweeps, that did not
    finish and left no run, in words.
    """

    runs: list[Run] = field(default_factory=list)
    results: list[Measured] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @staticmethod
    def read(runs: Sequence[Path], rankings: Sequence[Path], results: Sequence[Path]) -> "Found":
        """Read the folders.

        Raises:
            DataError: there is nothing to report on in any of them.
        """
        found, folders = Found(), [*runs, *rankings, *results]
        for root, path in _walk(runs, "run.json"):
            if content := found._content(path, _RUN):
                found.runs.append(Run(path.parent, root, content))
        for _, path in _walk(rankings, "*.report.json"):
            if content := found._content(path, _RANKING):
                found.rankings.append(Ranking(path, content))
        for _, path in _walk(results, "results.json"):
            if not (content := found._content(path, _STARTED)):
                continue
            if content["status"] == "running":
                found.problems.append(f"{path}: not measured to its end; the same evaluate.py command goes on")
            elif found._content(path, _RESULTS):
                found.results.append(Measured(path, content))
        for _, path in _walk(folders, "job.json"):
            job = None if path.with_name("run.json").exists() else found._content(path, _JOB)
            if job and job["status"] != "finished":
                found.jobs.append(_job_line(path.parent, job))
        found.jobs = list(dict.fromkeys(found.jobs))  # one folder may lie in another
        if not (found.runs or found.jobs or found.results or found.rankings):
            looked = ", ".join(map(str, folders))
            lines = [
                f"nothing to report on: no run.json, *.report.json or results.json below {looked}",
                *found.unread,
                *found.problems,
                f"Next: python {script('train.py')} stage=tuna_c name=tuna_c, then python {script('evaluate.py')} "
                "model.path=runs/tuna_c, then this again; or name folders: runs=... rankings=... results=...",
            ]
            raise DataError("\n".join(lines))
        return found

    def _content(self, path: Path, needed: Mapping[str, type]) -> Row | None:
        """The file's object, if the keys that are ``needed`` have their types; else None, told in ``unread``."""
        try:
            content = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            self.unread.append(f"{path}: cannot be read, so it is not in the report: {error}")
            return None
        if not isinstance(content, dict):
            self.unread.append(f"{path}: expected a JSON object, got {type(content).__name__}; it is not in the report")
            return None
        for key, kind in needed.items():
            if not isinstance(content.get(key), kind):
                expected = "text" if kind is str else "a mapping"
                told = f"{key}: expected {expected}, got {content.get(key)!r}"
                self.unread.append(f"{path}: {told}; it is not in the report")
                return None
        return content


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys.

    >>> flatten({"loss": {"margin": 0.1}, "sources": [{"beta": 1}]})
    {'loss.margin': 0.1, 'sources.0.beta': 1}
    """
    if isinstance(node, Mapping):
        items: Iterable[tuple[Any, Any]] = node.items()
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        items = enumerate(node)
    else:
        return {prefix[:-1]: node}
    return {k: v for key, value in items for k, v in flatten(value, f"{prefix}{key}.").items()}


def _job_line(folder: Path, job: Row) -> str:
    swept = ", ".join(map(str, job.get("swept") or ()))
    error = f": {' '.join(str(job['error']).split())[:200]}" if job.get("error") else ""
    return f"sweep job {folder}{f' ({swept})' if swept else ''}: {job['status']}{error}"


def _walk(roots: Sequence[Path], wanted: str) -> Iterator[tuple[Path, Path]]:
    """The roots, each with the files below it whose name is ``wanted``; a run's weights are not looked through."""
    for root in roots:
        for folder, inner, files in os.walk(root):
            known = "run.json" in files  # what a run holds further is large, and none of it ours
            inner[:] = [] if known else sorted(name for name in inner if not name.endswith(".store"))
            yield from ((root, Path(folder) / name) for name in sorted(files) if fnmatch(name, wanted))
