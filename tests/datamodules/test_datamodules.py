"""The datamodules from file to batches."""

import dataclasses
import inspect
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.make import row, tokenizer, write
from tuna.data.batch import PackedBatch
from tuna.datamodules.alpaca import AlpacaDataModule
from tuna.datamodules.base import RecordDataModule
from tuna.datamodules.ranked import ContextualDataModule, ProbabilisticDataModule
from tuna.errors import ConfigError, DataError


@pytest.fixture
def path(tmp_path: Path) -> str:
    rows = [row(n, [("good " * (n % 7 + 1), 1.0), ("bad", 0.0), ("mid", 0.5)]) for n in range(45)]
    return write(tmp_path / "a.jsonl", rows)


def _made(path: str | None, cls: Any = ContextualDataModule, prepare: dict[str, Any] | None = None, **more: Any) -> Any:
    cache = None if path is None else str(Path(path).parent / "cache")
    module: RecordDataModule = cls(path=path, **({"batch_size": 8, "held_out": 5, "cache_dir": cache} | more))
    module.prepare(tokenizer(), **({"max_positions": 512, "seed": 1, "epochs": 2} | (prepare or {})))
    return module


def _same(one: PackedBatch, other: PackedBatch) -> bool:
    for field in dataclasses.fields(PackedBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if not (torch.equal(a.nan_to_num(-9.0), b.nan_to_num(-9.0)) if isinstance(a, torch.Tensor) else a == b):
            return False
    return True


def _prompts(batches: Iterable[PackedBatch]) -> list[tuple[int, ...]]:
    """The prompts of the groups with weight 1."""
    found = []
    for batch in batches:
        for g, weight in enumerate(batch.weights.tolist()):
            if weight:
                at = (batch.group_ids == g) & (batch.response_ids == 0)
                found.append(tuple(batch.input_ids[at].tolist()))
    return found


def test_figures_and_report(path: str) -> None:
    module = _made(path)
    assert (module.steps_per_epoch, module.total_steps) == (5, 10)
    assert (len(module.train_records), len(module.val_records)) == (40, 5)
    assert [r.id for r in module.train_records] == [g.id for g in module.train_groups]
    report = module.report
    assert (report.rows, report.train_lists, report.held_out_lists, report.pairs) == (45, 40, 5, 120)
    assert (report.median_k, report.all_tied, report.cache_hit, report.responses) == (3.0, 0, False, 180)
    assert set(report.baselines) == {"length", "random"}
    assert report.to_dict()["sha256"] == module.sha256 == report.sha256
    assert any("40 to train on, 5 held out" in line for line in report.lines())
    assert _made(path).report.cache_hit


def test_batches_do_not_depend_on_workers_or_on_the_start(path: str) -> None:
    module = _made(path, prepare={"accumulate": 2})
    whole = list(module.train_dataloader())
    assert len(whole) == module.total_steps * 2
    module.start_step = 7
    assert all(_same(a, b) for a, b in zip(whole[14:], module.train_dataloader(), strict=True))
    loaded = list(_made(path, prepare={"accumulate": 2}, num_workers=2).train_dataloader())
    assert all(_same(a, b) for a, b in zip(whole, loaded, strict=True))


def test_processes_and_micro_steps_share_one_step(path: str) -> None:
    alone = list(_made(path).train_dataloader())
    ranks = [
        list(_made(path, prepare={"accumulate": 2, "world_size": 2, "rank": r}).train_dataloader()) for r in (0, 1)
    ]
    for step, batch in enumerate(alone):
        parts = [b for rank in ranks for b in rank[2 * step : 2 * step + 2]]
        assert sorted(_prompts(parts)) == sorted(_prompts([batch]))
        assert all(part.totals == batch.totals for part in parts)
        assert len({len(part.weights) for part in parts}) == 1


def test_a_short_last_step_is_filled_with_weight_0(path: str) -> None:
    module = _made(path, first=43, held_out=0, prepare={"accumulate": 4, "epochs": 1})
    last = list(module.train_dataloader())[-4:]
    assert sum(float(b.weights.sum()) for b in last) == 3 == last[0].totals.groups
    assert all(len(b.weights) == 1 for b in last)


def test_held_out_shares(path: str) -> None:
    whole = _made(path, held_out=9)
    expected = _prompts(whole.val_dataloader())
    assert len(set(expected)) == 9
    ranks = [list(_made(path, held_out=9, prepare={"world_size": 2, "rank": r}).val_dataloader()) for r in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    assert sorted(_prompts(ranks[0]) + _prompts(ranks[1])) == sorted(expected)
    assert {b.totals.groups for b in ranks[0] + ranks[1]} == {9.0}
    assert list(_made(path, held_out=0).val_dataloader()) == []
    assert set(expected).isdisjoint(_prompts(whole.train_dataloader()))


def test_held_out_does_not_depend_on_the_seed(path: str) -> None:
    one, two = (_made(path, prepare={"seed": seed}) for seed in (0, 9))
    assert [r.id for r in one.val_records] == [r.id for r in two.val_records]
    assert one.sha256 == two.sha256 != _made(path, held_out=6).sha256


def test_val_path_takes_its_questions_out_of_training(path: str, tmp_path: Path) -> None:
    val = write(tmp_path / "val.jsonl", [row(n) for n in (3, 4, 99)])
    module = _made(path, val_path=val)
    assert [r.id for r in module.val_records] == ["3", "4", "99"]
    assert len(module.train_records) == 43
    assert module.report.dropped["list that val_path holds too"] == 2


def test_sources_mix_with_their_own_rules(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [row(n) for n in range(10)])
    eq3 = [
        {"text": "x", "logprob": -8.0, "num_tokens": 4, "score": 9.0},
        {"text": "y", "logprob": -1.0, "num_tokens": 4, "score": 1.0},
    ]
    b = write(tmp_path / "b.jsonl", [row(n + 100) | {"responses": eq3} for n in range(10)])
    sources = [{"path": a, "first": 3}, {"path": b, "last": 4, "rank_by": "eq3"}]
    module = _made(None, sources=sources, held_out=0, beta=0.5, cache_dir=str(tmp_path / "c"))
    assert [r.id for r in module.train_records] == ["0", "1", "2", "106", "107", "108", "109"]
    assert [g.scores[:2] for g in module.train_groups] == [(1.0, 0.0)] * 3 + [(-4.0, -0.5)] * 4
    assert [s["rank_by"] for s in module.report.sources] == ["score", "eq3"]


def test_weights_of_sources(tmp_path: Path) -> None:
    a, b = (write(tmp_path / f"{name}.jsonl", [row(n + at) for n in range(10)]) for name, at in (("a", 0), ("b", 100)))
    plain = [{"path": a}, {"path": b}]
    mixed = [{"path": a, "weight": 2}, {"path": b, "weight": 0.5}]

    def made(sources: list[dict[str, Any]], **prepare: Any) -> Any:
        return _made(None, sources=sources, held_out=6, cache_dir=str(tmp_path / "c"), prepare=prepare)

    module = made(mixed)
    lists = [module.train_sources.count(n) for n in (0, 1)]
    assert sum(lists) == 14 and [r.id for r in module.val_records] == [r.id for r in made(plain).val_records]
    told = [[s["lists"], s["weight"], s["lists_per_epoch"]] for s in module.report.sources]
    assert told == [[lists[0], 2, 2 * lists[0]], [lists[1], 0.5, (lists[1] + 1) // 2]]
    assert f"{lists[0]} lists, weight 2, {2 * lists[0]} per epoch" in module.report.lines()[0]
    assert module.sha256 != made(plain).sha256 == made([s | {"weight": 1.0} for s in plain]).sha256
    whole = list(module.train_dataloader())
    assert len(whole) == module.total_steps == 2 * -(-sum(t[2] for t in told) // 8)
    seen = _prompts(whole[: module.steps_per_epoch])
    assert len(seen) == sum(t[2] for t in told) and len(set(seen)) == lists[0] + told[1][2]
    module.start_step = 3
    assert all(_same(one, other) for one, other in zip(whole[3:], module.train_dataloader(), strict=True))
    ranks = [list(made(mixed, world_size=2, rank=rank).train_dataloader()) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert sorted(_prompts(rank[step] for rank in ranks)) == sorted(_prompts([batch]))  # each list dealt once


def test_split_and_columns_reach_the_reading(tmp_path: Path) -> None:
    for name in ("train_a", "test_a"):
        write(tmp_path / f"{name}.jsonl", [{"q": f"{name} {n}", "r": ["x", "y"], "s": [1, n % 2]} for n in range(4)])
    columns = {"instruction": "q", "responses": "r", "score": "s"}
    more: dict[str, Any] = {"columns": columns, "original": "none", "val_path": str(tmp_path), "val_split": "test_a"}
    module = _made(str(tmp_path), split="train_a", cache_dir=str(tmp_path / "c"), **more)
    assert [r.instruction for r in module.train_records] == [f"train_a {n}" for n in range(4)]
    assert [r.instruction for r in module.val_records] == [f"test_a {n}" for n in range(4)]
    with pytest.raises(DataError, match=r"next: datamodule.val_split="):
        _made(str(tmp_path), split="train_a", cache_dir=str(tmp_path / "c"), **more | {"val_split": None})


def test_sft_on_pairs_trains_on_the_chosen_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "Add.", "chosen": "3", "rejected": "4"}])
    module = _made(path, AlpacaDataModule, held_out=0)
    assert [g.targets for g in module.train_groups] == [(True,)]
    assert module.sha256 == _made(path, AlpacaDataModule, held_out=0, targets="original").sha256


def test_probabilistic_and_contextual_differ_in_the_rule_only(path: str) -> None:
    one, two = (inspect.signature(cls).parameters for cls in (ContextualDataModule, ProbabilisticDataModule))
    assert list(one) == list(two)
    assert [name for name in one if one[name].default != two[name].default] == ["rank_by"]
    explicit = _made(path, ContextualDataModule, rank_by="eq3", beta=2.0)
    assert explicit.sha256 == _made(path, ProbabilisticDataModule, beta=2.0).sha256
    assert explicit.train_groups[0].scores[0] == pytest.approx(-4.0 / 16)


def test_beta_and_the_range_find_the_same_cache(path: str) -> None:
    _made(path, ProbabilisticDataModule)
    for change in ({"beta": 0.5}, {"first": 20}, {"held_out": 0.3}, {"max_length": 256}, {"rank_by": "score"}):
        assert _made(path, ProbabilisticDataModule, **change).report.cache_hit


def test_alpaca_has_one_target_a_group_and_mul_all(path: str, tmp_path: Path) -> None:
    sft = _made(path, AlpacaDataModule)
    assert all(len(g.responses) == 1 and g.targets == (True,) and math.isnan(g.scores[0]) for g in sft.train_groups)
    every = _made(path, AlpacaDataModule, targets="all")
    assert all(g.targets == (True,) * 4 for g in every.train_groups)
    assert next(iter(every.train_dataloader())).totals.targets == 4 * 8
    assert any("4.0 answers per list: a step of 8 lists is of 32 answers; " in note for note in every.report.notes)
    every, each = (_made(path, AlpacaDataModule, targets=targets, held_out=0) for targets in ("all", "each"))
    assert all(len(g.responses) == 1 and g.targets == (True,) for g in each.train_groups)
    assert len(each.train_groups) == 4 * len(every.train_groups) and (each.total_steps, every.total_steps) == (46, 12)
    rows = [{"instruction": f"Do {n}.", "input": "", "output": "x"} for n in range(12)]
    plain = _made(write(tmp_path / "alpaca.jsonl", rows), AlpacaDataModule, targets="all")
    assert plain.report.train_lists == 7 and plain.report.baselines == {}


def test_all_tied_lists_stay_and_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0, [("a", 1.0), ("b", 1.0)]), row(1), row(2, [("a", 1.0), ("b", 0.95)])])
    module = _made(path, held_out=0, min_gap=0.1)
    assert (module.report.train_lists, module.report.all_tied, module.report.pairs) == (3, 2, 1)


