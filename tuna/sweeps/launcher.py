"""What stands between any Hydra sweeper and any launcher: finished jobs are left out, a failed one ends no other."""

import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from tuna.console import typed
from tuna.errors import ConfigError, RunError
from tuna.runs import RunFolder, write_json
from tuna.sweeps.jobs import SCHEMA_VERSION, Job, assign, error_text, files_of, identity_of, jobs_in, table

_BEFORE = {
    "failed": "failed before",
    "interrupted": "was interrupted",
    "running": "did not end",
    "finished": "is finished, but a file it reads was changed",
}


class Sweep(Launcher):
    """One command's jobs, those asked for so far, in front of the launcher that Hydra made (``inner``).

    So it does the same for every launcher (basic, joblib, submitit, Ray). To a sweeper, a failed job has no result.
    program: the command that was typed, such as train. typed: its arguments. fixed: keys of its overrides that are no
    sweep.
    """

    inner: Launcher  # these four are there once Hydra has made its launcher
    context: HydraContext
    config: DictConfig
    folder: Path

    def __init__(self, program: str, typed: Sequence[str], fixed: Collection[str]) -> None:
        self.program, self.typed, self.fixed = program, typed, fixed
        self.asked: dict[int, Job] = {}
        self.sent: dict[str, str] = {}  # names on the hub, and the identity of the job that is sent there

    @property
    def exit_code(self) -> int:
        """0 where every job that was asked for is finished, else how one of the others ended (1, if it did not)."""
        records = [job.read() for job in self.asked.values()]
        return max((int(r.get("exit_code") or 1) for r in records if r["status"] != "finished"), default=0)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing: the inner launcher was set up when Hydra made it."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run those of the jobs that are not done, by the inner launcher; a result each, None for a failed one."""
        jobs: list[Job] = []
        missing: dict[int, list[str]] = {}
        read: dict[int, str] = {}
        composed = [self._settings(texts) for texts in job_overrides]
        for settings in composed:
            self._check_sent(settings)
        for texts, settings in zip(job_overrides, composed, strict=True):
            job = assign(self.folder, identity_of(settings), [text for text in texts if _key(text) not in self.fixed])
            self.asked[job.number] = job
            jobs.append(job)
            if not job.is_done(settings):
                read[job.number] = files_of(settings)
                missing.setdefault(job.number, self._texts(texts, job.number))
        count, again = len({job.number for job in jobs}), [self.asked[number] for number in missing]
        if len(again) < count > 1:  # a search asks for one at a time
            print(f"sweep   {count - len(again)} of {count} jobs are finished already")
        for job in again:
            record = job.read()
            if record["status"] in _BEFORE:
                reason = f": {str(record['error']).splitlines()[0]}" if record.get("error") else ""
                print(f"sweep   {job.label()} {_BEFORE[record['status']]}; it runs again{reason}")
            job.update(files=read[job.number], status="pending")
        if again:
            self._run(again, list(missing.values()), initial_job_idx)
        self._write()
        results, optimize = [], self.config.get("optimize")
        for job, texts in zip(jobs, job_overrides, strict=True):
            record = job.read()
            value = (record.get("metrics") or {}).get(optimize) if record["status"] == "finished" and optimize else None
            results.append(JobReturn(overrides=list(texts), status=JobStatus.COMPLETED, _return_value=value))
        return results

    def _settings(self, texts: Sequence[str]) -> Any:
        """What a job's overrides come to, without Hydra's own."""
        composed = self.context.config_loader.load_sweep_config(self.config, list(texts))
        with open_dict(composed):
            del composed["hydra"]
        return OmegaConf.to_container(composed, resolve=True)

    def _check_sent(self, settings: Mapping[str, Any]) -> None:
        """Refuse (ConfigError) two jobs whose models would go to one place on the hub."""
        name = settings.get("push_to_hub")
        if name and self.sent.setdefault(name, identity_of(settings)) != identity_of(settings):
            raise ConfigError(
                f"push_to_hub: two jobs of this sweep would be sent to {name}; name every key that is swept in it, as "
                "in 'push_to_hub=OWNER/NAME-${seed}-${loss.lambda}', or leave it out"
            )

    def _texts(self, texts: Sequence[str], number: int) -> list[str]:
        """A job's overrides with its place: the folder that it has, wherever in the sweep it stands this time."""
        places = {"hydra.sweep.dir": str(self.folder), "hydra.sweep.subdir": str(number)}
        if "name" in self.config:
            places["name"] = f"{self.config.name or self.folder.name}/{number}"
        kept = [text for text in texts if _key(text) not in places]
        # Quoted as Hydra reads it back, whatever is in it.
        return kept + [f"{key}={QuotedString(v, Quote.single).with_quotes()}" for key, v in places.items()]

    def _run(self, jobs: Sequence[Job], overrides: Sequence[Sequence[str]], index: int) -> None:
        """Launch. Where the launcher itself breaks off (a worker was killed, say), what is done is done."""
        self._write()
        try:
            results = self.inner.launch(overrides, initial_job_idx=index)
        except Exception as error:
            print(f"error: {type(self.inner).__name__}: {error_text(error)}", file=sys.stderr)
            return
        for job, result in zip(jobs, results, strict=True):
            if result.status is JobStatus.FAILED and job.read()["status"] not in ("failed", "interrupted"):
                job.fail(result._return_value)  # it failed before or after our own part of the job

    def command(self) -> str:
        """The command that goes on with this sweep."""
        named = any(_key(text) in ("name", "hydra.sweep.dir") for text in self.typed) or self.config.get("name")
        place = f"name={self.folder.name}" if "name" in self.config else f"hydra.sweep.dir={self.folder}"
        return f"{typed(self.program)} {shlex.join([*self.typed, *([] if named else [place])])}"

    def _write(self) -> list[dict[str, Any]]:
        """Write sweep.json; gives the jobs in it, which are all of the folder."""
        keys = ("job", "swept", "status", "metrics", "error", "started", "ended")
        rows = [{key: record.get(key) for key in keys} for record in (job.read() for job in jobs_in(self.folder))]
        for row in rows:
            row["asked"] = row["job"] in self.asked  # by this command
            if row["status"] == "running":  # nobody works on it now: it was killed
                row["status"] = "unfinished"
        content = {
            "schema_version": SCHEMA_VERSION, "name": self.config.get("name") or self.folder.name,
            "command": self.command(), "optimize": self.config.get("optimize"), "jobs": rows,
        }  # fmt: skip
        write_json(self.folder / "sweep.json", content)
        return rows

    def close(self) -> None:
        """Write sweep.json and print the table; nothing where no job was asked for."""
        if not self.asked:
            return
        rows = self._write()
        asked = [row for row in rows if row["asked"]]
        done = sum(row["status"] == "finished" for row in asked)
        print(f"sweep   {done} of {len(asked)} jobs are finished: {self.folder / 'sweep.json'}")
        for line in table(asked, self.config.get("optimize")):
            print(f"        {line}")
        if len(rows) > len(asked):
            print(f"        {len(rows) - len(asked)} jobs with other settings stand in {self.folder} too")
        if done < len(asked):
            print(f"again   {self.command()}")


