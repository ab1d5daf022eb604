"""The run folder: its name, run.json, the lock that keeps two processes out of one run, and which run to resume."""

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuna.errors import OtherSettings, RunError
from tuna.files import locked, replacing
from tuna.secrets import dumps

log = logging.getLogger("tuna")
SCHEMA_VERSION = 2  # of run.json: 1 where the run was begun before checkpoints carried hashes
_KINDS: dict[type, str] = {str: "text", dict: "an object", list: "a list", int: "a whole number"}
_RUN: dict[str, type] = {
    "status": str, "started": str, "name": str, "config": dict, "parents": dict, "metrics": dict, "before": dict,
    "resumed": int, "schema_version": int,
}  # fmt: skip
# Today's class and its former names, all below the package: users' files and run folders go on naming classes so.
_FORMERLY = {
    "datamodules.ranked.ContextualDataModule": "datamodules.contextual.ContextualDataModule",
    "datamodules.ranked.PRMDataModule": "datamodules.prm.PRMDataModule",
    "datamodules.ranked.ProbabilisticDataModule": "datamodules.probabilistic.ProbabilisticDataModule",
    "evaluation.elementary.Elementary": "benchmarks.embedded.EmbeddedTasks evaluation.elementary.EmbeddedTasks",
    "evaluation.human_study.benchmark.HumanStudy": "benchmarks.human_study.HumanStudy",
    "evaluation.likelihood.Agreement": "benchmarks.agreement.Agreement evaluation.agreement.Agreement",
    "evaluation.likelihood.NLL": "benchmarks.nll.NLL evaluation.nll.NLL",
    "evaluation.lmentry.benchmark.LMentry": "benchmarks.lmentry.LMentry",
    "evaluation.super_ni.benchmark.SuperNI": "benchmarks.super_ni.SuperNI",
    "evaluation.vicuna_qa.VicunaQA": "benchmarks.vicuna_qa.VicunaQA",
    "inference.local.LocalGeneration": "benchmarks.generation.LocalGeneration inference.generation.LocalGeneration",
    "inference.served.ServedGeneration": (
        "benchmarks.served.ServedGeneration inference.served_generation.ServedGeneration"
    ),
    "judges.asked.LocalJudge": "ranking.judges.local.LocalJudge judges.local.LocalJudge",
    "judges.asked.OpenAIJudge": "ranking.judges.openai.OpenAIJudge judges.openai.OpenAIJudge",
    "judges.checker.Checker": "ranking.judges.checker.Checker",
    "models.source.ModelConfig": "models.source.Model",
    "modules.ranking.SFT": "modules.sft.SFT",
    "ranking.sampler.ServerSampler": "ranking.server_sampler.ServerSampler",
    "ranking.teacher.LocalTeacher": "ranking.teachers.local.LocalTeacher",
    "ranking.teacher.OpenAITeacher": "ranking.teachers.openai.OpenAITeacher",
    "tracking.loggers.Loggers": "training.loggers.Loggers",
    "training.trainer.TrainerConfig": "training.trainer.Training",
}
FORMER_CLASSES = {f"tuna.{old}": f"tuna.{new}" for new, names in _FORMERLY.items() for old in names.split()}
_LATEST = "latest.json"
_MENDED = "the file was changed by something else: mend it, or move it away"
# Keys that say where and how often, never what: a run may be resumed with other values for these.
FREE = {
    "": {
        "name", "resume", "runs_dir", "logger", "evaluate", "stage", "scale", "experiment", "optimize", "push_to_hub",
        "push_private", "dry_run",
    },
    "trainer": {
        "accumulate", "activation_checkpointing", "check_memory", "checkpoint_every", "devices", "keep_checkpoints",
        "log_every", "micro_tokens", "nonfinite", "num_nodes", "shard_over", "timeout_minutes",
    },
    "datamodule": {"cache_dir", "num_workers", "share_prefix"},
    "model": {"export_dtype", "gradient_checkpointing", "projection_memory"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run writes."""

    path: Path
    name: str
    resumed: bool = False  # an earlier process began it
    finished: bool = False  # and ended it, so nothing is left

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
        return read_run(self.path)

    def run_id(self) -> str:
        """A name for dashboards that no other run has, wherever runs of the same name lie."""
        began = f"{self.path.resolve()} {self.read().get('started')}".encode(errors="replace")
        return f"{self.name.replace('/', '-')}-{hashlib.sha256(began).hexdigest()[:8]}"

    def identity(self) -> str:
        """What tells this run from all others, wherever its folder is moved or copied to."""
        return hashlib.sha256(f"{self.read().get('started')}".encode(errors="replace")).hexdigest()[:16]

    def update(self, **changes: Any) -> None:
        """Change keys of run.json, atomically."""
        write_json(self.path / "run.json", self.read() | changes)

    def locked(self, patience: float = 10.0) -> AbstractContextManager[None]:
        """Hold the run; RunError where another process does. patience: seconds that a killed one's workers may need."""
        busy = f"{self.path}: another process is working on this run; wait for it, or end it"
        return locked(self.path / ".lock", busy=busy, keys="name=... or runs_dir=...", patience=patience)


def steps_in(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in ``folder``, complete or not, oldest first."""
    return sorted((int(path.name[5:]), path) for path in folder.glob("step-*") if path.name[5:].isdecimal())


def read_json(path: Path, shape: Mapping[str, type] | None = None, needs: Sequence[str] = ()) -> dict[str, Any]:
    """The object in ``path``, empty where there is no file; null stands for a key that is not there.

    shape: types of keys. needs: keys that have to be there. RunError where it cannot be read or holds something else.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected JSON, got {error}; {_MENDED}") from error
    if not isinstance(loaded, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(loaded).__name__}; {_MENDED}")
    for key, kind in (shape or {}).items():
        if loaded.get(key) is None:
            loaded.pop(key, None)
        elif not isinstance(loaded[key], kind) or isinstance(loaded[key], bool):
            raise RunError(f"{path}: {key}: expected {_KINDS[kind]}, got {loaded[key]!r:.40}; {_MENDED}")
    if lacking := [key for key in needs if loaded.get(key) is None]:
        raise RunError(f"{path}: {lacking[0]}: missing; {_MENDED}")
    return loaded


def numbers(*values: object) -> bool:
    """Whether each is a number such as counts, times and amounts are, which can be added up."""
    return all(isinstance(value, int | float) and -1e15 < value < 1e15 for value in values)


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a run's folder, empty where there is none; RunError where it holds something else."""
    return read_json(folder / "run.json", _RUN)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value``, without secrets, NaN and infinity as null; a reader sees the old file or the new one."""
    with replacing(path) as file:
        file.write(dumps(as_written(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def note_latest(folder: Path, results: Path) -> None:
    """Say which measurement below ``folder`` the last command there was of, also where it was measured before: no clock
    tells that.
    """
    write_json(folder / _LATEST, {"results": results.relative_to(folder).as_posix()})


def latest_of(found: Mapping[Path, Mapping[str, Any]], folder: Path) -> Path | None:
    """Of the results ``found`` below ``folder``, by their results.json: that of which ``note_latest`` said so, else the
    one that ended last; None where there is none.
    """
    noted = read_json(folder / _LATEST, {"results": str}).get("results")
    latest = folder / noted / "results.json" if noted else None
    return max(found, key=lambda path: (path == latest, str(found[path].get("ended"))), default=None)


def choose(config: Mapping[str, Any], data: str, model: str) -> RunFolder:
    """The folder of the run of this ``config``: a new one, or the one that it resumes.

    name: as asked for, else <stage>-<date>-<time>. resume: null, "auto" (the newest unfinished run of the same config,
    data and model, else a new run), or a run's folder or name. data, model: their hashes. RunError where the name is
    taken, or the run to resume is missing, finished or differs.
    """
    runs_dir, name, resume, stage = Path(config["runs_dir"]), config["name"], config["resume"], config["stage"]["name"]
    old = None  # the run to go on with
    if resume == "auto" and name:
        old = runs_dir / name if (runs_dir / name / "run.json").exists() else None
    elif resume == "auto":
        same = (
            path
            for path in _unfinished(runs_dir, config.get("push_to_hub"))
            if not differences(read_run(path), config, data, model)
        )
        old = next(same, None)
    elif resume:
        old = _unended(Path(resume), runs_dir, config.get("push_to_hub"))
    if old is None:
        chosen = name or f"{stage}-{datetime.now():%Y%m%d-%H%M%S}"
        while not name and (runs_dir / chosen).exists():  # two runs started in one second
            chosen = f"{stage}-{datetime.now():%Y%m%d-%H%M%S-%f}"
        check_free(runs_dir / chosen)
        return RunFolder(runs_dir / chosen, chosen)
    written = read_run(old)
    if changed := differences(written, config, data, model):
        raise OtherSettings(
            f"resume: {old} was started with other settings, so the result would be neither run's:\n  "
            + "\n  ".join(changed)
            + "\ngive the same settings, or leave resume= away to start a new run"
        )
    path, root = old.resolve(), runs_dir.resolve()
    named = str(path.relative_to(root)) if path.is_relative_to(root) else old.name
    return RunFolder(old, named, resumed=True, finished=written.get("status") == "finished")


def check_free(path: Path) -> None:
    """Refuse a name that is taken, by a RunError that says what can be done."""
    if path.exists() and not path.is_dir():
        raise RunError(f"name: {path} is a file; choose another name=...")
    if (path / "run.json").exists():
        status = read_run(path).get("status", "unknown")
        way = f"its model is {path / 'model'}" if status == "finished" else "or go on with it by resume=auto"
        raise RunError(f"name: {path} is taken (status: {status}); choose another name=..., {way}")
    if (path / "model").exists():
        raise RunError(f"name: {path / 'model'} is there and no run made it; choose another name=...")


def unpushed(written: Mapping[str, Any], name: str | None) -> bool:
    """Whether a run (run.json) has not been sent to the hub as ``name``, where that is asked for."""
    return name is not None and (written.get("pushed") or {}).get("repository") != name


def _unfinished(runs_dir: Path, push: str | None = None) -> list[Path]:
    """Run folders that are not finished, or were to be sent to ``push`` and were not, newest first."""
    found = []
    for file in [*runs_dir.glob("*/run.json"), *runs_dir.glob("*/*/run.json")]:
        try:
            written = read_run(file.parent)
        except RunError as error:
            log.warning(f"{error}; this run is left alone")
            continue
        to_send = push == (written.get("config") or {}).get("push_to_hub") and unpushed(written, push)
        if written.get("status") != "finished" or to_send:
            found.append((str(written.get("started", "")), file.parent))
    return [path for _, path in sorted(found, reverse=True)]


def _unended(path: Path, runs_dir: Path, push: str | None) -> Path:
    """The folder of the run that ``resume`` names by folder or name."""
    path = path if (path / "run.json").exists() else runs_dir / path
    written = read_run(path)
    if not written:
        near = ", ".join(str(other) for other in _unfinished(runs_dir)[:3]) or "none"
        raise RunError(f"resume: no run at {path}; unfinished runs: {near}")
    if written.get("status") == "finished" and not unpushed(written, push):
        raise RunError(f"resume: {path} is finished; its model is {path / 'model'}")
    return path


def differences(written: Mapping[str, Any], config: Mapping[str, Any], data: str, model: str) -> list[str]:
    """What shaped the written run and is different now, a line a key."""
    old, new = settings_of(written.get("config", {})), settings_of(config)
    lines = [
        f"{key}: it has {old.get(key, '(absent)')!r}, now {new.get(key, '(absent)')!r}"
        for key in sorted(old.keys() | new.keys())
        if _differ(key, old.get(key), new.get(key))
    ]
    parents = written.get("parents", {})
    if parents.get("data_sha256") != data:
        lines.append("data: the file's content, or what is taken of it, has changed since")
    if parents.get("model_fingerprint") != model:
        lines.append("model: the starting model's config or weights have changed since")
    return lines


def _differ(key: str, old: object, new: object) -> bool:
    old, new = as_written(old), as_written(new)
    if isinstance(old, str):
        old = "last" if (key, old) == ("datamodule.targets", "original") else FORMER_CLASSES.get(old, old)
    elif key == "optimizer._target_" and old is None:  # there was no other
        old = "tuna.modules.optimizers.AdamW"
    return bool(old != new) and (old, new) != (None, False)  # a switch that is newer than the run


def as_written(value: object) -> Any:
    """A value as a JSON file of ours gives it back: 1 and 1.0 are one number, a tuple is a list, NaN null."""
    text = json.dumps(value, default=lambda other: dict(other) if isinstance(other, Mapping) else str(other))
    return json.loads(text, parse_constant=lambda name: None)


def settings_of(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings that shape a run's result, by dotted key.

    >>> settings_of({"name": "a", "loss": {"margin": 0.1}})
    {'loss.margin': 0.1}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if key not in FREE.get(prefix, ()):
            flat |= settings_of(value, dotted) if isinstance(value, Mapping) else {dotted: value}
    return flat


def check_writable(folder: Path, key: str = "runs_dir") -> Path:
    """The nearest folder on the way to ``folder`` (the config's ``key``) that exists; RunError if unwritable."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{key}: cannot write to {existing}; choose a folder of yours with {key}=...")
    return existing


def space(parameters: int, trainable: int) -> tuple[int, int]:
    """Bytes of a checkpoint (the trained weights and two moments in float32), and of the model at most."""
    return 12 * trainable, 4 * parameters


def check_space(folder: Path, *, parameters: int, trainable: int, keep: int) -> None:
    """Refuse (RunError) a run whose checkpoints and model will not fit, before it has trained for hours."""
    free = shutil.disk_usage(check_writable(folder)).free
    checkpoint, model = space(parameters, trainable)
    needed = (keep + 1) * checkpoint + model + 10_000_000  # ``keep`` of them stand while the next is written
    if needed > free:
        raise RunError(
            f"runs_dir: {folder} needs about {needed / 1e9:.2f} GB for {keep} checkpoints and the model, "
            f"{free / 1e9:.2f} GB are free on its disk; free some (a finished run needs its checkpoints/ no more; "
            "trainer.keep_checkpoints=0 removes them), choose another runs_dir=..., or keep fewer with "
            "trainer.keep_checkpoints=1"
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
