"""Rewards: packed equals plain in numbers and gradients, and both equal Hugging Face's class on padded rows."""

import copy
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from tests.models.architectures import CONFIGS, VOCAB
from tests.models.packing import packed, random_lists
from tuna.data.batch import PackedBatch
from tuna.models import masks
from tuna.models import scorer as scorers
from tuna.models.scorer import PlainRewardScorer, RewardScorer, unpack

NAMES = ("llama_tied", "qwen2_sliding", "qwen3", "mistral", "gemma2", "gemma3", "gpt2", "opt", "gpt_neox", "phi")
PAD = 0


def build_reward(name: str, seed: int = 0) -> Any:
    """A float32 sequence-classification model with one label, head and norms large enough to tell rows apart."""
    torch.manual_seed(seed)
    config = copy.deepcopy(CONFIGS[name])
    config.num_labels, config.pad_token_id = 1, PAD
    auto: Any = hf.AutoModelForSequenceClassification
    model = auto.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def batch_of(seed: int = 3) -> PackedBatch:
    return packed(random_lists(seed, VOCAB, groups=5, longest=12, most=5), [[0, 1], [2, 3, 4]], extra=3)


def rewards_and_gradients(scorer: nn.Module, batch: PackedBatch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    scorer.zero_grad()
    rewards = scorer(batch)
    (rewards * torch.linspace(-1.0, 2.0, len(rewards))).sum().backward()
    gradients = {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}
    return rewards.detach(), gradients


def assert_equal_ways(model: Any, batch: PackedBatch, **options: Any) -> None:
    wanted, gradients = rewards_and_gradients(PlainRewardScorer(model), batch)
    got, packed_gradients = rewards_and_gradients(RewardScorer(model, **options), batch)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert packed_gradients.keys() == gradients.keys()
    whole = sum(float(g.norm()) ** 2 for g in gradients.values()) ** 0.5
    for name, gradient in gradients.items():
        allowed = 1e-4 * float(gradient.norm()) + 1e-7 * whole
        assert float((packed_gradients[name] - gradient).norm()) <= allowed, name


def by_the_class(model: Any, batch: PackedBatch, *, shift: int = 0) -> torch.Tensor:
    """What Hugging Face's own forward says of right-padded rows, pad token and all."""
    rows = [torch.cat(pair) for pair in zip(*unpack(batch)[:2], strict=True)]
    width = max(map(len, rows)) + shift
    ids = torch.full((len(rows), width), PAD)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    mask = torch.arange(width) < torch.tensor([len(tokens) for tokens in rows])[:, None]
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).logits[:, 0]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_packed_equals_plain_and_the_class_on_every_architecture(name: str) -> None:
    model, batch = build_reward(name), batch_of()
    batch.input_ids[(batch.input_ids == PAD) & (batch.group_ids >= 0)] = 5  # the class would take it for padding
    batch.target_ids[batch.target_ids == PAD] = 5
    assert_equal_ways(model, batch)
    rewards = RewardScorer(model)(batch).detach()
    assert rewards.std() > 0.01
    torch.testing.assert_close(rewards, by_the_class(model, batch, shift=4), rtol=1e-5, atol=1e-5)


def test_a_response_that_ends_with_the_padding_token_is_read_at_its_end() -> None:
    model = build_reward("llama_tied")
    lists = [([5, 6], [[7, 8, PAD], [7, 8], [PAD]])]
    rewards = RewardScorer(model)(packed(lists, [[0]], extra=2)).detach()
    torch.testing.assert_close(rewards, PlainRewardScorer(model)(packed(lists, [[0]])).detach())
    for row, value in zip(([5, 6, 7, 8, PAD], [5, 6, 7, 8], [5, 6, PAD]), rewards, strict=True):
        hidden = model.model(input_ids=torch.tensor([row])).last_hidden_state[0, -1]
        torch.testing.assert_close(model.score(hidden)[0].detach(), value)
    assert abs(float(rewards[0] - rewards[1])) > 1e-3


def test_gradient_checkpointing_and_eager_attention_are_exact_too() -> None:
    model, batch = build_reward("qwen2_sliding").train(), batch_of()
    wanted = rewards_and_gradients(RewardScorer(model), batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.testing.assert_close(rewards_and_gradients(RewardScorer(model), batch), wanted)
    model.gradient_checkpointing_disable()
    model.set_attn_implementation("eager")
    assert_equal_ways(model, batch, attention="eager")


def test_rows_in_one_call_equal_rows_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharded, and on a GPU, rows run together."""
    scorer, batch = RewardScorer(build_reward("gemma3")), batch_of()
    wanted = scorer(batch).detach()
    monkeypatch.setattr(RewardScorer, "hidden", RewardScorer._hidden)
    torch.testing.assert_close(scorer(batch).detach(), wanted, rtol=1e-4, atol=1e-5)


def test_negative_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaking mask, and a reward read one token early, are seen."""
    model, batch = build_reward("llama_tied"), batch_of()
    with monkeypatch.context() as patch:
        patch.setattr(masks, "_visible", lambda b, rule: torch.ones(1, 1, *[b.input_ids.shape[1]] * 2).tril().bool())
        with pytest.raises(AssertionError):
            assert_equal_ways(model, batch)
    right = scorers.last_tokens
    monkeypatch.setattr(scorers, "last_tokens", lambda b: right(b) - 1)
    with pytest.raises(AssertionError):
        assert_equal_ways(model, batch)


def test_bf16_autocast_gives_float32_near_the_truth() -> None:
    model, batch = build_reward("llama_tied"), batch_of()
    wanted = RewardScorer(model)(batch).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = RewardScorer(model)(batch)
    assert got.dtype == torch.float32
    assert float((got.detach() - wanted).abs().mean()) < 0.05 * float(wanted.abs().mean())


def test_the_scorer_adds_no_name_to_the_model() -> None:
    model = build_reward("llama_tied")
    for scorer in (RewardScorer(model), PlainRewardScorer(model)):
        assert set(scorer.state_dict()) == {f"model.{name}" for name in model.state_dict()}
