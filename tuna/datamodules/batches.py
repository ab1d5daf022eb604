"""Map-style data sets of packed micro-batches: item i follows from the plan, so workers and restarts change nothing."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from tuna.data.batch import Group, PackedBatch, Totals
from tuna.data.packing import count_totals, filler, pack
from tuna.datamodules.plan import Share, StepPlan, deal


class TrainBatches(Dataset[PackedBatch]):
    """One process's micro-batches; item i is micro-step ``i % accumulate`` of optimizer step ``i // accumulate``."""

    def __init__(
        self, groups: Sequence[Group], plan: StepPlan, rank: int, row_tokens: int, start_step: int = 0
    ) -> None:
        self.groups, self.plan, self.rank, self.row_tokens = groups, plan, rank, row_tokens
        self.start = start_step * plan.accumulate
        self._filler = filler(min(groups, key=lambda group: group.num_tokens))

    def __len__(self) -> int:
        return max(0, self.plan.total_steps * self.plan.accumulate - self.start)

    def __getitem__(self, item: int) -> PackedBatch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        step, micro = divmod(self.start + item, self.plan.accumulate)
        totals = count_totals([self.groups[i] for i in self.plan.step_groups(step)])
        return _batch(self.groups, self.plan.share(step, micro, self.rank), self._filler, totals, self.row_tokens)


class HeldOutBatches(Dataset[PackedBatch]):
    """One process's held-out batches: shares are disjoint, equally many on every process, filled with weight 0.

    Every batch has the totals of the whole held-out set, so losses add up to its mean over all batches and processes.
    """

    def __init__(self, groups: Sequence[Group], batch_groups: int, world_size: int, rank: int, row_tokens: int) -> None:
        self.groups, self.row_tokens = groups, row_tokens
        order = sorted(range(len(groups)), key=lambda i: (-groups[i].num_tokens, i))
        block = batch_groups * world_size
        self.shares = [deal(order[at : at + block], 1, world_size)[0][rank] for at in range(0, len(order), block)]
        self.totals = count_totals(groups)
        self._filler = filler(groups[order[-1]])

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, item: int) -> PackedBatch:
        return _batch(self.groups, self.shares[item], self._filler, self.totals, self.row_tokens)


def _batch(groups: Sequence[Group], share: Share, fill: Group, totals: Totals, row_tokens: int) -> PackedBatch:
    chosen = [groups[i] for i in share.groups] + [fill] * share.fill
    weights = [1.0] * len(share.groups) + [0.0] * share.fill
    return pack(chosen, row_tokens=row_tokens, totals=totals, weights=weights)
