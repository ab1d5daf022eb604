"""The masks against a loop over pairs of tokens, attention in blocks against SDPA's; see also test_attention.py."""

import pytest
import torch
from transformers import GPT2Config, MambaConfig

from tests.models.architectures import CONFIGS, VOCAB, build
from tests.models.packing import packed, random_lists
from tuna.data.batch import PackedBatch
from tuna.errors import ModelError
from tuna.models import masks
from tuna.models.masks import build_masks, layer_rules
from tuna.models.scorer import ResponseScorer


def may_see(batch: PackedBatch, row: int, i: int, j: int, window: int | None) -> bool:
    if i == j:
        return True
    group, response, position = batch.group_ids[row], batch.response_ids[row], batch.position_ids[row]
    if group[i] != group[j] or group[j] < 0 or j > i:
        return False
    if response[j] != 0 and response[j] != response[i]:
        return False
    return window is None or int(position[i] - position[j]) < window


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_each_pair_of_tokens(implementation: str) -> None:
    batch = packed(random_lists(4, VOCAB, groups=3, longest=8, most=3), [[0, 1], [2]], extra=2)
    made = build_masks(batch, CONFIGS["gemma3"], implementation, torch.float32)
    assert isinstance(made, dict)
    assert set(made) == {"full_attention", "sliding_attention"}
    rows, size = batch.input_ids.shape
    for kind, window in (("full_attention", None), ("sliding_attention", 5)):
        mask = made[kind]
        assert isinstance(mask, torch.Tensor) and mask.shape == (rows, 1, size, size)
        for row in range(rows):
            wanted = [[may_see(batch, row, i, j, window) for j in range(size)] for i in range(size)]
            assert (mask[row, 0] == 0).tolist() == wanted


def test_one_kind_of_layer_takes_one_mask() -> None:
    batch = packed(random_lists(4, VOCAB, groups=1), [[0]])
    assert isinstance(build_masks(batch, GPT2Config(), "sdpa", torch.bfloat16), torch.Tensor)
    assert list(layer_rules(CONFIGS["mistral"])) == ["sliding_attention"]


def test_layers_that_take_no_mask_are_refused() -> None:
    with pytest.raises(ModelError, match=r"linear_attention.*model\.scorer=plain"):
        layer_rules(MambaConfig())


@pytest.mark.parametrize("short", [0, 40, 10_000])
@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral", "gpt2"])
def test_equals_the_whole_mask(name: str, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SHORT", short)
    scorer = ResponseScorer(build(CONFIGS[name]))
    batch = packed(random_lists(3, VOCAB, groups=5), [[0, 1], [2, 3, 4]], extra=3)
    got = scorer(batch)
    assert scorer.model.config._attn_implementation == masks.BLOCKS
    monkeypatch.setattr(masks, "attach_blocks", lambda mask, batch: None)
    torch.testing.assert_close(got, scorer(batch), rtol=1e-5, atol=0)


def test_blocks_cover_what_may_be_seen_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "SHORT", 0)
    lists = [([1] * 4, [[2] * 3, [3] * 5]), ([1], [[2]])]
    mask = build_masks(packed(lists, [[0, 1]]), CONFIGS["llama"], masks.BLOCKS, torch.float32)
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
    assert model.config._attn_implementation == masks.BLOCKS
    assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False), wanted)
