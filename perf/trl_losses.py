"""Tuna's pair losses against TRL's own code on the same log-probabilities.

TRL is no dependency. Make an environment for it that sees this one's packages, and run this file there:

    python -m venv build/trl && build/trl/bin/pip install --no-deps trl accelerate psutil
    realpath .venv/lib/python3.*/site-packages > $(echo build/trl/lib/python3.*/site-packages)/tuna.pth
    build/trl/bin/python -m perf.trl_losses

Prints one line per loss; the exit status is 1 where a relative difference is above 1e-5.
"""

import random
import sys
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import trl
from torch import Tensor
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from tuna.losses.apo_zero import APOZero
from tuna.losses.base import ScoredLists, total
from tuna.losses.cpo import CPO
from tuna.losses.dpo import DPO
from tuna.losses.hinge import Hinge
from tuna.losses.ipo import IPO
from tuna.losses.kto import KTO
from tuna.losses.nca import NCA
from tuna.losses.orpo import ORPO
from tuna.losses.simpo import SimPO

PAIRS = 64
SINGLE = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)  # a process alone


class Stub(SimpleNamespace):
    """A trainer's attributes, without a trainer."""

    def __init__(self, **more: Any) -> None:
        model = SimpleNamespace(training=True)
        super().__init__(
            model=model, accelerator=SINGLE, _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0,
            _tp_size=1, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True, label_smoothing=0.0,
            f_divergence_type="reverse_kl", use_weighting=False, loss_weights=[1.0], **more,
        )  # fmt: skip


def pairs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Per-token log-probabilities [2 * PAIRS, L] (chosen first, 0 where masked), lengths, reference sums."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 30, (2 * PAIRS,), generator=rng)
    mask = torch.arange(30) < lengths[:, None]
    tokens = -torch.rand(2 * PAIRS, 30, generator=rng, dtype=torch.float64) * 3 * mask
    reference = tokens.sum(1) + 4 * torch.randn(2 * PAIRS, generator=rng, dtype=torch.float64)
    return tokens, lengths, reference


def ours(loss: Any, tokens: Tensor, lengths: Tensor, reference: Tensor) -> Tensor:
    """The mean over lists of two, without the cross-entropy."""
    order = torch.arange(2 * PAIRS).view(2, PAIRS).T.flatten()  # each list's two next to each other
    owner, scores = torch.arange(PAIRS).repeat_interleave(2), torch.tensor([1.0, 0.0]).repeat(PAIRS)
    none = torch.zeros(2 * PAIRS, dtype=torch.bool)
    lists = ScoredLists(tokens.sum(1)[order], lengths[order], scores, none, owner, torch.ones(PAIRS), reference[order])
    return total({"rank": loss(lists)["rank"]}, lists)


def model_of(tokens: Tensor) -> Callable[..., Any]:
    """A model whose outputs are given."""
    zero = torch.zeros_like(tokens)
    outputs = SimpleNamespace(log_probs=tokens, entropy=zero, mean_logits=zero, is_top1=zero.bool())
    return lambda **_: outputs


