"""``datamodule.columns``: rows of any layout as Tuna's own rows, by saying which column holds what."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuna.console import nearest
from tuna.data.fields import FieldError, check_text
from tuna.data.messages import read_messages
from tuna.errors import ConfigError, DataError

Columns = Mapping[str, Any]  # our word -> the file's column, or a list of columns

_QUESTION = ("id", "instruction", "input", "output", "messages", "tools", "system")
_OF_RESPONSES = ("text", "score", "logprob", "num_tokens", "reasoning")
WORDS = (*_QUESTION, "responses", *_OF_RESPONSES, "chosen", "rejected")
_BESIDE_TEXT = {"tool_calls", "reasoning_content", "reasoning", "thinking"}  # what makes an answer more than its text


def check_columns(columns: object, key: str = "columns") -> None:
    """Raises: ConfigError, one line per fault, for words that are not ours and for columns that do not go together."""
    if columns is None:
        return
    if not isinstance(columns, Mapping) or not columns:
        raise ConfigError(f"{key}: expected a mapping such as {{instruction: q, responses: outs}}, got {columns!r}")
    faults = []
    for word, column in columns.items():
        several = word in ("responses", *_OF_RESPONSES)  # one column per response
        names = column if several and isinstance(column, Sequence) else [column]
        if word not in WORDS:
            faults.append(f"{key}.{word}: expected one of {', '.join(WORDS)}{nearest(str(word), WORDS)}")
        elif not names or not all(isinstance(name, str) for name in names):
            or_list = " or a list of names" if several else ""
            faults.append(f"{key}.{word}: expected the name of a column{or_list}, got {column!r}")
    given = set(columns)
    pair, apart = "chosen" in given, given & set(_OF_RESPONSES)
    rules = (
        (len({"chosen", "rejected"} & given) == 1, "chosen and rejected together"),
        (pair and {"responses", "output"} & given, "chosen and rejected, or responses and output, got both"),
        (apart and not {"responses", "chosen"} & given, f"responses beside {', '.join(sorted(apart))}"),
        (pair and apart - {"score"}, f"score alone beside chosen and rejected, got {', '.join(sorted(apart))}"),
        ("messages" in given and {"instruction", "input"} & given, "instruction (and input) or messages, got both"),
        (not {"instruction", "messages", "chosen"} & given, "instruction or messages, which hold the question"),
    )
    faults += [f"{key}: expected {rule}" for broken, rule in rules if broken]
    if faults:
        raise ConfigError("\n".join(faults))


def format_of(columns: Columns) -> str:
    """The importer that reads the mapped rows: "pairs" where chosen and rejected are given, else "tuna"."""
    return "pairs" if "chosen" in columns else "tuna"


def check_present(columns: Columns, rows: Iterable[Any], path: str, key: str = "columns") -> None:
    """Raises: DataError for columns that no row has, with those that there are."""
    objects = [row for row in rows if isinstance(row, Mapping)]
    given = (_get(row, columns.get("responses", ())) for row in objects)
    answers = [a for listed in given if isinstance(listed, list | tuple) for a in listed if isinstance(a, Mapping)]
    seen, inside = (", ".join(dict.fromkeys(str(k) for row in of for k in row)) for of in (objects, answers))
    there = f"the file has {seen}" + (f"; its responses have {inside}" if inside else "")
    lacks = []
    for word, of in sorted(columns.items()):
        places = [*objects, *answers] if word in _OF_RESPONSES else objects
        names = [of] if isinstance(of, str) else of
        absent = (name for name in names if not any(_has(place, name) for place in places))
        lacks += [f"{path}: {key}.{word}: no row has a column {name!r}; {there}" for name in absent]
    if lacks:
        raise DataError("\n".join(lacks))


def mapped_row(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """One row in our words, for the importer ``format_of(columns)``; columns that are not named stay out.

    ``responses`` is a list of texts, or of objects (an answer's text is then under ``text``), or several columns, of
    which those that are null stay out. What belongs to each response stands in a list as long as theirs, or inside the
    objects. A dotted name goes into objects. Raises: FieldError for lists of different lengths.
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
    """Objects as Tuna's rows have them; what is no list is left to the importer to refuse."""
    answers = _get(row, columns["responses"])
    if not isinstance(answers, list | tuple):
        return answers
    # What one response says of itself: its text, or the fields of its object. Why it ended is read unasked.
    own = {word: columns[word] for word in _OF_RESPONSES if isinstance(columns.get(word), str)}
    own = {"text": "text", "finish_reason": "finish_reason"} | own
    made = []
    for answer in answers:
        inner = {w: _get(answer, n) for w, n in own.items()} if isinstance(answer, Mapping) else {}
        made.append({w: v for w, v in inner.items() if v is not None} if inner else {"text": answer})
    for word in _OF_RESPONSES:
        beside = _get(row, columns[word]) if word in columns else None
        if isinstance(beside, list | tuple):
            if len(beside) != len(answers):
                raise FieldError(word, f"{len(answers)} values, one per response", beside)
            made = [inner | {word: value} for inner, value in zip(made, beside, strict=True)]
    spread = not isinstance(columns["responses"], str)  # over columns: a row need not fill them all
    return [inner for inner, answer in zip(made, answers, strict=True) if not (spread and answer is None)]


def _has(row: Mapping[str, Any], name: str) -> bool:
    """Whether the row has the column, be it null; of a dotted name the last object must have the last part."""
    outer, _, last = name.rpartition(".")
    within = _get(row, outer) if outer else None
    return name in row or (isinstance(within, Mapping) and last in within)


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
