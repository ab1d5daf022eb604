"""One Weights & Biases run. Whatever W&B cannot do is a warning: it never stops, delays or fails a training run."""

import logging
import math
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from tuna.secrets import clean, mask_words
from tuna.tracking.lineage import Item
from tuna.tracking.wandb_mode import reach
from tuna.training import distributed

log = logging.getLogger("tuna")
FINISH_TIMEOUT = 120.0  # seconds for which the end of a run waits for W&B's upload
STEP = "trainer/global_step"  # the x axis: optimizer steps, which a resumed run goes on counting


@dataclass(frozen=True, slots=True)
class Card:
    """How W&B files a run. id: which a resumed run goes on with. title: what it is called there. group: its sweep."""

    id: str | None
    title: str
    job_type: str
    project: str = "tuna"
    entity: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


class WandbRun(Logger):
    """A Lightning logger; process 0 alone opens a run, the others' is silent.

    mode: "online" becomes "offline" where the server cannot be reached, to be sent later by ``wandb sync``.
    """

    def __init__(self, folder: Path, card: Card, mode: str) -> None:
        super().__init__()
        self.folder, self.card = folder, card
        self.run: Any = None
        self._failed: set[str] = set()
        if distributed.rank() == 0:
            self._open(mode)

    def _open(self, mode: str) -> None:
        for tried in dict.fromkeys((mode, "offline")):
            try:
                self.run = self._init(tried)
                break
            except Exception as error:
                next_step = "logging offline, see wandb sync" if tried == "online" else "going on without"
                log.warning(f"W&B cannot be reached ({type(error).__name__}); {next_step}")
                _forget()
        self._safely("metrics", lambda run: (run.define_metric(STEP), run.define_metric("*", step_metric=STEP)))

    def _init(self, mode: str) -> Any:
        import wandb

        if mode == "online":
            reach()
        else:
            wandb.setup(wandb.Settings(silent=True))
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
        card = self.card
        return wandb.init(
            dir=str(self.folder),
            id=card.id,
            resume="allow" if card.id else None,
            name=clean(card.title),
            job_type=card.job_type,
            project=card.project,
            entity=card.entity,
            group=card.group,
            tags=clean(list(card.tags)),
            config=clean(card.config, mask_words),
            mode=mode,  # type: ignore[arg-type]
            settings=settings,
        )

    @property
    def name(self) -> str:
        """The project."""
        return self.card.project

    @property
    def version(self) -> str | None:
        """W&B's id of the run."""
        return self.card.id

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: W&B has had the config."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """One row of the history."""
        row = dict(metrics) if step is None else {**metrics, STEP: step}
        self._safely("metrics", lambda run: run.log(row))

    def log_summary(self, metrics: Mapping[str, Any]) -> None:
        """The final figures, which W&B's run table and parallel coordinates show; NaN and infinity are left out."""
        figures = {key: value for key, value in metrics.items() if not isinstance(value, float) or math.isfinite(value)}
        self._safely("summary", lambda run: run.summary.update(clean(figures)))

    def log_table(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of the same keys as a W&B Table."""
        if not rows:
            return

        def send(run: Any) -> None:
            import wandb

            run.log(
                {key: wandb.Table(columns=[*rows[0]], data=clean([[row[name] for name in rows[0]] for row in rows]))}
            )

        self._safely("table", send)

    def use(self, item: Item) -> None:
        """The run was made from ``item``: an arrow into it in W&B's lineage graph.

        ``run.use_artifact`` refuses to work offline; what it does with a new artifact is this, which
        ``wandb sync`` sends as well. W&B takes artifacts of equal name and content for one, whoever sent it.
        """
        self._safely(
            "artifact",
            lambda run: run._log_artifact(self._artifact(item), is_user_created=True, use_after_commit=True),
        )

    def produce(self, item: Item) -> None:
        """The run has made ``item``."""
        self._safely("artifact", lambda run: run.log_artifact(self._artifact(item)))

    def _artifact(self, item: Item) -> Any:
        import wandb

        artifact = wandb.Artifact(item.name, type=item.kind, metadata=clean(item.metadata))
        identity = item.write(self.folder / "wandb" / "lineage")
        artifact.add_file(str(identity), name=identity.name, policy="immutable", skip_cache=True)
        if item.files is not None and item.files.is_dir():
            artifact.add_dir(str(item.files.resolve()), policy="immutable", skip_cache=True)
        elif item.files is not None:
            artifact.add_file(str(item.files.resolve()), policy="immutable", skip_cache=True)
        return artifact

    def finish(self, status: str) -> None:
        """Close the run; one that did not finish is marked failed, so that no dashboard shows it as done."""
        run, self.run = self.run, None
        if run is None:
            return
        try:
            run.summary["status"] = status
        finally:
            run.finish(exit_code=0 if status == "finished" else 1)

    def _safely(self, what: str, act: Callable[[Any], object]) -> None:
        """Do it; what fails once is said once. After a lost row of metrics (its service is gone) W&B gets no more."""
        if self.run is None or "metrics" in self._failed:
            return
        try:
            with _data_dir(self.folder / "wandb" / "data"):
                act(self.run)
        except Exception as error:
            if what not in self._failed:
                log.warning(f"W&B did not take the {what} ({type(error).__name__}: {error}); the run is not harmed")
            self._failed.add(what)


@contextmanager
def _data_dir(folder: Path) -> Iterator[None]:
    """W&B copies what it has to upload into the home folder; beside the run, an offline run is all in one place."""
    if os.environ.get("WANDB_DATA_DIR"):
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR", None)


def _forget() -> None:
    """Without this W&B would not open a run of the same id again."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        log.debug(f"W&B: {error}")
