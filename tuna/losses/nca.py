"""Noise-contrastive alignment: each implicit reward by itself, weighed by graded scores."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.infonca import InfoNCA, shares


@checked
@dataclass(kw_only=True)
class NCA(InfoNCA):
    """C = -sum over K candidates of q * log sigmoid(s) + (1/K) * log sigmoid(-s), q = softmax(label / alpha).

    s = beta * log(p / p_ref). Chen et al., arXiv 2402.05369, Eq. 12. Settings: beta 0.01, learning rate 5e-6, K = 4.
    As alpha goes to 0, two candidates cost what TRL's nca_pair costs.
    """

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list whose labels are all equal."""
        ranked = as_lists(lists, self.rewards(lists))
        target = shares(ranked, self.labels, self.alpha)
        some = ranked.present & (target > 0).any(1, keepdim=True)
        each = some / some.sum(1, keepdim=True).clamp(min=1)
        return (target * softplus(-ranked.v) + each * softplus(ranked.v)).sum(1)
