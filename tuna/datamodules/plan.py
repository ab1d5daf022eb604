"""Which groups make which micro-batch: a pure function of (seed, step, world size, accumulation), without state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from tuna.data.batch import Group, PackedBatch, Totals
from tuna.data.packing import Sharing, count_totals, filler, pack
from tuna.errors import ConfigError

SHARED = Sharing()  # each prompt once


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part of one micro-step."""

    groups: tuple[int, ...]  # their indices
    fill: int  # how many groups of weight 0 fill it up


@dataclass(frozen=True)
class StepPlan:
    """The order of all steps of a run.

    Epoch e is the permutation of (seed, e), cut into chunks of ``batch_size`` groups, one per optimizer step; the last
    chunk of an epoch may be short and is not dropped.

    A source of n groups and weight w gives ``per_epoch`` = round(n * w) groups to each epoch, taken in turn from an
    endless row of permutations of its groups: so no group is seen a second time before all others were seen once, and
    with w = 0.5 the second epoch has the other half.

    Within a step, groups are sorted by length into ``accumulate`` micro-steps and dealt to the processes back and
    forth, so that these carry about as many tokens each. Micro-steps are of equal numbers of groups, or, where
    ``tokens`` is given, of as many as fit; see ``within``. Raises: ConfigError where ``batch_size`` is no multiple of
    ``accumulate`` x ``world_size``.

    >>> plan = StepPlan(lengths=(5, 1, 4, 2, 3), batch_size=4, accumulate=2, epochs=2, seed=0)
    >>> plan.steps_per_epoch, plan.total_steps
    (2, 4)
    >>> sorted(g for m in range(2) for g in plan.share(0, m, 0).groups) == sorted(plan.step_groups(0))
    True
    """

    lengths: Sequence[int]
    batch_size: int
    accumulate: int = 1
    world_size: int = 1
    epochs: int = 1
    seed: int = 0
    sources: Sequence[int] = ()  # of each group, which source it is of; nothing where there is one
    weights: Sequence[float] = (1.0,)  # of each source, how often per epoch each of its groups is seen on average
    tokens: int | None = None  # the most that a process has in a micro-step, one group that is longer aside

    def __post_init__(self) -> None:
        if self.batch_size % ((1 if self.tokens else self.accumulate) * self.world_size):
            raise ConfigError(
                f"datamodule.batch_size: expected a multiple of trainer.accumulate x trainer.devices x "
                f"trainer.num_nodes = {self.accumulate} x {self.world_size} (all processes), got {self.batch_size}"
            )

    def within(self, tokens: int) -> "StepPlan":
        """The same steps in as few micro-steps as keep each process's part of each within ``tokens``.

        Every step has the same number of them, that of the step which needs most; the last ones of another may be
        filled with weight 0 alone.

        >>> plan = StepPlan(lengths=(5, 1, 4, 2, 3), batch_size=4, seed=0).within(6)
        >>> [[plan.share(step, m, 0).groups for m in range(plan.accumulate)] for step in range(2)]
        [[(0,), (2,), (4, 3)], [(1,), (), ()]]
        """
        plan = replace(self, tokens=tokens)
        return replace(plan, accumulate=max(len(plan._cut(step)) for step in range(self.total_steps)))

    def _cut(self, step: int) -> list[list[Share]]:
        """The micro-steps of a step, of equal numbers of groups or by token budget."""
        groups = self.step_groups(step).tolist()
        if self.tokens is None:
            return deal(groups, self.accumulate, self.world_size)
        return deal_within(groups, [self.lengths[g] for g in groups], self.tokens, self.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch, a short last one included."""
        return ceil(sum(self.per_epoch) / self.batch_size)

    @cached_property
    def members(self) -> list[npt.NDArray[np.int64]]:
        """The groups of each source."""
        of = np.asarray(self.sources or [0] * len(self.lengths), np.int64)
        return [np.flatnonzero(of == n) for n in range(len(self.weights))]

    @cached_property
    def per_epoch(self) -> list[int]:
        """How many groups of each source an epoch has: one at least of a source that has any."""
        sizes = zip(map(len, self.members), self.weights, strict=True)
        return [max(1, floor(size * weight + 0.5)) if size else 0 for size, weight in sizes]

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all epochs."""
        return self.steps_per_epoch * self.epochs

    def step_groups(self, step: int) -> npt.NDArray[np.int64]:
        """All groups of optimizer step ``step``, longest first."""
        epoch, chunk = divmod(step, self.steps_per_epoch)
        chosen = self._order(epoch)[chunk * self.batch_size : (chunk + 1) * self.batch_size]
        return chosen[np.argsort([-self.lengths[i] for i in chosen], kind="stable")]

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """What the epoch sees, in its order; the last one asked for is kept."""
        if epoch not in self._orders:
            drawn = np.sort(np.concatenate([self._drawn(n, epoch) for n in range(len(self.weights))]))
            self._orders.clear()
            self._orders[epoch] = drawn[np.random.default_rng((self.seed, epoch)).permutation(len(drawn))]
        return self._orders[epoch]

    @cached_property
    def _orders(self) -> dict[int, npt.NDArray[np.int64]]:
        return {}

    def _drawn(self, source: int, epoch: int) -> npt.NDArray[np.int64]:
        """What the epoch sees of one source, in no order that matters; with weight 1 each group once."""
        groups, number = self.members[source], self.per_epoch[source]
        if number == len(groups):
            return groups
        # Places epoch * number and on, in the endless row; 1 is added since trailing zeros change no seed.
        first, begin = divmod(epoch * number, len(groups))
        cycles = range(first, first + ceil((begin + number) / len(groups)))
        row = [np.random.default_rng((self.seed, source + 1, cycle + 1)).permutation(groups) for cycle in cycles]
        return np.concatenate(row)[begin : begin + number]

    def share(self, step: int, micro: int, rank: int) -> Share:
        """What process ``rank`` computes in micro-step ``micro`` (0..accumulate-1) of ``step``."""
        cut = self._cut(step)
        return cut[micro][rank] if micro < len(cut) else Share((), 1)

    def heaviest(self, rank: int, steps: int) -> tuple[int, int]:
        """(step, micro-step) of the first ``steps`` in which process ``rank`` has most tokens."""
        shares = ((step, micro, ranks[rank]) for step in range(steps) for micro, ranks in enumerate(self._cut(step)))
        return max(shares, key=lambda each: sum(self.lengths[g] for g in each[2].groups))[:2]


def deal(groups: list[int], micro_steps: int, world_size: int) -> list[list[Share]]:
    """Groups, longest first, to ``[micro_steps][world_size]`` shares of one equal number.

    >>> [[s.groups for s in ranks] for ranks in deal([0, 1, 2, 3, 4, 5, 6, 7], 2, 2)]
    [[(0, 3), (1, 2)], [(4, 7), (5, 6)]]
    """
    number = ceil(len(groups) / (micro_steps * world_size))
    hands: list[list[list[int]]] = [[[] for _ in range(world_size)] for _ in range(micro_steps)]
    for place, group in enumerate(groups):
        turn, at = divmod(place % (number * world_size), world_size)
        rank = world_size - 1 - at if turn % 2 else at
        hands[place // (number * world_size)][rank].append(group)
    return [[Share(tuple(hand), number - len(hand)) for hand in ranks] for ranks in hands]


def deal_within(groups: list[int], lengths: list[int], tokens: int, world_size: int) -> list[list[Share]]:
    """Groups, longest first, to ``[micro_steps][world_size]`` shares of ``tokens`` at most, or of one longer group.

    The shares of a micro-step have one number of groups. lengths: of the groups, in tokens.

    >>> [[s.groups for s in ranks] for ranks in deal_within([0, 1, 2, 3, 4], [9, 5, 3, 2, 1], 8, 2)]
    [[(0,), (1,)], [(2,), (3, 4)]]
    """
    micro_steps: list[list[int]] = []
    used = 0
    for at in range(0, len(groups), world_size):  # a group more for each process: the first one is the longest
        if not micro_steps or used + lengths[at] > tokens:
            micro_steps.append([])
            used = 0
        micro_steps[-1] += groups[at : at + world_size]
        used += lengths[at]
    return [deal(part, 1, world_size)[0] for part in micro_steps]


def costs(groups: Sequence[Group], padded: bool) -> list[int]:
    """Tokens that a scorer computes for each group: packed, or each response in a row as long as the longest."""
    if not padded:
        return [group.num_tokens for group in groups]
    return [len(g.responses) * (len(g.prompt) + max(map(len, g.responses))) for g in groups]


class TrainBatches(Dataset[PackedBatch]):
    """One process's micro-batches; item i is micro-step ``i % accumulate`` of optimizer step ``i // accumulate``."""

    def __init__(
        self,
        groups: Sequence[Group],
        plan: StepPlan,
        rank: int,
        row_tokens: int,
        start_step: int = 0,
        sharing: Sharing = SHARED,
    ) -> None:
        self.groups, self.plan, self.rank, self.row_tokens, self.sharing = groups, plan, rank, row_tokens, sharing
        self.start = start_step * plan.accumulate
        self._filler = filler(min(groups, key=lambda group: group.num_tokens))

    def __len__(self) -> int:
        return max(0, self.plan.total_steps * self.plan.accumulate - self.start)

    def __getitem__(self, item: int) -> PackedBatch:
        if not 0 <= item < len(self):
            raise IndexError(item)
        step, micro = divmod(self.start + item, self.plan.accumulate)
        totals = count_totals([self.groups[i] for i in self.plan.step_groups(step)])
        share = self.plan.share(step, micro, self.rank)
        return _batch(self.groups, share, self._filler, totals, self.row_tokens, self.sharing)


class HeldOutBatches(Dataset[PackedBatch]):
    """One process's held-out batches: shares are disjoint, equally many on every process, filled with weight 0.

    Every batch has the totals of the whole held-out set, so losses add up to its mean over all batches and processes.
    tokens: the most in a batch of a process, a longer group aside.
    """

    def __init__(
        self, groups: Sequence[Group], tokens: int, world_size: int, rank: int, row_tokens: int,
        sharing: Sharing = SHARED, *, padded: bool = False,
    ) -> None:  # fmt: skip
        self.groups, self.row_tokens, self.sharing = groups, row_tokens, sharing
        lengths = costs(groups, padded)
        order = sorted(range(len(groups)), key=lambda i: (-lengths[i], i))
        cut = deal_within(order, [lengths[i] for i in order], tokens, world_size)
        self.shares = [ranks[rank] for ranks in cut]
        self.totals = count_totals(groups)
        self._filler = filler(groups[order[-1]])

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, item: int) -> PackedBatch:
        return _batch(self.groups, self.shares[item], self._filler, self.totals, self.row_tokens, self.sharing)


def _batch(
    groups: Sequence[Group], share: Share, fill: Group, totals: Totals, row_tokens: int, sharing: Sharing
) -> PackedBatch:
    chosen = [groups[i] for i in share.groups] + [fill] * share.fill
    weights = [1.0] * len(share.groups) + [0.0] * share.fill
    return pack(chosen, row_tokens=row_tokens, totals=totals, weights=weights, share=sharing(chosen))
