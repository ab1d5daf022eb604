"""The local sampler's blocks and rule, with a generator that says what it is told: no model is loaded."""

from collections.abc import Sequence
from typing import Any

import pytest

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.generate import Draw, noise_key
from tuna.models.source import ModelConfig
from tuna.ranking.sampler import Sampler


class Told:
    """Says the texts in turn, and remembers what was asked."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        self.rounds = list(rounds)
        self.asked: list[list[Draw]] = []

    def prompt(self, record: Record) -> list[int]:
        return [int(record.id)]

    def draw(self, prompts: Sequence[Sequence[int]], draws: Sequence[Draw]) -> list[Answer]:
        self.asked.append(list(draws))
        return [Answer(text) for text in self.rounds.pop(0)]

    def as_written(self, records: Sequence[Record], sets: list[list[Answer]]) -> list[list[Answer]]:
        return sets


def test_open_places_share_batches_and_grow_hotter() -> None:
    told: Any = Told(["a b", "a b", "c d", "c d"], ["a b", "e f"], ["g h"])
    records = [Record("1", "one"), Record("2", "two")]
    sets = Sampler().draw(told, records, 2, seed=7)
    assert [[a.text for a in answers] for answers in sets] == [["a b", "g h"], ["c d", "e f"]]
    assert [[a.temperature for a in answers] for answers in sets] == [[None, 1.2], [None, 1.1]]
    assert [[draw.prompt for draw in draws] for draws in told.asked] == [[0, 0, 1, 1], [0, 1], [0]]
    assert [draw.temperature for draws in told.asked for draw in draws] == [1.0] * 4 + [1.1] * 2 + [1.2]
    assert told.asked[2][0].key == noise_key(7, "1", 1, 2)  # seed, id, place, trial


def test_without_the_rule_nothing_is_drawn_again() -> None:
    told: Any = Told(["a b", "a b"])
    assert [a.text for a in Sampler(tau=None).draw(told, [Record("1", "one")], 2, 0)[0]] == ["a b", "a b"]


def test_identity_and_name() -> None:
    tiny = ModelConfig("tiny")
    identity = Sampler(max_tokens=9).identity(tiny, 3)
    assert identity["model"] == tiny.fingerprint and identity["seed"] == 3 and identity["max_tokens"] == 9
    assert (
        identity["template"] == "auto"
        and Sampler().identity(ModelConfig("tiny", template="none"), 3)["template"] == "none"
    )
    assert "tau" in identity and "tau" not in Sampler(tau=None).identity(tiny, 3)
    named = {"runs/first/model": "model", "org/model": "org/model", "tiny": "tiny", "/a/b/c/": "c"}
    assert {path: Sampler().name(ModelConfig(path)) for path in named} == named


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as fault:
        Sampler(temperature=0, tau=0, max_tokens=0, block=0, trials=-1, temperature_step=-0.1)
    keys = [line.partition(":")[0] for line in str(fault.value).splitlines()]
    assert sorted(keys) == ["block", "max_tokens", "tau", "temperature", "temperature_step", "trials"]
