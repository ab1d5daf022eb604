"""What holds for every loss of conf/loss: a slow loop, gradients, order, padding, ties; pair losses at K = 2."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from tests.losses.make import random_lists, select
from tests.losses.slow import SLOW, best, log_loss, logistic, over
from tuna.config.schema import build
from tuna.losses.base import ScoredLists, total

FOLDER = Path(__file__).parents[2] / "conf" / "loss"
NAMES = sorted(SLOW)


def loss_named(name: str, **changes: Any) -> Any:
    node: Any = OmegaConf.load(FOLDER / f"{name}.yaml")
    return build(OmegaConf.merge(node, changes))  # type: ignore[arg-type]


def lists_of(seed: int, **more: Any) -> ScoredLists:
    """Random lists with a reference that differs from the model by some nats."""
    lists = random_lists(seed, **more)
    noise = torch.randn(len(lists.lengths), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return replace(lists, reference=(lists.logprobs + 2 * noise).detach())


def plain(lists: ScoredLists, group: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """The ranked candidates of a group as the slow loops take them."""
    chosen = (lists.groups == group) & ~torch.isnan(lists.scores)
    assert lists.reference is not None
    fields = lists.logprobs, lists.lengths, lists.reference, lists.scores
    logprobs, lengths, reference, scores = (field[chosen].tolist() for field in fields)
    return logprobs, lengths, reference, scores


def pair(p: tuple[float, float], ref: tuple[float, float], n: tuple[int, int] = (4, 7)) -> ScoredLists:
    """One list of two, the first the better one; no target."""
    return ScoredLists(
        logprobs=torch.tensor(p, dtype=torch.float64, requires_grad=True), lengths=torch.tensor(n),
        scores=torch.tensor([1.0, 0.0]), targets=torch.tensor([False, False]), groups=torch.tensor([0, 0]),
        weights=torch.ones(1), reference=torch.tensor(ref, dtype=torch.float64),
    )  # fmt: skip


def test_all_are_tested() -> None:
    own = {"tuna", "lmops", "mle", "pairwise", "plackett_luce", "mix"}  # a file of tests each
    assert {path.stem for path in FOLDER.glob("*.yaml")} - own == set(NAMES)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_slow_loop(name: str, seed: int) -> None:
    lists = lists_of(seed, weights=seed % 2 == 1, ties=seed % 3 < 2)
    weights = lists.weights.tolist()
    wanted = sum(w * SLOW[name](*plain(lists, g)) for g, w in enumerate(weights))
    terms = loss_named(name)(lists)
    assert (terms["rank"].sum * terms["rank"].coefficient).item() == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    if "best" in terms:
        numbers = [plain(lists, g) for g in range(len(weights))]
        of_best = sum(w * best(p, n, s) for (p, n, _, s), w in zip(numbers, weights, strict=True))
        assert terms["best"].sum.item() == pytest.approx(of_best, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_against_finite_differences(name: str) -> None:
    lists, loss = lists_of(3, groups=3), loss_named(name)

    def value(logprobs: Tensor) -> Tensor:
        return total(loss(replace(lists, logprobs=logprobs)), lists)

    assert torch.autograd.gradcheck(value, (lists.logprobs,), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_candidates_nor_another_list_changes_anything(name: str) -> None:
    lists, loss = lists_of(5, groups=4, ties=False), loss_named(name)
    order = torch.argsort(lists.groups * 100 + torch.randperm(len(lists.groups)) % 100)
    turned = replace(select(lists, order), reference=lists.reference[order])  # type: ignore[index]
    assert total(loss(turned), lists).item() == pytest.approx(total(loss(lists), lists).item(), rel=1e-9)
    # The longest list left out, so that the others are padded less: the rest has the same gradient.
    longest = int(torch.bincount(lists.groups).argmax())
    kept = lists.groups != longest
    names = torch.unique(lists.groups[kept], return_inverse=True)[1]
    fields = {name: getattr(lists, name)[kept] for name in ("lengths", "scores", "targets", "reference")}
    fewer = ScoredLists(
        logprobs=lists.logprobs[kept].detach().requires_grad_(), groups=names, weights=torch.ones(3), **fields
    )
    for each in (lists, fewer):
        loss(each)["rank"].sum.backward()
    assert lists.logprobs.grad is not None and fewer.logprobs.grad is not None
    assert torch.allclose(lists.logprobs.grad[kept], fewer.logprobs.grad, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_list_whose_answers_are_all_tied_says_nothing_of_their_order(name: str) -> None:
    lists = pair((-3.0, -9.0), (-4.0, -8.0))
    lists = replace(lists, scores=torch.tensor([1.0, 1.0]))
    cost = loss_named(name)(lists)["rank"].sum
    (gradient,) = torch.autograd.grad(cost, lists.logprobs)
    if name in ("davidson", "rao_kupper"):  # a tie pulls equal answers together
        assert cost.item() > 0 and gradient[0] == pytest.approx(-gradient[1])
    elif name == "best_sft":  # all are the best
        assert cost.item() == pytest.approx((3 / 4 + 9 / 7) / 2)
    else:
        assert cost.item() == 0 and not gradient.any()


@pytest.mark.parametrize("name", NAMES)
def test_far_values_and_a_list_of_one_stay_finite(name: str) -> None:
    lists = pair((-1e4, -1.0), (-1.0, -1e4))
    one = replace(lists, groups=torch.tensor([0, 1]), weights=torch.ones(2))
    for each in (lists, one):
        value = total(loss_named(name)(each), each)
        (gradient,) = torch.autograd.grad(value, lists.logprobs)
        assert value.isfinite() and gradient.isfinite().all()


def test_worked_values() -> None:
    # log-ratios 2 and -1 nats: s = 0.2 and -0.1 at beta 0.1, and 0.5, -1/7 per token.
    lists = pair((-6.0, -15.0), (-8.0, -14.0))
    wanted = {
        "dpo": log_loss(0.3), "dpo_best": log_loss(0.3), "pl_dpo": log_loss(0.3),
        "dpo_norm": log_loss(5 * (0.5 + 1 / 7)), "ipo": (0.5 + 1 / 7 - 5) ** 2, "hinge": 1 - 0.05 * 3,
        "apo_zero": 1 - logistic(0.2) + logistic(-0.1), "simpo": log_loss(2 * (-1.5 + 15 / 7) - 1),
        "cpo": log_loss(0.1 * 9), "slic": 0.0, "rrhf": 0.0, "kto": (1 - logistic(0.15) + 1 - logistic(0.15)) / 2,
        "rao_kupper": math.log(1 + 3 * math.exp(-0.3)),
        "davidson": math.log(1 + math.exp(-0.3) + 2 * math.exp(-0.15)),
        "lipo": (2 - 1) * abs(1 / math.log(2) - 1 / math.log(3)) * log_loss(0.15),
        "best_sft": 1.5, "neural_ndcg": (1 - 1 / math.log2(3)) * logistic(-0.3),
        "lambda_dpo": log_loss(0.05 + 0.1 / 7) + (0.05 + 0.1 / 7) / (1 + math.exp(4)),
        "mallows_rmj": -math.log((8 / 4 + 14 / 7) / 2 / math.log(32_000)) * logistic(-0.3),
    }  # fmt: skip
    for name, value in wanted.items():
        assert loss_named(name)(lists)["rank"].sum.item() == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("nu", [0.25, 1.0, 3.0])
def test_equal_responses_tie_as_often_as_nu_says(nu: float) -> None:
    # Davidson: nu / (1 + nu) of all cases; Rao and Kupper: (nu - 1) / (nu + 1).
    lists = pair((-6.0, -15.0), (-6.0, -15.0))
    won = (1 - nu / (1 + nu)) / 2
    assert loss_named("davidson", nu=nu)(lists)["rank"].sum.item() == pytest.approx(-math.log(won))
    won = (1 - (nu + 1) / (nu + 3)) / 2  # at nu + 2, since theirs is more than 1
    assert loss_named("rao_kupper", nu=nu + 2)(lists)["rank"].sum.item() == pytest.approx(-math.log(won))


@pytest.mark.parametrize("name", ["tuna", "lmops", "plackett_luce", "pairwise"])
def test_the_order_counts_once_per_list(name: str) -> None:
    lists = replace(lists_of(5, groups=4), weights=torch.tensor([1.0, 0.0, 1.0, 1.0]))
    terms = loss_named(name)(lists)
    assert next(iter(terms)) == "rank" and {*terms} <= {"rank", "ce"}
    alone = {"rank": terms["rank"]}
    assert total(alone, lists).item() == pytest.approx(terms["rank"].sum.item() / 3)


def test_at_two_candidates_graded_losses_are_the_known_pair_losses() -> None:
    lists = pair((-6.0, -15.0), (-8.0, -14.0))
    sharp = {"alpha": 1e-3, "beta": 0.1}  # the better one has all of the weight
    dpo = loss_named("dpo")(lists)["rank"].sum.item()
    assert loss_named("infonca", **sharp)(lists)["rank"].sum.item() == pytest.approx(dpo)
    assert loss_named("lambda_dpo", length="sum", **sharp)(lists)["rank"].sum.item() == pytest.approx(dpo)
    nca_pair = log_loss(0.2) + 0.5 * log_loss(-0.2) + 0.5 * log_loss(0.1)
    assert loss_named("nca", **sharp)(lists)["rank"].sum.item() == pytest.approx(nca_pair)


def test_at_two_candidates_losses_of_places_are_the_sigmoid_of_dpos_margin() -> None:
    lists = pair((-6.0, -15.0), (-8.0, -14.0))
    wrong = 1 - math.exp(-loss_named("dpo")(lists)["rank"].sum.item())  # sigmoid(s_k - s_j)
    assert loss_named("mallows_rmj", dispersion="none")(lists)["rank"].sum.item() == pytest.approx(wrong)
    lost = 1 - 1 / math.log2(3)  # of the best one's gain at the second place
    assert loss_named("neural_ndcg")(lists)["rank"].sum.item() == pytest.approx(lost * wrong)


def test_which_pairs() -> None:
    lists = lists_of(2, groups=1, ties=True)
    numbers = plain(lists, 0)
    r = [0.1 * (a - b) for a, b in zip(numbers[0], numbers[2], strict=True)]
    for which in ("all", "best", "extremes"):
        wanted = over(r, numbers[3], lambda a, b: log_loss(a - b), which)
        assert loss_named("dpo", pairs=which)(lists)["rank"].sum.item() == pytest.approx(wanted)


def test_labels_by_ranks_space_them_evenly() -> None:
    lists = pair((-6.0, -15.0), (-8.0, -14.0))
    three = ScoredLists(
        logprobs=torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64), lengths=torch.tensor([1, 1, 1]),
        scores=torch.tensor([10.0, 9.0, 0.0]), targets=torch.zeros(3, dtype=torch.bool), groups=torch.zeros(3).long(),
        weights=torch.ones(1), reference=torch.tensor([-1.5, -4.5, -4.0], dtype=torch.float64),
    )  # fmt: skip
    even = replace(three, scores=torch.tensor([2.0, 1.0, 0.0]))
    for name in ("infonca", "nca", "pointwise", "lipo", "approx_ndcg", "neural_ndcg", "lambda_dpo"):
        by_rank, by_score = loss_named(name, labels="ranks"), loss_named(name)
        assert by_rank(three)["rank"].sum.item() == pytest.approx(by_score(even)["rank"].sum.item())
        assert by_rank(three)["rank"].sum.item() != pytest.approx(by_score(three)["rank"].sum.item())
        assert by_rank(lists)["rank"].sum.item() == pytest.approx(by_score(lists)["rank"].sum.item())


def test_without_a_reference_it_says_so() -> None:
    with pytest.raises(ValueError, match="reference"):
        loss_named("dpo")(replace(pair((-1.0, -2.0), (0.0, 0.0)), reference=None))
