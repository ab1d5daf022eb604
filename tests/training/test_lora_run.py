"""model.lora and model.resize in whole runs: what a run measured is what its exported model gives."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.training.make import overrides, write_model
from tuna.config.compose import compose
from tuna.errors import ModelError
from tuna.training.run import run


def train(*args: Path, **changes: Any) -> dict[str, Any]:
    """Run; what run.json says after it."""
    model, lists, runs = args
    run(compose(overrides(model, lists, runs, **changes)))
    written: dict[str, Any] = json.loads((runs / str(changes["name"]) / "run.json").read_text())
    return written


@pytest.mark.parametrize("targets", ["[q_proj,lm_head]", "[embed_tokens]"])
def test_a_run_with_tied_weights_exports_what_it_measured(lists: Path, tmp_path: Path, targets: str) -> None:
    start = write_model(tmp_path / "tied", tie_word_embeddings=True)
    lora = f"{{r: 4, target_modules: {targets}}}"
    first = train(start, lists, tmp_path, name="one", model__lora=lora, module__lr=0.05, trainer__max_steps=4)
    assert abs(first["after"]["loss"] - first["before"]["loss"]) > 0.1
    again = train(tmp_path / "one", lists, tmp_path, name="two", trainer__max_steps=1)
    for figure in ("loss", "loss_ce", "pair_accuracy"):
        assert again["before"][figure] == pytest.approx(first["after"][figure], rel=1e-4)


def test_an_interrupted_run_goes_on_from_its_adapters(lists: Path, tmp_path: Path) -> None:
    """Checkpoints hold what trains, here the adapters of the two ends that share a weight."""
    start = write_model(tmp_path / "tied", tie_word_embeddings=True)
    changes = {"model__lora": "{r: 4, target_modules: [embed_tokens,lm_head]}", "module__lr": 0.05}
    whole = train(start, lists, tmp_path, name="whole", **changes)
    train(start, lists, tmp_path, name="cut", **changes)
    folder = tmp_path / "cut"
    (folder / "checkpoints" / "step-12").rename(tmp_path / "gone")
    state = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(state | {"status": "interrupted"}))
    resumed = train(start, lists, tmp_path, name="cut", resume="auto", **changes)
    assert (folder / "checkpoints" / "step-12").is_dir()
    assert resumed["after"]["loss"] == pytest.approx(whole["after"]["loss"], rel=1e-5)


@pytest.mark.parametrize("stage", ["tuna_c", "prm"])
def test_a_tokenizer_that_is_larger_than_the_embedding(lists: Path, tmp_path: Path, stage: str) -> None:
    start = write_model(tmp_path / "start", tie_word_embeddings=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(start)
    tokenizer.add_special_tokens({"additional_special_tokens": ["w1000"]})
    tokenizer.save_pretrained(start)
    rows = [json.loads(line) for line in lists.read_text().splitlines()]
    with (tmp_path / "lists.jsonl").open("w") as file:
        file.writelines(json.dumps(row | {"instruction": "w1000 " + row["instruction"]}) + "\n" for row in rows)
    changes = {"stage": stage, "name": "big", "trainer__max_steps": 2}
    with pytest.raises(ModelError, match=r"largest id is 64 \('w1000'\), but the embedding has 64 rows"):
        train(start, tmp_path / "lists.jsonl", tmp_path, **changes)
    assert not (tmp_path / "big").exists()
    train(start, tmp_path / "lists.jsonl", tmp_path, model__resize="true", **changes)
    config = json.loads((tmp_path / "big" / "model" / "config.json").read_text())
    assert config["vocab_size"] == 65 and config["tie_word_embeddings"] is True
