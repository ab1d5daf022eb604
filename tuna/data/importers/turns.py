"""What importers share: questions and answers in all the forms that people write them, brought into one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.data.fields import FieldError, check_text, identity, rest
from tuna.data.importers.base import Imported, Notes, RawRow
from tuna.data.importers.transcripts import read_transcript, runs_on
from tuna.data.messages import asked, read_message, read_messages
from tuna.data.record import Candidate, Message, Record

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it stands in a row: the turns before it, where they are given with it, and its text."""

    history: tuple[Message, ...]
    text: str
    reasoning: str | None = None

    def candidate(self, score: float, source: str | None = None, extra: Mapping[str, Any] | None = None) -> Candidate:
        """The answer with its score."""
        return Candidate(self.text, score, source=source, reasoning=self.reasoning, extra=extra or {})


def first_key(row: RawRow, names: Sequence[str]) -> str | None:
    """The first of the names that the row has a value under."""
    return next((name for name in names if row.get(name) is not None), None)


def no_other(row: RawRow, key: str, names: Iterable[str]) -> None:
    """Raises: FieldError where the row has another value than ``key``'s under one more of the names."""
    for other in names:
        if row.get(other) and row[other] != row[key]:
            raise FieldError(other, f"nothing beside {key}, or the same again", row[other])


def read_prompt(value: Any, field: str) -> tuple[Message, ...]:
    """The turns of a question: chat messages, or a text, which may be a transcript."""
    if isinstance(value, Mapping):
        return (read_message(value, field),)
    if isinstance(value, list | tuple):
        return read_messages(value, field)
    if not isinstance(value, str):
        raise FieldError(field, "a string or a list of chat messages", value)
    said = check_text(value, field)
    turns = read_transcript(said) or ({"role": "user", "content": said},)
    # A transcript's empty last turn asks for the answer.
    return turns if turns[-1]["content"] or len(turns) == 1 else turns[:-1]


def read_answer(value: Any, field: str) -> Answer:
    """An answer: a text, a transcript that ends with it, a message of the assistant's, or messages that end with one.

    Raises: FieldError for what does not end with the assistant's turn, and for an answer that calls functions, which
        no text can hold.
    """
    if isinstance(value, Mapping):
        return _last([read_message(value, field)], [field], field)
    if isinstance(value, list | tuple):
        return _last(read_messages(value, field), [f"{field}[{k}]" for k in range(len(value))], field)
    said = check_text(value, field)
    turns = read_transcript(said)
    return Answer((), said) if turns is None else _last(turns, [field] * len(turns), field)


def _last(turns: Sequence[Message], names: Sequence[str], field: str) -> Answer:
    if not turns or turns[-1]["role"] != "assistant":
        last = _shown(turns[-1]) if turns else list(turns)
        raise FieldError(field, "chat messages that end with the assistant's", last)
    if turns[-1].get("tool_calls"):
        raise FieldError(f"{names[-1]}.tool_calls", "an answer of text", turns[-1]["tool_calls"])
    thought = next((turns[-1][key] for key in _THOUGHTS if isinstance(turns[-1].get(key), str)), None)
    return Answer(tuple(turns[:-1]), turns[-1]["content"], thought)


def read_texts(row: RawRow, key: str) -> list[str | None]:
    """A list of texts, some of them null."""
    value = row.get(key)
    if not isinstance(value, list | tuple):
        raise FieldError(key, "a list of strings", value)
    return [None if said is None else check_text(said, f"{key}[{k}]") for k, said in enumerate(value)]


def same_history(answers: Mapping[str, Answer]) -> tuple[Message, ...]:
    """The turns that stand before all answers alike.

    Raises: FieldError that names the first turn that differs.
    """
    (name, one), *others = answers.items()
    for key, other in others:
        for k in range(max(len(one.history), len(other.history))):
            mine, its = (turns[k] if k < len(turns) else None for turns in (one.history, other.history))
            if mine != its:
                raise FieldError(
                    f"{key}[{k}]",
                    f"the same turns before the answer as in {name}",
                    None if its is None else _shown(its),
                    f"there stands {'the answer' if mine is None else repr(_shown(mine))}",
                )
    return one.history


def _shown(message: Message) -> str:
    return f"{message['role']}: {message['content']}"


def question(prompt: tuple[Message, ...], history: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """The turns up to the answer, from a row's prompt (named ``field``) and what stands before its answers.

    Either may be empty, or the prompt may be the beginning of the history, or be followed by it; a prompt of one text
    may be any of the user's turns.

    Raises: FieldError where the two contradict each other, where there is neither, and where the answer's turn is open.
    """
    whole = prompt or history
    if prompt and history:
        whole = _together(prompt, history, field)
    if not whole:
        raise FieldError(field, "a string or a list of chat messages", None)
    if whole[-1]["role"] not in ("user", "tool"):
        raise FieldError(field, "a conversation that ends with the user's turn", _shown(whole[-1]))
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
    raise FieldError(field, "the turns before the answers", _shown(prompt[-1]), f"there stands {_shown(history[-1])!r}")


def made(
    row: RawRow,
    where: str,
    index: int,
    turns: Sequence[Message],
    candidates: Iterable[Candidate],
    used: Iterable[str],
    notes: Notes,
) -> Record:
    """The record of a question and its answers; the row's other keys are kept.

    Where every answer begins with the question's own words, these are taken off and counted.
    """
    answers = tuple(candidates)
    parts = asked(turns)
    apart = _without(str(parts["instruction"]), [c.text for c in answers])
    if apart:
        notes["lists whose answers repeated the prompt, which was taken off"] += 1
        answers = tuple(replace(c, text=text) for c, text in zip(answers, apart, strict=True))
    if any(runs_on(c.text) for c in answers):
        notes["lists with an answer that goes on into another 'Human:' turn"] += 1
    extra = rest(row, frozenset({"id", *used}))
    return Record(id=identity(row, index), **parts, responses=answers, where=where, extra=extra)


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
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(repr(record.question), []).append(record)
    return [
        (same[0].where, replace(same[0], responses=tuple(c for record in same for c in record.responses)))
        for same in groups.values()
    ]
