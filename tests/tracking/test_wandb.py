"""Real runs with W&B offline, and what of them W&B has written."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracking import wandb_file
from tests.training.kills import finish, start
from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.entry import main
from tuna.programs import TRAIN
from tuna.training.run import run as train

pytestmark = pytest.mark.once

HISTORY = {
    "train/loss",
    "train/loss_rank",
    "train/loss_ce",
    "train/pair_accuracy",
    "train/lr",
    "perf/tokens_per_second",
}
LAMBDAS = ("0", "0.1", "1", "5", "10")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` by its path there, links not followed."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def two_stages(llama: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs ``w`` and, from its model, ``next``."""
    runs = tmp_path_factory.mktemp("runs")
    finish(overrides(llama, lists, runs, name="w", logger="wandb", loss__lambda=2.5, trainer__validate_every=6))
    changes = {"name": "next", "stage": "tuna_p", "logger": "wandb", "trainer__max_steps": 2, "logger__samples": 0}
    train(compose(overrides(runs / "w", lists, runs, **changes)))
    return runs


def test_an_offline_run_holds_figures_and_config_and_nothing_else(two_stages: Path) -> None:
    folder = two_stages / "w"
    (path,) = wandb_file.files(folder)
    run = wandb_file.read(path)

    trained = [row for row in run.history if "train/loss" in row]
    assert [row["trainer/global_step"] for row in trained] == list(range(1, 13))
    assert all(row.keys() >= HISTORY for row in trained)
    validated = [row for row in run.history if "val/pair_accuracy" in row]
    assert [row["trainer/global_step"] for row in validated] == [0, 6, 12]
    assert all(0 <= row["val/pair_accuracy"] <= 1 for row in validated)

    assert run.config["loss"]["lambda"] == 2.5 and run.config["stage"]["name"] == "tuna_c"
    assert run.run.job_type == "tuna_c" and run.run.project == "tuna" and run.run.display_name == "w"
    assert list(run.run.tags) == ["tuna_c", "table 1", "table 3", "table 8", "scale paper"] and run.run.run_group == ""
    assert run.run.run_id.startswith("w-") and run.run.run_id in path.name
    assert run.exit_code == 0 and run.summary["status"] == "finished"
    assert not (folder / "metrics.csv").exists()

    written = contents(folder / "wandb")
    assert any(name.endswith(".wandb") for name in written)
    assert not any(name.endswith("wandb-metadata.json") for name in written)
    for name, data in written.items():
        for argument in (b"train.py", b"loss.lambda=", b"trainer.log_every=", b"datamodule.held_out="):
            assert argument not in data, f"{name} holds the command line ({argument.decode()})"


def test_the_summary_has_the_final_figures(two_stages: Path) -> None:
    run, written = wandb_file.read_one(two_stages / "w"), json.loads((two_stages / "w" / "run.json").read_text())
    for key in ("val/pair_accuracy", "val/loss", "before/pair_accuracy", "before/loss", "train/loss"):
        assert run.summary[key] == pytest.approx(written["metrics"][key])


def test_models_and_data_make_a_graph(two_stages: Path, llama: Path) -> None:
    first, second = wandb_file.read_one(two_stages / "w"), wandb_file.read_one(two_stages / "next")
    assert set(first.used()) == {"model-llama", "dataset-lists"}
    assert set(second.used()) == {"model-w", "dataset-lists"}
    assert first.used()["dataset-lists"] == second.used()["dataset-lists"]
    assert first.made("model")["model-w"] == second.used()["model-w"] != first.used()["model-llama"]
    assert set(second.made("model")) == {"model-next"}
    (model,) = [item for item in first.artifacts if item.name == "model-w"]
    assert [entry.path for entry in model.manifest.contents] == ["identity.json"]  # weights stay where they are
    (entry,) = model.manifest.contents
    written = json.loads((two_stages / "next" / "run.json").read_text())
    assert json.loads(Path(entry.local_path).read_text()) == {"fingerprint": written["parents"]["model_fingerprint"]}
    assert Path(entry.local_path).is_absolute() and json.loads(model.metadata)["stage"] == "tuna_c"


