"""What stands between Hydra's sweeper and its launcher: finished jobs are left out, a failed one ends no other.

It does the same for every sweeper (basic, Optuna) and every launcher (basic, joblib, submitit, Ray), which is why it is
no launcher of its own kind but wraps the one that Hydra makes. To a sweeper, a job that failed is one without a result.
"""

import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from tuna.errors import ConfigError, RunError
from tuna.runs import RunFolder, write_json
from tuna.sweeps.jobs import SCHEMA_VERSION, Job, assign, identity_of, jobs_in, words
from tuna.sweeps.table import table

_BEFORE = {
    "failed": "failed before",
    "interrupted": "was interrupted",
    "running": "did not end",
    "finished": "is finished, but a file it reads is newer",
}


class Sweep:
    """One command's jobs: those asked for so far, in order.

    typed: the command line's arguments. fixed: keys of its overrides that are no sweep.
    """

    def __init__(self, typed: Sequence[str], fixed: Collection[str]) -> None:
        self.typed = tuple(typed)
        self.fixed = frozenset(fixed)
        self.folder: Path | None = None
        self.config: DictConfig | None = None
        self.asked: dict[int, Job] = {}
        self.begun = ExitStack()  # holds the sweep's lock

    @property
    def failed(self) -> bool:
        """Whether a job that was asked for is not finished."""
        return any(job.status != "finished" for job in self.asked.values())

    def launch(
        self, inner: Launcher, context: HydraContext, overrides: Sequence[Sequence[str]], index: int
    ) -> list[JobReturn]:
        """Run those of the jobs that are not done, by the launcher ``inner``; a result each, None for a failed one."""
        assert self.config is not None
        self._begin(self.config)
        jobs, missing = [], {}
        for texts in overrides:
            job, done = self._job(self.config, context, texts)
            jobs.append(job)
            if not done and job.number not in missing:
                missing[job.number] = (job, self._texts(job, texts))
        self._tell(jobs, [job for job, _ in missing.values()])
        if missing:
            self._run(inner, [job for job, _ in missing.values()], [texts for _, texts in missing.values()], index)
        self._write()
        return [self._result(job, texts) for job, texts in zip(jobs, overrides, strict=True)]

    def _begin(self, config: DictConfig) -> None:
        """Take the sweep's folder, once."""
        if self.folder is not None:
            return
        folder = Path(str(config.hydra.sweep.dir))
        if (folder / "run.json").exists():
            raise RunError(f"name: {folder} is a run; a sweep needs a folder of its own, choose another name=...")
        self.begun.enter_context(RunFolder(folder, folder.name).locked())
        self.folder = folder
        print(f"sweep   {folder}; to go on with it after a stop, and to repeat what failed: {self.command()}")

    def _job(self, config: DictConfig, context: HydraContext, texts: Sequence[str]) -> tuple[Job, bool]:
        assert self.folder is not None
        composed = context.config_loader.load_sweep_config(config, list(texts))
        with open_dict(composed):
            del composed["hydra"]
        plain = OmegaConf.to_container(composed, resolve=True)
        assert isinstance(plain, dict)
        settings = {str(key): value for key, value in plain.items()}
        swept = [text for text in texts if _key(text) not in self.fixed]
        job = assign(self.folder, identity_of(settings), swept)
        self.asked[job.number] = job
        return job, job.is_done(settings)

    def _texts(self, job: Job, texts: Sequence[str]) -> list[str]:
        """A job's overrides with its place: the folder that it has, wherever in the sweep it stands this time."""
        assert self.folder is not None and self.config is not None
        places = {"hydra.sweep.dir": str(self.folder), "hydra.sweep.subdir": str(job.number)}
        if "name" in self.config:
            places["name"] = f"{self.config.name or self.folder.name}/{job.number}"
        return [
            *(text for text in texts if _key(text) not in places),
            *(f"{k}={_quoted(v)}" for k, v in places.items()),
        ]

    def _tell(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        numbers = {job.number for job in jobs}
        if len(missing) < len(numbers) > 1:  # a search asks for one at a time
            print(f"sweep   {len(numbers) - len(missing)} of {len(numbers)} jobs are finished already")
        for job in missing:
            record = job.read()
            if record["status"] in _BEFORE:
                said = f": {str(record['error']).splitlines()[0]}" if record.get("error") else ""
                print(f"sweep   {job.label()} {_BEFORE[record['status']]}; it runs again{said}")

    def _run(self, inner: Launcher, jobs: Sequence[Job], overrides: Sequence[Sequence[str]], index: int) -> None:
        """Launch. Where the launcher itself breaks off (a worker was killed, say), what is done is done."""
        self._write()
        try:
            results = inner.launch(overrides, initial_job_idx=index)
        except Exception as error:
            print(f"error: {type(inner).__name__}: {words(error)}", file=sys.stderr)
            return
        for job, result in zip(jobs, results, strict=True):
            if result.status is JobStatus.FAILED and job.status not in ("failed", "interrupted"):
                job.fail(result._return_value)  # it failed before or after our own part of the job

    def _result(self, job: Job, texts: Sequence[str]) -> JobReturn:
        """What the sweeper gets: the figure to optimize."""
        assert self.config is not None
        record, optimize = job.read(), self.config.get("optimize")
        value = (record.get("metrics") or {}).get(optimize) if record["status"] == "finished" and optimize else None
        return JobReturn(overrides=list(texts), status=JobStatus.COMPLETED, _return_value=value)

    def command(self) -> str:
        """The command that goes on with this sweep."""
        assert self.folder is not None and self.config is not None
        named = any(_key(text) in ("name", "hydra.sweep.dir") for text in self.typed) or self.config.get("name")
        place = f"name={self.folder.name}" if "name" in self.config else f"hydra.sweep.dir={self.folder}"
        return f"python {Path(sys.argv[0]).name} {shlex.join([*self.typed, *([] if named else [place])])}"

    def _rows(self) -> list[dict[str, Any]]:
        """A row a job of the folder, with ``asked``: whether this command asks for it."""
        assert self.folder is not None
        keys = ("job", "swept", "status", "metrics", "error", "started", "ended")
        rows = []
        for job in jobs_in(self.folder):
            record = job.read()
            row = {key: record.get(key) for key in keys} | {"asked": job.number in self.asked}
            rows.append(row | {"status": _shown(record["status"])})
        return rows

    def _write(self) -> None:
        """sweep.json: all jobs of the folder."""
        assert self.folder is not None and self.config is not None
        write_json(
            self.folder / "sweep.json",
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.config.get("name") or self.folder.name,
                "command": self.command(),
                "optimize": self.config.get("optimize"),
                "jobs": self._rows(),
            },
        )

    def close(self) -> None:
        """Write sweep.json and print the table; nothing where no job was asked for."""
        if self.folder is None or self.config is None:
            return
        self._write()
        rows = self._rows()
        asked = [row for row in rows if row["asked"]]
        done = sum(row["status"] == "finished" for row in asked)
        print(f"sweep   {done} of {len(asked)} jobs are finished: {self.folder / 'sweep.json'}")
        for line in table(asked, self.config.get("optimize")):
            print(f"        {line}")
        if len(rows) > len(asked):
            print(f"        {len(rows) - len(asked)} jobs with other settings stand in {self.folder} too")
        if done < len(asked):
            print(f"again   {self.command()}")


