"""Money and tokens: the price table, the estimate before anything is sent, the budget that is never overrun. The worst
case of a request (every byte of its prompt a token) is written down before it is sent; the server's own figures replace
it. What was in flight when a process was killed stays at its worst case, so the budget holds over restarts too.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge

from tuna.config.types import wrong_value
from tuna.errors import ConfigError
from tuna.inference.store import Journal, parsed

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars.

        >>> Price(2.0, 8.0).of(1_000_000, 500_000)
        6.0
        """
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION


Pair = tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]]  # of a config: [input, output]


@dataclass
class Prices:
    """The price table; a dated model has the price of its undated name.

    >>> Prices({"gpt-4o": [2.5, 10.0]}).find("gpt-4o-2024-08-06")
    Price(input=2.5, output=10.0)
    """

    table: Mapping[str, Sequence[float]] | None = None  # dollars per million tokens, [input, output], by model
    human_comparison: float = 0.25  # dollars per pairwise comparison by a person, the paper's Appendix B

    def __post_init__(self) -> None:
        found = [wrong_value(f"table.{model}", pair, Pair) for model, pair in (self.table or {}).items()]
        if wrong := [problem for problem in found if problem]:
            raise ConfigError("\n".join(wrong))

    @staticmethod
    def read(node: Mapping[str, Any]) -> "Prices":
        """From the config node ``prices``. Raises ConfigError for unknown keys, wrong values."""
        if unknown := [str(key) for key in node if key not in ("table", "human_comparison")]:
            raise ConfigError(f"prices: expected table and human_comparison, got {', '.join(unknown)}")
        table = {str(model): list(pair) for model, pair in (node.get("table") or {}).items()}
        return Prices(table, float(node.get("human_comparison") or 0.0))

    def find(self, model: str, given: Sequence[float] | None = None) -> Price | None:
        """The price given, else the table's, else None."""
        table = self.table or {}
        pair = given or table.get(model) or table.get(undated(model))
        return Price(*pair) if pair else None

    def human(self, lists: int, answers: int) -> float:
        """Dollars for people to compare each pair of ``answers`` answers (the paper: 6 comparisons, $1500 a thousand).

        >>> Prices().human(1000, 4)
        1500.0
        """
        return lists * answers * (answers - 1) / 2 * self.human_comparison


def undated(model: str) -> str:
    """A model's name without its date: ``gpt-4o`` of ``gpt-4o-2024-08-06``."""
    return re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model)


def about_tokens(text: str) -> int:
    """Roughly how many tokens, for an estimate.

    >>> about_tokens("The quick brown fox")
    5
    """
    return math.ceil(len(text.encode("utf-8", "replace")) / 4)  # bytes per token of English text


def at_most_tokens(text: str) -> int:
    """More tokens than any byte-level tokenizer makes of it, for a reservation.

    >>> at_most_tokens("é")
    18
    """
    return len(text.encode("utf-8", "replace")) + 16  # what a chat message adds at most


