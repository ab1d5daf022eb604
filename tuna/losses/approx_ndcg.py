"""ApproxNDCG: one minus the NDCG of the list, its ranks made smooth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import Graded, Scale, labels_of


@checked
@dataclass(kw_only=True)
class ApproxNDCG(Graded):
    """C = 1 - DCG / DCG of the ideal order; DCG = sum over candidates j of (2^y_j - 1) / log2(1 + t_j).

    t_j = 1 + sum over the others k of sigmoid(sharpness * (s_k - s_j)) is j's smooth rank, s = beta * log(p / p_ref).
    Qin et al., Information Retrieval 13 (2010); for language models Zhao et al. (OPO), arXiv 2410.04346. Settings: beta
    0.1, sharpness 25, learning rate 5e-7, K = 8. labels: the scores (auto) or the distinct ranks, laid on 0 to 1 within
    each list.
    """

    sharpness: Scale = 25.0  # of the smooth ranks: at more they are nearer to the true ones

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list whose labels are all equal."""
        ranked = as_lists(lists, self.rewards(lists))
        width = ranked.v.shape[1]
        others = ranked.present[:, None, :] & ~torch.eye(width, dtype=torch.bool, device=ranked.v.device)
        above = (self.sharpness * (ranked.v[:, None, :] - ranked.v[:, :, None])).sigmoid()
        rank = 1 + torch.where(others, above, 0.0).sum(2)
        gain = 2 ** labels_of(ranked, self.labels) - 1  # 0 where absent
        return shortfall((gain / torch.log2(1 + rank)).sum(1), gain)


def shortfall(found: Tensor, gain: Tensor) -> Tensor:
    """[G] one minus found / the DCG of the ideal order of ``gain`` [G, K]; 0 for a list without gains."""
    places = torch.arange(gain.shape[1], device=gain.device, dtype=gain.dtype) + 1
    ideal = (gain.sort(dim=1, descending=True).values / torch.log2(1 + places)).sum(1)
    return torch.where(ideal > 0, 1 - found / ideal.clamp(min=1e-12), 0.0)
