"""Starting the training processes of this machine, and saying which one failed and how.

Three kinds of process: ``launch`` in train.py starts ``python -m tuna.training.launch watch ...``, which is torchrun
without its tracebacks; it starts the workers, ``python -m tuna.training.launch work CONFIG.yaml``, which train.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tuna.errors import OtherSettings, RunError, TunaError
from tuna.secrets import learn, masked_output
from tuna.signals import end_with_parent

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Exit codes of a worker that others brought down.
LOST, TIMED_OUT = 3, 4
# Next to the config's file: {"rank": ..., "code": ...} of the process that failed first, codes below 0 are signals;
# and the message of the worker that was at fault, of the first where several were.
_FAILURE, _FAULT = ".failure", ".fault"


def launch(cfg: "DictConfig", processes: int) -> None:
    """Train with this config in ``processes`` processes, and wait for them.

    They get a file with the composed config: inside a Hydra multirun, or pytest, the command line would start the whole
    sweep again in every process. A session of their own lets Ctrl-C reach each of them once, from here.

    Raises RunError where one failed, by its own message, and KeyboardInterrupt when all have ended.
    """
    from omegaconf import OmegaConf

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
        watch = [sys.executable, "-m", "tuna.training.launch", "watch"]
        torchrun = ["--standalone", "--nproc-per-node", str(processes), "-m", "tuna.training.launch", "work"]
        env = {"OMP_NUM_THREADS": "1"} | os.environ
        watcher = subprocess.Popen([*watch, *torchrun, str(config)], env=env, start_new_session=True)
        try:
            code = watcher.wait()
        except BaseException as stop:
            watcher.send_signal(signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
            try:
                watcher.wait()
            except BaseException:  # a second Ctrl-C ends all at once: each process dies with its parent
                watcher.kill()
                watcher.wait()
            raise
        if code == 0:
            return
        fault, failure = config.with_suffix(_FAULT), config.with_suffix(_FAILURE)
        first: dict[str, int] = json.loads(failure.read_text()) if failure.exists() else {"rank": 0, "code": code}
        if fault.exists():
            kind = OtherSettings if first["code"] == OtherSettings.exit_code else RunError
            raise kind(fault.read_text(encoding="utf-8"))
    raise _failed(first["rank"], first["code"], processes, float(cfg.trainer.timeout_minutes))


def _failed(rank: int, code: int, processes: int, minutes: float) -> BaseException:
    from tuna.training.troubles import waited

    who, again = f"training process {rank} of {processes} (from 0)", "next: the same command with resume=auto"
    if code == 130:
        return KeyboardInterrupt()
    if code < 0:
        name = signal.Signals(-code).name
        why = "; memory ran out most likely (see dmesg)" if -code == signal.SIGKILL else ""
        return RunError(f"{who} was ended by {name}{why}; {again}")
    if code == TIMED_OUT:
        return RunError(f"{who} {waited(minutes)}")
    if code == LOST:
        return RunError(f"{who} lost another, which ended or cannot be reached; {again}")
    return RunError(f"{who} ended with exit code {code}; what it printed, if anything, stands above; {again}")


def _watch(arguments: list[str]) -> int:
    """Start and watch the workers by torchrun; 1 when one of them failed, 128 and the signal where one ended all."""
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable()
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        ended = {rank: failure.exitcode for rank, failure in error.failures.items()}  # in the order they were seen
        first = _at_fault(ended)
        failure = Path(arguments[-1]).with_suffix(_FAILURE)
        failure.write_text(json.dumps({"rank": first, "code": ended[first]}))
        return 1
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


def _at_fault(ended: Mapping[int, int]) -> int:
    """The process that brought the others down, by their exit codes in the order in which they ended.

    One that a signal ended takes the others along, in whatever way; torchrun sends SIGTERM to the rest.
    """
    followers = (LOST, -signal.SIGTERM)
    return min(ended, key=lambda rank: 2 if ended[rank] in followers else int(ended[rank] > 0))


def _work(arguments: list[str]) -> int:
    """Train as one of several processes; the exit code is the error's, or LOST or TIMED_OUT by another's fault."""
    import time
    import traceback

    import torch.distributed as dist
    from omegaconf import DictConfig, OmegaConf

    from tuna.training.run import run
    from tuna.training.troubles import LostProcess

    (path,) = map(Path, arguments)
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    learn(OmegaConf.to_container(cfg))
    try:
        run(cfg)
    except TunaError as error:
        if os.environ.get("TUNA_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        elif isinstance(error, LostProcess):
            time.sleep(2)  # so that torchrun sees the one at fault end first
        else:
            with suppress(FileExistsError), path.with_suffix(_FAULT).open("x", encoding="utf-8") as file:
                file.write(str(error))
        if isinstance(error, LostProcess):
            return TIMED_OUT if error.timed_out else LOST
        return error.exit_code
    if dist.is_initialized():  # processes end together
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    try:  # heavy imports stand in the functions, so that Ctrl-C during them ends here too
        with masked_output():
            end_with_parent(signal.SIGKILL)
            sys.exit({"watch": _watch, "work": _work}[sys.argv[1]](sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
