"""The likelihood of reference answers under a model (the paper's Table 5: LIMA, which chose beta)."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tuna.config.scale import ASSETS
from tuna.data.lists import target_list
from tuna.data.load import Source, load_sources
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, Result, spread
from tuna.evaluation.desk import Desk, check_likelihoods
from tuna.evaluation.given import GivenAnswers
from tuna.evaluation.likelihood import check_left, response_values
from tuna.judges.prompt import shown
from tuna.stats import bootstrap_interval

EMBEDDED_FILE = ASSETS / "instructions" / "held_out.jsonl"


@dataclass
class NLL(Benchmark):
    """Mean negative log-likelihood of the original responses (``output``) of a file, in nats a token; lower is better.

    nll is the mean over answers of each one's mean over tokens (Eq. 2); nll_tokens the mean over all tokens. The
    end-of-sequence token counts. path: records with an output, any format that train.py reads; null: the embedded
    held-out questions. max_length: tokens of prompt plus response at most. row_tokens: of a packed row.

    Raises:
        ConfigError: values out of range.
    """

    path: str | None = None
    max_length: int = 2048
    row_tokens: int = 2048

    name: ClassVar[str] = "nll"

    def __post_init__(self) -> None:
        if self.max_length < 2 or self.row_tokens < 2:
            raise ConfigError("max_length, row_tokens: expected 2 or more")

    def prepare(self, limit: int | None) -> None:
        """Read the records."""
        loaded = load_sources([Source(self.path or str(EMBEDDED_FILE), None, key="benchmark.path")])[0]
        records = spread(loaded.records, [""] * len(loaded.records), limit)
        self._dropped: Counter[str] = Counter()
        found = (target_list(record, self._dropped, False, loaded.original_best) for record in records)
        self._lists = [item for item in found if item is not None]
        check_left(self._lists, loaded.source.path, self._dropped)
        self._sha256 = loaded.sha256

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        return {"benchmark": self.name, "data": self._sha256, "max_length": self.max_length}

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A model on this machine alone gives log-probabilities."""
        check_likelihoods(given, generation)

    def measure(self, desk: Desk) -> Result:
        """The mean over answers with its bootstrap interval, and over tokens."""
        scored, dropped = response_values(
            desk, self._lists, max_length=self.max_length, row_tokens=self.row_tokens, ranked=False
        )
        lengths = np.array([group.lengths[0] for group, _ in scored], np.float64)
        each = np.array([-values[0] for _, values in scored])
        interval = bootstrap_interval(each, desk.seed)
        over_tokens = float((each * lengths).sum() / lengths.sum())
        records = {item.record.id: item.record for item in self._lists}
        return Result(
            scores={"nll": interval.mean, "nll_tokens": over_tokens, "perplexity": math.exp(over_tokens)},
            primary="nll",
            examples=[
                {
                    "id": group.id, "task": "", "instruction": shown(records[group.id]),
                    "references": [records[group.id].output], "num_tokens": group.lengths[0],
                    "scores": {"nll": float(value)},
                }
                for (group, _), value in zip(scored, each, strict=True)
            ],
            expected=len(self._lists),
            missing=sorted({item.record.id for item in self._lists} - {group.id for group, _ in scored}),
            intervals={"nll": (interval.low, interval.high)},
            notes=[f"{reason}: {count}" for reason, count in sorted((self._dropped + dropped).items())],
            lower_is_better=("nll", "nll_tokens", "perplexity"),
        )  # fmt: skip
