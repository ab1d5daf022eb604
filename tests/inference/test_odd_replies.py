"""Generated replies and damaged stores: an answer, or a fault that is told; never a crash, never less than nothing."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuna.errors import RunError
from tuna.inference.answers import stored_answers
from tuna.inference.cost import Budget, Price, usage_cost, usage_of
from tuna.inference.served import ServedModel
from tuna.inference.server import TryAgain
from tuna.inference.store import Journal

pytestmark = pytest.mark.once

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats()
JSON = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LOGPROBS = st.fixed_dictionaries(
    {"content": JSON | st.lists(st.fixed_dictionaries({"token": JSON, "logprob": NUMBERS}), max_size=3)}
)
PARTS = st.lists(st.fixed_dictionaries({"type": JSON, "text": JSON}) | JSON, max_size=3)
MESSAGES = JSON | st.fixed_dictionaries({"content": JSON | PARTS}, optional={"refusal": JSON, "reasoning": JSON})
CHOICES = st.lists(
    JSON
    | st.fixed_dictionaries({"message": MESSAGES}, optional={"finish_reason": JSON, "logprobs": JSON | LOGPROBS})
    | st.fixed_dictionaries({"text": JSON}, optional={"logprobs": JSON}),
    max_size=3,
)
USAGE = JSON | st.fixed_dictionaries({"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS})
REPLIES = st.fixed_dictionaries({}, optional={"choices": JSON | CHOICES, "usage": USAGE, "model": JSON})
FEW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(REPLIES)
def test_any_reply_is_answers_that_can_be_stored_or_asked_for_again(tmp_path: Path, body: dict[str, Any]) -> None:
    try:
        answers = ServedModel(model="m").read(body)
    except TryAgain:
        return
    (tmp_path / "a.jsonl").unlink(missing_ok=True)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "k", "choices": [a.to_dict() for a in answers], "usage": body.get("usage")})
    assert journal.read("k", stored_answers) == [answers]
    assert all(a.logprob is None or -math.inf < a.logprob < 1 for a in answers)
    journal.close()


@FEW
@given(USAGE)
def test_any_usage_costs_something_known_or_its_worst(usage: Any) -> None:
    cost, total = usage_cost(Price(2.0, 8.0), usage), usage_of({"usage": usage}, Price(2.0, 8.0))
    assert cost is None or 0 <= cost < math.inf
    assert total.cost is not None and 0 <= total.cost < math.inf and total.prompt_tokens >= 0


@FEW
@given(st.data())
def test_any_damage_to_a_store_is_told_or_leaves_whole_lines(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    budget = Budget(journal)
    for _ in range(3):
        budget.settle(budget.reserve(2.0), 0.5)
    journal.close()
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 60)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:])
    try:
        again = Budget(Journal(path))
    except RunError as fault:
        assert "a.jsonl:" in str(fault)
        return

    def entries(lines: bytes) -> set[str]:
        return {json.dumps({**json.loads(line), "crc": None}, sort_keys=True) for line in lines.split(b"\n")[:-1]}

    assert entries(path.read_bytes()) <= entries(whole) and 0 <= again.spent <= 6.0
