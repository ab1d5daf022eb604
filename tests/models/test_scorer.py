"""The packed way equals the plain way: log-probabilities, loss and gradients, in float32."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.architectures import CONFIGS, UNFIT, VOCAB, build
from tests.models.packing import packed, random_lists
from tuna.data.batch import PackedBatch
from tuna.models import masks
from tuna.models.scorer import PlainScorer, ResponseScorer


def loss_and_gradients(scorer: nn.Module, batch: PackedBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """A loss that weighs responses differently, as ranking does, with every parameter's gradient."""
    scorer.zero_grad()
    logprobs = scorer(batch)
    mean = logprobs / batch.lengths
    loss = (mean * torch.linspace(-1.0, 2.0, len(mean))).sum()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}
    return logprobs.detach(), loss.detach(), gradients


def assert_equal_ways(model: Any, batch: PackedBatch, **options: Any) -> None:
    wanted, loss, gradients = loss_and_gradients(PlainScorer(model), batch)
    got, packed_loss, packed_gradients = loss_and_gradients(ResponseScorer(model, **options), batch)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(packed_loss, loss, rtol=1e-5, atol=0)
    assert packed_gradients.keys() == gradients.keys()
    whole = sum(float(g.norm()) ** 2 for g in gradients.values()) ** 0.5
    for name, gradient in gradients.items():
        allowed = 1e-4 * float(gradient.norm()) + 1e-7 * whole
        assert float((packed_gradients[name] - gradient).norm()) <= allowed, name


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_plain_way_on_every_architecture(name: str) -> None:
    batch = packed(random_lists(3, VOCAB, groups=5, longest=12, most=5), [[0, 1], [2, 3, 4]], extra=3)
    assert_equal_ways(build(CONFIGS[name]), batch, projection_chunk=7)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_way_on_random_lists(seed: int) -> None:
    lists = random_lists(seed, VOCAB, groups=4, longest=14, most=8)
    rows = [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[0, 1], [2, 3]], [[0, 1, 2], [3]]][seed]
    assert_equal_ways(build(CONFIGS["llama"], seed), packed(lists, rows, extra=seed), projection_chunk=1 + 50 * seed)


def test_one_token_everywhere_and_eight_responses() -> None:
    lists = [([5], [[token] for token in range(8)]), ([6], [[7], [7, 8, 9]])]
    assert_equal_ways(build(CONFIGS["llama"]), packed(lists, [[0, 1]], extra=5))


def test_padding_holds_any_id_and_changes_nothing() -> None:
    lists = random_lists(1, VOCAB, groups=2)
    scorer = ResponseScorer(build(CONFIGS["gemma2"]))
    tight, wide = scorer(packed(lists, [[0, 1]])), scorer(packed(lists, [[0], [1]], pad=2, extra=9))
    torch.testing.assert_close(tight, wide, rtol=1e-5, atol=0)


def test_rows_in_one_call_equal_rows_one_by_one() -> None:
    """On the CPU unsharded rows run one by one; elsewhere together, as here."""
    batch = packed(random_lists(7, VOCAB), [[0, 1], [2], [3, 4]], extra=2)
    for name in ("gemma3", "mistral", "gpt2"):
        scorer = ResponseScorer(build(CONFIGS[name]))
        together, one_by_one = scorer._hidden(batch)[0], scorer._hidden_by_row(batch)[0]
        real = batch.group_ids >= 0
        torch.testing.assert_close(together[real], one_by_one[real], rtol=1e-4, atol=1e-5)


def test_eager_attention_is_exact_too() -> None:
    model = build(CONFIGS["qwen2_sliding"])
    model.set_attn_implementation("eager")
    assert_equal_ways(model, packed(random_lists(2, VOCAB), [[0, 1], [2, 3, 4]]), attention="eager")


def test_gradient_checkpointing_is_exact_too() -> None:
    model = build(CONFIGS["mistral"]).train()
    batch = packed(random_lists(2, VOCAB), [[0, 1], [2, 3, 4]])
    wanted = loss_and_gradients(ResponseScorer(model), batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    got = loss_and_gradients(ResponseScorer(model), batch)
    torch.testing.assert_close(got, wanted)


def test_bf16_autocast_stays_near_and_gives_float32() -> None:
    model = build(CONFIGS["llama_tied"])
    batch = packed(random_lists(2, VOCAB), [[0, 1], [2, 3, 4]])
    wanted = ResponseScorer(model)(batch).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, plain = ResponseScorer(model)(batch), PlainScorer(model)(batch)
    assert got.dtype == torch.float32
    # the two ways are as near to each other as bf16 lets either be to the truth
    assert float((got - plain).detach().abs().mean()) < 2 * float((plain - wanted).detach().abs().mean()) + 0.05
    got.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_dropout_in_training_mode_runs() -> None:
    config = type(CONFIGS["gpt2"])(**{**CONFIGS["gpt2"].to_dict(), "attn_pdrop": 0.3, "resid_pdrop": 0.3})
    scorer = ResponseScorer(build(config).train())
    batch = packed(random_lists(0, VOCAB, groups=2), [[0, 1]])
    assert not torch.equal(scorer(batch), scorer(batch))


@pytest.mark.parametrize("name", UNFIT)
def test_models_that_cannot_pack_take_the_plain_way(name: str) -> None:
    scorer = PlainScorer(build(UNFIT[name]))
    assert torch.isfinite(scorer(packed(random_lists(0, VOCAB, groups=2), [[0, 1]]))).all()


def test_negative_control_a_mask_that_leaks_between_responses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(CONFIGS["llama"]), packed(random_lists(2, VOCAB), [[0, 1], [2, 3, 4]])
    monkeypatch.setattr(masks, "_visible", lambda b, rule: torch.ones(1, 1, *[b.input_ids.shape[1]] * 2).tril().bool())
    with pytest.raises(AssertionError):
        assert_equal_ways(model, batch)


def test_the_scorer_adds_no_name_to_the_model() -> None:
    model = build(CONFIGS["llama"])
    assert set(ResponseScorer(model).state_dict()) == {f"model.{name}" for name in model.state_dict()}
    assert not any("forward" in vars(module) for module in model.modules())
