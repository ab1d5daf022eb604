"""conf/rank.yaml's own keys: all faults at once; where things lie."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tuna.errors import ConfigError
from tuna.ranking.settings import OutputPaths, Settings

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def test_all_faults_are_said_at_once() -> None:
    wrong: dict[str, Any] = {"first": 0, "max_cost": -1, "max_requests": "many", "output": "lists.json", "seed": None}
    wrong["input_columns"] = {"responses": "r"}
    with pytest.raises(ConfigError) as fault:
        Settings.read(OmegaConf.create(wrong))
    assert sorted(line.partition(":")[0] for line in str(fault.value).splitlines()) == sorted(wrong)


def test_missing_keys_take_the_defaults_and_others_are_not_its_own() -> None:
    settings = Settings.read(OmegaConf.create({"seed": 3, "judge": {"orders": 2}}))
    assert settings == Settings(seed=3)


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        (Settings(), "rankings/auto.jsonl"),
        (Settings(name="mine", folder="there"), "there/mine.jsonl"),
        (Settings(output="a/lists.jsonl", name="ignored"), "a/lists.jsonl"),
        (Settings(output="a/lists.v2.jsonl", shard="2/3"), "a/lists.v2.shard-2-of-3.jsonl"),
        (Settings(output="a/lists.jsonl", shard="1/1"), "a/lists.jsonl"),
    ],
)
def test_places(settings: Settings, output: str) -> None:
    places = OutputPaths.of(settings, "auto")
    assert str(places.output) == output
    stem = output.removesuffix(".jsonl")
    beside = [places.store, places.unusable, places.report, places.figure]
    assert beside == [Path(stem + end) for end in (".store", ".unusable.jsonl", ".report.json", ".report.png")]
