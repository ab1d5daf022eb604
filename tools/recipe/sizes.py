"""The sizes of everything that the recipe makes: what the committed files were made with, and trivial ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.recipe.training import Schedule


@dataclass(frozen=True)
class Recipe:
    """The sizes of everything that is made.

    Attributes:
        width: hidden size of the models.
        layers: layers of the models.
        prose: first training of ``tiny_base``, on prose.
        cues: second training of ``tiny_base``: three batches of cues, then one of prose, in turn.
        tiny: instruction tuning of ``tiny`` on the train part.
        teacher: rounds of training of ``tiny_teacher``: questions of the train part, cues, questions, prose in turn.
        prm_base_layers: layers of ``tiny_prm_base``.
        prm_base: preference pretraining of ``tiny_prm_base``.
        prm_base_asked: new train questions for it, a checkable task and open-ended.
        tokenized: documents, and questions a task, that the tokenizer is trained on.
        documents: documents of the first training.
        train_per_task: train questions a checkable task.
        train_open: open-ended train questions.
        held_out_per_task: held-out questions a checkable task.
        held_out_open: open-ended held-out questions.
        lists: ranked lists of each sort to make from the train part, at most.
        held_out_lists: the same from the held-out part.
        sampled: open-ended and checkable train instructions that answers are sampled for.
        held_out_sampled: the same from the held-out part.
        comparison: questions of the comparison of losses, by part: per checkable task, and open-ended.
    """

    width: int
    layers: int
    prose: Schedule
    cues: Schedule
    tiny: Schedule
    teacher: tuple[Schedule, ...]
    prm_base_layers: int
    prm_base: Schedule
    prm_base_asked: tuple[int, int]
    tokenized: tuple[int, int]
    documents: int
    train_per_task: int
    train_open: int
    held_out_per_task: int
    held_out_open: int
    lists: int
    held_out_lists: int
    sampled: tuple[int, int]
    held_out_sampled: tuple[int, int]
    comparison: Mapping[str, tuple[int, int]]


FULL = Recipe(
    width=128,
    layers=4,
    prose=Schedule(steps=2400, tokens=2560, muon_lr=0.02, adam_lr=4e-3),
    cues=Schedule(steps=1500, tokens=1280, muon_lr=0.015, adam_lr=2e-3),
    tiny=Schedule(steps=120, tokens=1280, muon_lr=0.005, adam_lr=1e-3, warmup=10),
    teacher=(Schedule(steps=2400, tokens=1280, muon_lr=0.015, adam_lr=2e-3),) * 2,
    prm_base_layers=8,
    prm_base=Schedule(steps=3600, tokens=320, adam_lr=1e-3),
    prm_base_asked=(500, 3000),
    tokenized=(20_000, 500),
    documents=250_000,
    train_per_task=60,
    train_open=600,
    held_out_per_task=15,
    held_out_open=100,
    lists=600,
    held_out_lists=200,
    sampled=(600, 400),
    held_out_sampled=(100, 150),
    comparison={"lists": (5, 120), "choice": (7, 60), "measure": (20, 150)},
)
"""What the committed files were made with."""

QUICK = Recipe(
    width=32,
    layers=1,
    prose=Schedule(steps=4, tokens=256, warmup=1),
    cues=Schedule(steps=4, tokens=256, warmup=1),
    tiny=Schedule(steps=2, tokens=256, warmup=1),
    teacher=(Schedule(steps=2, tokens=256, warmup=1),),
    prm_base_layers=2,
    prm_base=Schedule(steps=2, tokens=256, warmup=1),
    prm_base_asked=(4, 12),
    tokenized=(600, 20),
    documents=300,
    train_per_task=4,
    train_open=12,
    held_out_per_task=2,
    held_out_open=4,
    lists=6,
    held_out_lists=4,
    sampled=(8, 4),
    held_out_sampled=(4, 4),
    comparison={"lists": (2, 6), "choice": (1, 2), "measure": (1, 2)},
)
"""Trivial sizes: the same path in seconds, for a test."""
