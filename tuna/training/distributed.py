"""Several processes: who am I, one decision for all, and starting them, only through torchrun or SLURM."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from tuna.errors import OtherSettings, RunError, TunaError

T = TypeVar("T")


def launched() -> bool:
    """Whether torchrun or SLURM (``srun``) started this process as one of several."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return True
    # A batch script has SLURM_PROCID too; only srun makes a step.
    return "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1


def join(on_gpu: bool, timeout_minutes: float) -> None:
    """Join the process group that torchrun or SLURM describes; nothing where there is one process."""
    if not launched() or dist.is_initialized():
        return
    if "RANK" not in os.environ:  # srun: take over what Lightning reads from SLURM
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        slurm = SLURMEnvironment()
        os.environ["RANK"], os.environ["WORLD_SIZE"] = str(slurm.global_rank()), str(slurm.world_size())
        os.environ["LOCAL_RANK"] = str(slurm.local_rank())
        os.environ.setdefault("MASTER_ADDR", slurm.main_address)
        os.environ.setdefault("MASTER_PORT", str(slurm.main_port))
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(minutes=timeout_minutes))


def rank() -> int:
    """This process's number over all machines, 0 where there is one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Processes over all machines, 1 where there is one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def agree(value: T) -> T:
    """Process 0's value, on every process."""
    if world_size() == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[no-any-return]


def gather(value: T) -> list[T]:
    """Every process's value, on every process, by rank."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def on_first(make: Callable[[], T], *, everywhere: bool = False) -> T:
    """Call ``make`` on process 0 and give its value to all; with ``everywhere`` the others call it too, afterwards.

    A fault on process 0 is raised on all, so that none waits for another for ever.
    """
    value: T | None = None
    fault: Exception | None = None
    if rank() == 0:
        try:
            value = make()
        except (TunaError, OSError) as error:
            fault = error
    fault = agree(fault)
    if fault is not None:
        raise fault
    if everywhere:
        if rank() != 0:
            value = make()
        barrier()
        return value  # type: ignore[return-value]
    return agree(value)  # type: ignore[return-value]


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


def die_with_parent() -> None:
    """Have Linux end this process when its parent is killed, so that no orphan goes on writing to a run."""
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it was killed before we asked
            sys.exit(1)


def leave() -> None:
    """Leave the process group, so that processes end together."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def launch(cfg: DictConfig, processes: int) -> None:
    """Run ``tuna.training.worker`` with this config in ``processes`` processes, and wait for them.

    torchrun gets a file with the composed config rather than the command line: inside a Hydra multirun, or pytest, the
    command line would start the whole sweep again in every process.

    They are in a session of their own, so that Ctrl-C reaches each of them once, from here.

    Raises:
        RunError: a process failed: its own message, or which one it was, and by what.
        KeyboardInterrupt: when all have ended.
    """
    from tuna.training.torchrun import failure_file, fault_file

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(OmegaConf.to_yaml(cfg, resolve=True), encoding="utf-8")
        command = [sys.executable, "-m", "tuna.training.torchrun", "--standalone", "--nproc-per-node", str(processes)]
        env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        words = [*command, "-m", "tuna.training.worker", str(config)]
        worker = subprocess.Popen(words, env=env, start_new_session=True)
        try:
            code = worker.wait()
        except BaseException as stop:
            _end(worker, signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM)
            raise
        if code == 0:
            return
        said, failure = fault_file(config), failure_file(config)
        first: dict[str, int] = json.loads(failure.read_text()) if failure.exists() else {"rank": 0, "code": code}
        if said.exists():
            kind = OtherSettings if first["code"] == OtherSettings.exit_code else RunError
            raise kind(said.read_text(encoding="utf-8"))
    raise _failed(first["rank"], first["code"], processes, float(cfg.trainer.timeout_minutes))


def _end(worker: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send the signal and wait; a second Ctrl-C ends all at once: each process dies with its parent."""
    worker.send_signal(number)
    try:
        worker.wait()
    except BaseException:
        worker.kill()
        worker.wait()


def _failed(rank: int, code: int, processes: int, minutes: float) -> BaseException:
    from tuna.training.torchrun import LOST, TIMED_OUT
    from tuna.training.troubles import waited

    who, again = f"training process {rank} of {processes} (from 0)", "next: the same command with resume=auto"
    if code == 130:
        return KeyboardInterrupt()
    if code < 0:
        name = signal.Signals(-code).name
        why = "; memory ran out most likely (dmesg tells)" if -code == signal.SIGKILL else ""
        return RunError(f"{who} was ended by {name}{why}; {again}")
    if code == TIMED_OUT:
        return RunError(f"{who} {waited(minutes)}")
    if code == LOST:
        return RunError(f"{who} lost another, which ended or cannot be reached; {again}")
    return RunError(f"a training process ended with exit code {code}; the first message above says why")
