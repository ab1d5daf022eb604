"""From instructions to ranked lists: what every ranker does, whatever orders the answers."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tuna.assets import is_embedded
from tuna.data.record import Record
from tuna.inference.answers import Answer, candidate, given_answers, output_row
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.judges.base import Case, NoRuling, Ruling


@dataclass
class Components:
    """The config's nodes, built. A ranker uses those that it needs."""

    teacher: Any = None
    judge: Any = None
    sampler: Any = None
    model: Any = None
    seed: int = 0
    score_only: bool = False


@dataclass
class Collected:
    """rows: the ranked lists, in input order. unusable: what got none, with reason and raw text. missing: not asked.

    flips, pairs: of a judge that was asked both ways.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    missing: int = 0
    flips: int = 0
    pairs: int = 0

    def set_aside(self, record: Record, reason: str, raw: Sequence[Any] = ()) -> None:
        """One instruction without a list; without a reason, it was not asked because the run was stopped."""
        if reason:
            about = {"id": record.id, "instruction": record.instruction}
            self.unusable.append({**about, "reason": reason, "raw": list(raw)})
        else:
            self.missing += 1

    @property
    def dropped(self) -> dict[str, int]:
        """Why answers were left out of lists, and how many for each reason."""
        left_out = [answer for row in self.rows for answer in row.get("dropped", ())]
        left_out += [answer for row in self.unusable for answer in row["raw"] if isinstance(answer, Mapping)]
        return dict(Counter(str(answer["reason"]) for answer in left_out))


class Ranker(ABC):
    """Orders samples of ``model`` drawn by ``sampler``, or the answers that the input has (``score_only``).

    A subclass is a dataclass of what can be set. It says how the usable answers are ordered, and may take them from
    something else than the sampler.
    """

    kind: ClassVar[str]
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
        return {} if parts.score_only else {"answers": parts.sampler.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is still to be asked at most, by who is asked."""
        sampled = Usage() if parts.score_only else parts.sampler.estimate(records, self.n, context)
        return {"sampler": sampled} if sampled.requests else {}

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists, best first."""
        collected = Collected()
        answers = self._answers(records, parts, context)
        left_out = [[_dropped(a, why) for a in found if (why := self._unusable(a))] for found in answers]
        usable = [[a for a in found if not self._unusable(a)] for found in answers]
        cases = {r.id: Case(r, kept) for r, kept in zip(records, usable, strict=True) if len(kept) > 1}
        rulings = dict(zip(cases, self._rank(list(cases.values()), parts, context), strict=True))
        answerer = self._answerer(parts)
        for record, found, dropped in zip(records, answers, left_out, strict=True):
            ruling = rulings.get(record.id)
            if not found:
                collected.set_aside(record, self._lacks(record, parts, context))
            elif ruling is None:
                collected.set_aside(record, "fewer than two usable answers", dropped)
            elif isinstance(ruling, NoRuling):
                collected.set_aside(record, ruling.reason if ruling.asked else "", ruling.raw)
            else:
                given = record.responses if parts.score_only else ()
                sources = {a.text: c.source or answerer for a, c in zip(found, given, strict=False)}
                case = cases[record.id]
                names = [sources.get(answer.text, answerer) for answer in case.answers]
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

    def _source(self, parts: Components) -> dict[str, Any]:
        """What shapes the answers."""
        return {} if parts.score_only else {"n": self.n, **parts.sampler.identity(parts.model, parts.seed)}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        """The answers to each record; none where they are not all there."""
        if parts.score_only:
            return [given_answers(record) for record in records]
        found: Sequence[Sequence[Answer]] = parts.sampler.answer(parts.model, records, self.n, context)
        return found

    def _lacks(self, record: Record, parts: Components, context: Context) -> str:
        """Why a record has no answers; empty where it was not asked."""
        return "" if parts.score_only else str(parts.sampler.lacks(record, self.n, context))

    def _answerer(self, parts: Components) -> str:
        """The ``source`` of answers of which the input names none."""
        return "given" if parts.score_only else str(parts.sampler.name(parts.model))

    def _unusable(self, answer: Answer) -> str | None:
        """Why an answer cannot be ranked, or None."""
        return answer.unusable_reason


def _row(
    case: Case, ruling: Ruling, sources: Sequence[str], left_out: list[dict[str, str]], judge: Any
) -> dict[str, Any]:
    """The record of the output: a score is minus the position; equal ones keep the order in which they came.

    ``sample`` is an answer's number in the judge's recorded orders and ranks, ``judge_score`` the judge's mark.
    """
    ranked, dropped = [], list(left_out)
    identity = judge.identity() if judge else {}
    for place, (answer, level) in enumerate(zip(case.answers, ruling.levels, strict=True)):
        if level is None:
            dropped.append(_dropped(answer, "left out by the judge"))
        else:
            marks = {"judge_score": ruling.marks[place] if ruling.marks else None, "sample": place} if judge else {}
            row = candidate(answer, round(float(-level), 6), sources[place], **marks)
            ranked.append((level, row))
    if ruling.own is not None:
        text, level = ruling.own
        own = {"text": text, "score": float(-level), "source": str(identity.get("model", "judge"))}
        ranked.append((level, own))
    extra: dict[str, Any] = {}
    if judge:
        extra["judge"] = {key: identity[key] for key in ("judge", "model") if key in identity} | dict(ruling.notes)
    if dropped:
        extra["dropped"] = dropped
    return output_row(case.record, [row for _, row in sorted(ranked, key=lambda pair: pair[0])], **extra)


def _dropped(answer: Answer, reason: str) -> dict[str, str]:
    return {"text": answer.text, "reason": reason}
