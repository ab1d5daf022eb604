"""The human study (the paper's Table 2): pages on which people rank anonymous answers, and the scores of them."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tuna.config.commands import script
from tuna.data.files import sha256_file
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, Result
from tuna.evaluation.desk import Desk, check_other
from tuna.evaluation.given import GivenAnswers, read_answers
from tuna.evaluation.human_study.figures import agreement, by_pair, by_system
from tuna.evaluation.human_study.pages import Study, write_study
from tuna.evaluation.human_study.sheets import read_sheets
from tuna.evaluation.open_questions import read_questions
from tuna.judges.prompt import shown

EMBEDDED_SYSTEMS = {"tiny_base": "tiny_base", "tiny": "tiny", "tiny_teacher": "tiny_teacher"}
VERSION = 1  # of pages and scoring
MOST_SYSTEMS = 26  # answers are lettered


@dataclass
class HumanStudy(Benchmark):
    """Without sheets: write a page for each annotator. With sheets: score what they exported.

    questions: FastChat's question.jsonl, or instruction/category rows; null: the embedded open-ended questions.
    systems: name -> a file of answers (instruction, output) or a model; null: the embedded models, for the embedded
    questions alone. annotators: pages to write. max_tokens: of an answer of a model. sheets: exported files;
    unblinding: the unblinding.json that was written beside the pages. alpha: below it a difference is significant.

    Raises:
        ConfigError: values out of range, real questions without systems, sheets without what unblinds them.
    """

    questions: str | None = None
    systems: dict[str, str] | None = None
    annotators: int = 2
    max_tokens: int = 1024
    sheets: list[str] | None = None
    unblinding: str | None = None
    alpha: float = 0.01

    name: ClassVar[str] = "human_study"

    def __post_init__(self) -> None:
        wrong = [
            f"{key}: expected 1 or more, got {getattr(self, key)}"
            for key in ("annotators", "max_tokens")
            if getattr(self, key) < 1
        ]
        if not 0 < self.alpha < 1:
            wrong.append(f"alpha: expected a number between 0 and 1, got {self.alpha}")
        if self.sheets is not None and not self.sheets:
            wrong.append("sheets: expected one exported file or more, got none")
        if self.sheets and self.unblinding is None:
            wrong.append("unblinding: missing; give benchmark.unblinding=<unblinding.json, written beside the pages>")
        if self.unblinding is not None and not self.sheets:
            wrong.append("sheets: missing; give benchmark.sheets=[FILE,FILE] beside benchmark.unblinding")
        if self.questions is not None and self.systems is None and not self.sheets:
            wrong.append(
                "systems: missing; expected name: answers, such as 'benchmark.systems={A: a.jsonl, B: runs/b}'"
            )
        if self.systems is not None and not 2 <= len(self.systems) <= MOST_SYSTEMS:
            wrong.append(f"systems: expected 2 to {MOST_SYSTEMS}, got {len(self.systems)}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def uses_model(self) -> bool:
        """People are asked, about systems of its own."""
        return False

    def needs(self) -> tuple[str, ...]:
        """How models answer, where one of the systems is a model."""
        files = all(Path(source).is_file() for source in self._systems().values())
        return () if self.sheets or files else ("model", "generation")

    def _systems(self) -> Mapping[str, str]:
        return self.systems or EMBEDDED_SYSTEMS

    def prepare(self, limit: int | None) -> None:
        """Read the questions and the answers, or the sheets."""
        if self.sheets:
            if limit is not None:
                raise ConfigError("limit: expected null with benchmark.sheets, which are scored whole")
            self._filled = read_sheets(self.sheets, str(self.unblinding))
            return
        self._read = read_questions(self.questions)
        self._asked = self._read.first(limit)
        self._fingerprints = {name: self._fingerprint(source) for name, source in self._systems().items()}

    def _fingerprint(self, source: str) -> str:
        if Path(source).is_file():
            given = read_answers(source)
            self._read.check(given)
            return given.sha256
        from tuna.models.reward_source import writer
        from tuna.models.source import ModelConfig

        return writer(ModelConfig(source)).fingerprint

    def identity(self) -> dict[str, Any]:
        """What shapes the pages, or the scores."""
        if self.sheets:
            data = {"unblinding": sha256_file(str(self.unblinding)), "sheets": sorted(map(sha256_file, self.sheets))}
            return {"benchmark": self.name, "version": VERSION, **data, "alpha": self.alpha}
        return {
            "benchmark": self.name, "version": VERSION, "questions": self._read.sha256, "systems": self._fingerprints,
            "annotators": self.annotators, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """Systems that are models answer on this machine."""
        for source in () if self.sheets else self._systems().values():
            check_other(source, generation)

    def measure(self, desk: Desk) -> Result:
        """Write the pages, or score the sheets."""
        return self._score(desk) if self.sheets else self._write(desk)

    def _write(self, desk: Desk) -> Result:
        answers = {
            name: desk.answers_of(source, self._asked, max_tokens=self.max_tokens)
            for name, source in self._systems().items()
        }
        folder = desk.context.store.folder.parent
        pages = write_study(Study(self._asked, answers, self.annotators, desk.seed), folder)
        sheets = ",".join(f"SHEET{k + 1}.json" for k in range(len(pages)))
        return Result(
            scores={"pages": len(pages)},
            primary="pages",
            examples=[
                {"id": q.id, "task": q.task, "instruction": shown(q.record), "scores": {},
                 "answers": {name: texts[q.id] for name, texts in answers.items()}}
                for q in self._asked
            ],
            expected=len(self._asked),
            notes=[
                f"give each annotator one page, and not unblinding.json: {', '.join(map(str, pages))}",
                f"when they are filled in: python {script('evaluate.py')} benchmark=human_study "
                f"'benchmark.sheets=[{sheets}]' {shlex.quote(f'benchmark.unblinding={folder}/unblinding.json')}",
            ],
        )  # fmt: skip

    def _score(self, desk: Desk) -> Result:
        filled = self._filled
        systems = by_system(filled.points, filled.systems, desk.seed)
        best = max(systems, key=lambda row: float(row["points"]))["system"]
        return Result(
            scores={**{f"points/{row['system']}": row["points"] for row in systems}, **agreement(filled.points)},
            primary=f"points/{best}",
            examples=[
                {
                    "id": question["id"], "task": question["category"], "instruction": question["instruction"],
                    "points": {
                        who: dict(zip(filled.systems, row.tolist(), strict=True))
                        for who, row in zip(filled.annotators, points, strict=True)
                    },
                    "scores": dict(zip(filled.systems, points.mean(axis=0).tolist(), strict=True)),
                }
                for question, points in zip(filled.questions, filled.points, strict=True)
            ],
            expected=len(filled.questions),
            tables={
                "by_system": systems, "by_pair": by_pair(filled.points, filled.systems, self.alpha),
            },
            intervals={f"points/{row['system']}": (row["low"], row["high"]) for row in systems},
            notes=[
                f"annotators: {', '.join(filled.annotators)}; significant: p_holm < {self.alpha:g}, Wilcoxon's "
                "signed-rank test over questions, two-sided, Holm-adjusted"
            ],
        )  # fmt: skip
