"""The human study (the paper's Table 2): pages on which people rank anonymous answers, and the scores of them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar

import annotated_types
import numpy as np
import numpy.typing as npt
from annotated_types import Ge
from scipy.stats import kendalltau, wilcoxon

from tuna.config.types import checked
from tuna.console import as_typed
from tuna.data.files import sha256_file
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, EvalContext, Result, check_other, other_fingerprint
from tuna.evaluation.human_study.pages import read_sheets, write_study
from tuna.evaluation.questions import GivenAnswers, read_questions, spread
from tuna.stats import Interval, bootstrap_interval

EMBEDDED_SYSTEMS = {"tiny_base": "tiny_base", "tiny": "tiny", "tiny_teacher": "tiny_teacher"}
VERSION = 1  # of pages and scoring
MOST_SYSTEMS = 26  # answers are lettered
Points = npt.NDArray[np.float64]


@checked
@dataclass
class HumanStudy(Benchmark):
    """Without sheets: write a page for each annotator. With sheets: score what they exported.
    Raises: ConfigError for values out of range, questions without systems, sheets without what unblinds them.
    """

    questions: str | None = None  # FastChat's question.jsonl, or instruction/category rows; null: the embedded ones
    # name -> a file of answers (instruction, output) or a model; null: the embedded models, for the embedded questions
    systems: dict[str, str] | None = None
    annotators: Annotated[int, Ge(1)] = 2  # pages to write
    max_tokens: Annotated[int, Ge(1)] = 1024  # tokens of an answer of a model at most
    sheets: list[str] | None = None  # the files that annotators exported
    unblinding: str | None = None  # the unblinding.json that was written next to the pages
    alpha: Annotated[float, annotated_types.Interval(gt=0, lt=1)] = 0.01  # below it a difference is significant

    name: ClassVar[str] = "human_study"
    uses_model = False  # people are asked, about systems of its own

    def __post_init__(self) -> None:
        wrong = []
        if self.sheets and self.unblinding is None:
            wrong.append("unblinding: missing; give benchmark.unblinding=<unblinding.json, written next to the pages>")
        if not self.sheets and (self.sheets is not None or self.unblinding is not None):
            wrong.append("sheets: missing; give benchmark.sheets=[FILE,FILE] with benchmark.unblinding")
        if self.questions is not None and self.systems is None and not self.sheets:
            wrong.append(
                "systems: missing; expected name: answers, such as 'benchmark.systems={A: a.jsonl, B: runs/b}'"
            )
        if self.systems is not None and not 2 <= len(self.systems) <= MOST_SYSTEMS:
            wrong.append(f"systems: expected 2 to {MOST_SYSTEMS}, got {len(self.systems)}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def needs(self) -> tuple[str, ...]:
        """How models answer, where one of the systems is a model."""
        files = all(Path(source).is_file() for source in self._sources.values())
        return () if files else ("model", "generation")

    @property
    def _sources(self) -> Mapping[str, str]:
        """The systems whose answers go onto pages."""
        return {} if self.sheets else self.systems or EMBEDDED_SYSTEMS

    def prepare(self, limit: int | None) -> None:
        """Read the questions and the answers, or the sheets."""
        if self.sheets:
            if limit is not None:
                raise ConfigError("limit: expected null with benchmark.sheets, which are scored whole")
            self._filled = read_sheets(self.sheets, str(self.unblinding))
            data = {"unblinding": sha256_file(str(self.unblinding)), "sheets": sorted(map(sha256_file, self.sheets))}
            self.hashes = {"version": VERSION, **data, "alpha": self.alpha}
            return
        read = read_questions(self.questions)
        self._asked = spread(read.questions, limit, lambda question: question.task)
        systems = {name: other_fingerprint(source, read) for name, source in self._sources.items()}
        settings = {"annotators": self.annotators, "max_tokens": self.max_tokens}
        self.hashes = {"version": VERSION, "questions": read.sha256, "systems": systems, **settings}

    def check(self, given: GivenAnswers | None, generation: object) -> None:
        """Systems that are models answer on this machine."""
        for source in self._sources.values():
            check_other(source, generation)

    def measure(self, context: EvalContext) -> Result:
        """Write the pages, or score the sheets."""
        return self._score(context) if self.sheets else self._write(context)

    def _write(self, context: EvalContext) -> Result:
        answers = {
            name: context.answer(self._asked, max_tokens=self.max_tokens, source=source)
            for name, source in self._sources.items()
        }
        folder = context.inference.store.folder.parent
        pages = write_study(self._asked, answers, self.annotators, context.seed, folder)
        sheets = ",".join(f"SHEET{k + 1}.json" for k in range(len(pages)))
        return Result(
            scores={"pages": len(pages)},
            primary="pages",
            examples=[
                context.example(q, {}, answers={name: texts[q.id] for name, texts in answers.items()})
                for q in self._asked
            ],
            expected=len(self._asked),
            notes=[
                f"give each annotator one page, and not unblinding.json: {', '.join(map(str, pages))}",
                as_typed("when they are filled in: python evaluate.py benchmark=human_study ")
                + f"'benchmark.sheets=[{sheets}]' {shlex.quote(f'benchmark.unblinding={folder}/unblinding.json')}",
            ],
        )  # fmt: skip

    def _score(self, context: EvalContext) -> Result:
        filled = self._filled
        systems = by_system(filled.points, filled.systems, context.seed)
        count = len(filled.questions)
        points = {f"points/{row['system']}": Interval(row["points"], row["low"], row["high"], count) for row in systems}
        return Result(
            scores={**{name: each.mean for name, each in points.items()}, **agreement(filled.points)},
            primary=max(points, key=lambda name: points[name].mean),
            examples=[
                {
                    "id": question["id"], "task": question["category"], "instruction": question["instruction"],
                    "points": {
                        who: dict(zip(filled.systems, row.tolist(), strict=True))
                        for who, row in zip(filled.annotators, each, strict=True)
                    },
                    "scores": dict(zip(filled.systems, each.mean(axis=0).tolist(), strict=True)),
                }
                for question, each in zip(filled.questions, filled.points, strict=True)
            ],
            expected=count,
            tables={"by_system": systems, "by_pair": by_pair(filled.points, filled.systems, self.alpha)},
            intervals=points,
            notes=[
                f"annotators: {', '.join(filled.annotators)}; significant: p_holm < {self.alpha:g}, Wilcoxon's "
                "signed-rank test over questions, two-sided, Holm-adjusted"
            ],
        )  # fmt: skip


def kendall_w(points: Points) -> float | None:
    """Kendall's coefficient of concordance of [annotators, systems], with ties; None where nothing can be ranked.

    W = 12 S / (m^2 (n^3 - n) - m sum T), S the squared deviations of the n rank sums from their mean, T = sum (t^3 - t)
    over a person's groups of t equal ranks. 1: all m people agree; 0: none does.

    >>> kendall_w(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]))
    0.75
    """
    people, systems = points.shape
    sums = points.sum(axis=0)
    ties = sum(int(t**3 - t) for row in points for t in np.unique(row, return_counts=True)[1])
    most = people**2 * (systems**3 - systems) - people * ties
    if people < 2 or most == 0:
        return None
    return float(12 * ((sums - sums.mean()) ** 2).sum() / most)


def agreement(points: Points) -> dict[str, float | None]:
    """Mean Kendall's W over questions, and mean Kendall's tau-b over questions and pairs of people.

    points: [questions, annotators, systems]. None where there is a single person.
    """
    concordance = [value for value in map(kendall_w, points) if value is not None]
    taus = [float(kendalltau(a, b).statistic) for question in points for a, b in combinations(question, 2)]
    known = {"kendall_w": concordance, "kendall_tau": [tau for tau in taus if tau == tau]}  # NaN where all are equal
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for how many were tried (Holm, 1979): any below alpha is wrong with a chance of alpha in all.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(values, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return [float(value) for value in adjusted]


def by_pair(points: Points, systems: Sequence[str], alpha: float) -> list[dict[str, Any]]:
    """Every two systems, the better one first: Wilcoxon's signed-rank test over questions, two-sided, Holm-adjusted.

    The same questions are answered by both, hence a paired test; points are bounded ranks, hence no t test; the people
    who judged one question are no independent draws, hence their mean, one value per question. Questions on which both
    got equal points are left out (Wilcoxon's own rule); sums decide that, for points are halves and means are rounded.
    """
    each = points.sum(axis=1)
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(systems)), 2):
        better, worse = (a, b) if each[:, a].sum() >= each[:, b].sum() else (b, a)
        differences = each[:, better] - each[:, worse]
        rows.append({
            "better": systems[better], "worse": systems[worse],
            "difference": float(differences.mean() / points.shape[1]), "questions": int((differences != 0).sum()),
            "p": float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
        })  # fmt: skip
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": p, "significant": p < alpha} for row, p in zip(rows, adjusted, strict=True)]


def by_system(points: Points, systems: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Mean points over questions and people, a bootstrap interval over questions, the share of first places."""
    rows = []
    for k, system in enumerate(systems):
        own = points[:, :, k]
        interval, first = bootstrap_interval(own.mean(axis=1), seed), float((own == points.max(axis=2)).mean())
        mean = float(own.mean())  # equal where the sums of points are
        rows.append({"system": system, "points": mean, "low": interval.low, "high": interval.high, "first": first})
    return rows
