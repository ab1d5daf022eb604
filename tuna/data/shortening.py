"""Prompts that are too long: which characters of a question may go, and in what order."""

from dataclasses import replace

from tuna.data.record import Record
from tuna.data.templates import alpaca, parse_alpaca

_KEPT_END = 200  # characters of a finished prompt's end, where what asks for the answer stands


def size(record: Record) -> int:
    """Characters that ``kept`` can cut: all that the question says, a system prompt aside.

    >>> size(Record("0", "Add.", "1 2"))
    7
    """
    if record.messages:
        return sum(len(str(m.get("content") or "")) for m in record.messages if m["role"] != "system")
    return len(record.instruction) + len(record.input)


def kept(record: Record, characters: int, *, finished: bool = False) -> Record:
    """The question with at most so many of its characters, for a prompt that is too long.

    The input goes first, from its end, then the instruction. Of a conversation the oldest exchanges go first, whole,
    then the last one is cut from its end; a system prompt stays. In a ``finished`` prompt (template none) Alpaca's
    words stay, and of any other the end, since what asks for the answer stands there.

    >>> kept(Record("0", "do it", "now"), 6).user_turn
    'do it\\nn'
    """
    if record.messages:
        return _kept_turns(record, characters)
    if finished and not record.input:
        parsed = parse_alpaca(record.instruction)
        if parsed is not None:
            short = kept(Record(record.id, *parsed), characters)
            return replace(record, instruction=alpaca(short).text)
        end = min(_KEPT_END, len(record.instruction) // 2)
        cut = max(0, min(len(record.instruction) - end, characters))
        return replace(
            record, instruction=record.instruction[:cut] + record.instruction[len(record.instruction) - end :]
        )
    given = record.input[: max(0, characters - len(record.instruction))]
    return replace(record, instruction=record.instruction[:characters], input=given)


def _kept_turns(record: Record, characters: int) -> Record:
    system = [m for m in record.messages if m["role"] == "system"]
    turns = [m for m in record.messages if m["role"] != "system"]
    while sum(len(str(m.get("content") or "")) for m in turns) > characters:
        later = next((k for k, m in enumerate(turns) if k and m["role"] == "user"), None)
        if later is None:
            break
        turns = turns[later:]
    left, cut = characters, []
    for message in turns:
        content = str(message.get("content") or "")[: max(0, left)]
        left -= len(content)
        cut.append({**message, "content": content})
    return replace(record, messages=(*system, *cut))
