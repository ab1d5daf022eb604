"""tuna.tracking.lineage: the same model or file has the same name and identity, wherever it is met."""

import json
from pathlib import Path

from tuna.models.source import ModelConfig
from tuna.tracking.lineage import artifact_name, data_file, made_model, starting_model


def test_the_model_a_run_made_is_the_one_the_next_starts_from(llama: Path, tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "3"
    run.mkdir(parents=True)
    (run / "model").symlink_to(llama)
    (run / "run.json").write_text(json.dumps({"name": "sweep/3"}))
    made = made_model(run / "model", "sweep/3", {"stage": "sft"})
    started = starting_model(ModelConfig(path=str(run)).resolve())
    assert (made.name, made.identity) == (started.name, started.identity)
    assert made.name == "model-sweep-3" and made.files == started.files == run / "model"


def test_a_model_that_no_run_made_is_never_uploaded(llama: Path) -> None:
    started = starting_model(ModelConfig(path=str(llama)).resolve())
    assert started.name == "model-llama" and started.files is None


def test_data_is_known_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "lists.jsonl"
    file.write_text("{}")
    item = data_file(str(file), "ab", {"rows": 1})
    assert (item.kind, item.name, item.files, item.identity) == ("dataset", "dataset-lists", file, {"sha256": "ab"})
    assert data_file("owner/set", "cd", {}).name == "dataset-owner-set"


def test_names_are_what_wandb_takes() -> None:
    assert artifact_name("model", "a" * 300) == "model-" + "a" * 94
    assert artifact_name("model", "/x y/é:z/") == "model-x-y-z"