def test_answers_before_and_after_are_a_table(two_stages: Path) -> None:
    folder = two_stages / "w"
    run = wandb_file.read_one(folder)
    (name,) = [name for name in run.files if name.startswith("media/table/samples")]
    (file,) = folder.glob(f"wandb/offline-run-*/files/{name}")
    table = json.loads(file.read_text())
    assert table["columns"] == ["id", "task", "instruction", "input", "before", "after"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert rows == [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and all(row["instruction"].startswith("w") for row in rows)
    assert set(run.made("run_table")) == {f"run-{run.run.run_id}-samples"}
    assert not (two_stages / "next" / "samples.jsonl").exists()  # logger.samples=0


def test_weights_go_along_where_asked_for(two_stages: Path, lists: Path, tmp_path: Path) -> None:
    changes = {"logger": "wandb", "logger__artifacts": "files", "trainer__max_steps": 1, "logger__samples": 0}
    train(compose(overrides(two_stages / "w", lists, tmp_path, name="up", **changes)))
    run = wandb_file.read_one(tmp_path / "up")
    paths = {item.name: {entry.path for entry in item.manifest.contents} for item in run.artifacts}
    assert paths["model-up"] >= {"identity.json", "model.safetensors", "config.json"}
    assert paths["model-w"] >= {"identity.json", "model.safetensors"}
    assert paths["dataset-lists"] == {"identity.json", "lists.jsonl"}
    (made,) = [item for item in run.artifacts if item.name == "model-up"]
    weights = {entry.path: entry.local_path for entry in made.manifest.contents}["model.safetensors"]
    assert Path(weights) == tmp_path / "up" / "model" / "model.safetensors"  # not a copy


def test_the_jobs_of_a_sweep_are_a_group(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, in which jobs would share a run that is not finished; the third job fails."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    changes = {"logger": "wandb", "logger__samples": 0, "trainer__max_steps": 1, "loss__lambda": ",".join(LAMBDAS)}

    def sometimes(*args: object) -> dict[str, float]:
        if "2" in str(args[1]).rpartition("sw/")[2]:
            raise RuntimeError("no")
        return _finish(*args)  # type: ignore[arg-type]

    from tuna.training.fit import _finish

    monkeypatch.setattr("tuna.training.fit._finish", sometimes)
    with pytest.raises(SystemExit):
        main(TRAIN, [*overrides(llama, lists, tmp_path, name="sw", **changes), "-m", "hydra/hydra_logging=none"])
    found = {
        path.parent.name: wandb_file.read_one(path.parent) for path in sorted((tmp_path / "sw").glob("*/run.json"))
    }
    for number, run in found.items():
        assert run.run.run_group == "sw" and run.run.run_id.startswith(f"sw-{number}-")
        assert run.run.display_name == f"loss.lambda={LAMBDAS[int(number)]}"
        assert run.config["loss"]["lambda"] == float(LAMBDAS[int(number)])
        assert (run.exit_code, run.summary["status"]) == ((1, "failed") if number == "2" else (0, "finished"))
    assert len({run.run.run_id for run in found.values()}) == len(found) == 5


def interrupt(args: list[str], ready: Callable[[], bool]) -> None:
    """Start train.py and press Ctrl-C once ``ready``, which reaches all processes of the group, W&B's own too."""
    process = start(args)
    try:
        end = time.monotonic() + 120
        while not ready():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 130


def test_an_interrupted_run_is_marked_failed_and_goes_on_under_its_id(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.delenv("WANDB_MODE")
    args = overrides(llama, lists, tmp_path, name="w", logger="wandb", trainer__max_epochs=2000)
    args.append("logger.mode=offline")

    def reached() -> int:
        return max((int(path.name[5:]) for path in folder.glob("checkpoints/step-*[0-9]")), default=0)

    interrupt(args, lambda: reached() >= 6)
    stopped, step = wandb_file.read_one(folder), reached()
    assert (stopped.exit_code, stopped.summary["status"]) == (1, "interrupted")
    assert not stopped.made("model")
    (before,) = wandb_file.files(folder)

    interrupt([*args, "resume=auto"], lambda: reached() >= step + 6)
    (after,) = set(wandb_file.files(folder)) - {before}
    resumed = wandb_file.read(after)
    with server, pytest.raises(BlockingIOError):  # an offline run sends nothing, no telemetry either
        server.accept()
    assert before.name == after.name == f"run-{resumed.run.run_id}.wandb"
    assert next(row["trainer/global_step"] for row in resumed.history if "train/loss" in row) == step + 1
