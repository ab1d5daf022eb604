"""Blind annotation pages: one HTML file a person, and the file that says afterwards which answer was whose."""

import json
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.errors import DataError
from tuna.evaluation.base import Question
from tuna.files import write_text
from tuna.inference.store import key_of
from tuna.judges.prompt import request, shown
from tuna.runs import write_json

SCHEMA_VERSION = 1
_SLOT = "%%STUDY%%"
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}  # so that no text ends the script it stands in
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
    data = json.dumps({"study": study.name, "annotator": str(annotator), "questions": asked})
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return template.replace(_SLOT, data.translate(_ESCAPES))


def unblinding(study: Study) -> dict[str, Any]:
    """What scoring needs and nobody who ranks may see."""
    people: dict[str, dict[str, Labels]] = {
        str(annotator): {question.id: study.labels(annotator, question) for question in study.questions}
        for annotator in range(1, study.annotators + 1)
    }
    return {
        "schema_version": SCHEMA_VERSION, "study": study.name, "systems": list(study.answers),
        "questions": [
            {"id": q.id, "category": q.task, "instruction": shown(q.record), "input": q.record.input}
            for q in study.questions
        ],
        "annotators": people,
    }  # fmt: skip


def write_study(study: Study, folder: Path) -> list[Path]:
    """The pages, and unblinding.json beside them; gives the pages."""
    pages = []
    for annotator in range(1, study.annotators + 1):
        pages.append(folder / f"annotator-{annotator}.html")
        write_text(pages[-1], page(study, annotator))
    write_json(folder / "unblinding.json", unblinding(study))
    return pages
