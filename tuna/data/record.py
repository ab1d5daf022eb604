"""The record: one instruction, its original response and its candidates. The words of the whole house.

On disk it is one JSON object a line (see docs/data.md)::

    {"id": "...", "instruction": "...", "input": "", "output": "<original response r>",
     "responses": [{"text": "...", "score": 0.83, "logprob": -41.2, "num_tokens": 57, "source": "alpaca-7b"}, ...]}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """One response that takes part in the ranking.

    ``score`` decides the order, higher is better, equal scores are ties. ``logprob`` is the teacher's summed
    natural-log probability over ``num_tokens`` tokens (end-of-sequence counted when it was generated).
    ``finish_reason`` "length" marks an answer that was cut: no end-of-sequence token is put after it. Other keys stay
    in ``extra``.
    """

    text: str
    score: float | None = None
    logprob: float | None = None
    num_tokens: int | None = None
    source: str | None = None
    finish_reason: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the answer ended by itself (true unless its ``finish_reason`` is "length")."""
        return self.finish_reason != "length"


@dataclass(frozen=True, slots=True)
class Record:
    """One instruction i (with its optional input), original response r (``output``) and candidates.

    ``template`` overrides the datamodule's template for this record (the authors' formatted file carries finished
    prompts: "none").
    ``where`` is "file:line" for messages. Other keys stay in ``extra``.
    """

    id: str
    instruction: str
    input: str = ""
    output: str | None = None
    responses: tuple[Candidate, ...] = ()
    template: str | None = None
    where: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
