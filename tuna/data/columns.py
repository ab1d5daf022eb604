"""``datamodule.columns``: rows of any layout as the house's own rows, by saying which column holds what."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from tuna.data.fields import FieldError, check_text
from tuna.data.messages import read_messages
from tuna.errors import ConfigError, DataError

Columns = Mapping[str, Any]  # our word -> the file's column, or a list of columns

_QUESTION = ("id", "instruction", "input", "output", "messages", "tools", "system")
_OF_RESPONSES = ("text", "score", "logprob", "num_tokens", "reasoning")
WORDS = (*_QUESTION, "responses", *_OF_RESPONSES, "chosen", "rejected")
_BESIDE_TEXT = {
    "tool_calls",
    "reasoning_content",
    "reasoning",
    "thinking",
}  # an answer that has these is more than its text
_LISTED = ("responses", *_OF_RESPONSES)  # may name several columns, one a response


def check_columns(columns: Any, key: str = "columns") -> None:
    """Raises: ConfigError, a line a fault, for words that are not ours and for columns that do not go together."""
    if columns is None:
        return
    if not isinstance(columns, Mapping) or not columns:
        raise ConfigError(f"{key}: expected a mapping such as {{instruction: q, responses: outs}}, got {columns!r}")
    faults = []
    for word, column in columns.items():
        if word not in WORDS:
            near = get_close_matches(str(word), WORDS, n=1)
            nearest = f"; nearest: {near[0]}" if near else ""
            faults.append(f"{key}.{word}: expected one of {', '.join(WORDS)}{nearest}")
        elif not _names(column, word in _LISTED):
            several = " or a list of names" if word in _LISTED else ""
            faults.append(f"{key}.{word}: expected the name of a column{several}, got {column!r}")
    if ("chosen" in columns) != ("rejected" in columns):
        faults.append(f"{key}: expected chosen and rejected together")
    if "chosen" in columns and {"responses", "output"} & set(columns):
        faults.append(f"{key}: expected chosen and rejected, or responses and output, got both")
    apart = [word for word in _OF_RESPONSES if word in columns]
    if apart and not {"responses", "chosen"} & set(columns):
        faults.append(f"{key}.{apart[0]}: expected responses beside it, whose {apart[0]} it is")
    if "chosen" in columns and set(apart) - {"score"}:
        faults.append(f"{key}: expected score alone beside chosen and rejected, got {', '.join(apart)}")
    if "messages" in columns and {"instruction", "input"} & set(columns):
        faults.append(f"{key}: expected instruction (and input) or messages, got both")
    if not {"instruction", "messages", "chosen"} & set(columns):
        faults.append(f"{key}: expected instruction or messages, which hold the question")
    if faults:
        raise ConfigError("\n".join(faults))


def _names(column: Any, several: bool) -> bool:
    if several and isinstance(column, Sequence) and not isinstance(column, str):
        return bool(column) and all(isinstance(name, str) for name in column)
    return isinstance(column, str)


def format_of(columns: Columns) -> str:
    """The importer that reads the mapped rows: "pairs" where chosen and rejected are given, else "tuna"."""
    return "pairs" if "chosen" in columns else "tuna"


def check_present(columns: Columns, rows: Iterable[Any], path: str, key: str = "columns") -> None:
    """Raises: DataError for columns that no row has, with those that there are."""
    missing = {(word, name) for word, column in columns.items() for name in _listed(column)}
    seen: dict[str, None] = {}
    inside: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        seen |= dict.fromkeys(map(str, row))
        answers = [a for a in _answers(row, columns) if isinstance(a, Mapping)]
        inside |= {str(name): None for answer in answers for name in answer}
        found = {
            (w, n) for w, n in missing if _has(row, n) or (w in _OF_RESPONSES and any(_has(a, n) for a in answers))
        }
        missing -= found
        if not missing:
            return
    there = f"the file has {', '.join(seen)}" + (f"; its responses have {', '.join(inside)}" if inside else "")
    raise DataError(
        "\n".join(f"{path}: {key}.{word}: no row has a column {name!r}; {there}" for word, name in sorted(missing))
    )


def house_row(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """One row in our words, for the importer ``format_of(columns)``; columns that are not named stay out.

    ``responses`` is a list of texts, or of objects (an answer's text is then under ``text``), or several columns, of
    which those that are null stay out. What belongs to each response stands in a list as long as theirs, or inside the
    objects. A dotted name goes into objects.

    Raises: FieldError for lists of different lengths, and for what is no conversation.

    >>> columns = {"instruction": "q", "responses": "outs", "score": "marks"}
    >>> house_row({"q": "Add.", "outs": ["3", "4"], "marks": [2, 1]}, columns)
    {'instruction': 'Add.', 'responses': [{'text': '3', 'score': 2}, {'text': '4', 'score': 1}]}
    """
    found = {word: _get(row, columns[word]) for word in (*_QUESTION, "chosen", "rejected") if word in columns}
    found = {word: value for word, value in found.items() if value is not None and (word, value) != ("system", "")}
    if "messages" in found or "system" in found:
        found = _with_messages(found, "prompt" if "chosen" in columns else "messages")
    if "responses" in columns:
        found["responses"] = _responses(row, columns)
    if "chosen" in columns and "score" in columns:
        scores = _get(row, columns["score"])
        if not isinstance(scores, list) or len(scores) != 2:
            raise FieldError("score", "two values, those of chosen and rejected", scores)
        found |= dict(zip(("score_chosen", "score_rejected"), scores, strict=True))
    return found


def _with_messages(found: dict[str, Any], key: str) -> dict[str, Any]:
    """The question as messages under ``key``, the system prompt first; an answer at their end becomes the output."""
    system = found.pop("system", None)
    if "messages" in found:
        messages = list(read_messages(found.pop("messages"), "messages"))
    else:
        parts = [check_text(found.pop(word), word) for word in ("instruction", "input") if found.get(word)]
        messages = [{"role": "user", "content": "\n".join(parts)}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": check_text(system, "system")})
    if messages[-1]["role"] == "assistant":
        answer = messages.pop()
        if not messages or {"output", "chosen"} & set(found) or _BESIDE_TEXT & set(answer):
            raise FieldError("messages", "the turns up to the answer, or an answer of text alone after them", answer)
        found["output"] = answer["content"]
    return found | {key: messages}


def _responses(row: Mapping[str, Any], columns: Columns) -> Any:
    """Objects as house rows have them; what is no list is left to the importer to refuse."""
    answers = _get(row, columns["responses"])
    if not isinstance(answers, list | tuple):
        return answers
    made = [dict(_whole(answer, columns)) for answer in answers]
    for word in _OF_RESPONSES:
        column = columns.get(word)
        beside = None if column is None else _get(row, column)
        if isinstance(beside, list | tuple):
            if len(beside) != len(answers):
                raise FieldError(word, f"{len(answers)} values, one a response", beside)
            for answer, value in zip(made, beside, strict=True):
                answer[word] = value
    spread = not isinstance(columns["responses"], str)  # over columns: a row need not fill them all
    return [m for m, answer in zip(made, answers, strict=True) if not (spread and answer is None)]


def _whole(answer: Any, columns: Columns) -> dict[str, Any]:
    """What one response says of itself: its text, or the fields of its object. Why it ended is read unasked."""
    if not isinstance(answer, Mapping):
        return {"text": answer}
    names = {"text": "text", "finish_reason": "finish_reason"} | {
        word: columns[word] for word in _OF_RESPONSES if word in columns
    }
    found = {word: _get(answer, name) for word, name in names.items() if isinstance(name, str)}
    return {word: value for word, value in found.items() if value is not None}


def _answers(row: Mapping[str, Any], columns: Columns) -> Sequence[Any]:
    found = _get(row, columns["responses"]) if "responses" in columns else ()
    return found if isinstance(found, list | tuple) else ()


def _listed(column: Any) -> list[str]:
    return [column] if isinstance(column, str) else list(column)


def _has(row: Mapping[str, Any], name: str) -> bool:
    """Whether the row has the column, be it null; of a dotted name the last object must have the last part."""
    if name in row:
        return True
    outer, _, last = name.rpartition(".")
    within = _get(row, outer) if outer else None
    return isinstance(within, Mapping) and last in within


def _get(row: Mapping[str, Any], column: Any) -> Any:
    """A column's value (a list for several columns), None where the row lacks it."""
    if not isinstance(column, str):
        return [_get(row, name) for name in column]
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
