"""Reference log-probabilities: transformers' own values, made once, and what a run does with them."""

import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.make import overrides, write_model
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.data.batch import Group
from tuna.data.ranking import count_pairs
from tuna.datamodules.plan import HeldOutBatches
from tuna.errors import ConfigError, DataError
from tuna.training import reference
from tuna.training.run import NODES, Components, prepare, run


def prepared(llama: Path, lists: Path, runs: Path, **changes: Any) -> Components:
    cfg = compose(overrides(llama, lists, runs, **{"loss": "dpo", "name": "run", **changes}))
    return prepare(cfg, build_all(cfg, *NODES))


def by_transformers(folder: Path, groups: list[Group]) -> list[list[float]]:
    """Summed log-probability of each response, one at a time, after its prompt."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = []
    for group in groups:
        sums = []
        for response in group.responses:
            ids = torch.from_numpy(np.concatenate([group.prompt, response])).long()[None]
            with torch.no_grad():
                logs = model(ids).logits.double().log_softmax(-1)[0, len(group.prompt) - 1 : -1]
            sums.append(logs.gather(1, ids[0, len(group.prompt) :, None]).sum().item())
        found.append(sums)
    return found


def never(*_: Any) -> Any:
    raise AssertionError("scored again")


def test_equals_transformers_and_is_made_once(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = prepared(llama, lists, tmp_path, model__lora=4)
    reference.attach(parts)
    groups = [*parts.data.train_groups, *parts.data.val_groups]
    for group, wanted in zip(groups, by_transformers(llama, groups), strict=True):
        assert group.reference == pytest.approx(wanted, abs=1e-4)

    monkeypatch.setattr(reference, "_score", never)
    again = prepared(llama, lists, tmp_path, name="other", loss="ipo")
    reference.attach(again)
    assert [group.reference for group in again.data.train_groups] == [
        g.reference for g in groups[: -len(again.data.val_groups)]
    ]


def test_a_pass_that_was_ended_goes_on(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_SAVED_EVERY", 0.0)
    monkeypatch.setattr(reference, "_ASKED_EVERY", 1)
    sizes: list[int] = []
    check: Any = getattr(reference, "check_values")  # noqa: B009 (it is imported there)

    def count(values: Any, *rest: Any) -> None:
        if len(sizes) == 2:
            raise KeyboardInterrupt
        sizes.append(len(values))
        check(values, *rest)

    monkeypatch.setattr(reference, "check_values", count)
    with pytest.raises(KeyboardInterrupt):
        reference.attach(parts := prepared(llama, lists, tmp_path, trainer__micro_tokens=200))
    groups = [*parts.data.train_groups, *parts.data.val_groups]
    done = sum(len(share.groups) for share in HeldOutBatches(groups, 200, 1, 0, 1024).shares[:2])
    monkeypatch.setattr(reference, "check_values", check)
    score, left = reference._score, []

    def seen(parts: Any, node: Any, groups: Any, store: Any) -> Any:
        left.append(len(groups))
        return score(parts, node, groups, store)

    monkeypatch.setattr(reference, "_score", seen)
    parts = prepared(llama, lists, tmp_path)
    reference.attach(parts)
    assert left == [40 - done] and 2 <= done <= 20
    assert all(math.isfinite(v) for group in parts.data.train_groups for v in group.reference)


def one_of_two(rank: int, meeting: Path, llama: Path, lists: Path, runs: Path) -> None:
    """One process: the pass, then a second run that finds all stored; writes what each group was given."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    sharded = {"trainer": "fsdp", "trainer__accelerator": "cpu", "trainer__devices": 2, "trainer__precision": "32-true"}
    given = []
    for name in ("first", "second"):
        parts = prepared(llama, lists, runs, name=name, **sharded)
        reference.attach(parts)
        groups = [*parts.data.train_groups, *parts.data.val_groups]
        given.append({group.id: group.reference for group in groups})
        pytest.MonkeyPatch().setattr(reference, "_score", never)
    (runs / f"{rank}.json").write_text(json.dumps(given))