@contextmanager
def resumable(sweep: Sweep) -> Iterator[None]:
    """The next launcher that Hydra makes goes behind ``sweep``; its table is printed at the end, however that comes.

    Hydra looks launchers up by a class in its own package, and has no other place to stand in (hence hydra-core < 1.4).
    """
    plugins: Any = Plugins.instance()
    with ExitStack() as held:

        def instantiate(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launcher:
            del plugins.instantiate_launcher  # the instance's own, so that what a launcher pickles is Hydra's
            folder = Path(str(config.hydra.sweep.dir))
            sweep.inner = plugins.instantiate_launcher(hydra_context, task_function, config)
            sweep.context, sweep.config, sweep.folder = hydra_context, config, folder
            if (folder / "run.json").exists():
                raise RunError(f"name: {folder} is a run; a sweep needs a folder of its own, choose another name=...")
            held.enter_context(RunFolder(folder, folder.name).locked())
            print(f"sweep   {folder}; to go on with it after a stop, and to repeat what failed: {sweep.command()}")
            return sweep

        plugins.instantiate_launcher = instantiate
        try:
            yield
        finally:
            vars(plugins).pop("instantiate_launcher", None)
            sweep.close()


def check_optimized(optimize: str | None, metrics: object) -> None:
    """Refuse to optimize a figure that a job did not give, by a ConfigError with those it gave."""
    figures = metrics if isinstance(metrics, dict) else {}
    if optimize is not None and optimize not in figures:
        known = ", ".join(sorted(map(str, figures))) or "none"
        raise ConfigError(f"optimize: expected a figure of the job's, got {optimize}; there are: {known}")


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
