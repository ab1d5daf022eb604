"""What every entry point does: help, checks, Hydra, one ``run(cfg)``, and faults as one message with exit code 1."""

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuna import plugins, signals
from tuna.config.arguments import CommandLine, read_command_line
from tuna.config.checks import check
from tuna.config.compose import CONF, compose, install, run_composed
from tuna.config.help import Program, help_text
from tuna.config.keys import explain
from tuna.config.overrides import check_command_line, first_paragraph, firsts
from tuna.console import typed
from tuna.errors import ConfigError, RunError, TunaError
from tuna.files import trouble_of
from tuna.runs import versions
from tuna.secrets import masked_output
from tuna.sweeps.jobs import error_text, job_in
from tuna.sweeps.launcher import Sweep, check_optimized, resumable


@masked_output()
def main(program: Program, argv: Sequence[str] | None = None, config_dir: Path = CONF) -> None:
    """Run an entry point with ``argv``, or the command line's; exit code 1 after a fault, 130 after Ctrl-C, 143 after
    SIGTERM.
    """
    if argv is not None:
        sys.argv = [sys.argv[0], *argv]
    words: list[Sequence[str]] = []  # those of one run, once they hold no secret
    with signals.ended_cleanly() as ending:
        try:
            ending.answered = True  # nothing between the two that a signal could come in
            _main(program, config_dir, words)
        except BaseException as error:
            ending.answered = False
            if not signals.by_interrupt(error) or isinstance(error, SystemExit):
                raise
            print(f"interrupted: what was saved is kept{_to_go_on(program, words)}", file=sys.stderr)
            sys.exit(128 + (ending.heard or signal.SIGINT))
        finally:
            ending.answered = False


def _main(program: Program, config_dir: Path, words: list[Sequence[str]]) -> None:
    try:
        signals.end_with_command()
        line = read_command_line(sys.argv[1:])
        plugins.use(line.config_dirs)
        install()
        if line.shows_version:
            found = versions()
            print(", ".join(f"{name} {found[name]}" for name in ("tuna-ranking", "hydra-core", "torch", "python")))
        elif line.shows_help:
            print(_help(program, line, config_dir))
        elif line.only_hydra:
            _run_hydra(program, config_dir)
        else:
            if not program.sweeps:
                _refuse_sweep(program, line)
            cfg = check_command_line(line, config_dir=config_dir, config_name=program.config_name)
            sys.argv[1:] = line.ordered
            if not line.runs:  # Hydra shows something
                _run_hydra(program, config_dir)
            elif line.multirun:  # it prints how it goes on
                _run_sweep(program, config_dir, line)
            else:
                words.append(sys.argv[1:])
                run_composed(cfg, lambda cfg: _look_and_run(program, cfg), config_dir)
    except (TunaError, HydraException, OmegaConfBaseException) as error:
        if not isinstance(error, RunError) and signals.by_interrupt(error):
            raise
        if _wants_traceback():
            traceback.print_exception(error)
        else:
            _report(error)
        sys.exit(getattr(error, "exit_code", 1))
    except OSError as error:
        if _wants_traceback() or (trouble := trouble_of(error)) is None:
            raise
        _report(trouble)
        sys.exit(1)


def _to_go_on(program: Program, runs: Sequence[Sequence[str]]) -> str:
    """The command that goes on with the run that was begun, if one was."""
    if not runs:
        return ""
    [words] = runs
    resume = program.config_name == "train" and not any(word.startswith("resume=") for word in words)
    command = shlex.join([*words, *["resume=auto"] * resume])
    return f"; to go on: {typed(program.config_name)} {command}".rstrip()


def _refuse_sweep(program: Program, line: CommandLine) -> None:
    """A ConfigError where a command that runs once, such as a conversation, was to be run several times."""
    if line.multirun or any(override.is_sweep_override() for override in line.overrides):
        folders = [word for folder in line.config_dirs for word in ("--config-dir", str(folder))]
        command = f"{typed(program.config_name)} {shlex.join([*folders, *firsts(line.overrides)])}".rstrip()
        raise ConfigError(f"{program.config_name} runs once: it takes no -m and one value per key; next: {command}")


