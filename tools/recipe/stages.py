"""The stages of the recipe: each makes files in a folder from the files of the stages before it."""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from tools.recipe import list_tasks, rankings, word_tasks
from tools.recipe.comparison import make_parts
from tools.recipe.cues import cues
from tools.recipe.instructions import TAUGHT_TASKS, make_part, stream, write_jsonl
from tools.recipe.preferences import deepened, own_answers, train_preferences, written_answers, written_stories
from tools.recipe.prose import documents
from tools.recipe.questions import Question, ask, registered
from tools.recipe.sizes import Recipe
from tools.recipe.tokenizer import train_tokenizer
from tools.recipe.training import (
    Example,
    answered,
    batches,
    cued,
    in_turn,
    new_model,
    plain,
    save,
    train,
)
from tools.recipe.world import load_world
from tuna.assets.checker import is_checkable
from tuna.inference.generate import measure_elementary

log = logging.getLogger(__name__)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return tokenizer


def _load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), _tokenizer(folder)


def make_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Trains the tokenizer on prose and questions of the world."""
    world = load_world()

    def texts() -> Iterator[str]:
        prose, questions = recipe.tokenized
        yield from itertools.islice(documents(1, world), prose)
        rng = random.Random(2)
        for name in (*registered(word_tasks), *registered(list_tasks)):
            for question in (ask(rng, world, name, False) for _ in range(questions)):
                yield from (question.instruction, question.input, question.output)

    train_tokenizer(texts(), folder / "models" / "tiny_base")


def make_instructions(folder: Path, recipe: Recipe) -> None:
    """Writes the train and the held-out instructions."""
    world = load_world()
    train_part = make_part(world, 11, False, recipe.train_per_task, recipe.train_open)
    held_out = make_part(world, 12, True, recipe.held_out_per_task, recipe.held_out_open)
    write_jsonl(folder / "instructions" / "train.jsonl", train_part)
    write_jsonl(folder / "instructions" / "held_out.jsonl", held_out)


def _documents(tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> list[Example]:
    return plain(tokenizer, list(itertools.islice(documents(seed, load_world()), count)))


def _cues(tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> list[Example]:
    return cued(tokenizer, list(cues(load_world(), seed, count)))


def make_prose(folder: Path, recipe: Recipe) -> None:
    """First training of ``tiny_base``, from random weights, on prose."""
    tokenizer = _tokenizer(folder / "models" / "tiny_base")
    examples = _documents(tokenizer, 0, recipe.documents)
    model = new_model(tokenizer, seed=0, width=recipe.width, layers=recipe.layers)
    train(model, batches(examples, recipe.prose.tokens, 0), recipe.prose, "prose")
    save(model, tokenizer, folder / "work" / "prose")


def make_base(folder: Path, recipe: Recipe) -> None:
    """Second training of ``tiny_base``, on cues and prose."""
    model, tokenizer = _load(folder / "work" / "prose")
    schedule = recipe.cues
    said = batches(_cues(tokenizer, 13, schedule.steps * 70), schedule.tokens, 15)
    prose = batches(_documents(tokenizer, 12, schedule.steps * 15), schedule.tokens, 16)
    train(model, in_turn(said, said, said, prose), schedule, "base")
    save(model, tokenizer, folder / "models" / "tiny_base")


def make_tiny(folder: Path, recipe: Recipe) -> None:
    """Instruction-tunes ``tiny`` from ``tiny_base`` on the train part."""
    model, tokenizer = _load(folder / "models" / "tiny_base")
    questions = [Question.of(record) for record in _read(folder / "instructions" / "train.jsonl")]
    train(model, batches(answered(tokenizer, questions), recipe.tiny.tokens, 6), recipe.tiny, "tiny")
    save(model, tokenizer, folder / "models" / "tiny")


def make_teacher(folder: Path, recipe: Recipe) -> None:
    """Trains ``tiny_teacher`` from ``tiny_base``: many questions of the train part, mixed with cues and prose.

    Each round has data of its own and ends in a saved model, from which the next one starts.
    """
    source = folder / "models" / "tiny_base"
    for number, schedule in enumerate(recipe.teacher):
        model, tokenizer = _load(source)
        seed, tokens = 100 * number, schedule.tokens
        questions = stream(load_world(), 8 + seed, schedule.steps * 40, TAUGHT_TASKS)
        asked = batches(answered(tokenizer, questions), tokens, 9 + seed)
        said = batches(_cues(tokenizer, 17 + seed, schedule.steps * 20), tokens, 10 + seed)
        prose = batches(_documents(tokenizer, 7 + seed, schedule.steps * 15), tokens, 11 + seed)
        train(model, in_turn(asked, said, asked, prose), schedule, f"teacher, round {number + 1}")
        source = folder / "models" / "tiny_teacher"
        save(model, tokenizer, source)


def make_prm_base(folder: Path, recipe: Recipe) -> None:
    """Trains ``tiny_prm_base``: ``tiny_teacher`` with more layers, on preferences between ``tiny``'s answers."""
    tiny, tokenizer = _load(folder / "models" / "tiny")
    torch.manual_seed(31)
    world, (steps, tokens) = load_world(), (recipe.prm_base.steps, recipe.prm_base.tokens)
    records = make_part(world, 21, False, *recipe.prm_base_asked)
    described = [record for record in records if not is_checkable(record)]
    every, open_ended = own_answers(tiny, tokenizer, records), own_answers(tiny, tokenizer, described * 8)
    slipped, told = (make(world, tokenizer, 42, steps * 6) for make in (written_answers, written_stories))
    sizes = {"own": every, "own, open-ended": open_ended, "slipped": slipped, "told": told}
    log.info("preferences: %s", ", ".join(f"{len(lists)} {name}" for name, lists in sizes.items()))
    prose = batches(_documents(tokenizer, 34, steps * 8), tokens, 35)
    asked = batches(answered(tokenizer, stream(world, 36, steps * 8, TAUGHT_TASKS)), tokens, 37)
    said = batches(_cues(tokenizer, 38, steps * 8), tokens, 39)
    model, _ = _load(folder / "models" / "tiny_teacher")
    model = deepened(model, recipe.prm_base_layers, seed=40)
    text = in_turn(prose, asked, prose, said)
    turns = [every, slipped, open_ended, every, slipped, told]
    train_preferences(model, turns, text, recipe.prm_base, count=16, text_weight=0.25, seed=41)
    save(model, tokenizer, folder / "models" / "tiny_prm_base")


