"""From instructions to ranked lists: what every ranker does, whatever orders the answers."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tuna.assets import is_embedded
from tuna.data.record import Record, was_cut
from tuna.inference.answers import Answer, candidate, given_answers, output_row
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.judges.base import Case, NoRuling, Ruling


@dataclass
class Components:
    """The config's nodes, built. A ranker uses those that it needs; a sampler that draws here is given the model."""

    teacher: Any = None
    judge: Any = None
    sampler: Any = None
    model: Any = None
    seed: int = 0
    score_only: bool = False

    def __post_init__(self) -> None:
        if self.sampler is not None and self.model is not None:
            self.sampler.model = self.model


@dataclass
class Collected:
    """What came of the instructions."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # the ranked lists, in input order
    unusable: list[dict[str, Any]] = field(default_factory=list)  # what got none, with reason and raw text
    missing: int = 0  # not asked
    flips: int = 0  # of a judge that was asked both ways
    pairs: int = 0
    coverage: Counter[str] = field(default_factory=Counter)  # of all answers: usable; (or not) cut, shortened, empty

    def count(self, answers: Sequence[Answer], usable: int) -> None:
        """Count the answers to one instruction."""
        self.coverage["answers"] += len(answers)
        self.coverage["usable"] += usable
        self.coverage["cut"] += sum(was_cut(answer.finish_reason) for answer in answers)
        self.coverage["shortened"] += sum(bool(answer.shortened) for answer in answers)
        self.coverage["empty"] += sum(not answer.text.strip() and answer.refused is None for answer in answers)

    def set_aside(self, record: Record, reason: str, raw: Sequence[Any] = ()) -> None:
        """One instruction without a list; without a reason, it was not asked because the run was stopped."""
        about = {"id": record.id, "instruction": record.instruction, "reason": reason, "raw": list(raw)}
        if reason:
            self.unusable.append(about)
        else:
            self.missing += 1

    @property
    def dropped(self) -> dict[str, int]:
        """Why answers were left out of lists, and how many for each reason."""
        left_out = [answer for row in self.rows for answer in row.get("dropped", ())]
        left_out += [answer for row in self.unusable for answer in row["raw"] if isinstance(answer, Mapping)]
        return dict(Counter(str(answer["reason"]) for answer in left_out))

    @property
    def commonest(self) -> tuple[str, int]:
        """The reason for which most instructions got no list, and how many did."""
        return Counter(str(row["reason"]) for row in self.unusable).most_common(1)[0]


class Ranker(ABC):
    """Orders samples of ``model`` drawn by ``sampler``, or the answers that the input has (``score_only``). A subclass
    is a dataclass of what can be set; it says how the usable answers are ordered.
    """

    kind: ClassVar[str]
    asked: ClassVar[str] = "sampler"  # the config node of what answers
    n: int

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return () if score_only else ("sampler", "model")

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return parts.model is not None and is_embedded(parts.model.path)

    def identities(self, parts: Components) -> tuple[dict[str, Any], dict[str, Any]]:
        """What shapes the answers, and what shapes their order, for the store."""
        return {"ranker": self.kind, "score_only": parts.score_only, **self._source(parts)}, self._order(parts)

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        return {} if parts.score_only else {"answers": self._answerer(parts).backend.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is still to be asked at most, by who is asked."""
        return {} if parts.score_only else {self.asked: self._answerer(parts).estimate(records, self.n, context)}

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists, best first."""
        collected = Collected()
        answers = self._answers(records, parts, context)
        usable = [[a for a in found if not self._unusable(a)] for found in answers]
        ranked = ((r, self._ranked(r, kept)) for r, kept in zip(records, usable, strict=True))
        cases = {r.id: Case(r, kept) for r, kept in ranked if len(kept) > 1}
        rulings = dict(zip(cases, self._rank(list(cases.values()), parts, context), strict=True))
        answerer = self._answerer(parts)
        for record, found in zip(records, answers, strict=True):
            dropped = [{"text": a.text, "reason": why} for a in found if (why := self._unusable(a))]
            collected.count(found, len(found) - len(dropped))
            ruling = rulings.get(record.id)
            if not found:
                collected.set_aside(record, answerer.lacks(record, self.n, context))
            elif ruling is None:
                collected.set_aside(record, "fewer than two usable answers", dropped)
            elif isinstance(ruling, NoRuling):
                collected.set_aside(record, ruling.reason if ruling.asked else "", ruling.raw)
            else:
                name = answerer.name if answerer else "given"
                given = record.responses if parts.score_only else ()
                sources = {a.text: c.source or name for a, c in zip(found, given, strict=False)}
                case = cases[record.id]
                names = [sources.get(answer.text, name) for answer in case.answers]
                collected.rows.append(_row(case, ruling, names, dropped, parts.judge))
                collected.flips += ruling.flips
                collected.pairs += ruling.pairs
        return collected

    @abstractmethod
    def _order(self, parts: Components) -> dict[str, Any]:
        """What shapes the order of answers."""

    @abstractmethod
    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling | NoRuling]:
        """A position for each answer of each case."""

    def _ranked(self, record: Record, answers: Sequence[Answer]) -> Sequence[Answer]:
        """What is ranked of a record: its usable answers, and what else a ranker puts beside them."""
        return answers

    def _answerer(self, parts: Components) -> Any:
        """Who answers, or gives the answers of the input their numbers; None where nobody does."""
        return None if parts.score_only else parts.sampler

    def _source(self, parts: Components) -> dict[str, Any]:
        """What shapes the answers."""
        return {} if parts.score_only else {"n": self.n, **self._answerer(parts).identity(parts.seed)}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        """The answers to each record; none where they are not all there."""
        if parts.score_only:
            return [given_answers(record) for record in records]
        found: Sequence[Sequence[Answer]] = self._answerer(parts).answer(records, self.n, context)
        return found

    def _unusable(self, answer: Answer) -> str | None:
        """Why an answer cannot be ranked, or None."""
        return answer.unusable_reason


def _row(
    case: Case, ruling: Ruling, sources: Sequence[str], dropped: list[dict[str, str]], judge: Any
) -> dict[str, Any]:
    """The record of the output. ``sample``: an answer's number in the judge's recorded orders and ranks."""
    ranked: list[tuple[float, dict[str, Any]]] = []
    for place, (answer, level) in enumerate(zip(case.answers, ruling.levels, strict=True)):
        if level is None:
            dropped.append({"text": answer.text, "reason": "left out by the judge"})
        else:
            marks = {"judge_score": ruling.marks[place] if ruling.marks else None, "sample": place} if judge else {}
            ranked.append((level, candidate(answer, round(float(-level), 6), sources[place], **marks)))
    extra: dict[str, Any] = {}
    if judge:
        identity = judge.identity()
        extra["judge"] = {key: identity[key] for key in ("judge", "model") if key in identity} | dict(ruling.notes)
        if ruling.own is not None:
            text, level = ruling.own
            own = {"text": text, "score": float(-level), "source": str(identity.get("model", "judge"))}
            ranked.append((level, own))
    if dropped:
        extra["dropped"] = dropped
    return output_row(case.record, [row for _, row in sorted(ranked, key=lambda pair: pair[0])], **extra)
