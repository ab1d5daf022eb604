"""The choice of an attention, its rows and its kernels' settings; FlexAttention and FlashAttention by stand-ins."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tests.models.architectures import CONFIGS, VOCAB, build
from tests.models.packing import packed, random_lists
from tuna.data.batch import PackedBatch
from tuna.data.packing import in_columns, pack
from tuna.errors import ModelError
from tuna.models import attention, masks, selfcheck
from tuna.models.attention import choose, flex_options, row_length
from tuna.models.masks import BLOCKS, FLEX, VARLEN, layer_rules
from tuna.models.scorer import PlainScorer, ResponseScorer


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: build(CONFIGS[name]) for name in ("llama", "mistral", "gemma2", "gemma3", "llama4_chunked")}


def choice(model: Any, wanted: Any = "auto", **changed: Any) -> str:
    given: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16, "columns": 4096, "shared": True} | changed
    return choose(wanted, model, **given)


def test_choice_by_device_length_and_sharing(models: dict[str, Any]) -> None:
    llama = models["llama"]
    assert choice(llama) == FLEX
    assert choice(llama, columns=1023) == "sdpa"  # short rows
    assert choice(llama, device="cpu") == BLOCKS
    assert choice(llama, shared=False) == VARLEN
    assert choice(llama, shared=False, columns=100) == VARLEN
    assert choice(llama, shared=False, dtype=torch.float32) == FLEX  # FlashAttention has no float32
    assert choice(llama, refused={FLEX}) == "sdpa"
    assert choice(llama, shared=False, refused={VARLEN}) == FLEX


def test_choice_by_what_the_model_needs(models: dict[str, Any]) -> None:
    assert choice(models["gemma2"], columns=100) == FLEX  # soft-capped scores: SDPA has none
    assert choice(models["gemma2"], shared=False) == FLEX
    assert choice(models["gemma2"], device="cpu") == "eager"
    assert choice(models["mistral"], shared=False) == VARLEN
    assert choice(models["llama4_chunked"], shared=False) == FLEX
    dropped = build(type(CONFIGS["gpt2"])(**{**CONFIGS["gpt2"].to_dict(), "attn_pdrop": 0.1}))
    assert choice(dropped) == "sdpa"


@pytest.mark.parametrize(
    ("wanted", "on_cuda", "on_cpu"), [("sdpa", "sdpa", BLOCKS), ("eager",) * 3, ("flex", FLEX, FLEX)]
)
def test_what_was_asked_for_is_taken(models: dict[str, Any], wanted: str, on_cuda: str, on_cpu: str) -> None:
    for shared in (True, False):
        assert choice(models["llama"], wanted, columns=10, shared=shared) == on_cuda
        assert choice(models["llama"], wanted, device="cpu", shared=shared) == on_cpu


def test_row_lengths_are_multiples_of_128_and_few() -> None:
    made = [row_length(columns) for columns in range(1, 32769)]
    assert all(made[n - 1] >= n and made[n - 1] % 128 == 0 for n in range(1, 32769))
    assert all(made[n - 1] <= max(n + 127, n * 1.125) for n in range(1, 32769))
    assert len(set(made)) <= 48


def test_block_sizes_fit_the_shared_memory_of_a_small_card() -> None:
    for dtype in (torch.bfloat16, torch.float32):
        for head in (16, 64, 128, 256):
            assert flex_options(dtype, head) == {}
        for head in (20, 72, 80, 96, 112, 160, 192):
            options, rounded = flex_options(dtype, head), 1 << (head - 1).bit_length()
            m, n, stages = (options[f"fwd_{name}"] for name in ("BLOCK_M", "BLOCK_N", "num_stages"))
            size = (m * rounded + stages * 2 * n * rounded) * dtype.itemsize  # queries; keys and values per stage
            assert size <= 99 * 1024 and 128 % m == 0 and 128 % n == 0


def rows(seed: int = 1, groups: int = 12) -> PackedBatch:
    """Two rows, three for 9 groups."""
    placed = [list(range(groups - 1)), [groups - 1]] if groups != 9 else [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    batch = packed(random_lists(seed, VOCAB, groups=groups, longest=20, most=5), placed)
    return in_columns(batch, slice(None), row_length(batch.input_ids.shape[1]))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3", "llama4_chunked"])
def test_block_mask_is_that_of_all_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (8, 128):  # small blocks have whole ones among them
        monkeypatch.setattr(masks, "BLOCK", size)
        for batch in (rows(), rows(2, 40)):
            (count, columns), compared = batch.input_ids.shape, 0
            for rule in layer_rules(CONFIGS[name]).values():
                made = masks.block_mask(batch, rule)
                wanted = create_block_mask(made.mask_mod, count, None, columns, columns, device="cpu", BLOCK_SIZE=size)
                assert made.BLOCK_SIZE == wanted.BLOCK_SIZE and made.shape == wanted.shape
                pairs = [
                    (
                        dense(made.full_kv_num_blocks, made.full_kv_indices),
                        dense(wanted.full_kv_num_blocks, wanted.full_kv_indices),
                    ),
                    (made.to_dense(), wanted.to_dense()),
                ]
                for got, exact in pairs:
                    compared += int(got.sum())
                    if rule is None:
                        assert torch.equal(got, exact)
                full, all_full = pairs[0]
                some, all_some = pairs[1]
                assert (full <= all_full).all() and (all_some <= some).all()
                assert torch.equal(
                    dense(made.q_num_blocks, made.q_indices).mT, dense(made.kv_num_blocks, made.kv_indices)
                )
            assert compared > 0


def dense(number: Any, order: Any) -> Tensor:
    """[.., rows, columns] 0 or 1 of a list of blocks."""
    made = torch.zeros(order.shape, dtype=torch.int32)
    for index in range(order.shape[-1]):
        made.scatter_add_(-1, order[..., index : index + 1].long(), (index < number)[..., None].int())
    return made


def test_rows_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 128 columns, got 30"):
        masks.block_mask(in_columns(rows(), slice(None), 30), None)


def dense_flex(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    """What FlexAttention computes, written out, with gradients."""
    mask: BlockMask = options["block_mask"]
    assert mask.mask_mod is not None and query.shape[2] % 128 == 0
    row, column = torch.arange(len(query))[:, None, None, None], torch.arange(query.shape[2])
    seen = mask.mask_mod(row, row, column[:, None], column)
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).mT * options["scale"]
    if options["score_mod"] is not None:
        scores = options["score_mod"](scores, row, row, column, column)
    output: Tensor = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value.repeat_interleave(groups, 1)
    return output


def dense_varlen(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, _: Tensor, *longest: int, **options: Any
) -> Tensor:
    """What FlashAttention computes over segments, written out, with gradients."""
    assert longest == (int(starts.diff().max()),) * 2 and int(starts[-1]) == len(query)
    groups, left = query.shape[1] // key.shape[1], options["window_size"][0]
    outputs = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))
        seen = torch.ones(end - start, end - start).tril().bool()
        if left >= 0:
            seen &= ~torch.ones_like(seen).tril(-left - 1)
        k, v = k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)
        outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=options["scale"]).transpose(0, 1))
    return torch.cat(outputs)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The choice of a GPU, on the CPU, by kernels that are written out."""
    monkeypatch.setattr(attention, "compiled_flex", lambda: dense_flex)
    monkeypatch.setattr(attention, "varlen_attn", dense_varlen)
    monkeypatch.setattr(attention, "HALF", (torch.float32,))
    yield