def _instructions(folder: Path, part: str, counts: tuple[int, int], seed: int) -> list[dict[str, Any]]:
    """Instructions to sample answers for: so many open-ended and so many checkable ones, shuffled."""
    records = _read(folder / "instructions" / f"{part}.jsonl")
    random.Random(seed).shuffle(records)
    open_ended = [record for record in records if not is_checkable(record)][: counts[0]]
    checkable = [record for record in records if is_checkable(record)][: counts[1]]
    chosen = open_ended + checkable
    random.Random(seed + 1).shuffle(chosen)
    return chosen


Ranker = Callable[..., list[dict[str, Any]]]


def _make_lists(folder: Path, recipe: Recipe, source: str, ranker: Ranker, name: str, seed: int) -> None:
    model, tokenizer = _load(folder / "models" / source)
    torch.manual_seed(seed)
    for part, count, sampled, ending in (
        ("train", recipe.lists, recipe.sampled, ""),
        ("held_out", recipe.held_out_lists, recipe.held_out_sampled, "_held_out"),
    ):
        records = _instructions(folder, part, sampled, seed)
        lists = ranker(model, tokenizer, records, source)
        write_jsonl(folder / "rankings" / f"{name}{ending}.jsonl", lists[:count])
        log.info("%s%s: %d lists of %d", name, ending, min(count, len(lists)), len(records))


def make_contextual(folder: Path, recipe: Recipe) -> None:
    """``tiny``'s own answers, ranked by the checker."""
    _make_lists(folder, recipe, "tiny", rankings.contextual, "contextual", 21)


def make_probabilistic(folder: Path, recipe: Recipe) -> None:
    """``tiny_teacher``'s answers with log-probabilities."""
    _make_lists(folder, recipe, "tiny_teacher", rankings.probabilistic, "probabilistic", 23)


def make_comparison(folder: Path, recipe: Recipe) -> None:
    """Writes the questions of the comparison of losses (docs/experiments.md)."""
    for part, records in make_parts(load_world(), 51, recipe.comparison).items():
        write_jsonl(folder / "instructions" / f"comparison_{part}.jsonl", records)


def make_report(folder: Path, recipe: Recipe) -> None:
    """Measures the models on the held-out part and writes ``measured.json``."""
    records = _read(folder / "instructions" / "held_out.jsonl")
    report: dict[str, Any] = {}
    for name in ("tiny_base", "tiny", "tiny_teacher", "tiny_prm_base"):
        model, tokenizer = _load(folder / "models" / name)
        start = time.time()
        result = measure_elementary(model, tokenizer, records)
        report[name] = {
            "accuracy": round(result.accuracy, 4),
            "open_ended": round(result.open_ended, 4),
            "by_task": {task: f"{right}/{total}" for task, (right, total) in result.by_task.items()},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "bytes": (folder / "models" / name / "model.safetensors").stat().st_size,
        }
        log.info("%s: accuracy %.3f, %.1f s", name, result.accuracy, time.time() - start)
    (folder / "measured.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


STAGES: dict[str, Callable[[Path, Recipe], None]] = {
    "tokenizer": make_tokenizer,
    "instructions": make_instructions,
    "prose": make_prose,
    "base": make_base,
    "tiny": make_tiny,
    "teacher": make_teacher,
    "prm_base": make_prm_base,
    "contextual": make_contextual,
    "probabilistic": make_probabilistic,
    "comparison": make_comparison,
    "report": make_report,
}
