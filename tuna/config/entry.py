"""What every entry point does: help, checks, Hydra, one ``run(cfg)``, and faults as one message with exit code 1."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuna.config.arguments import read_command_line
from tuna.config.checks import check
from tuna.config.compose import CONF, install
from tuna.config.help import Program, help_text
from tuna.config.overrides import check_command_line
from tuna.errors import RunError, TunaError

_INTERRUPTED = 130


def main(program: Program, argv: Sequence[str] | None = None, config_dir: Path = CONF) -> None:
    """Run an entry point with ``argv`` (default: the command line's); returns only after success.

    Raises:
        SystemExit: 1 after a fault that the user can mend (its message is on stderr), 130 after an interrupt.
    """
    if argv is not None:
        sys.argv = [sys.argv[0], *argv]
    full = _flag("TUNA_DEBUG") or _flag("HYDRA_FULL_ERROR")
    try:
        line = read_command_line(sys.argv[1:])
        install()
        if line.shows_help:
            print(help_text(program, [config_dir, *line.config_dirs]))
            return
        if not line.only_hydra:
            check_command_line(line, config_dir=config_dir, config_name=program.config_name)
            sys.argv[1:] = line.ordered
        try:
            _run_hydra(program, config_dir)
        except TunaError:
            if line.multirun and not full:  # the job has reported it
                sys.exit(1)
            raise
    except _Stopped as stopped:
        _fail(stopped.fault, full)
    except (TunaError, HydraException, OmegaConfBaseException) as error:
        _fail(error, full)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _run_hydra(program: Program, config_dir: Path) -> None:
    """Hydra composes and calls the job; HYDRA_FULL_ERROR makes it raise faults, not print them and exit itself."""

    def job(cfg: DictConfig) -> Any:
        with _environment("HYDRA_FULL_ERROR", given):
            return _job(program.run, cfg)

    given = os.environ.get("HYDRA_FULL_ERROR")
    compose_and_run = hydra.main(config_path=str(config_dir), config_name=program.config_name, version_base="1.3")(job)
    with _environment("HYDRA_FULL_ERROR", "1"):
        compose_and_run()


def _job(run: str, cfg: DictConfig) -> Any:
    """One job. In a sweep its fault is printed here and raised again, so that the jobs after it run all the same."""
    install()  # a launcher may have started this job in another process
    swept = HydraConfig.get().mode is RunMode.MULTIRUN
    if swept and "name" in cfg:
        cfg.name = sweep_job_name()
    try:
        check(cfg)
        return _function(run)(cfg)
    except TunaError as error:
        if not swept:
            raise _Stopped(error) from error
        _report(error, f"job {HydraConfig.get().job.num} ({HydraConfig.get().job.override_dirname}): ")
        raise


class _Stopped(BaseException):
    """A fault on its way out of Hydra, which would announce an Exception in words of its own."""

    def __init__(self, fault: TunaError) -> None:
        self.fault = fault


def _fail(error: Exception, full: bool) -> NoReturn:
    if full:
        traceback.print_exception(error)
    else:
        _report(error)
    sys.exit(1)


def sweep_job_name() -> str:
    """The name of a sweep's job: its folder below ``runs_dir``, as in ``sweep-20250131-120000/3``."""
    settings = HydraConfig.get()
    return f"{Path(settings.sweep.dir).name}/{settings.job.num}"


def _function(path: str) -> Callable[[DictConfig], Any]:
    module, _, name = path.partition(":")
    function: Callable[[DictConfig], Any] = getattr(importlib.import_module(module), name)
    return function


def _report(error: Exception, prefix: str = "") -> None:
    """Print a fault, one line a problem. Of several processes the first speaks, but for what one alone saw."""
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0")
    if rank > 0 and not isinstance(error, RunError):
        return
    prefix = f"process {rank}: {prefix}" if rank else prefix
    lines = str(error).splitlines() or [type(error).__name__]
    print(f"error: {prefix}" + "\n".join([lines[0], *(f"       {line}" for line in lines[1:])]), file=sys.stderr)


def _flag(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set (or with None unset) an environment variable for a while."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
