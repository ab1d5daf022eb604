"""Ranked lists: four sampled answers an instruction, with log-probabilities, marked by the checker or left to Eq. 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuna.assets.checker import mark
from tuna.inference.elementary import prompt_of

SAMPLES = 4
TRIALS = 3
TEMPERATURE_STEP = 0.1


@dataclass(frozen=True)
class Answer:
    """A sampled answer: its text, its token ids with the end token where it was generated, and how it ended."""

    text: str
    ids: tuple[int, ...]
    finish_reason: str


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    temperature: float,
    max_new_tokens: int,
) -> list[Answer]:
    """One sampled answer a prompt, in the order of the prompts."""
    ids = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    answers: dict[int, Answer] = {}
    pad, end = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    for start in range(0, len(order), 128):
        chosen = order[start : start + 128]
        width = max(len(ids[index]) for index in chosen)
        out: Tensor = model.generate(  # type: ignore[operator]
            input_ids=torch.tensor([[pad] * (width - len(ids[i])) + list(ids[i]) for i in chosen]),
            attention_mask=torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in chosen]),
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
        )
        for index, row in zip(chosen, out[:, width:].tolist(), strict=True):
            stopped = end in row
            kept = row[: row.index(end) + 1] if stopped else row
            text = str(tokenizer.decode(kept, skip_special_tokens=True)).strip()
            answers[index] = Answer(text, tuple(kept), "stop" if stopped else "length")
    return [answers[index] for index in range(len(ids))]


def distinct_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    retry: bool = True,
) -> list[list[Answer]]:
    """Up to four distinct answers a prompt at temperature 1.

    With `retry`, an answer that was there before is sampled again, at most three times, 0.1 warmer each time, as the
    paper does; without, it is left out. Empty answers are left out.
    """
    lists: list[list[Answer]] = [[] for _ in prompts]
    for _ in range(SAMPLES):
        waiting = list(range(len(prompts)))
        for trial in range(1 + TRIALS * retry):
            found = sample(
                model, tokenizer, [prompts[i] for i in waiting], 1.0 + TEMPERATURE_STEP * trial, max_new_tokens
            )
            again = []
            for index, answer in zip(waiting, found, strict=True):
                known = {other.text.lower() for other in lists[index]}
                if answer.text and answer.text.lower() not in known:
                    lists[index].append(answer)
                else:
                    again.append(index)
            waiting = again
            if not waiting:
                break
    return lists


@torch.inference_mode()
def log_probability(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Summed natural log-probability of an answer's tokens after a prompt, at temperature 1."""
    ids = torch.tensor([[*prompt, *answer]])
    logits: Tensor = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    picked = logits.float().log_softmax(-1).gather(-1, ids[0, len(prompt) :, None])
    return float(picked.sum())


def _responses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, answers: Sequence[Answer], source: str
) -> list[dict[str, Any]]:
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return [
        {
            "text": answer.text,
            "logprob": round(log_probability(model, prompt_ids, answer.ids), 5),
            "num_tokens": len(answer.ids),
            "source": source,
            "finish_reason": answer.finish_reason,
        }
        for answer in answers
    ]


def contextual(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, records: Sequence[Mapping[str, Any]], source: str
) -> list[dict[str, Any]]:
    """Lists of a model's own answers ranked by the checker: `score` is minus the place, equal marks share a place.

    Lists in which all marks are equal are left out.
    """
    prompts = [prompt_of(record, tokenizer) for record in records]
    lists = []
    for record, prompt, answers in zip(records, prompts, distinct_answers(model, tokenizer, prompts), strict=True):
        marks = [mark(record, answer.text) for answer in answers]
        places = sorted(set(marks), reverse=True)
        if len(places) < 2:
            continue
        responses = _responses(model, tokenizer, prompt, answers, source)
        judged = [
            {**response, "score": float(-places.index(points)), "judge_score": round(points, 4)}
            for response, points in zip(responses, marks, strict=True)
        ]
        lists.append({**record, "responses": sorted(judged, key=lambda response: -response["score"])})
    return lists


def probabilistic(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, records: Sequence[Mapping[str, Any]], source: str
) -> list[dict[str, Any]]:
    """Lists of a teacher's answers with log-probabilities, for Eq. 3 to rank; at least two distinct answers each."""
    prompts = [prompt_of(record, tokenizer) for record in records]
    found = distinct_answers(model, tokenizer, prompts, retry=False)
    return [
        {**record, "responses": _responses(model, tokenizer, prompt, answers, source)}
        for record, prompt, answers in zip(records, prompts, found, strict=True)
        if len(answers) >= 2
    ]
