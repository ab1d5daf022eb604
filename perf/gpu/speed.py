"""The card's own rate, the ranking step against its other ways, and compilations over steps of changing lengths."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from perf.gpu.base import Row, Setting, graphs, lists_of, llama, loss_of, or_out_of_memory, seconds_of, timed
from perf.ranking_step import made_up_groups, options, representative
from tuna.data.batch import Group
from tuna.data.packing import pack, token_ratio
from tuna.models.scorer import PlainScorer, ResponseScorer

SMALL: dict[str, int] = {"vocab": 49152, "hidden": 576, "layers": 30, "heads": 9, "keys": 3, "inner": 1536}  # SmolLM2
TINY: dict[str, int] = {"vocab": 512, "hidden": 32, "layers": 1, "heads": 4, "keys": 2, "inner": 48}


def matmul_rate(setting: Setting) -> float:
    """TFLOP/s of one large bf16 matrix product: what this card can do, whatever its data sheet says."""
    size = setting.pick(8192, 128)
    one = torch.randn(size, size, dtype=torch.bfloat16, device=setting.device)
    seconds = seconds_of(setting, lambda: one @ one, steps=20)
    return float(2 * size**3 / seconds / 1e12)


def card(setting: Setting) -> Iterator[Row]:
    """What it is."""
    row: Row = {"what": "card", "torch": torch.__version__, "matmul_tflops": matmul_rate(setting)}
    if setting.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        row |= {"name": found.name, "memory_gb": found.total_memory / 1e9, "cards": torch.cuda.device_count()}
    yield row


def flops(model: Any, tokens: int, targets: int) -> float:
    """Of a step forward and backward, 6 per weight and token; the head at targets only. Attention is left out."""
    head = int(model.get_output_embeddings().weight.numel())
    return 6.0 * ((sum(int(p.numel()) for p in model.parameters()) - head) * tokens + head * targets)


def ways(setting: Setting, model: Any, groups: list[Group], row_tokens: int) -> dict[str, Callable[[], object]]:
    """A step forward and backward in each way, that of TRL where it is installed and lists are pairs."""
    packed, plain = ResponseScorer(model), PlainScorer(model)

    def step(scorer: Any, share: bool) -> Callable[[], object]:
        batch = pack(groups, row_tokens=row_tokens, share=share).to(setting.device)

        def run() -> object:
            model.zero_grad(set_to_none=True)
            if scorer is plain:
                model.set_attn_implementation("sdpa")
            with setting.autocast(torch.bfloat16):
                loss = loss_of(scorer, batch)[0]
            return loss.backward()

        return run

    made = {"packed": step(packed, True), "packed, unshared": step(packed, False), "padded": step(plain, True)}
    if len(groups[0].responses) == 2 and (trl := trl_step(setting, model, groups)):
        made["TRL's CPO"] = trl
    return made


def trl_step(
    setting: Setting, model: Any, groups: list[Group], dtype: torch.dtype = torch.bfloat16
) -> Callable[[], object] | None:
    """TRL's own concatenated forward and CPO loss on the same pairs; None where TRL is not installed."""
    try:
        from trl.experimental.cpo import CPOTrainer
    except ImportError:
        return None

    class Trainer(CPOTrainer):  # type: ignore[misc]
        """Without a data set, a tokenizer and an output folder."""

        def __init__(self) -> None:
            self.accelerator = SimpleNamespace(device=setting.device, gather_for_metrics=lambda x: x)
            self.is_encoder_decoder = self.aux_loss_enabled = False
            self.pad_token_id, self.cpo_alpha, self.loss_type, self.beta, self.simpo_gamma = 0, 1.0, "sigmoid", 0.1, 0.0
            self.label_smoothing, self.alpha = 0.0, 0.0
            self._stored_metrics: Any = defaultdict(lambda: defaultdict(list))

    trainer, batch = Trainer(), dict[str, Any]()
    for name, k in (("chosen", 0), ("rejected", 1)):
        rows = [torch.tensor([*group.prompt, *group.responses[k]]).long() for group in groups]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        column, prompt = torch.arange(ids.shape[1]), torch.tensor([[len(group.prompt)] for group in groups])
        labels = ids.masked_fill((column < prompt) | (mask == 0), -100)
        parts = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        batch |= {f"{name}_{key}": value.to(setting.device) for key, value in parts.items()}

    def run() -> object:
        model.zero_grad(set_to_none=True)
        model.set_attn_implementation("sdpa")
        with setting.autocast(dtype):
            loss = trainer.get_batch_loss_metrics(model, batch)[0]
        return loss.backward()

    return run


