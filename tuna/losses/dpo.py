"""Direct preference optimization: over all pairs of a list, of its best candidates, or best against worst."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import Referenced, Which, over_pairs


@checked
@dataclass(kw_only=True)
class DPO(Referenced):
    """C = mean over pairs j better than k of -log sigmoid(s_j - s_k), s = beta * log(p / p_ref).

    Rafailov et al., arXiv 2305.18290, Eq. 7; their settings: beta 0.1, learning rate 1e-6, batches of 64 pairs.

    pairs: all pairs of a list, those of its best candidates with the rest (best), or of best and worst (extremes).
    length: sum takes log-ratios of whole responses; mean divides each by its tokens, as Tulu 3 and Olmo 3 do (arXiv
    2411.15124; beta 5).

    A pair whose log-ratios are both 0 costs log 2:

    >>> import torch
    >>> from tuna.losses.base import total
    >>> lists = ScoredLists(torch.tensor([-2.0, -4.0]), torch.tensor([2, 2]), torch.tensor([1.0, 0.0]),
    ...                     torch.tensor([False, False]), torch.tensor([0, 0]), torch.ones(1),
    ...                     torch.tensor([-2.0, -4.0]))
    >>> round(total(DPO()(lists), lists).item(), 6)
    0.693147
    """

    pairs: Which = "all"
    length: Literal["sum", "mean"] = "sum"

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        rewards = self.rewards(lists)
        ranked = as_lists(lists, rewards / lists.lengths if self.length == "mean" else rewards)
        return over_pairs(ranked, self.pairs, lambda better, worse: softplus(worse - better))
