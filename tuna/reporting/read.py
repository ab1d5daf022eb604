"""Runs, rankings, results on disk; what cannot be read is told. And paper.json, whose numbers stand apart from ours."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from tuna.data.fields import parse_json
from tuna.errors import DataError
from tuna.inference.cost import Prices
from tuna.runs import numbers, read_json

Row = Mapping[str, Any]


@cache
def paper() -> dict[str, Any]:
    """Order of systems, titles, the text's statements, claims to check; its source had lost the cells of the tables."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return found


def place_in_order(label: str, base: str = "") -> tuple[int, str]:
    """Sorts systems as the paper's tables do, others after them by name.

    >>> sorted(["mine", "Tuna", "Alpaca"], key=place_in_order)
    ['Alpaca', 'Tuna', 'mine']
    """
    order: list[str] = paper()["order"]
    return next((order.index(name) for name in (label, base) if name in order), len(order)), label


class Run:
    """One run.json, found below the folder ``root``.

    status: finished, failed, interrupted, or running (or killed before it could say so). row: the row of the paper that
    it is (``system``, ``tables``), as its experiment or else its stage says. sweep: the folder of the sweep that it is
    a job of (runs/<sweep>/<n>). metrics: its last figures. lists: how many it was trained on.
    """

    def __init__(self, path: Path, root: Path, content: Row) -> None:
        self.path, self.content = path, content
        self.name = path.name if path == root else path.relative_to(root).as_posix()
        self.status = str(content["status"])
        self.stage = str(content.get("stage") or "")
        self.config: Row = content["config"]
        self.seed = int(self.config.get("seed") or 0)
        experiment, stage = self.config.get("experiment"), self.config.get("stage")
        self.experiment: Row | None = experiment if isinstance(experiment, Mapping) else None
        self.row: Row = self.experiment or (stage if isinstance(stage, Mapping) and "tables" in stage else {})
        self.system = str(self.row.get("system") or self.row.get("name") or self.stage or self.name)
        self.sweep = path.parent if path.name.isdigit() and path.parent != root else None
        metrics: Row = content.get("metrics") or {}
        self.metrics = {key: float(v) for key, v in metrics.items() if isinstance(v, int | float) and v == v}
        lists = ((content.get("parents") or {}).get("data") or {}).get("train_lists")
        self.lists = lists if isinstance(lists, int) else None


class Measured:
    """One results.json.

    model: name, source, fingerprint, run, kind. settings: what shaped it, as dotted keys. scores: the figures that
    there are; primary: the name of the one that stands in tables. coverage: questions that count, of how many.
    """

    def __init__(self, path: Path, content: Row) -> None:
        self.path, self.content = path, content
        self.benchmark = str(content["benchmark"])
        self.model: Row = content["model"]
        self.settings = flatten(content.get("settings") or {})
        self.scores = {key: float(value) for key, value in content["scores"].items() if value is not None}
        self.primary = str(content["primary"])
        self.finished = content.get("status") == "finished"
        coverage = content.get("coverage") or {}
        self.coverage = int(coverage.get("n") or 0), int(coverage.get("N") or 0)
        pairs = (content.get("intervals") or {}).items()
        self.intervals = {key: (float(low), float(high)) for key, (low, high) in pairs if None not in (low, high)}

    def interval(self, score: str) -> tuple[float, float] | None:
        """The benchmark's own 95% interval, where there is one."""
        return self.intervals.get(score)


def measured_in(folder: Path) -> list[Measured]:
    """The results that one step of a pipeline left in its folder; those that are being measured are not there."""
    shape: dict[str, type] = {"benchmark": str, "model": dict, "scores": dict, "primary": str, "status": str}
    read = [(path, read_json(path, shape)) for path in sorted(folder.glob("*/*/results.json"))]
    found = []
    for path, content in read:
        if shape.keys() <= content.keys():
            with as_ours(path):
                found.append(Measured(path, content))
    return found