def test_original_best_serves_as_target(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "Add.", "chosen": "3", "rejected": "4"}])
    (group,) = _made(path, held_out=0).train_groups
    assert (group.scores, group.targets) == ((1.0, 0.0), (True, False))
    (group,) = _made(path, held_out=0, original="none").train_groups
    assert group.targets == (False, False)


def test_every_wrong_value_is_said_at_once() -> None:
    wrong: dict[str, Any] = {
        "rank_by": "scores",
        "beta": -1,
        "min_gap": float("nan"),
        "held_out": 1.5,
        "batch_size": 0,
        "first": 0,
        "bad_rows": "skip",
        "num_candidates": 1,
    }
    with pytest.raises(ConfigError) as fault:
        ContextualDataModule(**wrong)
    lines = str(fault.value).splitlines()
    assert {line.split(":")[0] for line in lines} == set(wrong)
    assert "num_candidates: expected 2 or more, or null, got 1" in lines
    together: dict[str, Any] = {"format": "alpca", "val_split": "test"}  # what other keys and the importers decide
    with pytest.raises(ConfigError) as fault:
        ContextualDataModule(**together)
    assert [line.split(":")[0] for line in str(fault.value).splitlines()] == list(together)
    sources: Any = [
        {"pth": "x"},
        {"path": "x", "lst": 3},
        {"path": "x", "first": -1, "rank_by": "eq4", "format": "y", "weight": 0},
        {"path": "x", "columns": {"q": "x"}},
        {"path": "x", "columns": {"instruction": "q"}, "format": "pairs", "split": 3},
    ]
    with pytest.raises(ConfigError) as fault:
        ContextualDataModule(sources=sources, path="x")
    keys = {line.split(":")[0] for line in str(fault.value).splitlines()}
    assert keys == {
        "sources",
        "sources[0]",
        "sources[1].lst",
        "sources[2].first",
        "sources[2].rank_by",
        "sources[2].format",
        "sources[2].weight",
        "sources[3].columns.q",
        "sources[3].columns",
        "sources[4].format",
        "sources[4].split",
    }


