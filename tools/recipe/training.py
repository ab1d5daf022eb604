"""Training loops of the recipe: rows of like length, padded on the right, Muon for matrices and AdamW for the rest."""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from tools.recipe.questions import Question
from tools.recipe.tokenizer import ASSISTANT, USER

log = logging.getLogger(__name__)
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """Token ids and the number of leading ones that are not learnt (the prompt; 1 for plain text)."""

    ids: tuple[int, ...]
    prompt: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps.
        tokens: tokens a step, padding counted.
        muon_lr: peak learning rate of the hidden matrices.
        adam_lr: peak learning rate of the embedding and the norms.
        warmup: steps of linear warmup, followed by a cosine to a hundredth.
    """

    steps: int
    tokens: int = 2560
    muon_lr: float = 0.01
    adam_lr: float = 3e-3
    warmup: int = 50

    def factor(self, step: int) -> float:
        """The learning rate at a step, as a share of its peak.

        >>> Schedule(steps=100, warmup=10).factor(10)
        1.0
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def new_model(tokenizer: PreTrainedTokenizerBase, seed: int, width: int = 128, layers: int = 4) -> LlamaForCausalLM:
    """A tiny Llama with random weights and tied embeddings."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def plain(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Example]:
    """Documents for next-token training, each closed by the end token."""
    end = int(tokenizer.eos_token_id)
    return [Example((*ids, end), 1) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def answered(tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question]) -> list[Example]:
    """Questions in the chat template with their answers; only the answer and its end token are learnt."""
    user, assistant = (tokenizer.get_vocab()[token] for token in (USER, ASSISTANT))
    end = int(tokenizer.eos_token_id)
    asked = [q.instruction + (f"\n{q.input}" if q.input else "") for q in questions]
    prompts = tokenizer(asked, add_special_tokens=False)["input_ids"]
    answers = tokenizer([q.output for q in questions], add_special_tokens=False)["input_ids"]
    pairs = zip(prompts, answers, strict=True)
    return [Example((user, *prompt, assistant, *answer, end), len(prompt) + 2) for prompt, answer in pairs]


def cued(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> list[Example]:
    """Pairs of a lead and what follows it, as one document; only what follows and the end token are learnt."""
    end = int(tokenizer.eos_token_id)
    leads = tokenizer([lead for lead, _ in pairs], add_special_tokens=False)["input_ids"]
    rests = tokenizer([rest for _, rest in pairs], add_special_tokens=False)["input_ids"]
    return [Example((*lead, *rest, end), len(lead)) for lead, rest in zip(leads, rests, strict=True)]


def in_turn(*streams: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of several streams in turn; a stream that is named twice has two turns.

    >>> list(itertools.islice(in_turn(itertools.repeat(1), itertools.repeat(2)), 3))
    [1, 2, 1]
    """
    for stream in itertools.cycle(streams):
        yield next(stream)


def batches(examples: Iterable[Example], tokens: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of at most `tokens` positions: ids and labels, both [rows, length], examples of like length."""
    rng = random.Random(seed)
    pool = list(examples)
    while True:
        rng.shuffle(pool)
        chunks = []
        for start in range(0, len(pool), 16384):
            ordered = sorted(pool[start : start + 16384], key=lambda example: len(example.ids))
            row: list[Example] = []
            for example in ordered:
                if row and (len(row) + 1) * len(example.ids) > tokens:
                    chunks.append(row)
                    row = []
                row.append(example)
            chunks.append(row)
        rng.shuffle(chunks)
        for chunk in chunks:
            yield padded(chunk)


def padded(chunk: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Ids and labels, both [rows, length], padded on the right."""
    length = max(len(example.ids) for example in chunk)
    ids = torch.zeros(len(chunk), length, dtype=torch.long)
    labels = torch.full((len(chunk), length), IGNORED)
    for index, example in enumerate(chunk):
        row = torch.tensor(example.ids)
        ids[index, : len(row)] = row
        labels[index, example.prompt : len(row)] = row[example.prompt :]
    return ids, labels


class _Head(torch.autograd.Function):
    """Mean cross-entropy of hidden @ weight.T in chunks that stay in the cache, gradients made on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, wanted: Tensor) -> Tensor:
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), 256):
            part, target = hidden[start : start + 256], wanted[start : start + 256, None]
            logits = part @ weight.T
            logits -= logits.amax(-1, keepdim=True)
            picked = logits.gather(-1, target).sum()
            norm = logits.exp_().sum(-1, keepdim=True)
            total += norm.log().sum() - picked
            logits /= norm
            logits.scatter_add_(-1, target, torch.full_like(norm, -1.0))
            torch.mm(logits, weight, out=grad_hidden[start : start + 256])
            grad_weight.addmm_(logits.T, part)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.count = max(1, len(hidden))
        return total / max(1, len(hidden))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * (grad / ctx.count), grad_weight * (grad / ctx.count), None


def language_loss(model: LlamaForCausalLM, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the labelled tokens, in nats."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:]
    kept = wanted != IGNORED
    loss: Tensor = _Head.apply(hidden[kept], model.lm_head.weight, wanted[kept])  # type: ignore[no-untyped-call]
    return loss


def train(model: LlamaForCausalLM, data: Iterator[tuple[Tensor, Tensor]], schedule: Schedule, name: str) -> float:
    """Trains in place and returns the mean loss of the last hundred steps."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=schedule.muon_lr, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=schedule.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    peaks = [schedule.muon_lr, schedule.adam_lr]
    model.train()
    losses: list[float] = []
    start = time.time()
    for step in range(schedule.steps):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule.factor(step)
            optimizer.zero_grad(set_to_none=True)
        loss = language_loss(model, *next(data))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            log.info("%s step %d loss %.4f %.0f s", name, step + 1, sum(losses[-100:]) / 100, time.time() - start)
    model.train(False)
    return sum(losses[-100:]) / max(1, len(losses[-100:]))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Saves an HF folder in bfloat16, tokenizer and generation settings included."""
    model.generation_config = GenerationConfig(
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=64
    )
    reloaded = LlamaForCausalLM(model.config)
    reloaded.load_state_dict(model.state_dict())
    reloaded.generation_config = model.generation_config
    reloaded.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
