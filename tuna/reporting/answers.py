"""The systems' answers to the same questions, side by side (the paper's Table 12)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.errors import DataError
from tuna.reporting.compare import Comparison
from tuna.reporting.read import Row, read_examples
from tuna.reporting.tables import Cell, Table, number

_LONGEST = 4000  # characters of one answer
_MOST_SYSTEMS = 24
_MOST_REFERENCES = 5


@dataclass(frozen=True, slots=True)
class Sheet:
    """The questions of one column."""

    title: str
    questions: list[dict[str, Any]]  # as ``_question`` makes them
    total: int  # how many all systems shown answered
    canary: str = ""  # as its authors ask


def answer_sheets(comparison: Comparison, count: int, problems: list[str]) -> list[Sheet]:
    """``count`` questions of each column, chosen by a hash of their id; ``problems`` gets what cannot be read."""
    sheets = []
    for column in comparison.of_results if count else ():
        held = [system for system in comparison.systems if column.key in system.results and not system.swept]
        if len(held) > _MOST_SYSTEMS:
            problems.append(f"{column.title}: answers of {_MOST_SYSTEMS} of {len(held)} systems are shown")
        rows: dict[str, dict[tuple[str, str], Row]] = {}
        for system in held[:_MOST_SYSTEMS]:
            results = system.results[column.key]
            try:
                found = read_examples(results[min(results)].path)
            except DataError as error:
                problems.append(f"{error}; no answers of {system.label} are shown")
                continue
            if answered := {key: row for key, row in found.items() if isinstance(row.get("prediction"), str)}:
                rows[system.label] = answered
        if not rows:
            continue
        common = set.intersection(*(set(answered) for answered in rows.values()))
        chosen = sorted(sorted(common, key=lambda key: hashlib.sha256("\n".join(key).encode()).hexdigest())[:count])
        if not chosen:
            problems.append(f"{column.title}: no question was answered by all of {', '.join(rows)}")
            continue
        first = next(iter(rows.values()))
        canaries = dict.fromkeys(str(first[key]["canary"]) for key in chosen if first[key].get("canary"))
        questions = [_question(key, {label: answered[key] for label, answered in rows.items()}) for key in chosen]
        sheets.append(Sheet(column.title, questions, len(common), " ".join(canaries)))
    return sheets


def _question(key: tuple[str, str], rows: dict[str, Row]) -> dict[str, Any]:
    first = next(iter(rows.values()))
    references = first.get("references") or ()
    references = [references] if isinstance(references, str) else references[:_MOST_REFERENCES]
    return {
        "task": key[0], "id": key[1], "references": [*map(_cut, references)],
        "instruction": _cut(first.get("instruction") or ""), "input": _cut(first.get("input") or ""),
        "answers": [
            {"system": label, "text": _cut(row["prediction"]), "scores": _scores(row.get("scores"))}
            for label, row in rows.items()
        ],
    }  # fmt: skip


def _scores(found: object) -> list[tuple[str, str]]:
    numbers = found.items() if isinstance(found, dict) else ()
    figures = ((str(name), float(value)) for name, value in numbers if isinstance(value, int | float))
    return [(name, f"{value:g}" if value == int(value) else number(value)) for name, value in figures]


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def answers_table(sheets: Sequence[Sheet]) -> Table:
    """The same as a table: one row per answer."""
    rows = [
        [Cell(f"{sheet.title}, {question['id']}"),
         Cell(" ".join(f"{question['instruction']} {question['input']}".split())), Cell(answer["system"]),
         Cell(answer["text"]), Cell(", ".join(f"{name} {value}" for name, value in answer["scores"]))]
        for sheet in sheets
        for question in sheet.questions
        for answer in question["answers"]
    ]  # fmt: skip
    head = ["question", "asked", "system", "answer", "scores"]
    caption = "Questions chosen by a hash of their id; each system by its lowest seed."
    notes = list(dict.fromkeys(sheet.canary for sheet in sheets if sheet.canary))
    title = "Answers side by side (the paper's Table 12)"
    return Table("table-12", title, caption, head, rows, notes, numeric=False)
