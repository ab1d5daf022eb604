"""One answer of a model to an instruction, as the store keeps it and as the output shows it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tuna.data.record import Candidate, Record


@dataclass(frozen=True, slots=True)
class Answer:
    """logprob: summed, natural log, at temperature 1, over ``num_tokens`` tokens, the end-of-sequence counted when it
    was generated. refused: why there is no text. temperature and similarity: the diversity rule's. reward: a PRM's.
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
    tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)  # as drawn here; not stored

    @property
    def useless(self) -> str | None:
        """Why this answer cannot be ranked, or None."""
        if self.refused is not None:
            return self.refused
        return None if self.text.strip() else "empty answer"

    def to_dict(self) -> dict[str, Any]:
        """For a line of the store."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "tokens"}


def from_choice(choice: Mapping[str, Any]) -> Answer:
    """An answer from a choice of a chat or a completions reply.

    >>> from_choice({"text": "Hi.", "finish_reason": "stop", "logprobs": {"token_logprobs": [-1.0, -0.5]}})
    ... # doctest: +NORMALIZE_WHITESPACE
    Answer(text='Hi.', logprob=-1.5, num_tokens=2, finish_reason='stop', refused=None, temperature=None,
           similarity=None, reward=None)

    Raises:
        ValueError: it is no such thing.
    """
    reason = choice.get("finish_reason")
    refused: str | None = None
    if "text" in choice:
        text = choice["text"]
    elif isinstance(choice.get("message"), Mapping):
        message = choice["message"]
        text = message.get("content")
        refused = f"refusal: {message['refusal']}" if message.get("refusal") else None
    else:
        raise ValueError("a choice without text or message")
    if reason == "content_filter":
        refused = "content filter"
    if not isinstance(text, str):
        text = ""
    logprobs = _logprobs(choice.get("logprobs"))
    return Answer(
        text.encode("utf-8", "replace").decode().strip(),
        logprob=round(math.fsum(logprobs), 6) if logprobs else None,
        num_tokens=len(logprobs) or None,
        finish_reason=str(reason) if reason else None,
        refused=refused,
    )


def _logprobs(given: Any) -> list[float]:
    """The tokens' log-probabilities, none where one is missing."""
    if not isinstance(given, Mapping):
        return []
    if isinstance(content := given.get("content"), list):
        values = [item.get("logprob") if isinstance(item, Mapping) else None for item in content]
    else:
        listed = given.get("token_logprobs")
        values = listed if isinstance(listed, list) else []
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        return []
    return [float(v) for v in values if v is not None]


def candidate(answer: Answer, score: float, source: str, **extra: Any) -> dict[str, Any]:
    """One entry of a record's ``responses``; keys without a value are left out."""
    row: dict[str, Any] = {"text": answer.text, "score": score, **answer.to_dict(), "source": source, **extra}
    return {key: value for key, value in row.items() if value is not None and key != "refused"}


def given_answers(record: Record) -> list[Answer]:
    """The answers that a record already has."""

    def one(c: Candidate) -> Answer:
        return Answer(c.text, c.logprob, c.num_tokens, c.finish_reason)

    return [one(c) for c in record.responses]


def output_row(record: Record, responses: list[dict[str, Any]], **extra: Any) -> dict[str, Any]:
    """A ranked list as train.py reads it; what else the instruction carried stays."""
    row: dict[str, Any] = {"id": record.id, "instruction": record.instruction, "input": record.input}
    if record.output is not None:
        row["output"] = record.output
    if record.template is not None:
        row["template"] = record.template
    row["responses"] = responses
    kept = {key: value for key, value in record.extra.items() if key not in row and key not in extra}
    return {**row, **extra, **kept}
