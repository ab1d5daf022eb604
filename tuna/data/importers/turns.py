"""What importers share: questions and answers in all the forms that people write them, brought into one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

from tuna.data.fields import FieldError, check_text
from tuna.data.importers.base import Imported, Notes, RawRow
from tuna.data.messages import asked, read_message, read_messages
from tuna.data.record import Candidate, Message, Record

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_HUMAN = re.compile(r"(?:^|\n\n)[ \t]*(Human|Assistant):")
_EXTRA = re.compile(r"\s*<extra_id_\d>[ \t]*(System|User|Assistant)?[ \t]*\n?")
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant", "System": "system"}


def read_transcript(text: str) -> tuple[Message, ...]:
    r"""The turns of a text that begins with ``Human:`` and ``\n\nAssistant:``, or has ``<extra_id_1>`` marks.

    Texts are stripped. Empty for any other text.

    >>> [m["content"] for m in read_transcript("\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Bye.\n\nAssistant:")]
    ['Hi.', 'Hello.', 'Bye.', '']
    >>> [m["role"] for m in read_transcript("Hi.\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nBye.")]
    ['user', 'assistant', 'user']
    """
    begun = text.strip()
    if _EXTRA.search(text):
        parts = _EXTRA.split(text)[1:] if _EXTRA.match(text) else ["User", *_EXTRA.split(text)]
    elif begun.startswith("Human:") and re.search(r"\n\n[ \t]*Assistant:", begun):
        parts = _HUMAN.split(begun)[1:]
    else:
        return ()
    found: list[Message] = []
    for name, said in zip(parts[::2], parts[1::2], strict=True):
        other = "assistant" if found and found[-1]["role"] == "user" else "user"  # a mark without a name
        found.append({"role": _ROLES[name] if name else other, "content": (said or "").strip()})
    return tuple(found if found[0]["content"] else found[1:])


def _turns(value: object, field: str) -> tuple[Message, ...]:
    """The turns of chat messages, of one message or of a transcript; empty for any other text."""
    if isinstance(value, Mapping):
        return (read_message(value, field),)
    if isinstance(value, list | tuple):
        return read_messages(value, field)
    return read_transcript(check_text(value, field))


def read_prompt(value: object, field: str) -> tuple[Message, ...]:
    """The turns of a question: chat messages, or a text, which may be a transcript."""
    if not isinstance(value, Mapping | list | tuple | str):
        raise FieldError(field, "a string or a list of chat messages", value)
    turns = _turns(value, field) or ({"role": "user", "content": value},)
    # A transcript's empty last turn asks for the answer.
    return turns[:-1] if isinstance(value, str) and not turns[-1]["content"] and len(turns) > 1 else turns


class Answer(NamedTuple):
    """An answer, and the turns before it where they are given with it."""

    history: tuple[Message, ...]
    candidate: Candidate


def read_answer(value: Any, field: str) -> Answer:
    """An answer: a text, a transcript that ends with it, a message of the assistant's, or messages that end with one.

    Raises: FieldError for what does not end with the assistant's turn, and for one that calls functions.
    """
    turns = _turns(value, field)
    if not turns:
        return Answer((), Candidate(value))
    last = turns[-1]
    if last["role"] != "assistant":
        raise FieldError(field, "chat messages that end with the assistant's", shown(last))
    if last.get("tool_calls"):
        place = f"{field}[{len(turns) - 1}]" if isinstance(value, list | tuple) else field
        raise FieldError(f"{place}.tool_calls", "an answer of text", last["tool_calls"])
    thought = next((last[key] for key in _THOUGHTS if isinstance(last.get(key), str)), None)
    return Answer(turns[:-1], Candidate(last["content"], reasoning=thought))


def shown(message: Message) -> str:
    """A turn in a message."""
    return f"{message['role']}: {message['content']}"


def same_history(answers: Mapping[str, Answer]) -> tuple[Message, ...]:
    """The turns that stand before all answers alike. Raises: FieldError that names the first that differs."""
    first = next(iter(answers), "")
    for key, other in answers.items():
        for k, (mine, its) in enumerate(zip_longest(answers[first].history, other.history)):
            if mine != its:
                there = "the answer" if mine is None else repr(shown(mine))
                expected = f"the same turns before the answer as in {first}"
                raise FieldError(f"{key}[{k}]", expected, its and shown(its), f"there stands {there}")
    return answers[first].history if first else ()


def question(prompt: tuple[Message, ...], history: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """The turns up to the answer, from a row's prompt (named ``field``) and what stands before its answers.

    Either may be empty, or the prompt may be the beginning of the history, or be followed by it; a prompt of one text
    may be any of the user's turns. Raises: FieldError where the two contradict each other, and where there is neither.
    """
    whole = _together(prompt, history, field) if prompt and history else prompt or history
    if not whole:
        raise FieldError(field, "a string or a list of chat messages", None)
    if whole[-1]["role"] not in ("user", "tool"):
        raise FieldError(field, "a conversation that ends with the user's turn", shown(whole[-1]))
    return whole


def _together(prompt: tuple[Message, ...], history: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    if history[: len(prompt)] == prompt:
        return history
    if prompt[0]["role"] == "system" and history[0]["role"] != "system":
        return (prompt[0], *(_together(prompt[1:], history, field) if prompt[1:] else history))
    if prompt[-1]["role"] == "user" and history[0]["role"] == "assistant":
        return prompt + history
    said = [m["content"].strip() for m in history if m["role"] == "user"]
    if len(prompt) == 1 and prompt[0]["role"] == "user" and prompt[0]["content"].strip() in said:
        return history
    raise FieldError(field, "the turns before the answers", shown(prompt[-1]), f"there stands {shown(history[-1])!r}")


def answered(
    row: RawRow, key: str, candidates: Iterable[Candidate], notes: Notes, history: tuple[Message, ...] = ()
) -> Record:
    """The record of the question under ``key`` and its answers. history: what stands before all of these."""
    return made(question(read_prompt(row.get(key), key), history, key), candidates, notes)


def made(turns: Sequence[Message], candidates: Iterable[Candidate], notes: Notes) -> Record:
    """The record of a question and its answers, less the question's words where every answer begins with them."""
    answers = tuple(candidates)
    parts = asked(turns)
    apart = _without(parts["instruction"], [c.text for c in answers])
    if apart:
        notes["lists whose answers repeated the prompt, which was taken off"] += 1
        answers = tuple(replace(c, text=text) for c, text in zip(answers, apart, strict=True))
    if any(re.search(r"\n\n[ \t]*Human:", c.text) for c in answers):  # a turn that the model made up
        notes["lists with an answer that goes on into another 'Human:' turn"] += 1
    return Record("", **parts, responses=answers)


def _without(prompt: str, texts: Sequence[str]) -> list[str]:
    """The texts without the prompt at their beginning; [] where not all have it, or one may be a greeting returned."""
    words = prompt.strip()
    if len(words.split()) < 3 and not words.endswith(("?", ":")):
        return []
    found = []
    for text in texts:
        after = text.lstrip().removeprefix(words)
        if after == text.lstrip() or not after.strip() or (words[-1].isalnum() and after[0].isalnum()):
            return []
        found.append(after.lstrip())
    return found


def joined(records: Sequence[Record], notes: Notes) -> list[Imported]:
    """One record per question, with the answers of all records that ask it, in the order of the file."""
    found: dict[str, Record] = {}
    for record in records:
        first = found.get(key := repr(record.question))
        found[key] = replace(first, responses=first.responses + record.responses) if first else record
    return [(record.where, record) for record in found.values()]