def test_what_prepare_refuses(path: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"datamodule.max_length: expected at most 64 \(the model's positions\), got 512"
    ):
        _made(path, prepare={"max_positions": 64})
    with pytest.raises(ConfigError, match=r"datamodule.path: expected a data file"):
        _made(None)
    with pytest.raises(ConfigError, match=r"datamodule.batch_size: .* got 8"):
        _made(path, prepare={"accumulate": 3})
    with pytest.raises(ConfigError, match=r"datamodule.held_out: expected less than the 45 lists"):
        _made(path, held_out=45)
    unusable_reason = write(tmp_path / "u.jsonl", [row(0, [("a", 1.0), ("a", 0.0)])])
    with pytest.raises(
        DataError, match=r"nothing to rank \(duplicate response: 1\); next: the same command with stage=sft"
    ):
        _made(unusable_reason, held_out=0)


def test_num_candidates_shortens_the_training_lists_only(path: str) -> None:
    whole, two = _made(path), _made(path, num_candidates=2)

    def ranked(groups: list[Any]) -> list[int]:
        return [sum(score == score for score in group.scores) for group in groups]

    assert ranked(whole.train_groups) == [3] * 40 and ranked(two.train_groups) == [2] * 40
    assert ranked(two.val_groups) == [3] * 5
    assert [r.id for r in two.train_records] == [r.id for r in whole.train_records]
    assert two.report.dropped["response beyond num_candidates"] == 40 and two.sha256 != whole.sha256