@dataclass
class Usage:
    """Requests, tokens and dollars; an estimate or the real ones. ``cost`` None: the price is not known."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.brief()}"

    def brief(self) -> str:
        """Tokens of prompts and of answers, and dollars, as ``3,000 + 900 tokens, $0.02``."""
        return f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens, {dollars(self.cost)}"


def dollars(amount: float | None) -> str:
    """As money; small sums with the digits that matter.

    >>> dollars(12.5), dollars(0.00042), dollars(None)
    ('$12.50', '$0.00042', 'price unknown')
    """
    if amount is None:
        return "price unknown"
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.2g}"


class BudgetReached(Exception):
    """The next request does not fit any more, even with nothing in flight."""


class Budget:
    """What was spent, over all processes that wrote into this ledger, and whether one more request fits. The ledger has
    two lines per request: what was reserved before it was sent, and what it came to.
    """

    def __init__(self, ledger: Journal, *, max_cost: float | None = None, max_requests: int | None = None) -> None:
        for key, value in (("max_cost", max_cost), ("max_requests", max_requests)):
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{key}: expected 0 or more, or null, got {value}")
        self.max_cost, self.max_requests = max_cost, max_requests
        self.spent, self.requests = 0.0, 0
        self._ledger = ledger
        self._held: dict[str, float] = {}  # in flight
        self._open: dict[str, float] = {}  # in flight when an earlier process died, counted at their worst case
        last = -1
        for key, reserved, cost, requests in ledger.each(_ledger_line):
            if reserved is not None:
                self._open[key] = reserved
                self.requests += requests
                last = int(key[1:])
            if cost is not None:
                self.spent += cost
                self._open.pop(key, None)
        self._next = max(self.requests, last + 1)
        self.spent += sum(self._open.values())

    def fits(self, worst: float) -> bool:
        """Whether a request can be sent now. Raises BudgetReached: nothing in flight could turn out cheaper."""
        if self.max_requests is not None and self.requests + 1 > self.max_requests:
            raise BudgetReached(f"max_requests={self.max_requests} reached ({self.requests} sent)")
        if self.max_cost is None or self.spent + sum(self._held.values()) + worst <= self.max_cost:
            return True
        if self._held:
            return False
        raise BudgetReached(
            f"max_cost={self.max_cost} reached ({dollars(self.spent)} spent, the next needs up to {dollars(worst)})"
        )

    def reserve(self, worst: float) -> str:
        """Count a request as sent, at its worst case; gives the ticket to settle it with. Ask ``fits`` first."""
        ticket = f"r{self._next}"
        self._next += 1
        self._ledger.append({"key": ticket, "reserved": worst})
        self._held[ticket] = worst
        self.requests += 1
        return ticket

    def settle(self, ticket: str, cost: float | None = None) -> None:
        """Replace the worst case by the real cost; None where it is not known (the answer never arrived)."""
        worst = self._held.pop(ticket, None)
        if worst is None:  # of an earlier process, counted at its worst case so far
            worst = self._open.pop(ticket, None)
            if worst is None:
                return
            self.spent = max(0.0, self.spent - worst)
        real = worst if cost is None else cost
        self.spent += real
        self._ledger.append({"key": ticket, "cost": real})

    def recover(self, requests: int, cost: float) -> None:
        """Count requests that the ledger has lost and whose answers prove them, once and for all."""
        self._ledger.append({"key": f"r{self._next}", "requests": requests, "reserved": cost, "cost": cost})
        self._next += 1
        self.requests += requests
        self.spent += cost


_AMOUNT = rb"(\d[\d.]*(?:e-\d+)?)"
_PLAIN = re.compile(rb'"key": "(r\d+)", (?:"reserved": ' + _AMOUNT + rb'|"cost": ' + _AMOUNT + rb")").fullmatch


def _ledger_line(body: bytes) -> tuple[str, float | None, float | None, int]:
    """Ticket, dollars that were reserved, dollars that it came to, and requests; ValueError: something else."""
    if found := _PLAIN(body):  # as ``Budget`` writes it: a third of the time
        key, worst, cost = found.groups()
        return key.decode(), float(worst) if worst else None, float(cost) if cost else None, 1
    line = parsed(body)
    amounts = line.get("reserved"), line.get("cost"), line.get("requests", 1)
    if any(a is not None and (type(a) not in (int, float) or not 0 <= a < math.inf) for a in amounts):
        raise ValueError("no amounts")
    int(line["key"][1:])
    return line["key"], amounts[0], amounts[1], int(amounts[2])


def read_usage(given: object) -> tuple[int, int] | None:
    """Prompt and answer tokens of a reply's ``usage``; None where it does not say them.

    >>> read_usage({"prompt_tokens": 12, "completion_tokens": 3.0})
    (12, 3)
    >>> read_usage({"prompt_tokens": "12", "completion_tokens": 3}), read_usage({"prompt_tokens": -1}), read_usage([])
    (None, None, None)
    """
    fields = given if isinstance(given, Mapping) else {}
    counts: list[Any] = [fields.get("prompt_tokens"), fields.get("completion_tokens")]
    if not all(type(n) in (int, float) and 0 <= n <= MILLION * 1000 and n == int(n) for n in counts):
        return None
    return int(counts[0]), int(counts[1])


def usage_cost(price: Price | None, usage: object) -> float | None:
    """Dollars for a server's usage figures; None where there is no price or no figures."""
    tokens = read_usage(usage)
    return None if price is None or tokens is None else price.of(*tokens)


def usage_of(line: Mapping[str, Any], price: Price | None = None) -> Usage:
    """What one reply used, as far as its ``usage`` says it. No price: its own ``cost``, where the line has it."""
    tokens = read_usage(line.get("usage")) or (0, 0)
    return Usage(1, *tokens, price.of(*tokens) if price else line.get("cost"))