def on_gpu(scorer: ResponseScorer, monkeypatch: pytest.MonkeyPatch) -> ResponseScorer:
    """The scorer with what a GPU is given: rows together, its kernels, none of them checked."""
    monkeypatch.setattr("tuna.models.scorer.choose", lambda *args, **given: choose(*args, **given | {"device": "cuda"}))
    monkeypatch.setattr(scorer, "hidden", scorer._hidden)
    return scorer


def gradients(scorer: Any, batch: PackedBatch) -> tuple[Tensor, list[Tensor]]:
    logprobs = scorer(batch)
    found = torch.autograd.grad((logprobs * torch.linspace(-1, 2, len(logprobs))).sum(), list(scorer.parameters()))
    return logprobs.detach(), list(found)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gemma3", "llama4_chunked", "gpt_neox"])
def test_the_ways_of_a_gpu_are_exact(name: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "FLEX_FROM", 0)
    model, batch = build(CONFIGS[name]), pack(made_groups(), row_tokens=90, share=shared)
    assert len(batch.input_ids) > 1 and batch.shared is shared
    wanted = gradients(PlainScorer(model), batch)
    scorer = on_gpu(ResponseScorer(model), monkeypatch)
    got = gradients(scorer, batch)
    used = VARLEN if not shared and name not in ("gemma2", "llama4_chunked") else FLEX
    assert model.config._attn_implementation == used
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(got[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4 * float(other.abs().max() + 1))


def made_groups(seed: int = 5) -> list[Any]:
    import numpy as np

    from tuna.data.batch import Group

    made = []
    for prompt, responses in random_lists(seed, VOCAB, groups=5, longest=12, most=4):
        parts = tuple(np.array(r, np.int32) for r in responses)
        none = tuple(float(k) for k in range(len(parts)))
        made.append(Group("", np.array(prompt, np.int32), parts, none, (False,) * len(parts)))
    return made


def test_shared_and_unshared_rows_give_the_same_on_the_cpu() -> None:
    scorer = ResponseScorer(build(CONFIGS["gemma3"]))
    wanted, got = (scorer(pack(made_groups(), row_tokens=90, share=share)) for share in (True, False))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kernel", [FLEX, VARLEN])
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_sound_kernel_is_found_sound(name: str, kernel: str) -> None:
    scorer = ResponseScorer(build(CONFIGS[name]), attention="flex" if kernel == FLEX else "auto").train()
    scorer.model.eval()
    batch = pack(made_groups(), row_tokens=90, share=kernel == FLEX)
    assert selfcheck.kernel_fault(scorer, batch, kernel) is None
    with torch.no_grad():
        assert selfcheck.kernel_fault(scorer, batch, kernel) is None
    assert selfcheck.rows_fault(scorer, batch) is None
    assert scorer.training and not scorer.model.training  # as they were


WRONG: dict[str, Callable[..., Tensor]] = {
    "its output": lambda *args, **options: dense_flex(*args, **options) * 1.2,
    "its dv": lambda q, k, v, **options: dense_flex(q, k, v.detach() + (v - v.detach()) * 0.5, **options),
    "NotImplementedError: no such": lambda *args, **options: (_ for _ in ()).throw(
        NotImplementedError("no such\nkernel")
    ),
    "its dq": lambda q, k, v, **options: dense_flex(q, k, v, **options) + 0 * (q.abs().sum() - torch.inf),
}


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_kernel_is_told_and_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = ResponseScorer(build(CONFIGS["llama"]))
    batch = pack(made_groups(), row_tokens=90)
    monkeypatch.setattr(attention, "compiled_flex", lambda: WRONG[fault])
    selfcheck.prove(scorer, batch, FLEX)
    assert scorer.refused == {FLEX} and f"tuna_flex is wrong on this device: {fault}" in caplog.text.replace(
        "its output is nan", "its dq"
    )
    assert "tuna_blocks is used instead" in caplog.text
    asked = ResponseScorer(scorer.model, attention="flex")
    with pytest.raises(ModelError, match=r"next: model.attention=auto"):
        selfcheck.prove(asked, batch, FLEX)


def test_a_check_without_memory_refuses_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def too_much(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(selfcheck, "kernel_fault", too_much)
    scorer = ResponseScorer(build(CONFIGS["llama"]))
    selfcheck.prove(scorer, pack(made_groups(), row_tokens=90), FLEX)
    assert not scorer.refused and "could not be checked on this device: out of memory" in caplog.text


def test_a_model_that_computes_otherwise_in_packed_rows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = ResponseScorer(build(CONFIGS["llama"]))
    monkeypatch.setattr(masks, "seen_until", lambda batch: torch.full_like(batch.group_ids, batch.group_ids.shape[1]))
    assert "packed and plain rows are" in str(selfcheck.rows_fault(scorer, pack(made_groups(), row_tokens=90)))


def test_a_mask_that_a_model_has_cut_is_not_taken_for_none(models: dict[str, Any]) -> None:
    q = torch.zeros(1, 1, 4, 8)
    with pytest.raises(ModelError, match="takes no unshared prompts"):
        attention.varlen(models["llama"], q, q, q, torch.zeros(1, 1, 1, 1, dtype=torch.int8))


def test_the_limit_of_compilations_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real limit, reached with a backend that compiles nothing."""
    torch._dynamo.reset()
    monkeypatch.setattr(attention, "RECOMPILES", 2)
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **given: whole(cheap, backend="eager", **given))
    attention.compiled_flex.cache_clear()
    mask = masks.block_mask(rows(), None)
    q = torch.zeros(2, 2, mask.shape[-1], 8)
    try:
        with torch._dynamo.config.patch(recompile_limit=2):
            for dtype in (torch.float32, torch.float64):
                attention.flex(None, q.to(dtype), q.to(dtype), q.to(dtype), mask, 1.0)
            with pytest.raises(ModelError, match=r"compiled 2 times.*next: model.attention=sdpa"):
                attention.flex(None, q.half(), q.half(), q.half(), mask, 1.0)
    finally:
        attention.compiled_flex.cache_clear()
        torch._dynamo.reset()


def cheap(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
    return query + key + value


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.campaign)])
def test_one_compilation_serves_all_shapes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward only, as the CPU has no more; 2 rows, 2 heads and 2 blocks at first are not taken for one size."""
    torch._dynamo.reset()
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **given: whole(function, backend=backend, **given))
    attention.compiled_flex.cache_clear()
    counts = torch._dynamo.utils.counters["stats"]
    before = counts["unique_graphs"]
    for seed, groups in ((1, 12), (2, 40), (3, 9)):
        batch = rows(seed, groups)
        mask = masks.block_mask(batch, None)
        q, k, v = (torch.randn(len(batch.input_ids), heads, mask.shape[-1], 16) for heads in (4, 2, 2))
        with torch.no_grad():
            got, _ = attention.flex(None, q, k, v, mask, 0.25)
            wanted = dense_flex(q, k, v, block_mask=mask, scale=0.25, score_mod=None)
        torch.testing.assert_close(got.transpose(1, 2), wanted, rtol=1e-4, atol=1e-5)
    assert counts["unique_graphs"] - before == 1
    attention.compiled_flex.cache_clear()
    torch._dynamo.reset()


def test_uncompiled_flex_attention_reads_the_mask_as_sdpa_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention's own reference, for every pair of tokens."""
    monkeypatch.setattr(attention, "compiled_flex", lambda: flex_attention)
    batch = packed(random_lists(4, VOCAB, groups=3), [[0, 1], [2]], extra=2)
    for name in ("gemma3", "mistral"):
        model = build(CONFIGS[name])
        with torch.no_grad():
            wanted = ResponseScorer(model, attention="sdpa")(batch)
            got = ResponseScorer(model, attention="flex")(batch)
        assert model.config._attn_implementation == FLEX
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=0)


def test_the_functions_are_known_to_transformers() -> None:
    known = AttentionInterface()
    assert known[FLEX] is attention.flex and known[VARLEN] is attention.varlen
