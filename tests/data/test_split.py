"""The held-out part is a property of the questions alone."""

import hashlib
import random

import pytest

from tuna.data.record import Record
from tuna.data.split import by_keys, split, split_key
from tuna.data.templates import alpaca


def _keys(numbers: list[int]) -> list[bytes]:
    return [hashlib.sha256(str(n).encode()).digest()[:16] for n in numbers]


def test_keys_are_of_the_question() -> None:
    record = Record("a", "Add.", "1 2", "3")
    finished = Record("b", alpaca(record).text, template="none")
    assert split_key(record) == split_key(finished)
    assert split_key(record) != split_key(Record("a", "Add.", "1 3"))
    assert split_key(Record("a", "x y")) != split_key(Record("a", "x", "y"))


@pytest.mark.parametrize("held_out", [0, 5, 0.1, 0.5, 1, 400])
def test_the_same_set_in_any_order_with_duplicates_on_one_side(held_out: float) -> None:
    numbers = list(range(300)) + list(range(0, 300, 7))
    shuffled = numbers[:]
    random.Random(0).shuffle(shuffled)
    (train, out), (_, other) = split(_keys(numbers), held_out), split(_keys(shuffled), held_out)
    held = {numbers[i] for i in out}
    assert held == {shuffled[i] for i in other}
    assert held.isdisjoint(numbers[i] for i in train)
    assert sorted(train + out) == list(range(len(numbers)))
    if held_out >= 1 or held_out == 0:
        assert min(held_out, len(numbers)) <= len(out) <= held_out + 1
    else:
        assert len(out) == pytest.approx(held_out * len(numbers), abs=40)


def test_a_share_holds_out_the_same_questions_of_any_part() -> None:
    whole = {n for i, n in enumerate(range(500)) if i in set(split(_keys(list(range(500))), 0.2)[1])}
    part = list(range(100, 250))
    assert {part[i] for i in split(_keys(part), 0.2)[1]} == whole & set(part)


def test_by_keys() -> None:
    keys = _keys([1, 2, 1, 3])
    assert by_keys(keys, _keys([1])) == ([1, 3], [0, 2])
