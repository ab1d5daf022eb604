"""A chosen answer and a rejected one, or several of each."""

from dataclasses import replace

from tuna.data.fields import FieldError, check_text, number, optional_count, plain
from tuna.data.importers.base import Notes, RawRow, importer
from tuna.data.importers.tuna import read_history
from tuna.data.importers.turns import (
    Answer,
    answered,
    first_key,
    made,
    no_other,
    question,
    read_answer,
    read_prompt,
    read_texts,
    same_history,
)
from tuna.data.messages import read_messages
from tuna.data.record import Candidate, Message, Record

_CHOSEN, _REJECTED = ("chosen", "chosen_response"), ("rejected", "rejected_response")
_PROMPTS = ("prompt", "instruction", "question", "conversations")
_SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"), ("chosen_reward", "rejected_reward"), ("chosen-rating", "rejected-rating"),
    ("chosen_avg_rating", "rejected_avg_rating"), ("reward_chosen", "reward_rejected"),
)  # fmt: skip


@importer(
    {"|".join(_CHOSEN): "text|message|messages", "|".join(_REJECTED): "text|message|messages"},
    optional={
        "prompt": "text|messages|message", "instruction": "text|messages", "question": "text|messages",
        "conversations": "messages", "input": "text|messages", "messages": "messages", "history": "list",
        **{key: "number|text" for pair in _SCORES for key in pair},
    },
)  # fmt: skip
def pairs(row: RawRow, notes: Notes) -> Record:
    """Chosen/rejected pairs as lists of two; the chosen one is the original unless told otherwise.

    Answers are texts, transcripts (Anthropic's HH-RLHF), messages, or message lists that may hold the prompt
    (ultrafeedback_binarized, Skywork, Tulu, TRL). Where the row has scores of the two they are kept, else 1 and 0.

    Raises: FieldError where the two have other turns before them, or the row's scores prefer the rejected one.
    """
    names = [first_key(row, keys) or keys[0] for keys in (_CHOSEN, _REJECTED)]
    for name, keys in zip(names, (_CHOSEN, _REJECTED), strict=True):
        no_other(row, name, keys)
    answers = {name: read_answer(row.get(name), name) for name in names}
    key, prompt = _prompt(row)
    history = same_history(answers)
    if not prompt and not history:
        hint = f"it may be called {', '.join(_PROMPTS)}, or stand before both answers"
        raise FieldError(key, "a string or a list of chat messages", None, hint)
    if not prompt and row.get("history"):
        raise FieldError("history", "nothing beside answers that hold the turns before them", row["history"])
    turns = question(prompt, history, key)
    if row.get("messages") is not None and key != "messages":
        turns = _with_messages(row, turns, answers[names[0]])
    both = zip(answers.values(), _scores(row, notes), strict=True)
    record = made(turns, [answer.candidate(score) for answer, score in both], notes)
    if key == "input" or not row.get("input"):
        return record
    beside = check_text(row["input"], "input")
    if history and beside not in record.instruction:
        raise FieldError("input", "a part of the last user turn, or nothing beside a conversation", beside)
    return record if history or record.messages else replace(record, input=beside)


def _prompt(row: RawRow) -> tuple[str, tuple[Message, ...]]:
    """The prompt's key and turns; no turns where it stands only before the answers."""
    inside = any(isinstance(row.get(key), list | tuple) and len(row[key]) > 1 for key in _CHOSEN)
    key = first_key(row, (*_PROMPTS, "input") if inside else (*_PROMPTS, "input", "messages"))
    if not key:
        return "prompt", ()
    no_other(row, key, _PROMPTS)
    before, prompt = read_history(row.get("history")), read_prompt(row[key], key)
    beside = row.get("input")
    apart = isinstance(beside, str) and beside not in prompt[-1]["content"]
    if before and apart and [turn["role"] for turn in prompt] == ["user"]:
        prompt = ({**prompt[0], "content": f"{prompt[0]['content']}\n{check_text(beside, 'input')}"},)
    return key, (*before, *prompt)


def _with_messages(row: RawRow, turns: tuple[Message, ...], chosen: Answer) -> tuple[Message, ...]:
    """The question, to which ``messages`` beside a pair may add the turns before it; they may hold the chosen answer.

    Raises: FieldError where they end otherwise.
    """
    talk = read_messages(row["messages"], "messages")
    if talk[-1]["role"] == "assistant" and talk[-1]["content"] == chosen.text:
        talk = talk[:-1]
    if [(m["role"], m["content"]) for m in talk[-len(turns) :]] != [(m["role"], m["content"]) for m in turns]:
        raise FieldError("messages", "the question, or the question and the chosen answer", row["messages"])
    return talk


def _scores(row: RawRow, notes: Notes) -> tuple[float, float]:
    pair = next((p for p in _SCORES if first_key(row, p)), None)
    if pair is None:
        return 1.0, 0.0
    if any(isinstance(plain(row.get(key)), str) for key in pair):
        notes["pairs with a score that is no number (N/A), taken as 1 and 0"] += 1
        return 1.0, 0.0
    chosen, rejected = (number(row.get(key), key) for key in pair)
    if chosen < rejected:
        raise FieldError(pair[1], f"at most {pair[0]}", rejected, f"that is {chosen:g}")
    if chosen == rejected:
        notes["pairs called chosen and rejected with equal scores, taken as ties"] += 1
    return chosen, rejected


@importer(
    {"prompt": "text|messages", "chosen": "texts", "rejected": "texts"},
    kept={
        "num_correct": "number", "num_incorrect": "number", "total_completions": "number", "models": "texts",
        "subset": "text", "additional_metadata": "any",
    },
)  # fmt: skip
def reward_bench(row: RawRow, notes: Notes) -> Record:
    """RewardBench 2 (allenai): a list of right answers (score 1) and a list of wrong ones (score 0).

    Numbers of answers that contradict the lists are counted.
    """
    candidates = []
    for key, counted, score in (("chosen", "num_correct", 1.0), ("rejected", "num_incorrect", 0.0)):
        texts = read_texts(row, key)
        candidates += [Candidate(text, score) for text in texts]
        if optional_count(row, counted) not in (None, len(texts)):
            notes[f"rows whose {counted} is not the number of {key} answers"] += 1
    return answered(row, "prompt", candidates, notes)
