"""DPO with ties by the Rao-Kupper model."""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.ties import Tied


@checked
@dataclass(kw_only=True)
class RaoKupper(Tied):
    """P(j better) = sigmoid(d - log nu), P(tie) = (nu^2 - 1) * sigmoid(d - log nu) * sigmoid(-d - log nu), d = s_j -
    s_k.

    Chen et al., arXiv 2409.17431, Eqs. 9 and 10; Rao and Kupper, JASA 62 (1967). Settings: nu 3, with which two equal
    responses tie in half of all cases. nu: how readily responses tie, more than 1.
    """

    nu: Annotated[float, Gt(1)] = 3.0

    def costs(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """-log P(j better than k) and -log P(tie)."""
        shift = math.log(self.nu)
        return softplus(shift - gap), softplus(shift - gap) + softplus(shift + gap) - math.log(self.nu**2 - 1)
