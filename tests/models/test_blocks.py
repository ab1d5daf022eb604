"""Attention in blocks equals attention under the whole mask, and is what runs on the CPU."""

import pytest
import torch

from tests.models.architectures import CONFIGS, VOCAB, build
from tests.models.packing import packed, random_lists
from tuna.models import blocks
from tuna.models.masks import build_masks
from tuna.models.scorer import ResponseScorer


@pytest.mark.parametrize("short", [0, 40, 10_000])
@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral", "gpt2"])
def test_equals_the_whole_mask(name: str, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SHORT", short)
    scorer = ResponseScorer(build(CONFIGS[name]))
    batch = packed(random_lists(3, VOCAB, groups=5), [[0, 1], [2, 3, 4]], extra=3)
    got = scorer(batch)
    assert scorer.model.config._attn_implementation == blocks.NAME
    monkeypatch.setattr(blocks, "attach_blocks", lambda mask, batch: None)
    monkeypatch.setattr("tuna.models.masks.attach_blocks", lambda mask, batch: None)
    torch.testing.assert_close(got, scorer(batch), rtol=1e-5, atol=0)


def test_blocks_cover_what_may_be_seen_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SHORT", 0)
    lists = [([1] * 4, [[2] * 3, [3] * 5]), ([1], [[2]])]
    mask = build_masks(packed(lists, [[0, 1]]), CONFIGS["llama"], blocks.NAME, torch.float32)
    found = mask.tuna_blocks  # type: ignore[union-attr]
    assert [(size, prompt, tuple(part.shape[-2:])) for size, prompt, part in found] == [
        (4, None, (4, 4)), (3, 0, (3, 7)), (5, 0, (5, 9)), (1, None, (1, 1)), (1, 3, (1, 2)),
    ]  # fmt: skip
    assert isinstance(mask, torch.Tensor)
    assert sum(int((part == 0).sum()) for _, _, part in found) == int((mask == 0).sum())


def test_generation_with_padding_is_that_of_sdpa() -> None:
    """The scorer leaves the model switched to blocks; generate brings ordinary masks."""
    model = build(CONFIGS["mistral"])
    ids, mask = torch.randint(3, VOCAB, (2, 6)), torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    wanted = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False)
    ResponseScorer(model)(packed(random_lists(0, VOCAB, groups=1), [[0]]))
    assert model.config._attn_implementation == blocks.NAME
    assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False), wanted)
