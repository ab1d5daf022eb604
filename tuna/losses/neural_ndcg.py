"""NeuralNDCG: one minus the NDCG of the list, sorted by a smooth permutation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.approx_ndcg import shortfall
from tuna.losses.base import Lists, ScoredLists, as_lists
from tuna.losses.ranking import Graded, Scale, labels_of

_ROUNDS = 50  # of Sinkhorn's scaling, as in the authors' code
_NEVER = -1e9  # a log-probability whose gradient is 0 rather than no number


@checked
@dataclass(kw_only=True)
class NeuralNDCG(Graded):
    """C = 1 - DCG / DCG of the ideal order; DCG = sum over places i of (sum over candidates j of P_ij * (2^y_j - 1)) /
    log2(1 + i).

    P is NeuralSort's smooth permutation (Grover et al., arXiv 1903.08850, Eq. 5), P_i = softmax(((K + 1 - 2i) * s -
    A) / temperature), A_j = sum over k of |s_j - s_k|, its rows and columns then scaled to sums of 1 (Sinkhorn), and
    s = beta * log(p / p_ref). Pobrotyn and Bialobrzeski, arXiv 2102.07831; for language models Zhao et al. (OPO), arXiv
    2410.04346. Settings: beta 0.1, temperature 1 (Mistral 7B) or 0.1 (Qwen2 0.5B), learning rate 5e-7, K = 8. labels:
    the scores (auto) or the distinct ranks, laid on 0 to 1 within each list.
    """

    temperature: Scale = 1.0  # of the smooth sorting: at less it is nearer to the true order

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list whose labels are all equal."""
        ranked = as_lists(lists, self.rewards(lists))
        gain = 2 ** labels_of(ranked, self.labels) - 1  # 0 where absent
        sorted_gain = (smooth_permutation(ranked, self.temperature) @ gain[:, :, None]).squeeze(2)
        places = torch.arange(gain.shape[1], device=gain.device, dtype=gain.dtype) + 1
        return shortfall((sorted_gain / torch.log2(1 + places)).sum(1), gain)


def smooth_permutation(lists: Lists, temperature: float) -> Tensor:
    """[G, K, K] how much of place i (dim 1) each candidate j (dim 2) has, by v; rows and columns sum to 1.

    Places and candidates that are not there share nothing with those that are.

    >>> lists = Lists(torch.tensor([[0.0, 9.0]]), torch.zeros(1, 2), torch.ones(1, 2) > 0, torch.ones(1))
    >>> [[round(share, 3) for share in row] for row in smooth_permutation(lists, 1.0)[0].tolist()]
    [[0.0, 1.0], [1.0, 0.0]]
    """
    v, present = lists.v, lists.present
    real = present[:, :, None] & present[:, None, :]
    distance = torch.where(real, (v[:, :, None] - v[:, None, :]).abs(), 0.0).sum(2)
    places = torch.arange(v.shape[1], device=v.device) + 1
    slope = present.sum(1, keepdim=True) + 1 - 2 * places  # [G, i]
    logits = (slope[:, :, None] * v[:, None, :] - distance[:, None, :]) / temperature
    itself = torch.eye(v.shape[1], device=v.device, dtype=v.dtype).log().clamp(min=_NEVER)
    logits = torch.where(real, logits, itself).log_softmax(2)
    for _ in range(_ROUNDS):
        logits = logits.log_softmax(1).log_softmax(2)
    return logits.exp()
