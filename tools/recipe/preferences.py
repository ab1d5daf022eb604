"""Preference pretraining: a deeper model learns to tell better texts from worse before any stage does.

The idea is that of Askell et al. 2021 (arXiv 2112.00861, Section 4): preferences that cost nothing first, those of the
judge after. Here they are answers to questions of the train part, marked by the checker, and plain text about any thing
of the world, marked by its true facts less its false ones. The head that reads them is thrown away.
"""

from __future__ import annotations

import copy
import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from tools.recipe.rankings import distinct_answers
from tools.recipe.slips import slips, stories
from tools.recipe.training import Example, Schedule, language_loss, padded
from tools.recipe.world import World
from tuna.assets.checker import mark
from tuna.inference.elementary import prompt_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marked:
    """Texts of which some are better than others: token ids to the end token, and their marks."""

    ids: tuple[tuple[int, ...], ...]
    marks: tuple[float, ...]


def marked(
    tokenizer: PreTrainedTokenizerBase, lists: Iterable[tuple[str, Sequence[str], Sequence[float]]]
) -> list[Marked]:
    """Lists of a prompt (empty for plain text), texts and marks; those in which all marks are equal are left out."""
    end = int(tokenizer.eos_token_id)
    found = []
    for prompt, texts, marks in lists:
        if len(set(marks)) > 1:
            ids = tokenizer([prompt + text for text in texts], add_special_tokens=False)["input_ids"]
            found.append(Marked(tuple((*row, end) for row in ids), tuple(marks)))
    return found


def own_answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, records: Sequence[Mapping[str, Any]]
) -> list[Marked]:
    """A model's own answers to questions, with the original one among them."""
    prompts = [prompt_of(record, tokenizer) for record in records]
    lists = []
    for record, prompt, answers in zip(records, prompts, distinct_answers(model, tokenizer, prompts), strict=True):
        texts = list(dict.fromkeys([*(answer.text for answer in answers), str(record["output"])]))
        lists.append((prompt, texts, [mark(record, text) for text in texts]))
    return marked(tokenizer, lists)


def written_answers(world: World, tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> list[Marked]:
    """Answers with slips to questions of the train part."""
    return marked(
        tokenizer,
        ((prompt_of(asked.record(""), tokenizer), texts, marks) for asked, texts, marks in slips(world, seed, count)),
    )


def written_stories(world: World, tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> list[Marked]:
    """Plain text about any thing of the world, with false facts in it."""
    return marked(tokenizer, (("", texts, marks) for texts, marks in stories(world, seed, count)))


def deepened(model: LlamaForCausalLM, layers: int, seed: int) -> LlamaForCausalLM:
    """The model with so many layers in all; the new ones add nothing yet, so that its answers stay the same.

    The guess behind it: a last layer ends in what comes next, and none is left to compare that with the word that came.
    """
    torch.manual_seed(seed)
    for index in range(len(model.model.layers), layers):
        layer = copy.deepcopy(model.model.layers[-1])
        layer.self_attn.layer_idx = index
        for matrix in (parameter for parameter in layer.parameters() if parameter.ndim == 2):
            nn.init.normal_(matrix, std=0.05)
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)
        model.model.layers.append(layer)
    model.config.num_hidden_layers = layers
    model.config.layer_types = None
    return model


def _endless(lists: Sequence[Marked], count: int, seed: int) -> Iterator[list[Marked]]:
    rng, pool = random.Random(seed), list(lists)
    while True:
        rng.shuffle(pool)
        for start in range(0, max(1, len(pool) - count + 1), count):
            yield pool[start : start + count]


def _pairwise(model: LlamaForCausalLM, head: nn.Linear, lists: Sequence[Marked]) -> Tensor:
    """The mean over lists of the mean over pairs of -log sigmoid(r_better - r_worse), r read at the last token."""
    rows = [ids for each in lists for ids in each.ids]
    ids, _ = padded([Example(row, 1) for row in rows])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    last = torch.tensor([len(row) - 1 for row in rows])
    rewards = head(hidden[torch.arange(len(rows)), last]).squeeze(-1)
    losses = []
    for each, found in zip(lists, rewards.split([len(each.ids) for each in lists]), strict=True):
        marks = torch.tensor(each.marks)
        better = marks[:, None] > marks[None, :]
        losses.append(softplus(found[None, :] - found[:, None])[better].mean())
    return torch.stack(losses).mean()


def train_preferences(
    model: LlamaForCausalLM,
    lists: Sequence[Sequence[Marked]],
    text: Iterator[tuple[Tensor, Tensor]],
    schedule: Schedule,
    *,
    count: int,
    text_weight: float,
    seed: int,
) -> None:
    """Trains in place: `count` lists a step, of each sort in turn, and a batch of text.

    Without the text, facts that no question of the train part is about would be forgotten.
    """
    torch.manual_seed(seed)
    head = nn.Linear(model.config.hidden_size, 1, bias=False)
    nn.init.normal_(head.weight, std=0.02)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.adam_lr, weight_decay=0.01)
    batches = [_endless(sort, count, seed + number) for number, sort in enumerate(lists)]
    model.train()
    start, told = time.time(), [0.0, 0.0]
    for step in range(schedule.steps):
        optimizer.param_groups[0]["lr"] = schedule.adam_lr * schedule.factor(step)
        optimizer.zero_grad(set_to_none=True)
        preference = _pairwise(model, head, next(batches[step % len(batches)]))
        preference.backward()
        language = language_loss(model, *next(text))
        (text_weight * language).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        told = [told[0] + preference.item() / 100, told[1] + language.item() / 100]
        if (step + 1) % 100 == 0:
            log.info("preferences step %d loss %.4f text %.4f %.0f s", step + 1, *told, time.time() - start)
            told = [0.0, 0.0]
    model.train(False)