class _Resuming(Launcher):
    """The launcher that Hydra made, behind a sweep's book."""

    def __init__(self, inner: Launcher, sweep: Sweep, context: HydraContext) -> None:
        self.inner, self.sweep, self.context = inner, sweep, context

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing: the inner launcher was set up when Hydra made it."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See Sweep.launch."""
        return self.sweep.launch(self.inner, self.context, job_overrides, initial_job_idx)


@contextmanager
def resumable(sweep: Sweep) -> Iterator[None]:
    """The next launcher that Hydra makes keeps ``sweep``; its table is printed at the end, however that comes.

    Hydra looks launchers up by a class in its own package, and has no other place to stand in (hence hydra-core < 1.4).
    """
    plugins: Any = Plugins.instance()

    def instantiate(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launcher:
        del plugins.instantiate_launcher  # the instance's own, so that what a launcher pickles is Hydra's
        inner = plugins.instantiate_launcher(hydra_context, task_function, config)
        sweep.config = config
        return _Resuming(inner, sweep, hydra_context)

    plugins.instantiate_launcher = instantiate
    try:
        with sweep.begun:
            try:
                yield
            finally:
                sweep.close()
    finally:
        vars(plugins).pop("instantiate_launcher", None)


def check_optimized(optimize: str | None, metrics: object) -> None:
    """Refuse to optimize a figure that a job did not give.

    Raises:
        ConfigError: with the figures it gave.
    """
    if optimize is None or (isinstance(metrics, dict) and optimize in metrics):
        return
    known = ", ".join(sorted(map(str, metrics))) if isinstance(metrics, dict) else "none"
    raise ConfigError(f"optimize: expected a figure of the job's, got {optimize}; there are: {known}")


def _shown(status: Any) -> str:
    """A job's status once nobody works on it: one that still "runs" was killed."""
    return "unfinished" if status == "running" else str(status)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _quoted(text: str) -> str:
    """A text as Hydra reads it back, whatever is in it."""
    return QuotedString(text, Quote.single).with_quotes()
