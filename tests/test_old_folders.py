"""What commit a0be378 left half done goes on as it was: a run, three stores, a result. See tests/fixtures/README.md."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.inference.http_server import LoopbackServer
from tests.inference.make import read_rows
from tests.training.make import overrides
from tuna.config import checks
from tuna.config.compose import compose
from tuna.evaluation.run import run as evaluate
from tuna.ranking.run import run as rank
from tuna.training.run import run as train

FIXTURE = Path(__file__).parent / "fixtures" / "a0be378.tar.xz"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders, in the working directory, as their commands named them."""
    with tarfile.open(FIXTURE) as file:
        file.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path / "a0be378")
    return tmp_path / "a0be378"


def _composed(name: str, *words: str) -> Any:
    cfg = compose(list(words), config_name=name)
    checks.check(cfg)
    return cfg


@pytest.mark.parametrize("stage", ["tuna_c", "sft"])
def test_a_run_goes_on(stage: str, old: Path) -> None:
    changes: dict[str, Any] = {"trainer__checkpoint_every": 3, "trainer__keep_checkpoints": 1}
    changes |= {"datamodule__cache_dir": None, "datamodule__template": "alpaca"}
    changes |= {"datamodule__max_length": 120, "stage": stage, "name": stage}
    words = overrides(Path("model"), Path("lists.jsonl"), Path("runs"), **changes)
    metrics = train(_composed("train", *words, "resume=auto"))
    assert "resumed at step 3" in (old / "runs" / stage / "log.txt").read_text()
    mine = load_file(old / "runs" / stage / "model/model.safetensors")
    whole = load_file(old / "whole" / stage / "model.safetensors")
    assert max((mine[name] - whole[name]).abs().max().item() for name in whole) < 1e-5
    after = json.loads((old / "whole" / stage / "run.json").read_text())["after"]
    assert metrics["val/loss"] == pytest.approx(after["loss"], rel=1e-5)


def say(prompt: str, k: int) -> str:
    """What the server of that time said."""
    return '{"marks": 1}\nrank: [0, 1, 2, 3]' if "rank" in prompt.lower() else f"answer {len(prompt)} {k} of some words"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("judged", ["input=answers.jsonl", "score_only=true", "judge=openai", "judge.model=j"]),
        ("taught", ["input=instructions.jsonl", "ranker=probabilistic", "teacher=openai", "teacher.model=t"]),
        ("sampled", ["first=4", "sampler.max_tokens=12"]),
    ],
)
def test_a_store_goes_on(name: str, words: list[str], old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    before = read_rows(old / f"{name}.store" / f"{'verdicts' if name == 'judged' else 'answers'}.jsonl")
    with LoopbackServer(say=say) as server:
        node = {"judged": "judge", "taught": "teacher"}.get(name)
        at = [f"{node}.base_url={server.url}"] if node else []
        figures = rank(_composed("rank", *words, *at, f"output={name}.jsonl", "logger=none"))
    whole, mine = read_rows(old / f"{name}.whole.jsonl"), read_rows(old / f"{name}.jsonl")
    assert figures["lists"] == len(whole) and figures["missing"] == 0
    assert sum(server.asked.values()) == (3 if node else 0)
    if name == "sampled":  # the sampler draws otherwise since then, from the same distribution
        assert len(before) == 2 and read_rows(old / "sampled.store" / "answers.jsonl")[:2] == before
        whole, mine = whole[:2], mine[:2]
    for old_row, row in zip(whole, mine, strict=True):
        assert [a["text"] for a in row["responses"]] == [a["text"] for a in old_row["responses"]]
        assert [a["score"] for a in row["responses"]] == pytest.approx([a["score"] for a in old_row["responses"]])


def test_a_result_is_not_measured_again(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = evaluate(_composed("evaluate", "benchmark=elementary", "model.path=tiny", "limit=4", "folder=results"))
    assert "measured already" in capsys.readouterr().out and scores["accuracy"] == pytest.approx(1 / 3)
