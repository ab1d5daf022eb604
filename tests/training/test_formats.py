"""Every ranked format trains as it is: ``python train.py stage=tuna_c datamodule.path=FILE``."""

import json
from pathlib import Path

import pytest

from tuna.config import checks
from tuna.config.compose import compose
from tuna.datamodules.ranked import ContextualDataModule
from tuna.errors import DataError
from tuna.models.source import ModelConfig
from tuna.training.run import run

pytestmark = pytest.mark.once

FORMATS = Path(__file__).parents[1] / "data" / "formats"
UNRANKED = {"chat.jsonl", "lima.jsonl", "prompts.jsonl", "sharegpt.jsonl"}
RANKED = sorted(path.name for path in FORMATS.iterdir() if path.name not in UNRANKED)


def train(tmp_path: Path, stage: str, name: str) -> dict[str, object]:
    cfg = compose(
        [
            f"stage={stage}", "model=tiny", f"datamodule.path={FORMATS / name}", "datamodule.held_out=0",
            "trainer.max_steps=1", "trainer.threads=1", "evaluate=false", "logger=csv", "name=one",
            f"runs_dir={tmp_path}",
            f"datamodule.cache_dir={tmp_path}",
        ]
    )  # fmt: skip
    checks.check(cfg)
    run(cfg)
    written: dict[str, object] = json.loads((tmp_path / "one" / "run.json").read_text())
    return written


@pytest.mark.parametrize("name", RANKED)
def test_a_ranked_format_becomes_batches(name: str, tmp_path: Path) -> None:
    data = ContextualDataModule(path=str(FORMATS / name), held_out=0, batch_size=2, cache_dir=str(tmp_path))
    report = data.prepare(ModelConfig("tiny").tokenizer(), max_positions=512)
    assert report.train_lists >= 2 and report.pairs > 0
    batch = next(iter(data.train_dataloader()))
    assert len(batch.lengths) >= 2 and bool(batch.targets.any())


@pytest.mark.parametrize("name", ["hh.jsonl", "oasst_trees.jsonl", "orca.csv", "ultrafeedback.jsonl"])
def test_a_ranked_format_trains(name: str, tmp_path: Path) -> None:
    assert train(tmp_path, "tuna_c", name)["status"] == "finished"
    assert (tmp_path / "one" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["chat.jsonl", "ultrafeedback.jsonl"])
def test_instruction_tuning_takes_conversations_and_the_best_of_ranked_ones(name: str, tmp_path: Path) -> None:
    assert train(tmp_path, "sft", name)["status"] == "finished"


def test_questions_alone_say_what_to_do_next(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"python rank\.py model\.path=MODEL input="):
        train(tmp_path, "tuna_c", "prompts.jsonl")
