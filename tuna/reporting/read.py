"""Runs, rankings and results as they lie on disk. What cannot be read is told, never left out in silence."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuna.config.commands import script
from tuna.data.json_text import parse_json
from tuna.errors import DataError

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run.json. ``sweep``: the folder that it shares with the other jobs of its sweep."""

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
        return str(self.content.get("status"))

    @property
    def config(self) -> dict[str, Any]:
        """The whole composed config."""
        return dict(self.content.get("config") or {})

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
    def model(self) -> dict[str, Any]:
        """name, source, fingerprint, run, kind."""
        return dict(self.content["model"])

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
        """Whether less of it is more."""
        return score in (self.content.get("lower_is_better") or ())

    def examples(self) -> list[dict[str, Any]]:
        """Rows of examples.jsonl; none where there is no file. Raises: DataError for a line that is no JSON."""
        path = self.path.with_name("examples.jsonl")
        if not path.exists():
            return []
        rows = []
        for number, line in enumerate(_text(path).split("\n"), start=1):
            if line.strip():
                try:
                    rows.append(dict(parse_json(line)))
                except (ValueError, TypeError) as error:
                    raise DataError(f"{path}:{number}: expected a JSON object, got {line[:40]!r}") from error
        return rows


@dataclass(frozen=True, slots=True)
class Ranking:
    """One <name>.report.json. ``lists``: the JSONL file that it describes."""

    path: Path
    content: Row

    @property
    def name(self) -> str:
        """Of the ranking."""
        return self.path.name.removesuffix(".report.json")

    @property
    def lists(self) -> Path:
        """The ranked lists beside it."""
        return self.path.with_name(f"{self.name}.jsonl")

    @property
    def config(self) -> dict[str, Any]:
        """What rank.py was given."""
        return dict(self.content.get("config") or {})


@dataclass
class Found:
    """Everything on disk, in the order of the paths, and what was wrong with it."""

    runs: list[Run] = field(default_factory=list)
    results: list[Measured] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)  # of sweeps, that did not finish and left no run, in words

    @staticmethod
    def read(runs: Sequence[Path], rankings: Sequence[Path], results: Sequence[Path]) -> "Found":
        """Read the folders.

        Raises:
            DataError: there is nothing to report on in any of them.
        """
        found = Found()
        for root in runs:
            for path in _walk(root, lambda name: name == "run.json"):
                if (content := found._content(path, _RUN)) is not None:
                    found.runs.append(Run(path.parent, root, content))
        for root in rankings:
            for path in _walk(root, lambda name: name.endswith(".report.json")):
                if (content := found._content(path, _RANKING)) is not None:
                    found.rankings.append(Ranking(path, content))
        for root in results:
            for path in _walk(root, lambda name: name == "results.json"):
                if (content := found._content(path, _STARTED)) is None:
                    continue
                if content["status"] == "running":
                    found.problems.append(f"{path}: not measured to its end; the same evaluate.py command goes on")
                elif (content := found._content(path, _RESULTS)) is not None:
                    found.results.append(Measured(path, content))
        for root in [*runs, *rankings, *results]:
            for path in _walk(root, lambda name: name == "job.json"):
                alone = not path.with_name("run.json").exists()
                job = found._content(path, _JOB) if alone else None
                if job is not None and job["status"] != "finished":
                    found.jobs.append(_job_line(path.parent, job))
        found.jobs = list(dict.fromkeys(found.jobs))  # one folder may lie in another
        if not (found.runs or found.jobs or found.results or found.rankings):
            looked = ", ".join(str(folder) for folder in [*runs, *rankings, *results])
            raise DataError(
                "\n".join(
                    [
                        f"nothing to report on: no run.json, *.report.json or results.json below {looked}",
                        *found.problems,
                        f"Next: python {script('train.py')} stage=tuna_c name=tuna_c, then python "
                        f"{script('evaluate.py')} model.path=runs/tuna_c, then this again; or name folders: runs=... "
                        "rankings=... results=...",
                    ]
                )
            )
        return found

    def _content(self, path: Path, needed: Mapping[str, type]) -> Row | None:
        """The file's object, if the keys that are ``needed`` have their types; else None, and a problem."""
        try:
            content = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            self.problems.append(f"{path}: cannot be read, so it is not in the report: {error}")
            return None
        wrong = (
            [f"expected a JSON object, got {type(content).__name__}"]
            if not isinstance(content, dict)
            else [
                f"{key}: expected {'text' if kind is str else 'a mapping'}, got {content.get(key)!r}"
                for key, kind in needed.items()
                if not isinstance(content.get(key), kind)
            ]
        )
        if wrong:
            self.problems.append(f"{path}: {wrong[0]}; it is not in the report")
            return None
        return dict(content)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


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


def _job_line(name: Path, job: Row) -> str:
    swept = ", ".join(str(text) for text in job.get("swept") or ())
    error = f": {' '.join(str(job['error']).split())[:200]}" if job.get("error") else ""
    return f"sweep job {name}{f' ({swept})' if swept else ''}: {job['status']}{error}"


_JOB: dict[str, type] = {"status": str}
_RUN: dict[str, type] = {"status": str, "config": dict}
_RANKING: dict[str, type] = {"ranking": dict, "config": dict}
_STARTED: dict[str, type] = {"status": str}
_RESULTS: dict[str, type] = {"benchmark": str, "model": dict, "scores": dict, "primary": str}


def _walk(root: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Files of that name below ``root``, sorted; a run's weights are not looked through."""
    for folder, inner, files in os.walk(root):
        known = "run.json" in files  # what a run holds further is large, and none of it ours
        inner[:] = [] if known else sorted(name for name in inner if not name.endswith(".store"))
        yield from (Path(folder) / name for name in sorted(files) if wanted(name))
