"""Several processes: who am I, and one decision for all. Only torchrun and SLURM start them (tuna.training.launch)."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from tuna.errors import TunaError

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
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Processes over all machines, 1 where there is one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def agree(value: T) -> T:
    """Process 0's value, on every process."""
    return gather(value)[0]


def gather(value: T) -> list[T]:
    """Every process's value, on every process, by rank."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    dist.all_gather_object(box, value)
    return box


def on_first(make: Callable[[], T]) -> T:
    """Call ``make`` on process 0 and give its value to all; its error is raised on all, so that none waits forever."""
    made: tuple[Any, Exception | None] = None, None
    if rank() == 0:
        try:
            made = make(), None
        except (TunaError, OSError) as error:
            made = None, error
    value, fault = agree(made)
    if fault is not None:
        raise fault
    return value  # type: ignore[no-any-return]


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()
