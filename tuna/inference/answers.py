"""One answer of a model to an instruction, as the store keeps it and as the output shows it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tuna.data.record import Candidate, Record
from tuna.inference.logprobs import NOT_THE_TEXTS, text_logprobs
from tuna.inference.thought import split_thought


@dataclass(frozen=True, slots=True)
class Answer:
    """logprob: summed, natural log, at temperature 1, over ``num_tokens`` tokens, the end-of-sequence counted when it
    was generated. refused: why there is no text. temperature and similarity: the diversity rule's. reward: a PRM's.
    reasoning: the thought before the text. unscored: why ``logprob`` is None although log-probabilities were given.
    """

    text: str
    logprob: float | None = None
    num_tokens: int | None = None
    finish_reason: str | None = None
    refused: str | None = None
    temperature: float | None = None
    similarity: float | None = None
    reward: float | None = None
    reasoning: str | None = None
    unscored: str | None = None
    tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)  # as drawn here; not stored

    @property
    def unusable_reason(self) -> str | None:
        """Why this answer cannot be ranked, or None."""
        if self.refused is not None:
            return self.refused
        if self.text.strip():
            return None
        return "empty answer" if self.reasoning is None else "empty answer: nothing after its reasoning"

    def to_dict(self) -> dict[str, Any]:
        """For a line of the store."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "tokens"}


def from_choice(choice: Mapping[str, Any]) -> Answer:
    """An answer from a choice of a chat or a completions reply, its thought apart from its text.

    >>> from_choice({"text": "Hi.", "finish_reason": "stop", "logprobs": {"token_logprobs": [-1.0, -0.5]}})
    ... # doctest: +NORMALIZE_WHITESPACE
    Answer(text='Hi.', logprob=-1.5, num_tokens=2, finish_reason='stop', refused=None, temperature=None,
           similarity=None, reward=None, reasoning=None, unscored=None)

    Raises:
        ValueError: it is no such thing.
    """
    answer = apart(read_choice(choice))
    logprobs, why = text_logprobs(choice.get("logprobs"), answer.text, thought=answer.reasoning is not None)
    total = round(math.fsum(logprobs), 6) if logprobs else None
    return replace(answer, logprob=total, num_tokens=len(logprobs) or None, unscored=why)


def read_choice(choice: Mapping[str, Any]) -> Answer:
    """The text of a choice as the server has it, without log-probabilities; ``reasoning`` where the server splits it.

    Raises:
        ValueError: it is no such thing.
    """
    reason, message = choice.get("finish_reason"), choice.get("message")
    refused = reasoning = None
    if "text" in choice:
        text, thought = _parts(choice["text"])
    elif isinstance(message, Mapping):
        text, thought = _parts(message.get("content"))
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        refusal = message.get("refusal") or _refusal(message.get("content"))
        refused = f"refusal: {refusal}" if refusal else None
    else:
        raise ValueError("a choice without text or message")
    if reason == "content_filter":
        refused = "content filter"
    if reason == "error":
        refused = "the server stopped with an error"
    return Answer(
        _clean(text) or "",
        finish_reason=_clean(str(reason)[:100]) if reason else None,
        refused=_clean(refused),
        reasoning=_clean(reasoning) or _clean(thought) or None,
    )


def _parts(content: object) -> tuple[str, str]:
    """Text and thought of a content: a text, none, or a list of parts.

    >>> _parts([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "An "}, "oak."])
    ('An oak.', 'Hm.')

    Raises:
        ValueError: it is something else.
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise ValueError(f"content that is no text: {type(content).__name__}")
    text, thought = "", ""
    for part in content:
        if isinstance(part, Mapping) and "thinking" in part:
            thought += _parts(part["thinking"])[0]
        else:
            found = part.get("text", "" if "refusal" in part else None) if isinstance(part, Mapping) else part
            if not isinstance(found, str):
                raise ValueError("content with a part that is no text")
            text += found
    return text, thought


def _refusal(content: object) -> object:
    """What a part of a content says where it refuses, or None."""
    parts = content if isinstance(content, list) else []
    return next((part["refusal"] for part in parts if isinstance(part, Mapping) and part.get("refusal")), None)


def read_choices(body: Mapping[str, Any], one: Callable[[Mapping[str, Any]], Answer] = from_choice) -> list[Answer]:
    """The answers of a reply, each choice read by ``one``; one that cannot be read is refused, the others stand.

    Raises:
        ValueError: it has none that can be read.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("the answer has no choices")
    answers, faults = [], []
    for choice in choices:
        try:
            answers.append(one(choice))
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
            faults.append(str(error))
            answers.append(Answer("", refused=_clean(f"malformed choice: {error}")))
    if len(faults) == len(choices):
        raise ValueError(f"the answer is malformed ({faults[0]})")
    return answers


def _clean(text: Any) -> str | None:
    return text.encode("utf-8", "replace").decode().strip() if isinstance(text, str) else None


def apart(answer: Answer) -> Answer:
    """The same answer with the thought that its text held in ``reasoning``; a log-probability of both goes."""
    thought, text = split_thought(answer.text)
    if thought is None:
        return answer
    reasoning = "\n".join(filter(None, (answer.reasoning, thought))) or None
    unscored = NOT_THE_TEXTS if answer.logprob is not None else answer.unscored
    return replace(answer, text=text, reasoning=reasoning, logprob=None, num_tokens=None, unscored=unscored)


def stored_answers(line: Mapping[str, Any]) -> list[Answer]:
    """The answers of a line of a ranking's store."""
    answers = [Answer(**choice) for choice in line["choices"]]
    if not all(isinstance(a.text, str) and isinstance(a.logprob, float | int | None) for a in answers):
        raise ValueError("no answers")
    return answers


def stored_answer(line: Mapping[str, Any]) -> Answer:
    """The answer of a line of a benchmark's store."""
    more = {key: line.get(key) for key in ("finish_reason", "refused", "reasoning")}
    return Answer(str(line["text"]), **more)


def candidate(answer: Answer, score: float, source: str, **extra: Any) -> dict[str, Any]:
    """One entry of a record's ``responses``; keys without a value are left out."""
    row: dict[str, Any] = {"text": answer.text, "score": score, **answer.to_dict(), "source": source, **extra}
    return {key: value for key, value in row.items() if value is not None and key not in ("refused", "unscored")}


def given_answers(record: Record) -> list[Answer]:
    """The answers that a record already has."""

    def one(c: Candidate) -> Answer:
        return Answer(c.text, c.logprob, c.num_tokens, c.finish_reason, reasoning=c.reasoning)

    return [one(c) for c in record.responses]


def output_row(record: Record, responses: list[dict[str, Any]], **extra: Any) -> dict[str, Any]:
    """A ranked list as train.py reads it; what else the instruction carried stays."""
    row: dict[str, Any] = {"id": record.id}
    if record.messages or record.tools:
        row |= {"messages": record.conversation, **({"tools": list(record.tools)} if record.tools else {})}
    else:
        row |= {"instruction": record.instruction, "input": record.input}
    if record.output is not None:
        row["output"] = record.output
    if record.template is not None:
        row["template"] = record.template
    row["responses"] = responses
    kept = {key: value for key, value in record.extra.items() if key not in row and key not in extra}
    return {**row, **extra, **kept}
