"""Blind annotation pages: one HTML file per person, whose answer each was, and the sheets that people export."""

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2.utils import htmlsafe_json_dumps

from tuna.data.fields import FieldError, RowError, check_text, describe
from tuna.errors import DataError
from tuna.evaluation.questions import Faults, Question, read_object
from tuna.files import write_text
from tuna.inference.store import key_of
from tuna.judges.prompt import request, shown
from tuna.runs import write_json

SCHEMA_VERSION = 1
Labels = Mapping[str, Sequence[str]]  # label -> the systems whose answer it is


def write_study(
    questions: Sequence[Question], answers: Mapping[str, Mapping[str, str]], annotators: int, seed: int, folder: Path
) -> list[Path]:
    """A page for each annotator, which names no system; unblinding.json, next to them, tells whose each answer is.

    answers: by system and question's id. Returns the pages. Raises: DataError where an answer is missing.
    """
    for system, texts in answers.items():
        if missing := [question.id for question in questions if question.id not in texts]:
            told = ", ".join(missing[:8]) + (" ..." if len(missing) > 8 else "")
            raise DataError(f"systems.{system}: no answer to {len(missing)} questions: {told}")
    in_order = {system: [texts[q.id] for q in questions] for system, texts in answers.items()}
    study = key_of(questions=[q.id for q in questions], answers=in_order, seed=seed)[:16]
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    pages: list[Path] = []
    whose: dict[str, dict[str, Labels]] = {}
    for annotator in map(str, range(1, annotators + 1)):
        whose[annotator] = {q.id: _labels(answers, q.id, f"{seed}\0{annotator}\0{q.id}") for q in questions}
        asked = []
        for q in questions:
            labels = whose[annotator][q.id].items()
            shown_texts = [{"label": label, "text": answers[systems[0]][q.id].strip()} for label, systems in labels]
            asked.append({"id": q.id, "text": request(q.record), "answers": shown_texts})
        # So written that no text ends the script it stands in.
        data = htmlsafe_json_dumps({"study": study, "annotator": annotator, "questions": asked})
        pages.append(folder / f"annotator-{annotator}.html")
        write_text(pages[-1], template.replace("%%STUDY%%", data))
    rows = [
        {"id": q.id, "category": q.task, "instruction": shown(q.record), "input": q.record.input} for q in questions
    ]
    key = {"schema_version": SCHEMA_VERSION, "study": study, "systems": list(answers)}
    write_json(folder / "unblinding.json", {**key, "questions": rows, "annotators": whose})
    return pages


def _labels(answers: Mapping[str, Mapping[str, str]], question: str, seed: str) -> Labels:
    """A, B, ... in the order in which a person sees them; equal answers are shown once, under one label."""
    whose: dict[str, list[str]] = {}
    for system, texts in answers.items():
        whose.setdefault(texts[question].strip(), []).append(system)
    groups = list(whose.values())
    random.Random(seed).shuffle(groups)
    return dict(zip(string.ascii_uppercase, groups, strict=False))


@dataclass(frozen=True, slots=True)
class Sheets:
    """Filled-in sheets, unblinded. points: [questions, annotators, systems]."""

    systems: list[str]
    questions: list[dict[str, str]]
    annotators: list[str]
    points: npt.NDArray[np.float64]


def read_sheets(paths: Sequence[str], unblinding: str) -> Sheets:
    """Read exported sheets; one DataError names all that is no JSON, of another study, twice, or lacks a place."""
    faults = Faults()
    with faults.at(unblinding):
        key = _unblinded(read_object(Path(unblinding))[0])
    faults.check()
    points: dict[str, list[list[float]]] = {}
    whose: dict[str, str] = {}
    for path in paths:
        with faults.at(path):
            sheet, _ = read_object(Path(path))
            name = _annotator(sheet, key)
            if name in whose:
                raise RowError(f"annotator: {name} has filled in {whose[name]} too")
            whose[name], points[name] = path, []
            for question in key["questions"]:
                labels = key["annotators"][name][question["id"]]
                with faults.at(f"{path}: question {question['id']}"):
                    places = _checked_places(sheet["places"].get(question["id"]), labels)
                    points[name].append(points_of(places, labels, key["systems"]))
    faults.check("Next: the annotator opens the page, mends it, exports again")
    return Sheets(key["systems"], key["questions"], list(points), np.array(list(points.values())).swapaxes(0, 1))


def _unblinded(key: Mapping[str, Any]) -> dict[str, Any]:
    """What an unblinding.json holds: its systems once each among the labels of every question. Raises: RowError."""
    try:
        systems = [check_text(name, "systems") for name in key["systems"]]
        questions = [
            {name: check_text(question[name], name) for name in ("id", "category", "instruction")}
            for question in key["questions"]
        ]
        whose = {
            who: {q["id"]: {label: list(map(str, of)) for label, of in labels[q["id"]].items()} for q in questions}
            for who, labels in key["annotators"].items()
        }
        sound = all(sorted(chain(*of.values())) == sorted(systems) for each in whose.values() for of in each.values())
        if sound and systems and questions:
            return {"study": key["study"], "systems": systems, "questions": questions, "annotators": whose}
    except (TypeError, KeyError, AttributeError, FieldError):
        pass
    raise RowError(f"expected the unblinding.json that was written next to the pages, got {describe(key)}")


def _annotator(sheet: Mapping[str, Any], key: Mapping[str, Any]) -> str:
    """Whose sheet it is, where it belongs to the study."""
    if not isinstance(sheet.get("places"), dict):
        raise RowError(f"expected an exported sheet (study, annotator, places), got {describe(sheet)}")
    for field, expected in (("schema_version", SCHEMA_VERSION), ("study", key["study"])):
        if sheet.get(field) != expected:
            raise FieldError(field, str(expected), sheet.get(field))
    if (name := str(sheet.get("annotator"))) not in key["annotators"]:
        raise FieldError("annotator", f"one of {', '.join(key['annotators'])}", sheet.get("annotator"))
    if unknown := [name for name in sheet["places"] if name not in {question["id"] for question in key["questions"]}]:
        raise RowError(f"places: expected the study's questions, got {', '.join(map(repr, unknown[:5]))}")
    return name


def _checked_places(places: object, labels: Labels) -> dict[str, int]:
    """One question's places: the answers must have 1, 2, ... in some order."""
    found = places if isinstance(places, dict) else {}
    whole = all(type(place) is int for place in found.values())
    if found.keys() != labels.keys() or not whole or sorted(found.values()) != list(range(1, len(labels) + 1)):
        expected = f"a place for each of {', '.join(labels)}, from 1 to {len(labels)} and each once"
        raise RowError(f"expected {expected}, got {places or 'none'}")
    return found


def points_of(places: Mapping[str, int], labels: Labels, systems: Sequence[str]) -> list[float]:
    """n + 1 - i points for the i-th of n systems (6 - i for the paper's five); equal answers share their places' mean.

    >>> points_of({"A": 2, "B": 1}, {"A": ["x"], "B": ["y", "z"]}, ["x", "y", "z"])
    [1.0, 2.5, 2.5]
    """
    found: dict[str, float] = {}
    for label in sorted(labels, key=lambda label: places[label]):
        place = len(found) + (len(labels[label]) + 1) / 2
        found |= dict.fromkeys(labels[label], len(systems) + 1 - place)
    return [found[system] for system in systems]
