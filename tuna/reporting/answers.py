"""The systems' answers to the same questions, side by side (the paper's Table 12)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.errors import DataError
from tuna.reporting.columns import Column
from tuna.reporting.compare import Comparison, words
from tuna.reporting.tables import Cell, Table, number

_LONGEST = 4000  # characters of one answer
_MOST_SYSTEMS = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """One system's answer, and what it was worth."""

    system: str
    text: str
    scores: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One question with all answers, and the references where there are some."""

    id: str
    task: str
    instruction: str
    input: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The questions of one column. ``total``: how many all systems shown answered. canary: as its authors ask."""

    column: str
    title: str
    questions: tuple[Question, ...]
    total: int
    canary: str = ""


def answer_sheets(comparison: Comparison, count: int, problems: list[str]) -> list[Sheet]:
    """``count`` questions of each column, chosen by a hash of their id: nobody picks the good ones.

    Each system is shown by its lowest seed. Examples that cannot be read are told in ``problems``.
    """
    out = []
    for column in comparison.of_results if count else ():
        if column.beside:
            continue
        sheet = _sheet(column, comparison, count, problems)
        if sheet is not None:
            out.append(sheet)
    return out


def _sheet(column: Column, comparison: Comparison, count: int, problems: list[str]) -> Sheet | None:
    rows: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    held = [system for system in comparison.systems if column.key in system.results and not system.swept]
    if len(held) > _MOST_SYSTEMS:
        problems.append(f"{words(column)}: answers of {_MOST_SYSTEMS} of {len(held)} systems are shown")
    for system in held[:_MOST_SYSTEMS]:
        results = system.results[column.key]
        try:
            found = results[min(results)].examples()
        except DataError as error:
            problems.append(f"{error}; no answers of {system.label} are shown")
            continue
        keyed = {(str(r.get("task", "")), str(r.get("id"))): r for r in found if isinstance(r.get("prediction"), str)}
        if keyed:
            rows[system.label] = keyed
    if not rows:
        return None
    common = set.intersection(*(set(keyed) for keyed in rows.values()))
    chosen = sorted(sorted(common, key=_drawn)[:count])
    if not chosen:
        problems.append(f"{words(column)}: no question was answered by all of {', '.join(rows)}")
        return None
    questions = tuple(_question(key, rows) for key in chosen)
    first = next(iter(rows.values()))
    canary = " ".join(dict.fromkeys(str(first[key]["canary"]) for key in chosen if first[key].get("canary")))
    return Sheet(column.key, words(column), questions, len(common), canary)


def _drawn(key: tuple[str, str]) -> str:
    return hashlib.sha256("\n".join(key).encode()).hexdigest()


def _question(key: tuple[str, str], rows: dict[str, dict[tuple[str, str], dict[str, Any]]]) -> Question:
    first = next(iter(rows.values()))[key]
    references = first.get("references") or ()
    return Question(
        id=key[1],
        task=key[0],
        instruction=_cut(str(first.get("instruction") or "")),
        input=_cut(str(first.get("input") or "")),
        references=tuple(_cut(str(r)) for r in ([references] if isinstance(references, str) else references))[:5],
        answers=tuple(
            Answer(label, _cut(str(keyed[key]["prediction"])), _scores(keyed[key].get("scores")))
            for label, keyed in rows.items()
        ),
    )


def _scores(found: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, dict):
        return ()
    numbers = ((name, float(v)) for name, v in found.items() if isinstance(v, int | float))
    return tuple((str(name), f"{value:g}" if value == int(value) else number(value)) for name, value in numbers)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def answers_table(sheets: Sequence[Sheet]) -> Table | None:
    """The same as a table: one row an answer."""
    rows = [
        [Cell(f"{sheet.title}, {question.id}"), Cell(" ".join(f"{question.instruction} {question.input}".split())),
         Cell(answer.system), Cell(answer.text), Cell(", ".join(f"{name} {value}" for name, value in answer.scores))]
        for sheet in sheets
        for question in sheet.questions
        for answer in question.answers
    ]  # fmt: skip
    head = ["question", "asked", "system", "answer", "scores"]
    caption = "Questions chosen by a hash of their id; each system by its lowest seed."
    notes = list(dict.fromkeys(sheet.canary for sheet in sheets if sheet.canary))
    title = "Answers side by side (the paper's Table 12)"
    return Table("table-12", title, caption, head, rows, notes, numeric=False) if rows else None
