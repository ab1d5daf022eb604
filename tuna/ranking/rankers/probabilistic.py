"""Probabilistic ranking (Section 2.2): a teacher answers N times, Eq. 3 orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.config.scale import is_embedded
from tuna.data.ranking import beta_problem, eq3
from tuna.data.record import Record, was_cut
from tuna.errors import ConfigError
from tuna.inference.answers import Answer, candidate, given_answers, output_row
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.ranking.collection import Collected, Components


@dataclass
class Probabilistic:
    """Asks cfg.teacher for answers, or has it score given ones.

    n: answers an instruction. beta: length exponent of Eq. 3, 0 to 5; training may choose another.

    Raises:
        ConfigError: values out of range.
    """

    n: int = 4
    beta: float = 1.3

    def __post_init__(self) -> None:
        wrong = [] if self.n >= 2 else [f"n: expected 2 or more, got {self.n}"]
        if problem := beta_problem(self.beta):
            wrong.append(problem)
        if wrong:
            raise ConfigError("\n".join(wrong))

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return ("teacher",)

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return is_embedded(getattr(parts.teacher, "path", None))

    def identities(self, parts: Components) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of what answers, and of what ranks.

        Raises:
            ConfigError: the teacher cannot score given answers, and is to.
        """
        if parts.score_only and not parts.teacher.scores:
            raise ConfigError(
                "score_only: a server gives no log-probabilities of given answers; next: teacher=local "
                "teacher.path=<a folder or a hub id>"
            )
        source = {"ranker": "probabilistic", "n": self.n, "score_only": parts.score_only, **parts.teacher.identity()}
        if not parts.score_only and parts.teacher.identity()["teacher"] == "local":
            source["seed"] = parts.seed
        return source, {"beta": self.beta}

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        return {"answers": parts.teacher.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is still to be asked."""
        return {} if parts.score_only else {"teacher": parts.teacher.estimate(records, self.n, context)}

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists, best first."""
        collected = Collected()
        if parts.score_only:
            answers = parts.teacher.score(records, [given_answers(record) for record in records], context)
        else:
            answers = parts.teacher.answer(records, self.n, context)
        for record, found in zip(records, answers, strict=True):
            wanted = len(record.responses) if parts.score_only else self.n
            if len(found) < wanted:
                reason = "" if parts.score_only else context.aside.get(parts.teacher.key(record, self.n), "")
                collected.lacks(record, reason)
            else:
                self._list(record, found, parts, collected)
        return collected

    def _list(self, record: Record, found: Sequence[Answer], parts: Components, collected: Collected) -> None:
        usable = [a for a in found if a.unusable_reason is None and a.logprob is not None and a.num_tokens]
        left_out = [
            {"text": a.text, "reason": a.unusable_reason or a.unscored or "no log-probability"}
            for a in found
            if a not in usable
        ]
        if len(usable) < 2:
            collected.set_aside(record, "fewer than two usable answers", left_out)
            return
        scores = self._scores(usable)
        usable.sort(key=lambda a: -scores[_same(a)])
        sources = (
            {answer.text: c.source for answer, c in zip(found, record.responses, strict=False)}
            if parts.score_only
            else {}
        )
        rows = [candidate(a, round(scores[_same(a)], 6), sources.get(a.text) or parts.teacher.name) for a in usable]
        if left_out:
            collected.add(output_row(record, rows, dropped=left_out))
        else:
            collected.add(output_row(record, rows))

    def _scores(self, usable: Sequence[Answer]) -> dict[tuple[str, bool], float]:
        """Eq. 3 by answer. One that was drawn twice, in batches that round differently, has the better number."""
        found: dict[tuple[str, bool], float] = {}
        for answer in usable:
            score = eq3(answer.logprob or 0.0, answer.num_tokens or 1, self.beta)
            found[_same(answer)] = max(score, found.get(_same(answer), score))
        return found


def _same(answer: Answer) -> tuple[str, bool]:
    """What makes two answers one: the text, and whether it was cut."""
    return answer.text, was_cut(answer.finish_reason)
