"""A real run with W&B offline, and what of it W&B has written."""

import os
from pathlib import Path

import pytest

from tests.training import wandb_file
from tests.training.kills import finish, kill_when
from tests.training.make import overrides

SECRET = "sk-proj-Zq81vT0mXc7LrYw2NbKd5GhJ"
HISTORY = {
    "train/loss",
    "train/loss_rank",
    "train/loss_ce",
    "train/pair_accuracy",
    "train/lr",
    "perf/tokens_per_second",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def offline(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` by its path there, links not followed."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_offline_run_holds_figures_and_config_and_nothing_else(llama: Path, lists: Path, tmp_path: Path) -> None:
    args = overrides(llama, lists, tmp_path, name="w", logger="wandb", loss__lambda=2.5, trainer__validate_every=6)
    finish(args)
    folder = tmp_path / "w"
    (path,) = offline(folder)
    run = wandb_file.read(path)

    trained = [row for row in run.history if "train/loss" in row]
    assert [row["trainer/global_step"] for row in trained] == list(range(1, 13))
    assert all(row.keys() >= HISTORY for row in trained)
    validated = [row for row in run.history if "val/pair_accuracy" in row]
    assert [row["trainer/global_step"] for row in validated] == [0, 6, 12]
    assert all(0 <= row["val/pair_accuracy"] <= 1 for row in validated)

    assert run.config["loss"]["lambda"] == 2.5 and run.config["stage"]["name"] == "tuna_c"
    assert run.run.job_type == "tuna_c" and run.run.project == "tuna" and run.run.display_name == "w"
    assert run.run.run_id.startswith("w-") and run.run.run_id in path.name
    assert run.exit_code == 0 and run.summary["status"] == "finished"
    assert not (folder / "metrics.csv").exists()

    written = contents(folder / "wandb")
    assert any(name.endswith(".wandb") for name in written)
    assert not any(name.endswith("wandb-metadata.json") for name in written)
    for name, data in written.items():
        for argument in (b"train.py", b"loss.lambda=", b"trainer.log_every=", b"datamodule.held_out="):
            assert argument not in data, f"{name} holds the command line ({argument.decode()})"
    for name, data in contents(folder).items():
        assert SECRET.encode() not in data, f"{name} holds a secret of the environment"


def test_a_killed_run_goes_on_under_its_id(llama: Path, lists: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    args = overrides(llama, lists, tmp_path, name="w", logger="wandb", trainer__max_epochs=15)
    assert kill_when(args, lambda: (folder / "checkpoints" / "step-6").exists())
    finish([*args, "resume=auto"])
    first, second = offline(folder)  # the first holds what W&B had flushed by then, nothing perhaps
    assert first.name == second.name
    run = wandb_file.read(second)
    assert second.name == f"run-{run.run.run_id}.wandb"
    assert run.exit_code == 0 and run.summary["status"] == "finished"
