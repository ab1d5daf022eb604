"""What the machine has of memory, and what the C library keeps of it."""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from tuna.training.trainer import TrainerConfig

CONTEXT = 1_000_000_000  # of a GPU, which CUDA and its libraries take
GROUPS = Path("/sys/fs/cgroup")
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h


def available(training: TrainerConfig) -> int | None:
    """Bytes that each process of this machine may take: of its GPU, or of what the machine has left."""
    if training.on_gpu:
        return int(torch.cuda.get_device_properties(0).total_memory) - CONTEXT
    left = min(_free(), default=None)
    return None if left is None else left // training.local_devices


def give_back() -> None:
    """Have blocks of 1 MB and more go back to the system as soon as they are freed, on Linux with glibc.

    It would keep those below 32 MB, and what long-lived gradients come to lie between cannot be used again: a quarter
    of a step's memory and more (perf/memory_forecast.py).
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


def _free() -> Iterator[int]:
    """What the kernel could give, and what this process's control group still may take."""
    about = Path("/proc/meminfo")
    if about.is_file():
        values = dict(line.split(":") for line in about.read_text().strip().split("\n"))
        if "MemAvailable" in values:
            yield 1024 * int(values["MemAvailable"].split()[0])
    for limit, used, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = (GROUPS / limit).read_text().strip(), int((GROUPS / used).read_text())
            stat = (GROUPS / used).with_name("memory.stat").read_text()
        except (OSError, ValueError):
            continue
        files = next((int(line.split()[1]) for line in stat.split("\n") if line.startswith(f"{inactive} ")), 0)
        if most.isdecimal():
            yield int(most) - now + files  # files that were read can be let go of