def test_two_processes_score_what_one_does_and_only_once(llama: Path, lists: Path, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    arguments = tmp_path / "meeting", llama, lists, tmp_path
    both = [fork.Process(target=one_of_two, args=(rank, *arguments)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in both] == [0, 0]
    first, second = json.loads((tmp_path / "0.json").read_text())
    assert first == second and [first, second] == json.loads((tmp_path / "1.json").read_text())
    parts = prepared(llama, lists, tmp_path / "one")
    reference.attach(parts)
    for group in (*parts.data.train_groups, *parts.data.val_groups):
        assert first[group.id] == pytest.approx(group.reference, abs=1e-4)


def test_a_run_starts_at_its_reference(llama: Path, lists: Path, tmp_path: Path) -> None:
    run(compose(overrides(llama, lists, tmp_path, loss="dpo", name="run", trainer__max_steps=4)))
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    before, after = written["before"], written["after"]
    held_out = prepared(llama, lists, tmp_path, name="other").data.val_groups
    pairs = [count_pairs(group.scores) > 0 for group in held_out]  # log 2 for each list that has one
    assert before["loss_rank"] == pytest.approx(math.log(2) * sum(pairs) / len(pairs), abs=1e-5)
    assert (before["reward_margin"], before["kl"]) == (pytest.approx(0, abs=1e-4), pytest.approx(0, abs=1e-4))
    assert before["reward_accuracy"] == pytest.approx(0.5, abs=0.5) and 0 < before["ndcg"] <= 1
    assert after["loss_rank"] < before["loss_rank"] and after["reward_margin"] > 0.001


def test_another_model_as_reference(llama: Path, lists: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", initializer_range=0.3)
    parts = prepared(llama, lists, tmp_path, loss__reference=other)
    reference.attach(parts)
    some = parts.data.train_groups[:5]
    for group, wanted in zip(some, by_transformers(other, some), strict=True):
        assert group.reference == pytest.approx(wanted, abs=1e-4)


def test_a_reference_that_reads_other_ids(llama: Path, lists: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other")
    file = other / "tokenizer.json"
    made = json.loads(file.read_text())
    vocab = made["model"]["vocab"]
    vocab["w4"], vocab["w5"] = vocab["w5"], vocab["w4"]
    file.write_text(json.dumps(made))
    with pytest.raises(ConfigError, match=r"loss\.reference: .*another tokenizer than .*'w[45]' is \d+ here and \d+"):
        prepared(llama, lists, tmp_path, loss__reference=other)


def test_grades_where_there_are_but_ranks(llama: Path, tmp_path: Path) -> None:
    rows = [
        {
            "instruction": f"w{n + 4}",
            "output": "w9",
            "responses": [{"text": f"w{10 + k}", "score": -k} for k in range(3)],
        }
        for n in range(20)
    ]
    ranks = tmp_path / "ranks.jsonl"
    ranks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=r"loss\.labels: LiPO .* are ranks.*next: loss\.labels=ranks"):
        prepared(llama, ranks, tmp_path, loss="lipo", loss__labels="scores")
    assert any("evenly spaced" in note for note in prepared(llama, ranks, tmp_path, loss="kto").data.report.notes)
    assert not prepared(llama, ranks, tmp_path, loss="kto", loss__labels="ranks").data.report.notes


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({}, r"no answer has a score, .* next: python rank\.py input=\S+bare\.jsonl score_only=true .* or stage=sft"),
        (
            {"score": 1},
            r"no list has two answers with different scores, so there is nothing to rank; next: .*stage=sft",
        ),
    ],
)
def test_lists_without_labels(llama: Path, tmp_path: Path, score: dict[str, float], message: str) -> None:
    row = {"instruction": "w4", "output": "w9", "responses": [{"text": f"w{10 + k}", **score} for k in range(3)]}
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({**row, "instruction": f"w{n + 4}"}) + "\n" for n in range(20)))
    with pytest.raises(DataError, match=message) as raised:
        prepared(llama, bare, tmp_path, loss="kto")
    assert "\n" not in str(raised.value)


def test_a_reward_model_has_no_reference(llama: Path, lists: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DPO is relative to .* next: loss=pairwise"):
        prepared(llama, lists, tmp_path, stage="prm", loss="dpo")
