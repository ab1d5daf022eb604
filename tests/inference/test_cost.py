"""Money: values worked by hand, the budget with requests in flight, over restarts, and with answers that never came."""

from pathlib import Path

import pytest

from tuna.errors import ConfigError, RunError
from tuna.inference.cost import Budget, BudgetReached, Price, Prices, Usage, at_most_tokens, usage_cost
from tuna.inference.store import Journal

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def test_table_6_of_the_paper() -> None:
    prices = Prices({"gpt-4": [30, 60]})
    assert prices.human(1000, 4) == 1500
    price = prices.find("gpt-4")
    assert price is not None
    # A thousand rankings of 650 prompt tokens and 300 answer tokens: 19.5 + 18 dollars.
    assert price.of(650_000, 300_000) == pytest.approx(37.5)


def test_a_given_price_wins_and_an_unknown_model_has_none() -> None:
    prices = Prices({"m": [1, 2]})
    assert prices.find("m", [0, 0]) == Price(0, 0) and prices.find("m-2024-05-13") == Price(1, 2)
    assert prices.find("n") is None and prices.find("m-mini") is None


@pytest.mark.parametrize("pair", [[1], [1, -2], ["a", 1], [1, True], 3, [1, float("nan")]])
def test_wrong_prices_are_named(pair: object) -> None:
    with pytest.raises(ConfigError, match=r"table\.m: expected"):
        Prices({"m": pair})  # type: ignore[dict-item]


def test_the_bound_is_a_bound_for_any_text() -> None:
    assert at_most_tokens("\u4f60" * 10) >= 30


def test_reserved_money_cannot_be_spent_twice(tmp_path: Path) -> None:
    budget = Budget(Journal(tmp_path / "l"), max_cost=1.0)
    tickets = []
    for _ in range(3):
        assert budget.fits(0.3)
        tickets.append(budget.reserve(0.3))
    assert not budget.fits(0.3)  # wait for those in flight
    budget.settle(tickets[0], 0.1)
    assert budget.fits(0.3)
    tickets.append(budget.reserve(0.3))
    for ticket in tickets[1:]:
        budget.settle(ticket)  # the answers never came: the worst case counts
    assert budget.spent == pytest.approx(1.0)
    with pytest.raises(BudgetReached, match="max_cost"):
        budget.fits(0.3)


def test_requests_are_counted_when_sent(tmp_path: Path) -> None:
    budget = Budget(Journal(tmp_path / "l"), max_requests=2)
    for _ in range(2):
        assert budget.fits(0)
        budget.reserve(0)
    with pytest.raises(BudgetReached, match="max_requests=2"):
        budget.fits(0)


def test_the_budget_holds_over_restarts(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "l")
    budget = Budget(journal, max_cost=1.0)
    budget.settle(budget.reserve(0.4), 0.25)
    budget.reserve(0.4)  # killed here
    journal.close()
    again = Budget(Journal(tmp_path / "l"), max_cost=1.0)
    assert again.spent == pytest.approx(0.65) and again.requests == 2
    assert again.fits(0.35)
    with pytest.raises(BudgetReached):
        again.fits(0.36)


def test_a_ledger_that_was_changed_is_told_and_never_gives_money_back(tmp_path: Path) -> None:
    for line in ('{"key": "r0", "reserved": -5}', '{"key": "r0", "cost": "x"}', '{"key": "r0", "reserved": NaN}'):
        (tmp_path / "l").write_text(line + "\n")
        with pytest.raises(RunError, match=r"l:1: expected a JSON object"):
            Budget(Journal(tmp_path / "l"))


def test_tickets_stay_new_where_lines_are_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "l")
    budget = Budget(journal)
    for _ in range(4):
        budget.settle(budget.reserve(1.0), 0.5)
    assert budget.reserve(1.0) == "r4"
    journal.close()
    lines = (tmp_path / "l").read_bytes().splitlines(keepends=True)
    (tmp_path / "l").write_bytes(b"".join(lines[5:]))  # r2's cost, r3, r4: 4 lines
    again = Budget(Journal(tmp_path / "l"))
    assert again.reserve(1.0) == "r5" and again.spent == 0.5 + 0.5 + 1.0
    again.settle("r4", 0.25)
    again.settle("r4", 0.25)  # once and no more
    assert again.spent == pytest.approx(1.25)


def test_wrong_limits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_cost"):
        Budget(Journal(tmp_path / "l"), max_cost=-1)


def test_usage() -> None:
    assert Usage(1, 2, 3, 0.5) + Usage(1, 1, 1, None) == Usage(2, 3, 4, None)
    assert usage_cost(Price(1, 2), {"prompt_tokens": 10, "completion_tokens": 5}) == pytest.approx(20e-6)
    nothing: object
    for nothing in ({}, None, [], "x", {"prompt_tokens": 1}, {"prompt_tokens": True, "completion_tokens": 1}):
        assert usage_cost(Price(1, 2), nothing) is None
    assert usage_cost(Price(1, 2), {"prompt_tokens": 10.0, "completion_tokens": 0}) == pytest.approx(10e-6)
    assert usage_cost(None, {"prompt_tokens": 1}) is None