@contextmanager
def as_ours(path: Path) -> Iterator[None]:
    """Within it, what is not as our programs write it is a DataError that names the file ``path``."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as error:
        told = f"{type(error).__name__}: {error}".strip(": ")
        raise DataError(
            f"{path}: expected what Tuna writes, got something else ({told}); next: move it away"
        ) from error


def read_examples(results: Path) -> dict[tuple[str, str], Row]:
    """Rows of the examples.jsonl next to a results.json, by task and id; none without it; a DataError where broken."""
    rows = read_rows(results.with_name("examples.jsonl"))
    return {(str(row.get("task", "")), str(row.get("id"))): row for row in rows}


def read_rows(path: Path) -> list[Row]:
    """The objects of a JSONL file of ours; none where there is no file; a DataError where it is broken."""
    rows: list[Row] = []
    try:
        # Only "\n" ends a line: an answer may hold any other line end.
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(dict(parse_json(line)))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}:{number}: expected a JSON object, got {line[:40]!r}") from error
    return rows


class Ranking:
    """One <name>.report.json. lists: the JSONL file of the ranked lists, which lies in the same folder.

    ranker: who ranked, the model's fingerprint or name, else the kind of judge, as results have it; and its name. by:
    the same for a table. proxy: the path of its reward model. lengths: mean words by rank, the best first; correlation:
    Spearman's of length and score. collected, measured: lists; size: answers of one. requests, tokens, cost (dollars),
    price (dollars of a person's comparison): what it took. missing, unusable: instructions without a list.
    """

    def __init__(self, path: Path, content: Row) -> None:
        self.path, self.config = path, dict(content["config"])
        self.name = path.name.removesuffix(".report.json")
        self.lists = path.with_name(f"{self.name}.jsonl")
        identity = _inner(content, "identity")
        source, settings = _inner(identity, "source"), _inner(identity, "ranking")
        self.kind, self.seed = str(source.get("ranker") or ""), int(_amount(self.config, "seed"))
        who = source if self.kind == "probabilistic" else settings
        node = _inner(self.config, {"probabilistic": "teacher", "proxy": "ranker"}.get(self.kind, "judge"))
        key = str(who.get("model") or who.get("judge") or "")
        self.ranker = {key: Path(str(node.get("path") or node.get("model") or key)).name} if key else {}
        by = filter(None, (source.get("ranker"), settings.get("judge") or source.get("teacher")))
        self.by = " by ".join(map(str, by)) or "unknown"
        self.proxy = _inner(self.config, "ranker").get("path")
        shape, usage = _inner(content, "ranking"), _inner(content, "usage")
        self.lengths = [None if value is None else _number(value, "lengths") for value in shape.get("lengths") or ()]
        known = shape.get("length_correlation") is not None
        self.correlation = _amount(shape, "length_correlation") if known else None
        self.measured, self.size = (int(_amount(shape, key)) for key in ("lists", "size"))
        self.collected, self.missing, self.unusable = (
            int(_amount(content, key)) for key in ("lists", "missing", "unusable")
        )
        self.requests = int(_amount(usage, "requests"))
        self.tokens = sum(int(_amount(usage, key)) for key in ("prompt_tokens", "completion_tokens"))
        self.cost = None if usage.get("cost") is None else _amount(usage, "cost")
        self.price = _amount(
            {"human_comparison": Prices.human_comparison} | _inner(self.config, "prices"), "human_comparison"
        )


def _inner(node: Row, key: str) -> dict[str, Any]:
    """The object under a key, empty where there is none. Raises: TypeError or ValueError for anything else."""
    return dict(node.get(key) or {})


def _amount(node: Row, key: str) -> float:
    """The number under a key, 0 where there is none. Raises: ValueError for anything else."""
    return _number(node.get(key) or 0, key)


def _number(value: Any, key: str) -> float:
    if not numbers(value):
        raise ValueError(f"{key}: {value!r:.40}")
    return float(value)


@dataclass
class Found:
    """Everything on disk, in the order of the paths."""

    runs: list[Run] = field(default_factory=list)
    results: list[Measured] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # files that are not in the report, and why
    problems: list[str] = field(default_factory=list)  # what else was wrong
    jobs: list[str] = field(default_factory=list)  # of sweeps, that did not finish and left no run, in words

    @staticmethod
    def read(runs: Sequence[Path], rankings: Sequence[Path], results: Sequence[Path]) -> "Found":
        """Read the folders; a DataError where there is nothing to report on in any of them."""
        found, folders = Found(), [*runs, *rankings, *results]
        for root, path, content in found._files(runs, "run.json", status=str, config=dict):
            with found._taken(path):
                found.runs.append(Run(path.parent, root, content))
        for _, path, content in found._files(rankings, "*.report.json", ranking=dict, config=dict):
            with found._taken(path):
                found.rankings.append(Ranking(path, content))
        for _, path, content in found._files(results, "results.json", status=str):
            if content["status"] == "running":
                found.problems.append(f"{path}: not measured to its end; the same evaluate.py command goes on")
            elif found._has(path, content, benchmark=str, model=dict, scores=dict, primary=str):
                with found._taken(path):
                    found.results.append(Measured(path, content))
        jobs = list(found._files(folders, "job.json", status=str))
        done = {str(job.get("identity")) for _, _, job in jobs if job["status"] == "finished"} - {"None"}
        for _, path, job in jobs:
            again = str(job.get("identity")) in done  # by a later sweep
            if job["status"] != "finished" and not again and not path.with_name("run.json").exists():
                with found._taken(path):
                    found.jobs.append(_job_line(path.parent, job))
        found.jobs = list(dict.fromkeys(found.jobs))  # one folder may lie in another
        if not (found.runs or found.jobs or found.results or found.rankings):
            looked = ", ".join(map(str, folders))
            nothing = f"nothing to report on: no run.json, *.report.json or results.json below {looked}"
            step = (
                "Next: python train.py stage=tuna_c name=tuna_c, then python evaluate.py "
                "model.path=runs/tuna_c, then this again; or name folders: runs=... rankings=... results=..."
            )
            raise DataError("\n".join([nothing, *found.unread, *found.problems, step]))
        return found

    def _files(self, roots: Sequence[Path], wanted: str, **needed: type) -> Iterator[tuple[Path, Path, Row]]:
        """The root, the path and the object of each file below the roots whose name is ``wanted``.

        needed: its keys, with their types; a file without them, or one that cannot be read, is told in ``unread``.
        """
        for root in roots:
            for folder, inner, files in os.walk(root):
                known = "run.json" in files  # what a run holds further is large, and none of it ours
                inner[:] = [] if known else sorted(name for name in inner if not name.endswith(".store"))
                for path in (Path(folder, name) for name in sorted(files) if fnmatch(name, wanted)):
                    try:
                        content = parse_json(path.read_bytes())
                    except (OSError, ValueError) as error:
                        self.unread.append(f"{path}: cannot be read, so it is not in the report: {error}")
                        continue
                    if self._has(path, content, **needed):
                        yield root, path, content

    @contextmanager
    def _taken(self, path: Path) -> Iterator[None]:
        try:
            with as_ours(path):
                yield
        except DataError as error:
            self.unread.append(f"{error}; it is not in the report")

    def _has(self, path: Path, content: object, **needed: type) -> bool:
        """Whether it is an object whose keys that are ``needed`` have their types; if not, that is told."""
        if not isinstance(content, dict):
            wrong = f"expected a JSON object, got {type(content).__name__}"
        else:
            wrong = next((
                f"{key}: expected {'text' if kind is str else 'a mapping'}, got {content.get(key)!r}"
                for key, kind in needed.items() if not isinstance(content.get(key), kind)
            ), "")  # fmt: skip
        if wrong:
            self.unread.append(f"{path}: {wrong}; it is not in the report")
        return not wrong


def flatten(node: object, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys.

    >>> flatten({"loss": {"margin": 0.1}, "sources": [{"beta": 1}]})
    {'loss.margin': 0.1, 'sources.0.beta': 1}
    """
    if isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        node = dict(enumerate(node))
    if not isinstance(node, Mapping):
        return {prefix[:-1]: node}
    return {k: v for key, value in node.items() for k, v in flatten(value, f"{prefix}{key}.").items()}


def _job_line(folder: Path, job: Row) -> str:
    swept = ", ".join(map(str, job.get("swept") or ()))
    error = f": {' '.join(str(job['error']).split())[:200]}" if job.get("error") else ""
    return f"sweep job {folder}{f' ({swept})' if swept else ''}: {job['status']}{error}"