def measured(setting: Setting, model: Any, groups: list[Group], row_tokens: int, what: Row) -> Iterator[Row]:
    """A row for each way, with its ratios to the packed way."""
    rate, base = matmul_rate(setting), 0.0
    targets = sum(map(sum, (group.lengths for group in groups)))
    for name, step in ways(setting, model, groups, row_tokens).items():
        if not setting.left():
            yield what | {"way": name, "status": "no time was left"}
            continue
        model.zero_grad(set_to_none=True)
        setting.free()
        held, row = setting.held(), what | {"way": name}
        with or_out_of_memory(row):
            seconds = seconds_of(setting, step)
            tokens = sum(group.tokens(name == "packed") for group in groups)
            row |= {
                "seconds": seconds,
                "memory_gb": setting.held(peak=True) - held,
                "tokens_per_second": tokens / seconds,
            }
            row["share_of_matmul_rate"] = flops(model, tokens, targets) / seconds / 1e12 / rate
            base = base or seconds
            row |= {"packed_speedup": seconds / base, "token_ratio": 1.0 if name == "packed" else token_ratio(groups)}
        yield row


def steps(setting: Setting) -> Iterator[Row]:
    """Lists of real lengths at 16 groups; then K = 2, 4, 8, and prompts of a fourth, as much and four times as much."""
    sizes = setting.pick(SMALL, TINY)
    model = llama(setting, **sizes)
    asked = options(["--max-length", str(setting.pick(512, 40))])
    real = [_within(g, sizes["vocab"]) for g in representative(made_up_groups(asked), setting.pick(16, 2), 4096)[0]]
    rows = list(measured(setting, model, real, 4096, {"what": "lists of real lengths", "K": 5}))
    by = {row["way"]: row for row in rows if "seconds" in row}
    if setting.counts and {"packed", "padded"} <= by.keys():
        by["padded"] |= {"target": "padded", "reached": by["padded"]["packed_speedup"] >= 3.5}
        share = by["packed"]["memory_gb"] / by["padded"]["memory_gb"]
        by["packed"] |= {"memory_of_padded": share, "target": "memory", "reached": share <= 0.4}
    yield from rows
    for responses in setting.pick((4, 2, 8), (2,)):  # what targets are set for comes first
        for prompt, response in setting.pick(((512, 512), (819, 205), (205, 819)), ((12, 6),)):
            groups = lists_of(setting.pick(8, 2), responses, prompt, response, sizes["vocab"], spread=0.3)
            what: Row = {"what": "lists by size", "K": responses, "prompt": prompt, "response": response}
            for row in measured(setting, model, groups, 4096, what):
                if setting.counts and row["way"] == "packed, unshared" and "seconds" in row:
                    faster, ratio = row["packed_speedup"], row["token_ratio"]
                    if (responses, prompt) == (4, 512):
                        row |= {"target": "unshared", "reached": faster >= 0.9 * ratio}
                    if (responses, prompt) == (2, 819):
                        row |= {"target": "long prompts", "reached": faster >= 1.4}
                yield row


def _within(group: Group, vocab: int) -> Group:
    """The same list with ids that a vocabulary has."""
    return replace(group, prompt=group.prompt % vocab, responses=tuple(ids % vocab for ids in group.responses))


def lengths(setting: Setting) -> Iterator[Row]:
    """Compilations over steps whose rows, lists and layouts change, after the first few."""
    sizes = setting.pick(SMALL | {"layers": 2}, TINY)
    model, draw = llama(setting, **sizes), random.Random(0)
    scorer, before, slowest, done = ResponseScorer(model), 0, 0.0, 0
    warm, count = setting.pick((20, 200), (1, 4))
    for number in range(warm + count):
        if not setting.left():
            break
        if number == warm:
            before = graphs()
        few = number % 5 == 0
        groups = lists_of(
            1 if few else draw.randint(2, 8), draw.randint(2, 8), draw.randint(5, setting.pick(700, 20)),
            draw.randint(5, setting.pick(300, 9)), sizes["vocab"], seed=number, spread=0.5,
        )  # fmt: skip
        batch = pack(groups, row_tokens=draw.choice((2048, 4096, 8192)), share=number % 3 > 0).to(setting.device)

        def step(batch: Any = batch) -> None:
            model.zero_grad(set_to_none=True)
            with setting.autocast(torch.bfloat16):
                loss = loss_of(scorer, batch)[0]
            loss.backward()

        seconds = timed(setting, step)
        if number >= warm:
            slowest, done = max(slowest, seconds), done + 1
    made = graphs() - before
    row: Row = {"what": "steps of changing lengths", "steps": done, "compilations": made, "slowest_seconds": slowest}
    row |= {"compilations_of_the_warm_up": before, "refused": sorted(scorer.refused)}
    yield row | ({"target": "recompiles", "reached": made == 0 and done == count} if setting.counts else {})