def by_dpo_trainer(kind: str, beta: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """``loss_type=kind`` of TRL's DPOTrainer."""

    def loss(tokens: Tensor, lengths: Tensor, reference: Tensor) -> Tensor:
        mask = torch.cat([torch.zeros(len(lengths), 1), (torch.arange(30) < lengths[:, None]).float()], 1)
        inputs = {
            "input_ids": torch.zeros_like(mask).long(), "attention_mask": mask, "completion_mask": mask,
            "ref_chosen_logps": reference[:PAIRS], "ref_rejected_logps": reference[PAIRS:],
        }  # fmt: skip
        stub = Stub(beta=beta, loss_types=[kind])
        found: Tensor = DPOTrainer._compute_loss(stub, model_of(tokens), inputs, False)
        return found

    return loss


def by_cpo_trainer(kind: str, beta: float, gamma: float = 0.0) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """``loss_type=kind`` of TRL's CPOTrainer."""

    def loss(tokens: Tensor, lengths: Tensor, reference: Tensor) -> Tensor:
        sums = tokens.sum(1) / lengths if kind == "simpo" else tokens.sum(1)
        stub = Stub(beta=beta, loss_type=kind, alpha=0.0, simpo_gamma=gamma)
        found: Tensor = CPOTrainer.cpo_loss(stub, sums[:PAIRS], sums[PAIRS:])[0].mean()
        return found

    return loss


def by_orpo_trainer(tokens: Tensor, lengths: Tensor, reference: Tensor) -> Tensor:
    """The odds-ratio part of TRL's ORPOTrainer."""
    means = tokens.sum(1) / lengths
    found: Tensor = -ORPOTrainer.odds_ratio_loss(Stub(beta=0.1), means[:PAIRS], means[PAIRS:])[0].mean()
    return found


def by_kto_trainer(tokens: Tensor, lengths: Tensor, reference: Tensor) -> Tensor:
    """Pair by pair, with the reference point that loss=kto takes in place of TRL's mismatched answers."""
    found = []
    for at in range(PAIRS):
        two = torch.tensor([at, PAIRS + at])
        mask = torch.cat([torch.zeros(2, 1), (torch.arange(30) < lengths[two, None]).float()], 1)
        point = (tokens[two].sum(1) - reference[two]).mean().detach()
        batch = {
            "input_ids": torch.zeros_like(mask).long(), "attention_mask": mask, "completion_mask": mask,
            "label": torch.tensor([True, False]), "ref_logps": reference[two], "ref_KL_logps": torch.zeros(1),
        }  # fmt: skip
        stub = Stub(
            beta=0.1, loss_type="kto", calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.0,
            _compute_kl_logps=lambda *_, point=point: point[None],
        )  # fmt: skip
        found.append(KTOTrainer._compute_loss(stub, model_of(tokens[two]), batch, False))
    return torch.stack(found).mean()


CASES: list[tuple[str, Any, Callable[[Tensor, Tensor, Tensor], Tensor]]] = [
    ("dpo (sigmoid)", DPO(), by_dpo_trainer("sigmoid", 0.1)),
    ("dpo_norm (sigmoid_norm)", DPO(beta=5.0, length="mean"), by_dpo_trainer("sigmoid_norm", 5.0)),
    ("ipo", IPO(), by_dpo_trainer("ipo", 0.1)),
    ("hinge", Hinge(), by_dpo_trainer("hinge", 0.05)),
    ("apo_zero", APOZero(), by_dpo_trainer("apo_zero", 0.1)),
    ("nca (nca_pair, alpha to 0)", NCA(beta=0.01, alpha=1e-3), by_dpo_trainer("nca_pair", 0.01)),
    ("simpo", SimPO(), by_cpo_trainer("simpo", 2.0, 1.0)),
    ("cpo (sigmoid)", CPO(), by_cpo_trainer("sigmoid", 0.1)),
    ("orpo", ORPO(), by_orpo_trainer),
    ("kto (its own reference point)", KTO(), by_kto_trainer),
]


def main() -> int:
    """Compare values and gradients."""
    print(f"TRL {trl.__version__}, {PAIRS} pairs; the largest relative difference of the loss and of its gradient")
    worst = 0.0
    for name, loss, theirs in CASES:
        tokens, lengths, reference = pairs(random.Random(name).randrange(1 << 30))
        mine, other = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
        a, b = ours(loss, mine, lengths, reference), theirs(other, lengths, reference)
        (da,), (db,) = torch.autograd.grad(a, mine), torch.autograd.grad(b, other)
        value = abs(a.item() - b.item()) / abs(b.item())
        slope = ((da - db).abs().max() / db.abs().max()).item()
        print(f"{name:32} {a.item():.8f} {b.item():.8f}  {value:.1e}  {slope:.1e}")
        worst = max(worst, value, slope)
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main())