def _help(program: Program, line: CommandLine, config_dir: Path) -> str:
    """The program's own help, or that of the keys, groups and choices that were asked for."""
    folders = [config_dir, *line.config_dirs]
    if not line.topics:
        return help_text(program, folders)
    found = [f"hydra.searchpath=[file://{folder.resolve()}]" for folder in line.config_dirs]
    found += [str(override.input_line) for override in line.overrides]
    try:
        cfg = compose(found, config_dir=config_dir, config_name=program.config_name, with_hydra=True)
    except (HydraException, OmegaConfBaseException) as error:
        explain(line.topics, folders, program.config_name)  # an unknown choice is told with those that there are
        raise ConfigError(first_paragraph(error)) from None
    return explain(line.topics, folders, program.config_name, cfg)


def _look_and_run(program: Program, cfg: DictConfig) -> Any:
    if program.look:
        resolve_name(program.look)(cfg)
    return resolve_name(program.run)(cfg)


def _run_hydra(program: Program, config_dir: Path) -> None:
    """Hydra composes and calls a sweep's jobs; HYDRA_FULL_ERROR makes it raise faults, not print them and exit."""

    def job(cfg: DictConfig) -> Any:
        with env_override({"HYDRA_FULL_ERROR": given}):
            if HydraConfig.get().mode is RunMode.RUN:  # --experimental-rerun
                check(cfg)
                return resolve_name(program.run)(cfg)
            return _sweep_job(program.run, cfg)

    given = os.environ.get("HYDRA_FULL_ERROR", "0")
    compose_and_run = hydra.main(config_path=str(config_dir), config_name=program.config_name, version_base="1.3")(job)
    with env_override({"HYDRA_FULL_ERROR": "1"}):
        compose_and_run()


def _run_sweep(program: Program, config_dir: Path, line: CommandLine) -> None:
    """All jobs, the failed ones' faults told as they come; exit code 1 where one is not finished."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            "a sweep (-m) cannot run inside of torchrun, where every process would start all of it; leave torchrun "
            "away: each job starts its own processes (trainer=fsdp trainer.devices=...)"
        )
    fixed = {o.get_key_element().lstrip("+~") for o in line.overrides if not o.is_sweep_override()}
    sweep = Sweep(program.config_name, sys.argv[1:], fixed)
    with resumable(sweep):
        try:
            _run_hydra(program, config_dir)
        except ValueError:  # Optuna found no best job
            if not sweep.exit_code:
                raise
        except OSError as error:  # the sweep's own folder; what fails in a job is told by the job
            raise RunError(
                f"{error.filename}: {error.strerror}; choose another folder for the sweep with name=... or runs_dir=..."
            ) from error
    if sweep.exit_code:
        sys.exit(sweep.exit_code)


@masked_output()
def _sweep_job(run: str, cfg: DictConfig) -> Any:
    """A sweep's job: told in its job.json; its fault is printed here and raised again, and the others run on."""
    install()  # a launcher may have started this job in another process
    folder = Path(HydraConfig.get().runtime.output_dir)
    job = job_in(folder)
    if job is None:
        raise RunError(f"{folder}: expected the sweep's job.json")
    if "resume" in cfg and cfg.resume is None:
        cfg.resume = "auto"  # the sweep's command may be given again
    job.begin(dry=bool(cfg.get("dry_run")))
    try:
        check(cfg)
        metrics = resolve_name(run)(cfg)
        check_optimized(cfg.get("optimize"), metrics)
    except BaseException as error:
        if signals.by_interrupt(error) and not isinstance(error, RunError | SystemExit):
            job.fail(stop := KeyboardInterrupt())
            raise stop from error
        job.fail(error)
        trouble = trouble_of(error) if isinstance(error, OSError) else None
        if not isinstance(trouble or error, TunaError) or _wants_traceback():
            traceback.print_exception(error)
        _report(trouble or error, f"{job.label()}: ")
        if isinstance(error, SystemExit):  # it would end the sweep
            raise RunError(error_text(error)) from error
        raise
    job.finish(metrics)
    return metrics


def _report(error: BaseException, prefix: str = "") -> None:
    """Print a fault, one line per problem. Of several processes the first speaks, but for what one alone saw."""
    rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0")
    if rank > 0 and not isinstance(error, RunError):
        return
    prefix = f"process {rank}: {prefix}" if rank else prefix
    text = error_text(error) or type(error).__name__
    print(f"error: {prefix}" + text.replace("\n", "\n       "), file=sys.stderr)


def _wants_traceback() -> bool:
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("TUNA_DEBUG", "HYDRA_FULL_ERROR"))
