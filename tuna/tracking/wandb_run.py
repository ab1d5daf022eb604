"""One Weights & Biases run, and the artifacts that show what it was made from and what it made. Whatever W&B cannot do
is a warning: it never asks, and never stops or fails a run.
"""

import json
import logging
import math
import netrc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from hydra.core.utils import env_override

from tuna.files import write_text
from tuna.runs import read_run
from tuna.secrets import clean, mask_words

if TYPE_CHECKING:  # a collection that asks a server goes without torch
    from tuna.models.source import Resolved

log = logging.getLogger("tuna")
REACH_TIMEOUT = 10.0  # seconds for a first sign of W&B's server
FINISH_TIMEOUT = 120.0  # seconds for which the end of a run waits for W&B's upload
STEP = "trainer/global_step"  # the x axis: optimizer steps, which a resumed run goes on counting


def wandb_mode(mode: str) -> str:
    """The mode W&B runs in, from ``logger.mode`` and WANDB_MODE: online only where W&B is logged in."""
    mode = os.environ.get("WANDB_MODE") or mode
    if mode not in ("auto", "online"):
        return {"dryrun": "offline"}.get(mode, mode)
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    with suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc(str(file)).authenticators(urlparse(_server()).hostname or ""):
            return "online"
    return "offline"


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def _writable(folder: Path) -> bool:
    """Whether ``folder`` is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


@dataclass(frozen=True, slots=True)
class Item:
    """A model or a data file. Its name and identity decide which one it is, on whatever machine it is met."""

    kind: str  # "model" or "dataset"
    name: str
    identity: Mapping[str, str]  # a hash, stored as a small file
    metadata: Mapping[str, Any]
    files: Path | None = None  # what ``logger.artifacts=files`` uploads


class WandbRun:
    """A run in W&B; one that is disabled, or cannot be opened, takes everything and does nothing. "online" becomes
    "offline" where the server cannot be reached, for ``wandb sync``. about: ``wandb.init``'s arguments.
    """

    def __init__(self, folder: Path, mode: str, artifacts: str, about: Mapping[str, Any]) -> None:
        self.folder, self.artifacts, self.about = folder, artifacts, about
        self.run: Any = None
        self._failed: set[str] = set()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        if not _writable(cache):  # W&B would write the log of its server, which lies there, over ours
            os.environ.setdefault("WANDB_CACHE_DIR", str((folder / "wandb").absolute()))
        for tried in dict.fromkeys((mode, "offline")) if mode != "disabled" else ():
            try:
                self.run = self._init(tried)
                break
            except Exception as error:
                next_step = "logging offline, see wandb sync" if tried == "online" else "going on without"
                log.warning(f"W&B cannot be reached ({type(error).__name__}); {next_step}")
                with suppress(Exception):  # without this W&B would not open a run of the same id again
                    import wandb

                    wandb.teardown()
        self._safely("metrics", lambda run: (run.define_metric(STEP), run.define_metric("*", step_metric=STEP)))

    def _init(self, mode: str) -> Any:
        import requests
        import wandb

        if mode == "online":  # W&B itself tries for a minute and a half
            with suppress(requests.exceptions.SSLError):  # W&B may know its certificate
                requests.get(_server(), timeout=REACH_TIMEOUT)
        else:
            # Its own mode alone would not keep W&B from sending telemetry, and waiting for the server as we exit.
            wandb.setup(wandb.Settings(silent=True, mode="offline"))
        settings = wandb.Settings(
            x_disable_meta=True,  # W&B would store the command line
            console="off",  # our own log.txt holds the output
            disable_git=True,  # the remote's address may hold a token
            save_code=False,
            silent=mode == "offline",
            reinit="create_new",  # the jobs of a sweep in one process share nothing
        )
        if "WANDB_FINISH_TIMEOUT" not in os.environ and hasattr(settings, "finish_timeout"):
            settings.finish_timeout = FINISH_TIMEOUT  # older W&B waits for its upload without end
        about = clean({**self.about, "config": None})
        about["config"] = clean(self.about["config"], mask_words)
        return wandb.init(**about, dir=str(self.folder), mode=mode, settings=settings)  # type: ignore[arg-type]

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """One row of the history."""
        self._safely("metrics", lambda run: run.log({**metrics, STEP: step}))

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """The final figures, which W&B's run table and parallel coordinates show; NaN and infinity are left out."""
        figures = {key: value for key, value in metrics.items() if math.isfinite(value)}
        self._safely("summary", lambda run: run.summary.update(clean(figures)))

    def log_table(self, key: str, make: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """The rows that ``make`` gives, all of the same keys, as a W&B Table."""

        def send(run: Any) -> None:
            import wandb

            if rows := make():
                data = clean([list(row.values()) for row in rows])
                run.log({key: wandb.Table(columns=[*rows[0]], data=data)})

        self._safely(key, send)

    def use(self, make: Callable[[], Item]) -> None:
        """The run was made from this item. ``run.use_artifact`` refuses to work offline; what it does with a new one is
        this, which ``wandb sync`` sends as well. W&B takes artifacts of equal name and content for one.
        """
        self._send(make, lambda run, artifact: run._log_artifact(artifact, is_user_created=True, use_after_commit=True))

    def produce(self, make: Callable[[], Item]) -> None:
        """The run has made this item."""
        self._send(make, lambda run, artifact: run.log_artifact(artifact))

    def _send(self, make: Callable[[], Item], send: Callable[[Any, Any], object]) -> None:
        if self.artifacts != "none":
            self._safely("artifact", lambda run: send(run, self._artifact(make())))

    def _artifact(self, item: Item) -> Any:
        import wandb

        artifact = wandb.Artifact(item.name, type=item.kind, metadata=clean(item.metadata))
        # Its absolute path, since ``wandb sync`` may be called anywhere.
        identity = self.folder.resolve() / "wandb" / "lineage" / item.name / "identity.json"
        identity.parent.mkdir(parents=True, exist_ok=True)
        write_text(identity, json.dumps(dict(item.identity), sort_keys=True) + "\n")
        artifact.add_file(str(identity), name=identity.name, policy="immutable", skip_cache=True)
        if self.artifacts == "files" and item.files is not None:
            add = artifact.add_dir if item.files.is_dir() else artifact.add_file
            add(str(item.files.resolve()), policy="immutable", skip_cache=True)
        return artifact

    def finish(self, status: str) -> None:
        """Close the run; one that did not finish is marked failed, so that no dashboard shows it as done."""
        run, self.run = self.run, None
        if run is None:
            return
        try:
            try:
                run.summary["status"] = status
            finally:
                run.finish(exit_code=0 if status == "finished" else 1)
        except Exception as error:
            log.warning(f"W&B could not be closed ({type(error).__name__}: {error}); the run is not harmed")

    def _safely(self, what: str, act: Callable[[Any], object]) -> None:
        """Do it; what fails is reported once. After a lost row of metrics (its service is gone) W&B gets no more."""
        if self.run is None or "metrics" in self._failed:
            return
        try:
            # W&B copies what it has to upload into the home folder; here an offline run is all in one place.
            with env_override({"WANDB_DATA_DIR": os.environ.get("WANDB_DATA_DIR") or f"{self.folder}/wandb/data"}):
                act(self.run)
        except Exception as error:
            if what not in self._failed:
                log.warning(f"W&B did not take the {what} ({type(error).__name__}: {error}); the run is not harmed")
            self._failed.add(what)


def artifact_name(kind: str, name: str) -> str:
    """A name that W&B takes. It is unique in a project over all kinds, hence the kind in it.

    >>> artifact_name("model", "sweep-1/3"), artifact_name("dataset", "my lists.v2")
    ('model-sweep-1-3', 'dataset-my-lists.v2')
    """
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-')}"[:100].rstrip("-.")  # W&B takes 128 letters


def made_by(model: Path) -> str | None:
    """The name of the run that made the model in this folder, if one of ours did."""
    written = read_run(model.parent)
    return str(written.get("name", model.parent.name)) if written else None


def starting_model(resolved: "Resolved") -> Item:
    """The model that a run starts from or samples from; one that no run made is never uploaded."""
    run = made_by(resolved.folder)
    name = run or (resolved.source if resolved.on_hub else resolved.folder.name)
    about = {"source": resolved.source, "revision": resolved.revision, "run": run}
    identity = {"fingerprint": resolved.fingerprint}
    return Item("model", artifact_name("model", name), identity, about, resolved.folder if run else None)


def made_model(folder: Path, name: str, metadata: Mapping[str, Any]) -> Item:
    """The exported model of the run ``name``."""
    from tuna.models.folder import fingerprint

    about = {**metadata, "source": str(folder), "run": name}
    return Item("model", artifact_name("model", name), {"fingerprint": fingerprint(folder)}, about, folder)


def data_file(path: str, sha256: str, metadata: Mapping[str, Any]) -> Item:
    """A file of instructions or rankings; ``path`` may be a hub id, which has no file here."""
    file = Path(path)
    name = artifact_name("dataset", file.stem if file.suffix else path)
    about = {**metadata, "source": path}
    return Item("dataset", name, {"sha256": sha256}, about, file if file.is_file() else None)
