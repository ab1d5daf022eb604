"""Judges that are asked in words: one way to ask, shared by all that is asked."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.cost import Usage, about_tokens
from tuna.judges import pairwise
from tuna.judges.base import Case, Comparison, NoRuling, Pair, Ruling
from tuna.judges.prompt import judge_prompt
from tuna.judges.prompted import questions_of, rule
from tuna.judges.query import Query, said


class AskedJudge(ABC):
    """What does not depend on who is asked. A subclass asks, stores replies under their keys, and knows the cost."""

    asks_again: ClassVar[bool]
    orders: int
    keep_reference: bool

    @abstractmethod
    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""

    @abstractmethod
    def ask(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        """Ask what the store has no readable reply to.

        again: replies of earlier runs do not count as attempts, so that what was unreadable is asked once more.
        """

    @abstractmethod
    def expected(self, prompt_tokens: int, requests: int, context: Context) -> Usage:
        """What so many requests with so many prompt tokens in all will use."""

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {**self.reply_identity(), "orders": self.orders, "keep_reference": self.keep_reference}

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """Every list is asked about, since what the store has is known only once the answers are there."""
        prompt = sum(about_tokens(judge_prompt(record, [""] * n)) + n * answer_tokens for record in records)
        return self.expected(prompt * self.orders, len(records) * self.orders, context)

    def estimate_pairs(self, pairs: Sequence[Pair], context: Context) -> Usage:
        """What comparing them will use: each pair both ways, what the store has left out."""
        queries = {q.key: q for queries in self._queries(pairs) for q in queries}
        left = [query for query in queries.values() if said(query, context).verdict is None]
        return self.expected(sum(about_tokens(query.prompt) for query in left), len(left), context)

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Ask what the store lacks, then rule."""
        asked = [questions_of(case, self.reply_identity(), self.orders, context.seed) for case in cases]
        self.ask([question.query for questions in asked for question in questions], context)
        return [rule(questions, context, keep_reference=self.keep_reference) for questions in asked]

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """Ask about each pair both ways, then compare; what an earlier run could not read is asked again."""
        asked = self._queries(pairs)
        self.ask([query for queries in asked for query in queries], context, again=True)
        return [pairwise.comparison(queries, context) for queries in asked]

    def _queries(self, pairs: Sequence[Pair]) -> list[list[Query[int]]]:
        """Two queries a pair; none where both answers are the same, which is a tie."""
        identity = self.reply_identity()
        return [
            pairwise.queries_of(pair, identity) if pair.first.strip() != pair.second.strip() else [] for pair in pairs
        ]
