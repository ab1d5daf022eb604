"""Lambda-DPO: the softmax of log-ratios per token against the softmax of graded scores."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists
from tuna.losses.infonca import InfoNCA
from tuna.losses.ranking import Scale


@checked
@dataclass(kw_only=True)
class LambdaDPO(InfoNCA):
    """C = -sum over candidates of q * log softmax(s), q = softmax(label / alpha): InfoNCA's cost with other settings.

    Sun et al., arXiv 2506.19780, where s = beta * log(p / p_ref) and several scores per answer, one per aspect, have a
    cost each, weighed at random; here an answer has one score. The authors' code divides s by the tokens of the answer
    (length: mean, beta 0.1) and takes q = softmax(rating) of ratings from 1 to 5, which is an alpha of 0.25 where
    labels lie on 0 to 1. Their learning rate is 5e-6, K = 4.

    length: sum takes log-ratios of whole responses, as the paper's equation has them.
    """

    beta: Scale = 0.1
    alpha: Scale = 0.25
    length: Literal["sum", "mean"] = "mean"

    def rewards(self, lists: ScoredLists) -> Tensor:
        """s of each response, [R]."""
        rewards = super().rewards(lists)
        return rewards / lists.lengths if self.length == "mean" else rewards
