"""Contextual ranking (Section 2.3): the model being tuned answers N times, differently; a judge orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.config.scale import is_embedded
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer, candidate, given_answers, output_row
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.judges.base import Case, NoRuling, Ruling
from tuna.ranking.collection import Collected, Components


@dataclass
class Contextual:
    """Samples from cfg.model by cfg.sampler, then asks cfg.judge. score_only=true judges given answers instead.

    n: answers an instruction. answer_tokens: expected length of an answer, for the estimate of the judge's cost.

    Raises:
        ConfigError: values out of range.
    """

    n: int = 4
    answer_tokens: int = 80

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 25:
            raise ConfigError(f"n: expected 2 to 25, got {self.n}")

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return ("judge",) if score_only else ("judge", "sampler", "model")

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return parts.model is not None and is_embedded(parts.model.path)

    def identities(self, parts: Components) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of what answers, and of what ranks."""
        source = {"ranker": "contextual", "score_only": parts.score_only}
        if not parts.score_only:
            source |= {"n": self.n, **parts.sampler.identity(parts.model, parts.seed)}
        return source, parts.judge.identity() | {"seed": parts.seed}

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        sampled = {} if parts.score_only else {"answers": parts.sampler.price_in(context.prices)}
        return {**sampled, "verdicts": parts.judge.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is to be asked at most: of what the store has, nothing is."""
        sampled = Usage() if parts.score_only else parts.sampler.estimate(records, self.n, context)
        asked = {"sampler": sampled} if sampled.requests else {}
        return {**asked, "judge": parts.judge.estimate(records, self.n, self.answer_tokens, context)}

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists, best first."""
        collected = Collected()
        if parts.score_only:
            answers = [given_answers(record) for record in records]
        else:
            answers = parts.sampler.answer(parts.model, records, self.n, context)
        kept = [_usable(found) for found in answers]
        cases = {r.id: Case(r, usable) for r, (usable, _) in zip(records, kept, strict=True) if len(usable) > 1}
        rulings = dict(zip(cases, parts.judge.judge(list(cases.values()), context), strict=True))
        source = None if parts.score_only else parts.sampler.name(parts.model)
        for record, found, (_, left_out) in zip(records, answers, kept, strict=True):
            if not found:
                collected.lacks(record, parts.sampler.lacks(record, self.n, context))
                continue
            if record.id not in cases:
                collected.set_aside(record, "fewer than two usable answers", left_out)
                continue
            ruling = rulings[record.id]
            if isinstance(ruling, NoRuling):
                if ruling.asked:
                    collected.set_aside(record, ruling.reason, ruling.raw)
                else:
                    collected.missing += 1
                continue
            collected.flips += ruling.flips
            collected.pairs += ruling.pairs
            collected.add(_row(cases[record.id], ruling, left_out, source, parts))
        return collected


def _usable(found: Sequence[Answer]) -> tuple[list[Answer], list[dict[str, Any]]]:
    """The answers that can be judged, and the others with the reason."""
    return (
        [a for a in found if a.unusable_reason is None],
        [{"text": a.text, "reason": a.unusable_reason} for a in found if a.unusable_reason is not None],
    )


def _row(
    case: Case, ruling: Ruling, left_out: list[dict[str, Any]], source: str | None, parts: Components
) -> dict[str, Any]:
    """The record of the output: score is minus the position, the judge's marks beside it.

    ``sample`` is a candidate's number in the judge's recorded orders and ranks.
    """
    sources = {c.text: c.source for c in case.record.responses}
    ranked, dropped = [], list(left_out)
    for place, (answer, level, mark) in enumerate(zip(case.answers, ruling.levels, ruling.marks, strict=True)):
        if level is None:
            dropped.append({"text": answer.text, "reason": "left out by the judge"})
        else:
            by = source or sources.get(answer.text) or "given"
            ranked.append(candidate(answer, float(-level), by, judge_score=mark, sample=place))
    if ruling.own is not None:
        text, level = ruling.own
        ranked.append(
            {"text": text, "score": float(-level), "source": str(parts.judge.identity().get("model", "judge"))}
        )
    ranked.sort(key=lambda row: -float(row["score"]))
    who = {key: value for key, value in parts.judge.identity().items() if key in ("judge", "model")}
    extra: dict[str, Any] = {"judge": {**who, **ruling.notes}}
    if dropped:
        extra["dropped"] = dropped
    return output_row(case.record, ranked, **extra)
