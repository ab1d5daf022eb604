"""A sweep's jobs on disk: <sweep>/<n>/job.json says which settings job n has, and what became of it."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
_FREE = ("folder", "output", "dry_run", "rerank", "max_cost", "max_requests", "prices")  # beside a training run's
_WRITTEN = ("folder", "output", "runs_dir", "cache_dir")  # where jobs write; what the other keys name, they read


@dataclass(frozen=True, slots=True)
class Job:
    """One job: its folder holds job.json.

    swept: the overrides in which the jobs of its sweep differ. identity: a hash of the settings that shape the result.
    """

    folder: Path
    number: int
    identity: str
    swept: tuple[str, ...]

    def read(self) -> dict[str, Any]:
        """job.json, empty where there is none."""
        return _read(self.folder)

    @property
    def status(self) -> str:
        """pending, running, finished, failed or interrupted."""
        return str(self.read().get("status", "pending"))

    def label(self) -> str:
        """As ``job 3 (loss.lambda=5)``."""
        return f"job {self.number} ({','.join(self.swept)})" if self.swept else f"job {self.number}"

    def update(self, **changes: Any) -> None:
        """Change keys of job.json, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = {
            "schema_version": SCHEMA_VERSION,
            "job": self.number,
            "swept": list(self.swept),
            "identity": self.identity,
            "status": "pending",
        }
        write_json(self.folder / FILE, mine | self.read() | changes)

    def begin(self, *, dry: bool = False) -> None:
        """It runs. dry: it only says what it would do."""
        self.update(status="running", started=_now(), ended=None, error=None, dry=dry)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """It is done, with these figures."""
        self.update(status="finished", ended=_now(), metrics=dict(metrics))

    def fail(self, error: BaseException) -> None:
        """It ended by a fault, or an interrupt."""
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.update(status=status, ended=_now(), error=words(error))

    def is_done(self, config: Mapping[str, Any]) -> bool:
        """Whether it is finished and no file or folder that ``config`` names has been written to since it began."""
        record = self.read()
        if record.get("status") != "finished" or record.get("dry") or config.get("dry_run"):
            return False
        try:
            began = datetime.fromisoformat(str(record.get("started"))).timestamp()
        except ValueError:
            return False
        return all(_written(Path(text)) <= began for text in _texts(config))


def job_in(folder: Path) -> Job | None:
    """The job of a folder, None where it holds no job.json."""
    record = _read(folder)
    if not record:
        return None
    return Job(folder, record["job"], record["identity"], tuple(map(str, record["swept"])))


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
    experiment = config.get("experiment") or {}
    settings = {key: value for key, value in settings_of(config).items() if key.partition(".")[0] not in _FREE}
    settings["experiment"] = experiment.get("name")
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def assign(sweep: Path, identity: str, swept: Sequence[str]) -> Job:
    """The job of these settings: the one that the sweep's folder holds already, or a new one with the next number."""
    for job in jobs_in(sweep):
        if job.identity == identity:
            return job
    taken = [int(folder.name) for folder in sweep.glob("*/") if folder.name.isdigit()]
    number = max(taken, default=-1) + 1
    job = Job(sweep / str(number), number, identity, tuple(swept))
    job.update()
    return job


def words(error: BaseException) -> str:
    """What an error says, without secrets.

    >>> words(ValueError("sk-0123456789 is wrong")), words(ZeroDivisionError("by 0"))
    ('ValueError: <hidden> is wrong', 'ZeroDivisionError: by 0')
    """
    return mask_words(str(error) if isinstance(error, TunaError) else f"{type(error).__name__}: {error}".rstrip(": "))


def _texts(value: Any) -> Iterator[str]:
    """The texts among the settings that may name files which a job reads."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _WRITTEN:
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _written(path: Path) -> float:
    """When a file, or a file of a model's or run's folder, was written last; 0 where there is none."""
    try:
        if path.is_file():
            return path.stat().st_mtime
        files = [file for folder in (path, path / "model") if folder.is_dir() for file in folder.iterdir()]
        return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)
    except (OSError, ValueError):  # a text that is no path
        return 0.0


def _now() -> str:
    return datetime.now().isoformat(timespec="microseconds")
