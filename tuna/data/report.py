"""What became of the data: printed before training, kept in run.json."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class DataReport:
    """Counts of one datamodule. Tokens are those of kept groups, each prompt and response once."""

    sources: list[dict[str, Any]] = field(
        default_factory=list
    )  # path, format, rows, rank_by, sha256, lists, weight, lists_per_epoch
    rows: int = 0  # rows read, inside the ranges
    train_lists: int = 0
    held_out_lists: int = 0
    responses: int = 0  # of all kept lists, originals included
    pairs: int = 0  # pairs of different scores in training lists
    all_tied: int = 0  # kept lists without such a pair: cross-entropy only
    median_k: float = 0.0  # ranked responses a list (targets a list where nothing is ranked)
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> rows, responses or lists
    prompts_shortened: int = 0
    responses_cut: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    cache_hit: bool = False
    seconds: float = 0.0
    baselines: dict[str, Any] = field(default_factory=dict)  # held-out pair_accuracy of length-only and random
    notes: list[str] = field(default_factory=list)
    sha256: str = ""

    def lines(self) -> list[str]:
        """For printing, most needed first."""
        out = []
        for source in self.sources:
            by = f", rank_by {source['rank_by']}" if source.get("rank_by") else ""
            out.append(f"{source['path']} ({source['format']}{by}, {source['rows']} rows)" + _mixed(source))
        out.append(f"lists: {self.train_lists} to train on, {self.held_out_lists} held out, median K {self.median_k:g}")
        if self.pairs or self.all_tied:
            out.append(f"pairs: {self.pairs}; lists without one: {self.all_tied} (cross-entropy only)")
        out.append(
            f"tokens: {self.prompt_tokens} prompt, {self.response_tokens} response; prompts shortened: "
            f"{self.prompts_shortened}, responses cut: {self.responses_cut}"
        )
        if self.dropped:
            out.append("dropped: " + ", ".join(f"{reason}: {n}" for reason, n in sorted(self.dropped.items())))
        for name, interval in self.baselines.items():
            shown = f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
            out.append(f"held-out pair_accuracy, {name}: {shown} over {interval['lists']} lists")
        out.append(f"tokenized in {self.seconds:.1f} s{' (from the cache)' if self.cache_hit else ''}")
        return out + [f"note: {note}" for note in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return {**asdict(self), "dropped": dict(self.dropped)}


def _mixed(source: dict[str, Any]) -> str:
    if source.get("weight", 1.0) == 1.0:
        return ""
    return f": {source['lists']} lists, weight {source['weight']:g}, {source['lists_per_epoch']} per epoch"
