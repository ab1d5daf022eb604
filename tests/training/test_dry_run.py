import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.make import overrides, write_lists
from tuna.config.compose import compose
from tuna.console import clock_time
from tuna.errors import ConfigError, DataError, RunError
from tuna.training import dry_run
from tuna.training import run as training


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a weight fails, here as everywhere that loads one."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr("tuna.models.loading.load_scorer", refuse)
    monkeypatch.setattr("tuna.modules.scoring.load_scorer", refuse)
    monkeypatch.setattr(dry_run, "_speed", lambda: 1e9)


def tried(llama: Path, lists: Path, runs: Path, **changes: Any) -> None:
    assert training.run(compose(overrides(llama, lists, runs, dry_run="true", **changes))) == {}


def parts_of(llama: Path, lists: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a dry run is told about."""
    found: list[Any] = []

    def kept(parts: Any, target: Any) -> list[str]:
        found.append(parts)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(dry_run, "lines", kept)
        tried(llama, lists, runs)
    return found[0]


def test_it_shows_two_lists_the_steps_and_what_is_needed(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [{"text": "w5 w6 w7", "score": 2}, {"text": "w8", "score": 1}]
    rows = [{"instruction": f"w4 w{n}", "output": "w9", "responses": answers} for n in range(10, 16)]
    lists = tmp_path / "lists.jsonl"
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "datamodule__held_out": 0,
        "datamodule__batch_size": 4,
        "trainer__max_epochs": 2,
        "trainer__max_steps": 3,
    }
    tried(llama, lists, tmp_path / "runs", name="a", **changes)
    out = capsys.readouterr().out
    assert out.count("prompt, 2 tokens, none trained on") == 2 and f"{lists}:2: prompt" in out
    # Answers end with </s>; the original is a target and no candidate.
    assert out.count("answer 1, score 2: 4 tokens, 4 trained on") == 2
    assert out.count("answer 3, not ranked, target of the cross-entropy: 2 tokens, 2 trained on") == 2
    assert "steps   3 optimizer steps: epochs 2 x 2, which trainer.max_steps cuts short; 6 groups, up to 4 per" in out
    assert "tokens  60 per epoch: 12 of prompts (once per list), 48 of answers, of which 48 are trained on" in out
    assert "disk    2 checkpoints of 0.00 GB" in out and "memory  " in out and "time    at least " in out
    assert f"run     {tmp_path / 'runs' / 'a'}" in out
    assert not (tmp_path / "runs" / "a").exists()
    assert "dry run: no run was begun, no weight loaded; what stays are token ids in " in out.splitlines()[-1]
    assert "hub" not in out.splitlines()[-1]


def test_its_errors_are_those_of_a_run(llama: Path, lists: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        tried(llama, tmp_path / "none.jsonl", tmp_path)
    with pytest.raises(ConfigError, match="expected at most 128"):
        tried(llama, lists, tmp_path, datamodule__max_length=4096)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text('{"status": "finished"}')
    with pytest.raises(RunError, match="is taken"):
        tried(llama, lists, tmp_path, name="taken")


def test_the_time_is_that_of_an_earlier_run_where_there_is_one(
    llama: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(llama, lists, tmp_path, monkeypatch)
    about = {
        "status": "finished",
        "ended": "2026-01-01",
        "config": parts.config,
        "metrics": {"perf/tokens_per_second": 10.0},
    }
    about["parents"] = {"model_fingerprint": parts.resolved.fingerprint}
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "run.json").write_text(json.dumps(about))
    capsys.readouterr()
    tried(llama, lists, tmp_path)
    tokens = 3 * sum(group.num_tokens for group in parts.data.train_groups)
    shown = clock_time(tokens / 10)
    assert (
        f"time    about {shown} of training steps, at the 10 tokens/s of {tmp_path / 'before'}"
        in capsys.readouterr().out
    )


def test_multiplications_are_counted_by_hand(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(llama, lists, tmp_path, monkeypatch)
    # Per layer q, k, v, o and the three of the MLP; the norms (two per layer, one at the end) are counted along.
    body = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48) + 5 * 32
    head = 64 * 32
    assert parts.data.train_groups and parts.data.val_groups
    expected = sum(
        times * (body * sum(g.num_tokens for g in groups) + head * sum(sum(g.lengths) for g in groups))
        for groups, times in ((parts.data.train_groups, 3 * 6), (parts.data.val_groups, 2 * 2))
    )
    assert dry_run._multiplications(parts, 3.0) == pytest.approx(expected)


def test_a_reward_model_s_and_sft_s_lists_are_shown_too(
    llama: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried(llama, lists, tmp_path, stage="prm")
    assert "none trained on" in capsys.readouterr().out
    tried(llama, lists, tmp_path, stage="sft")
    out = capsys.readouterr().out
    assert "answer 1, target of the cross-entropy: " in out and "not ranked" not in out


def test_it_says_that_a_models_files_were_fetched(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = parts_of(llama, write_lists(tmp_path / "lists.jsonl"), tmp_path / "runs", monkeypatch)
    told = dry_run._left(replace(parts, resolved=replace(parts.resolved, source="OWNER/NAME", on_hub=True)))
    assert told.endswith(", and the files of OWNER/NAME (its weights too) in the hub's cache")
