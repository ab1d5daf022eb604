"""Blind annotation pages: one HTML file per person, whose answer each was, and the sheets that people export."""

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2.utils import htmlsafe_json_dumps

from tuna.data.fields import FieldError, RowError, describe
from tuna.errors import DataError
from tuna.evaluation.questions import Question
from tuna.evaluation.reading import Faults, read_object
from tuna.files import write_text
from tuna.inference.store import key_of
from tuna.judges.lists import request, shown
from tuna.runs import write_json

SCHEMA_VERSION = 1
Labels = Mapping[str, Sequence[str]]  # label -> the systems whose answer it is


@dataclass(frozen=True, slots=True)
class Study:
    """Questions, and the answers of all systems to each: answers[system][question id]."""

    questions: Sequence[Question]
    answers: Mapping[str, Mapping[str, str]]
    annotators: int
    seed: int

    def __post_init__(self) -> None:
        for system, answers in self.answers.items():
            if missing := [question.id for question in self.questions if question.id not in answers]:
                shown = ", ".join(missing[:8]) + (" ..." if len(missing) > 8 else "")
                raise DataError(f"systems.{system}: no answer to {len(missing)} questions: {shown}")

    @property
    def name(self) -> str:
        """What tells this study from others."""
        texts = {system: [answers[q.id] for q in self.questions] for system, answers in self.answers.items()}
        return key_of(questions=[q.id for q in self.questions], answers=texts, seed=self.seed)[:16]

    def labels(self, annotator: int, question: Question) -> dict[str, list[str]]:
        """A, B, ... in the order in which a person sees them; equal answers are shown once, under one label."""
        whose: dict[str, list[str]] = {}
        for system, answers in self.answers.items():
            whose.setdefault(answers[question.id].strip(), []).append(system)
        groups = list(whose.values())
        random.Random(f"{self.seed}\0{annotator}\0{question.id}").shuffle(groups)
        return dict(zip(string.ascii_uppercase, groups, strict=False))


def page(study: Study, annotator: int) -> str:
    """One person's page, whole: it loads nothing, and names no system."""
    asked = []
    for question in study.questions:
        answers = [
            {"label": label, "text": study.answers[systems[0]][question.id].strip()}
            for label, systems in study.labels(annotator, question).items()
        ]
        asked.append({"id": question.id, "text": request(question.record), "answers": answers})
    # So written that no text ends the script it stands in.
    data = htmlsafe_json_dumps({"study": study.name, "annotator": str(annotator), "questions": asked})
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8").replace("%%STUDY%%", data)


def unblinding(study: Study) -> dict[str, Any]:
    """What scoring needs and nobody who ranks may see."""
    return {
        "schema_version": SCHEMA_VERSION, "study": study.name, "systems": list(study.answers),
        "questions": [
            {"id": q.id, "category": q.task, "instruction": shown(q.record), "input": q.record.input}
            for q in study.questions
        ],
        "annotators": {
            str(annotator): {question.id: study.labels(annotator, question) for question in study.questions}
            for annotator in range(1, study.annotators + 1)
        },
    }  # fmt: skip


def write_study(study: Study, folder: Path) -> list[Path]:
    """The pages, and unblinding.json next to them; gives the pages."""
    pages = [folder / f"annotator-{annotator + 1}.html" for annotator in range(study.annotators)]
    for annotator, path in enumerate(pages, start=1):
        write_text(path, page(study, annotator))
    write_json(folder / "unblinding.json", unblinding(study))
    return pages


@dataclass(frozen=True, slots=True)
class Sheets:
    """Filled-in sheets, unblinded. points: [questions, annotators, systems]."""

    systems: list[str]
    questions: list[dict[str, str]]
    annotators: list[str]
    points: npt.NDArray[np.float64]


def read_sheets(paths: Sequence[str], unblinding: str) -> Sheets:
    """Read exported sheets.

    Raises: DataError: no JSON, another study's, a person twice, and every question without a place for every answer.
    """
    faults = Faults()
    with faults.at(unblinding):
        key, _ = read_object(Path(unblinding))
        if not {"study", "systems", "questions", "annotators"} <= key.keys():
            raise RowError(f"expected the unblinding.json that was written next to the pages, got {describe(key)}")
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


def _checked_places(places: Any, labels: Labels) -> dict[str, int]:
    """One question's places: the answers must have 1, 2, ... in some order."""
    if not isinstance(places, dict):
        raise RowError(f"expected a place for every answer, got {describe(places)}")
    if unknown := sorted(places.keys() - labels.keys()):
        raise RowError(f"expected places of answers {', '.join(labels)}, got one of {', '.join(unknown)}")
    if missing := [label for label in labels if label not in places]:
        raise RowError(f"expected a place for every answer, got none for {', '.join(missing)}")
    given = [places[label] for label in labels]
    if {*map(type, given)} != {int} or sorted(given) != list(range(1, len(labels) + 1)):
        raise RowError(f"expected the places 1 to {len(labels)}, each once, got {given}")
    return places


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
