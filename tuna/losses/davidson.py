"""DPO with ties by the Davidson model."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.ranking import Scale
from tuna.losses.ties import Tied


@checked
@dataclass(kw_only=True)
class Davidson(Tied):
    """P(j better) = 1 / (1 + exp(-d) + 2 nu exp(-d / 2)), P(tie) = 2 nu exp(-d / 2) * P(j better), d = s_j - s_k.

    Chen et al., arXiv 2409.17431, Eqs. 12 and 13; Davidson, JASA 65 (1970). Settings: nu 1, with which two equal
    responses tie in half of all cases.
    """

    nu: Scale = 1.0  # how often equal responses tie: nu / (1 + nu) of all cases

    def costs(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """-log P(j better than k) and -log P(tie)."""
        share = math.log(2 * self.nu) - gap / 2
        win = torch.stack([torch.zeros_like(gap), -gap, share]).logsumexp(0)
        return win, win - share
