"""A sweep's jobs on disk: <sweep>/<n>/job.json says which settings job n has, and what became of it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuna.errors import TunaError
from tuna.runs import read_json, settings_of, write_json
from tuna.secrets import mask_words

SCHEMA_VERSION = 1
FILE = "job.json"
_SHAPE: dict[str, type] = {"job": int, "identity": str, "swept": list, "status": str, "started": str, "metrics": dict}
_FREE = ("folder", "output", "dry_run", "rerank", "max_cost", "max_requests", "prices")  # and what is free in a run
_WRITTEN = ("folder", "output", "runs_dir", "cache_dir")  # where jobs write; what the other keys name, they read
_SHOWN = ("val/pair_accuracy", "val/task_accuracy", "val/open_ended_mark", "val/loss")  # in tables, else its first four


@dataclass(frozen=True, slots=True)
class Job:
    """One job: its folder holds job.json."""

    folder: Path
    number: int
    identity: str  # a hash of the settings that shape the result
    swept: tuple[str, ...]  # the overrides in which the jobs of its sweep differ

    def read(self) -> dict[str, Any]:
        """job.json, empty where there is none. status: pending, running, finished, failed or interrupted."""
        return _read(self.folder)

    def label(self) -> str:
        """As ``job 3 (loss.lambda=5)``."""
        return f"job {self.number} ({','.join(self.swept)})" if self.swept else f"job {self.number}"

    def update(self, **changes: Any) -> None:
        """Change keys of job.json, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = {"schema_version": SCHEMA_VERSION, "job": self.number, "swept": self.swept, "identity": self.identity}
        write_json(self.folder / FILE, own | {"status": "pending"} | self.read() | changes)

    def begin(self, *, dry: bool = False) -> None:
        """It runs. dry: it only says what it would do."""
        self.update(status="running", started=_now(), ended=None, error=None, exit_code=None, dry=dry)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """It is done, with these figures."""
        self.update(status="finished", ended=_now(), metrics=metrics)

    def fail(self, error: BaseException) -> None:
        """It ended by an error, or an interrupt."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.update(status=status, ended=_now(), error=error_text(error), exit_code=getattr(error, "exit_code", 1))

    def is_done(self, config: Mapping[str, Any]) -> bool:
        """Whether it is finished and the files and folders that ``config`` names are as they were when it was sent."""
        record = self.read()
        if record.get("status") != "finished" or record.get("dry") or config.get("dry_run"):
            return False
        if "files" in record:
            return bool(record["files"] == files_of(config))
        try:  # one of an older version
            return _last_written(config) <= datetime.fromisoformat(str(record.get("started"))).timestamp()
        except ValueError:
            return False


def job_in(folder: Path) -> Job | None:
    """The job of a folder, None where it holds no job.json."""
    record = _read(folder)
    return Job(folder, record["job"], record["identity"], tuple(map(str, record["swept"]))) if record else None


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / FILE, _SHAPE, needs=("job", "identity", "swept", "status"))


def jobs_in(sweep: Path) -> list[Job]:
    """All jobs of a sweep's folder, by number."""
    found = [job_in(file.parent) for file in sweep.glob(f"*/{FILE}")]
    return sorted((job for job in found if job is not None), key=lambda job: job.number)


def identity_of(config: Mapping[str, Any]) -> str:
    """A hash of the settings that shape a result; where it goes and how often it is saved are none of them.

    >>> identity_of({"seed": 1, "name": "a"}) == identity_of({"seed": 1, "name": "b"}) != identity_of({"seed": 2})
    True
    """
    settings = {key: value for key, value in settings_of(config).items() if key.partition(".")[0] not in _FREE}
    settings["experiment"] = (config.get("experiment") or {}).get("name")
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def assign(sweep: Path, identity: str, swept: Sequence[str]) -> Job:
    """The job of these settings: the one that the sweep's folder holds already, or a new one with the next number."""
    for job in jobs_in(sweep):
        if job.identity == identity:
            return job
    number = 1 + max((int(folder.name) for folder in sweep.glob("*/") if folder.name.isdigit()), default=-1)
    job = Job(sweep / str(number), number, identity, tuple(swept))
    job.update()
    return job


def error_text(error: BaseException) -> str:
    """What an error says, without secrets.

    >>> error_text(ValueError("sk-0123456789 is wrong")), error_text(ZeroDivisionError("by 0"))
    ('ValueError: <hidden> is wrong', 'ZeroDivisionError: by 0')
    """
    return mask_words(str(error) if isinstance(error, TunaError) else f"{type(error).__name__}: {error}".rstrip(": "))


def table(rows: Sequence[Mapping[str, Any]], optimize: str | None = None) -> list[str]:
    """Lines of a table of jobs (``job``, ``swept``, ``status``, ``metrics``, ``error``); ``optimize`` stands first.

    >>> print(*table([{"job": 0, "swept": ["seed=1"], "status": "finished", "metrics": {"val/loss": 0.5}}]), sep="\\n")
    job  settings  status    val/loss
      0  seed=1    finished  0.5000
    """
    known = list(dict.fromkeys(name for row in rows for name in row.get("metrics") or {}))
    columns = [name for name in _SHOWN if name in known] or known[:4]
    if optimize in known:
        columns = list(dict.fromkeys([optimize, *columns]))
    cells = [["job", "settings", "status", *columns]]
    for row in rows:
        found = map((row.get("metrics") or {}).get, columns)
        figures = ["" if f is None else f"{f:.4f}" if isinstance(f, float) else str(f) for f in found]
        if row["status"] != "finished" and row.get("error"):
            figures = [str(row["error"]).splitlines()[0]]
        cells.append([str(row["job"]), " ".join(map(str, row["swept"])) or "-", str(row["status"]), *figures])
    # A column of figures is as wide as its heading: an error, which stands in their place, widens none.
    widths = [max(len(line[index]) for line in cells) for index in range(3)] + [len(column) for column in columns]
    for line in cells:
        line[0] = line[0].rjust(widths[0])
    padded = ([cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=False)] for line in cells)
    return ["  ".join(line).rstrip() for line in padded]


def files_of(config: Mapping[str, Any]) -> str:
    """A hash of the paths, sizes and times of the files that the settings name, and of those in a model's or run's
    folder: a comparison with the clock would be wrong after it was set.
    """
    states = sorted((str(file), state.st_size, state.st_mtime_ns) for file, state in _files(config))
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]


def _last_written(config: Mapping[str, Any]) -> float:
    return max((state.st_mtime for _, state in _files(config)), default=0.0)


def _files(value: object) -> Iterator[tuple[Path, os.stat_result]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _WRITTEN:
                yield from _files(item)
    elif isinstance(value, list):
        for item in value:
            yield from _files(item)
    elif isinstance(value, str):
        path = Path(value)
        with suppress(OSError, ValueError):  # a text that is no path
            for file in [path] if path.is_file() else [*path.glob("*"), *path.glob("model/*")]:
                if file.is_file():
                    yield file, file.stat()


def _now() -> str:
    return datetime.now().isoformat(timespec="microseconds")
