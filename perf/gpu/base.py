"""What the parts share: where they run, the figures they give, models and lists of given sizes, time and memory."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tuna.data.batch import Group, PackedBatch
from tuna.losses.base import ScoredLists, total
from tuna.losses.tuna import Tuna

Row = dict[str, Any]  # one figure or several, for the JSON file and a line of the page
Scorer = Callable[[PackedBatch], Tensor]

# What has to be reached, by the name that rows carry as "target".
TARGETS = {
    "exact": "log-probabilities and gradients of packed rows are those of plain rows, on every family",
    "trains": "resumed and uninterrupted runs agree; export and sampling give what training left",
    "padded": "at 16 groups of real lengths, at least 3.5 times as fast as padded rows",
    "memory": "with at most 0.4 of the memory of padded rows",
    "unshared": "K = 4, prompts as long as responses: at least 0.9 of the token ratio against unshared packed rows",
    "long prompts": "K = 2, prompts four times as long: at least 1.4 times as fast as unshared packed rows",
    "recompiles": "no compilation after the warm-up in 200 steps of changing lengths",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a part runs, and how much there is to it. seconds: after which it begins nothing more."""

    device: str = "cuda"
    tiny: bool = False
    seconds: float = 60.0
    began: float = field(default_factory=time.monotonic)

    def left(self) -> bool:
        """Whether there is time for one more."""
        return time.monotonic() - self.began < self.seconds

    @property
    def counts(self) -> bool:
        """Whether times and memory say anything, so that targets are held against them."""
        return self.device == "cuda" and not self.tiny

    def pick(self, real: Any, tiny: Any) -> Any:
        """One of two sizes."""
        return tiny if self.tiny else real

    def wait(self) -> None:
        """Until the device has computed what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def autocast(self, dtype: torch.dtype) -> Any:
        """Autocast for bf16, nothing for float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=dtype == torch.bfloat16)

    def free(self) -> None:
        """Give memory back between two ways."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def held(self, peak: bool = False) -> float:
        """GB on the device, now or at most since ``free``; 0 on the CPU, where perf/ranking_step.py measures it."""
        if self.device != "cuda":
            return 0.0
        return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 1e9


def llama(setting: Setting, *, vocab: int, hidden: int, layers: int, heads: int, keys: int, inner: int) -> Any:
    """A random Llama on the device."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=keys, max_position_embeddings=8192, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device(setting.device):
        return LlamaForCausalLM(config).train()


def lists_of(
    count: int, responses: int, prompt: int, response: int, vocab: int, seed: int = 0, spread: float = 0.0
) -> list[Group]:
    """Random ranked lists; lengths are drawn between 1 - spread and 1 + spread of those given."""
    draw = np.random.default_rng(seed)

    def tokens(length: int) -> Any:
        size = max(1, round(length * draw.uniform(1 - spread, 1 + spread)))
        return draw.integers(0, vocab, size).astype(np.int32)

    return [
        Group(
            str(number),
            tokens(prompt),
            tuple(tokens(response) for _ in range(responses)),
            tuple(float(score) for score in draw.permutation(responses)),
            tuple(k == 0 for k in range(responses)),
        )
        for number in range(count)
    ]


def loss_of(scorer: Scorer, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Tuna's loss of a batch and the log-probabilities."""
    logprobs = scorer(batch)
    lists = ScoredLists(
        logprobs,
        batch.lengths,
        batch.scores,
        batch.targets,
        batch.response_group,
        batch.weights,
        None,
        batch.most_ranked,
    )
    return total(Tuna()(lists), lists, batch.totals), logprobs


def seconds_of(setting: Setting, step: Callable[[], object], warmups: int = 3, steps: int = 5) -> float:
    """The median time of a step."""
    for _ in range(setting.pick(warmups, 1)):
        step()
    return statistics.median(timed(setting, step) for _ in range(setting.pick(steps, 1)))


def timed(setting: Setting, step: Callable[[], object]) -> float:
    """The time of one step."""
    setting.wait()
    start = time.perf_counter()
    step()
    setting.wait()
    return time.perf_counter() - start


def graphs() -> int:
    """How many graphs torch has compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@contextmanager
def or_out_of_memory(row: Row) -> Iterator[None]:
    """What does not fit is a row that says so, and the next begins."""
    try:
        yield
    except torch.OutOfMemoryError:
        row["status"] = "out of memory"
