"""stage=prm: whole runs, in process, on a random tiny Llama: train, resume, export, start again, what is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.data.encode import Encoder
from tuna.data.lists import Answer, AnswerList
from tuna.data.packing import pack
from tuna.data.record import Record
from tuna.data.tokenize import tokenize
from tuna.errors import ConfigError, ModelError, TunaError
from tuna.models.loading import load_reward_scorer
from tuna.models.source import ModelConfig
from tuna.training.log import Progress
from tuna.training.run import run

METRICS = ("pair_accuracy", "pair_accuracy_balanced", "kendall_tau", "best_of_n")


def command(model: Path, lists: Path, runs: Path, **changes: object) -> list[str]:
    return overrides(model, lists, runs, **{"stage": "prm", "evaluate": "auto"} | changes)


@pytest.fixture(scope="module")
def done(llama: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    run(compose(command(llama, lists, runs, name="prm", trainer__max_epochs=8, module__lr=3e-3)))
    return runs / "prm"


def test_a_run_learns_and_shows_its_metrics_with_baselines(done: Path) -> None:
    written = json.loads((done / "run.json").read_text())
    metrics = written["metrics"]
    assert written["status"] == "finished"
    assert metrics["train/loss"] < 0.7 * 0.693 and metrics["train/pair_accuracy"] > 0.7  # it learns its lists by heart
    with (done / "metrics.csv").open(newline="") as file:
        columns = list(csv.DictReader(file).fieldnames or [])
    for name in METRICS:
        assert f"before/{name}" in metrics and f"val/{name}" in columns
        low, high = written["after"][f"{name}_interval"]
        assert low <= metrics[f"val/{name}"] <= high
    for name in METRICS[1:]:
        assert f"val/{name}_length_only" in metrics and f"val/{name}_chance" in metrics
    assert set(written["baselines"]) == {"length", "random"}
    assert not any("task_accuracy" in name for name in metrics)
    log = (done / "log.txt").read_text()
    assert "reward head: fresh (seed 0) on the backbone of a causal language model" in log
    assert "balanced in length" in log and f"to use   ranker.path={done}" in log
    card = (done / "model" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "`val/kendall_tau`" in card


def test_transformers_gives_the_runs_scores(done: Path, lists: Path) -> None:
    """From texts: prompt and answer joined, the tokenizer's padding, the class's own reading of the last token."""
    folder = done / "model"
    auto: Any = AutoModelForSequenceClassification
    model, tokenizer = auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder, padding_side="right")
    rows = [json.loads(line) for line in lists.read_text().splitlines()[:6]]
    texts = [f"{row['instruction']} {r['text']} </s>" for row in rows for r in row["responses"]]
    with torch.no_grad():
        wanted = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]
    items = [
        AnswerList(Record(row["id"], row["instruction"]), tuple(Answer(r["text"], score=0.0) for r in row["responses"]))
        for row in rows
    ]
    groups, _ = tokenize(items, Encoder(tokenizer, "none"), 64, ranked=True)
    assert sum(len(group.responses) for _, group in groups) == len(texts)
    with torch.no_grad():
        rewards = load_reward_scorer(ModelConfig(path=str(done)))(pack([group for _, group in groups], row_tokens=64))
    assert rewards.std() > 0.1
    torch.testing.assert_close(rewards, wanted, rtol=0, atol=1e-5)


def test_stopped_and_resumed_it_is_the_same_model(llama: Path, lists: Path, tmp_path: Path) -> None:
    whole = compose(command(llama, lists, tmp_path, name="whole"))
    stopped = compose(command(llama, lists, tmp_path, name="stopped"))
    run(whole)
    ended = Progress.on_train_batch_end

    def stop(self: Any, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == 7:
            raise KeyboardInterrupt
        ended(self, trainer, *rest)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "on_train_batch_end", stop)
        run(stopped)
    stopped.name, stopped.resume = None, str(tmp_path / "stopped")
    run(stopped)
    one, other = (ModelConfig(path=str(tmp_path / name)).fingerprint for name in ("whole", "stopped"))
    assert one == other


def test_a_reward_model_is_a_start_for_the_same_stage_alone(done: Path, lists: Path, tmp_path: Path) -> None:
    again = compose(command(done, lists, tmp_path, name="again", trainer__max_steps=1, loss="plackett_luce"))
    metrics = run(again)
    before = json.loads((done / "run.json").read_text())["metrics"]["val/pair_accuracy"]
    assert metrics["before/pair_accuracy"] == pytest.approx(before, abs=1e-6)
    assert "reward head: the starting model's own" in (tmp_path / "again" / "log.txt").read_text()
    with pytest.raises(ModelError, match=r"a reward model \(LlamaForSequenceClassification\), which writes no answers"):
        run(compose(overrides(done, lists, tmp_path, name="tuned")))
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "tuna"}, r"loss: expected one of the order alone"),
        ({"evaluate": "true"}, r"evaluate: stage=prm tunes a reward model"),
        ({"module__lr": -1}, r"module\.lr: expected above 0"),
    ],
)
def test_what_is_refused_before_weights_load(
    changes: dict[str, object], told: str, llama: Path, lists: Path, tmp_path: Path
) -> None:
    with pytest.raises(TunaError, match=told) as refused:
        run(compose(command(llama, lists, tmp_path, name="no", **changes)))
    assert isinstance(refused.value, ConfigError) and not (tmp_path / "no").exists()
