"""The record: one question, its original response and its candidates. On disk: a JSON line, see docs/data.md."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, Any]  # as chat templates take it: role, content, and what else the role has

# What an answer that ended by itself is said to have done: OpenAI and Google, Anthropic, text-generation-inference,
# Cohere, OpenAI's responses, and others; letters and digits alone, as ``reason_word`` gives them.
_ENDED = frozenset({
    "", "null", "none", "unspecified", "stop", "stopped", "stopsequence", "stopstring", "stopword", "stoptoken", "eos",
    "eostoken", "endofsequence", "endoftext", "endturn", "endofturn", "end", "complete", "completed", "finish",
    "finished", "done", "success", "succeeded",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """One response that takes part in the ranking."""

    text: str
    score: float | None = None  # decides the order, higher is better, equal scores are ties
    logprob: float | None = None  # the teacher's summed natural-log probability
    num_tokens: int | None = None  # that ``logprob`` sums over (end-of-sequence counted when it was generated)
    source: str | None = None
    finish_reason: str | None = None  # "length" marks an answer that was cut: no ending is put after it
    extra: Mapping[str, Any] = field(default_factory=dict)  # other keys
    reasoning: str | None = None  # the thought that came before the text, where it was given apart

    @property
    def complete(self) -> bool:
        """Whether the answer ended by itself; see ``was_cut``."""
        return not was_cut(self.finish_reason)


def was_cut(finish_reason: str | None) -> bool:
    """Whether a server's ``finish_reason`` says anything else than that the answer ended by itself: a limit of tokens,
    a call of a tool, a filter, or a word that is not known. None says nothing.

    >>> [was_cut(reason) for reason in ("MAX_TOKENS", "length", "tool_calls", "FinishReason.STOP", "end_turn", None)]
    [True, True, True, False, False, False]
    """
    return reason_word(finish_reason) not in _ENDED


def reason_word(finish_reason: str | None) -> str:
    """A reason's lower-case letters and digits, without what enumerations put before it.

    >>> reason_word("FINISH_REASON_MAX_TOKENS"), reason_word("endTurn")
    ('maxtokens', 'endturn')
    """
    word = re.sub("[^a-z0-9]", "", (finish_reason or "").lower())
    return word.removeprefix("finishreason").removeprefix("stopreason")


@dataclass(frozen=True, slots=True)
class Record:
    """One question (instruction i with its optional input, or messages), original response r (``output``), candidates.

    Where there are messages, ``instruction`` is the last user turn, for people and logs, and ``input`` is empty.
    """

    id: str
    instruction: str
    input: str = ""
    output: str | None = None
    responses: tuple[Candidate, ...] = ()
    template: str | None = None  # instead of the datamodule's ("none" for a finished prompt)
    where: str = ""  # "file:line" for messages
    extra: Mapping[str, Any] = field(default_factory=dict)  # other keys
    messages: tuple[Message, ...] = ()  # the conversation up to the answer, where that is more than one user turn
    tools: tuple[Mapping[str, Any], ...] = ()  # the functions that the chat template shows

    @property
    def user_turn(self) -> str:
        """Instruction and input as one user turn, the input on a line of its own."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The turns up to the answer, as chat templates and chat servers take them."""
        return [dict(m) for m in self.messages] or [{"role": "user", "content": self.user_turn}]

    @property
    def question(self) -> list[Any]:
        """What the record asks, for keys and hashes: equal for equal questions, whatever the answers."""
        if not self.messages and not self.tools:
            return [self.instruction, self.input]
        return [[dict(m) for m in self.conversation], [dict(t) for t in self.tools]]
