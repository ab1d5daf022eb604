"""The projection alone, forward and backward: plain cross-entropy, recomputed, kept, and under a frozen head.

    python perf/projection.py [--vocabulary 8192 32768 131072] [--targets 512] [--hidden 576] [--dtype bf16]

Each way runs in a process of its own, one after the other in turn; a line has the median of its processor seconds, how
much memory it took above the start, and how far its values and gradients are from plain torch's.
"""

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from perf.ranking_step import Memory
from tuna.models.projection import target_logprobs

WAYS = ("plain", "recomputed", "kept", "frozen")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[8192, 32768, 131072])
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=576)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32", help="bf16: autocast")
    parser.add_argument("--steps", type=int, default=3)
    return parser.parse_args()


def logprobs(way: str, weight: Tensor, hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """The targets' log-probabilities [T] in one of the WAYS."""
    if way == "plain":
        return -cross_entropy((hidden @ weight.T).float(), targets, reduction="none")
    memory = 0.0 if way == "recomputed" else float("inf")
    return target_logprobs(lambda states: states @ weight.T, hidden, targets, chunk, memory=memory)


def work(way: str, asked: argparse.Namespace, size: int, pipe: Connection) -> None:
    """Answer each message with a step's seconds; the last one with memory, values and gradients."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(size, asked.hidden, generator=generator) * 0.05
    hidden = torch.randn(asked.targets, asked.hidden, generator=generator).requires_grad_()
    targets = torch.randint(0, size, (asked.targets,), generator=generator)
    scale = torch.randn(asked.targets, generator=generator)  # the loss's gradient
    weight.requires_grad_(way != "frozen")
    memory = Memory("cpu")
    memory.reset()
    held = memory.now()
    while pipe.recv():
        weight.grad = hidden.grad = None
        begin = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=asked.dtype == "bf16"):
            values = logprobs(way, weight, hidden, targets, asked.chunk)
        values.backward(scale)
        pipe.send(time.process_time() - begin)
    found = [values.detach(), hidden.grad, weight.grad]
    pipe.send((memory.peak() - held, [None if tensor is None else tensor.numpy() for tensor in found]))


def measure(asked: argparse.Namespace, size: int) -> None:
    """All ways at one vocabulary; prints a line each."""
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for way in WAYS:
        pipes[way], theirs = spawn.Pipe()
        spawn.Process(target=work, args=(way, asked, size, theirs), daemon=True).start()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(asked.steps + 1):
        for way, pipe in pipes.items():
            pipe.send(True)
            took = pipe.recv()
            if number:  # the first one warms up
                seconds[way].append(took)
    for pipe in pipes.values():
        pipe.send(False)
    ended: dict[str, Any] = {way: pipe.recv() for way, pipe in pipes.items()}
    plain = [torch.as_tensor(value) for value in ended["plain"][1]]
    for way, (used, found) in ended.items():
        middle = statistics.median(seconds[way])
        pairs = [(torch.as_tensor(v), p) for v, p in zip(found, plain, strict=True) if v is not None]
        off = max(float((value - other).norm() / other.norm()) for value, other in pairs)
        faster = statistics.median(seconds["plain"]) / middle
        print(f"| {size} | {way} | {middle:.3f} | {faster:.2f} | {used / 1e6:.0f} | {off:.1e} |", flush=True)


def main() -> None:
    """Measure and print a table."""
    asked = options()
    print("| vocabulary | way | processor seconds | x plain | MB | off plain by |\n|---|---|---|---|---|---|")
    for size in asked.vocabulary:
        measure(asked, size)


if __name__ == "__main__":
    main()
