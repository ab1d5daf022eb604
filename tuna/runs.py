"""The run folder: its name, run.json, the lock that keeps two processes out of one run, and which run to resume."""

import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuna.errors import RunError
from tuna.files import replacing
from tuna.secrets import dumps

log = logging.getLogger("tuna")
SCHEMA_VERSION = 1
# Keys that say where and how often, never what: a run may be resumed with other values for these.
FREE = {
    "": {"name", "resume", "runs_dir", "logger", "evaluate", "stage", "scale", "experiment", "optimize"},
    "trainer": {"checkpoint_every", "keep_checkpoints", "log_every", "timeout_minutes"},
    "datamodule": {"cache_dir", "num_workers"},
}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run writes. ``resumed``: an earlier process began it; ``finished``: and ended it, so nothing is left."""

    path: Path
    name: str
    resumed: bool = False
    finished: bool = False

    @property
    def checkpoints(self) -> Path:
        """Holds step-N folders."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The tuned model, an HF folder."""
        return self.path / "model"

    def read(self) -> dict[str, Any]:
        """run.json, empty where there is none."""
        return read_json(self.path / "run.json")

    def run_id(self) -> str:
        """A name for dashboards that no other run has, wherever runs of the same name lie."""
        began = hashlib.sha256(f"{self.path.resolve()} {self.read().get('started')}".encode()).hexdigest()
        return f"{self.name.replace('/', '-')}-{began[:8]}"

    def update(self, **changes: Any) -> None:
        """Change keys of run.json, atomically."""
        write_json(self.path / "run.json", self.read() | changes)

    @contextmanager
    def locked(self, patience: float = 10.0) -> Iterator[None]:
        """Hold the run against other processes while it works.

        patience: seconds to wait for the data workers of a killed process, which need a moment to notice.

        Raises:
            RunError: another process works on it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            end = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise RunError(
                            f"{self.path}: another process is working on this run; wait for it, or end it"
                        ) from None
                    time.sleep(0.1)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # forked data workers hold the open file too


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``, empty where there is no file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunError(f"{path}: expected JSON, got {error}") from error
    return dict(loaded)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value``, without secrets, so that a reader sees the old file or the new one, never half of one."""
    with replacing(path) as file:
        file.write(dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def choose(
    *,
    runs_dir: Path,
    name: str | None,
    stage: str,
    resume: str | None,
    config: Mapping[str, Any],
    data: str,
    model: str,
) -> RunFolder:
    """The folder of this run: a new one, or the one that it resumes.

    name: as asked for, else <stage>-<date>-<time>. resume: null, "auto" (the newest unfinished run of the same config,
    data and model, else a new run), or a run's folder or name.

    Raises:
        RunError: the name is taken; the run to resume is missing, finished or differs.
    """
    if resume == "auto" and name and (runs_dir / name / "run.json").exists():
        return _same(runs_dir / name, runs_dir, config, data, model)
    if resume == "auto" and not name:
        for path in _unfinished(runs_dir):
            if not differences(read_json(path / "run.json"), config, data, model):
                return RunFolder(path, _name(path, runs_dir), resumed=True)
    elif resume and resume != "auto":
        return _resumed(Path(resume), runs_dir, config, data, model)
    chosen = name or f"{stage}-{datetime.now():%Y%m%d-%H%M%S}"
    if "=" in chosen:
        raise RunError(f"name: expected a name without '=', which Hydra cannot read back, got {chosen!r}")
    path = runs_dir / chosen
    while not name and path.exists():  # two runs started in one second
        time.sleep(0.2)
        chosen = f"{stage}-{datetime.now():%Y%m%d-%H%M%S-%f}"
        path = runs_dir / chosen
    check_free(path)
    return RunFolder(path, chosen)


def check_free(path: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        RunError: it is, with what can be done.
    """
    if (path / "run.json").exists():
        status = read_json(path / "run.json").get("status", "unknown")
        way = f"its model is {path / 'model'}" if status == "finished" else "or go on with it by resume=auto"
        raise RunError(f"name: {path} is taken (status: {status}); choose another name=..., {way}")


def _name(path: Path, runs_dir: Path) -> str:
    """A run's name: its path below ``runs_dir``."""
    inside = path.resolve().is_relative_to(runs_dir.resolve())
    return str(path.resolve().relative_to(runs_dir.resolve())) if inside else path.name


def _unfinished(runs_dir: Path) -> list[Path]:
    """Run folders that are not finished, newest first."""
    found = []
    for file in [*runs_dir.glob("*/run.json"), *runs_dir.glob("*/*/run.json")]:
        try:
            written = read_json(file)
        except RunError as error:
            log.warning(f"{error}; this run is left alone")
            continue
        if written.get("status") != "finished":
            found.append((str(written.get("started", "")), file.parent))
    return [path for _, path in sorted(found, reverse=True)]


def _resumed(path: Path, runs_dir: Path, config: Mapping[str, Any], data: str, model: str) -> RunFolder:
    path = path if (path / "run.json").exists() else runs_dir / path
    written = read_json(path / "run.json")
    if not written:
        near = ", ".join(str(other) for other in _unfinished(runs_dir)[:3]) or "none"
        raise RunError(f"resume: no run at {path}; unfinished runs: {near}")
    if written.get("status") == "finished":
        raise RunError(f"resume: {path} is finished; its model is {path / 'model'}")
    return _same(path, runs_dir, config, data, model)


def _same(path: Path, runs_dir: Path, config: Mapping[str, Any], data: str, model: str) -> RunFolder:
    """The run at ``path``, if it is of the same config, data and model."""
    written = read_json(path / "run.json")
    changed = differences(written, config, data, model)
    if changed:
        raise RunError(
            f"resume: {path} was started with other settings, so the result would be neither run's:\n  "
            + "\n  ".join(changed)
            + "\ngive the same settings, or leave resume= away to start a new run"
        )
    return RunFolder(path, _name(path, runs_dir), resumed=True, finished=written.get("status") == "finished")


def differences(written: Mapping[str, Any], config: Mapping[str, Any], data: str, model: str) -> list[str]:
    """What shaped the written run and is different now, a line a key."""
    old, new = settings_of(written.get("config", {})), settings_of(config)
    lines = [
        f"{key}: it has {old.get(key, '(absent)')!r}, now {new.get(key, '(absent)')!r}"
        for key in sorted(old.keys() | new.keys())
        if _as_written(old.get(key)) != _as_written(new.get(key))
    ]
    parents = written.get("parents", {})
    if parents.get("data_sha256") != data:
        lines.append("data: the file's content, or what is taken of it, has changed since")
    if parents.get("model_fingerprint") != model:
        lines.append("model: the starting model's config or weights have changed since")
    return lines


def _as_written(value: Any) -> Any:
    """A setting as run.json gives it back: 1 and 1.0 are one number, a tuple is a list."""
    return json.loads(json.dumps(value, default=str))


def settings_of(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings that shape a run's result, by dotted key.

    >>> settings_of({"name": "a", "loss": {"margin": 0.1}})
    {'loss.margin': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if key in FREE.get(prefix, ()):
            continue
        if isinstance(value, Mapping):
            flat |= settings_of(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            flat[f"{prefix}.{key}" if prefix else str(key)] = value
    return flat


def check_writable(folder: Path, key: str = "runs_dir") -> Path:
    """The nearest folder on the way to ``folder``, which the config's ``key`` names, that exists.

    Raises:
        RunError: it cannot be written to.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{key}: cannot write to {existing}; choose a folder of yours with {key}=...")
    return existing


def check_space(folder: Path, *, parameters: int, trainable: int, keep: int) -> None:
    """Refuse a run whose checkpoints and model will not fit, before it has trained for hours.

    A checkpoint holds the trained weights and two moments in float32, 12 bytes a parameter; ``keep`` of them stand
    while the next is written; the model is at most 4 bytes a parameter.

    Raises:
        RunError: the folder cannot be written to, or too little is free.
    """
    existing = check_writable(folder)
    needed = (keep + 1) * 12 * trainable + 4 * parameters + 10_000_000
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise RunError(
            f"runs_dir: {folder} needs about {needed / 1e9:.2f} GB for {keep} checkpoints and the model, "
            f"{free / 1e9:.2f} GB are free on its disk; free some, choose another runs_dir=..., "
            f"or keep fewer with trainer.keep_checkpoints=1"
        )


def versions() -> dict[str, str]:
    """What this run was made with."""
    found = {"python": platform.python_version()}
    for package in ("tuna-ranking", "torch", "lightning", "transformers", "hydra-core", "datasets", "peft", "wandb"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
