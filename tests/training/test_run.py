"""tuna.training.run: whole runs, in process, on a random tiny Llama."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.kills import ROOT
from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.errors import ConfigError, RunError, TunaError
from tuna.training.run import run

LAUNCH = "from tuna.programs import TRAIN; from tuna.entry import main; main(TRAIN, {!r})"


def train(*args: Any, **changes: Any) -> tuple[Path, dict[str, float]]:
    """Run and give the run folder and the metrics."""
    model, lists, runs = args
    metrics = run(compose(overrides(model, lists, runs, **changes)))
    return runs / str(changes.get("name")), metrics


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    assert max((one[name] - other[name]).abs().max().item() for name in one) <= tolerance


@pytest.fixture(scope="module")
def whole(llama: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    return train(llama, lists, tmp_path_factory.mktemp("runs"), name="whole")[0]


def test_a_run_leaves_what_it_promises(whole: Path, llama: Path) -> None:
    written = json.loads((whole / "run.json").read_text())
    assert written["status"] == "finished" and written["schema_version"] == 2
    assert written["config"]["loss"]["lambda"] == 1.0
    assert written["parents"]["model"] == str(llama) and written["parents"]["model_run"] is None
    assert len(losses(whole)) == 12
    assert losses(whole)[-1] < losses(whole)[0]
    names = {path.name for path in whole.iterdir()}
    assert {"run.json", "metrics.csv", "log.txt", "curves.png", "checkpoints", "model"} <= names
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-12", "step-9"]
    logged = {"loss", "loss_rank", "loss_ce", "pair_accuracy", "v_best", "v_worst", "margin_violations"}
    assert logged <= written["before"].keys() and logged <= written["after"].keys()
    with (whole / "metrics.csv").open(newline="") as file:
        columns = set(csv.DictReader(file).fieldnames or [])
    assert {f"train/{name}" for name in logged} | {f"val/{name}" for name in logged} <= columns
    assert {"perf/tokens_per_second", "perf/packing_waste", "train/lr", "train/grad_norm"} <= columns


def test_the_model_folder_loads_and_answers(whole: Path, llama: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(whole / "model")
    tokenizer = AutoTokenizer.from_pretrained(whole / "model")
    answer = model.generate(**tokenizer("w5 w6", return_tensors="pt", return_token_type_ids=False), max_new_tokens=3)
    assert answer.shape[1] > 2
    card = (whole / "model" / "README.md").read_text()
    assert "tuna_c" in card and "val/pair_accuracy" in card and '"lambda": 1.0' in card
    assert weights(whole).keys() == load_file(llama / "model.safetensors").keys()


def test_the_next_stage_starts_from_the_run_folder(whole: Path, lists: Path, tmp_path: Path) -> None:
    folder, _ = train(whole, lists, tmp_path, name="next", stage="tuna_p", trainer__max_steps=2)
    parents = json.loads((folder / "run.json").read_text())["parents"]
    assert parents["model_run"] == "whole" and parents["model"].endswith("whole/model")


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__accumulate": 2},
        {"trainer__micro_tokens": 100},
        {"datamodule__row_tokens": 40},
        {"model__scorer": "plain"},
        {"model__gradient_checkpointing": "true"},
        {"datamodule__num_workers": 1},
    ],
    ids=lambda changes: "-".join(f"{key}={value}" for key, value in changes.items()),
)
def test_how_a_step_is_cut_does_not_change_the_run(
    whole: Path, llama: Path, lists: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    # 31 lists stay to train on, so that the last step of each epoch is a ragged one.
    folder, _ = train(llama, lists, tmp_path, name="cut", **changes)
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-5)
    assert_equal(weights(folder), weights(whole), 1e-5)


@pytest.mark.parametrize(
    "changes", [{"stage": "sft"}, {"stage": "alpaca_mul"}, {"loss": "lmops"}], ids=["sft", "alpaca_mul", "lmops"]
)
def test_nor_for_the_other_losses(llama: Path, lists: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Eq. 2 is a mean over responses, lmops' cross-entropy one over tokens, both counted over the whole step."""
    one, _ = train(llama, lists, tmp_path, name="one", trainer__max_steps=5, **changes)
    many, _ = train(llama, lists, tmp_path, name="many", trainer__max_steps=5, trainer__accumulate=8, **changes)
    assert losses(many) == pytest.approx(losses(one), rel=1e-5)
    assert_equal(weights(many), weights(one), 1e-5)


def test_another_seed_is_another_run(whole: Path, llama: Path, lists: Path, tmp_path: Path) -> None:
    folder, _ = train(llama, lists, tmp_path, name="seed", seed=1)
    assert losses(folder)[1] != pytest.approx(losses(whole)[1], rel=1e-3)


@pytest.mark.parametrize("stopped_at", [3, 9, 12])
def test_a_resumed_run_ends_with_the_same_bits(
    whole: Path, llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    from tuna.training.checkpoint import Checkpoints

    save = Checkpoints.save

    def save_then_stop(self: Checkpoints, trainer: Any, module: Any, step: int) -> None:
        save(self, trainer, module, step)
        if step == stopped_at:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_then_stop)
        with pytest.raises(RuntimeError, match="stopped"):
            train(llama, lists, tmp_path, name="cut")
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "failed"
    train(llama, lists, tmp_path, resume="auto")
    assert_equal(weights(tmp_path / "cut"), weights(whole))
    assert losses(tmp_path / "cut") == losses(whole)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "cache"] == ["cut"]


def test_checkpoints_go_when_the_run_is_finished(
    whole: Path, llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuna.training.checkpoint import Checkpoints

    settings: dict[str, Any] = {"name": "cut", "resume": "auto", "trainer__keep_checkpoints": 0}
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", _failing_after(Checkpoints.save, 6))
        with pytest.raises(RuntimeError, match="stopped"):
            train(llama, lists, tmp_path, **settings)
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-6"]
    train(llama, lists, tmp_path, **settings)
    assert not (tmp_path / "cut" / "checkpoints").exists()
    assert_equal(weights(tmp_path / "cut"), weights(whole))


def test_dropout_resumes_too(llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.training.make import write_model
    from tuna.training.checkpoint import Checkpoints

    model = write_model(tmp_path / "dropout", attention_dropout=0.2)
    train(model, lists, tmp_path, name="whole")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", _failing_after(Checkpoints.save, 6))
        with pytest.raises(RuntimeError, match="stopped"):
            train(model, lists, tmp_path, name="cut")
    train(model, lists, tmp_path, resume=str(tmp_path / "cut"))
    assert_equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def _failing_after(save: Any, stop: int) -> Any:
    def save_then_stop(self: Any, trainer: Any, module: Any, step: int) -> None:
        save(self, trainer, module, step)
        if step == stop:
            raise RuntimeError("stopped")

    return save_then_stop


@pytest.mark.parametrize("stage", ["sft", "alpaca_mul", "tuna_p", "tuna", "tuna_cp"])
def test_every_stage_trains(stage: str, llama: Path, lists: Path, tmp_path: Path) -> None:
    folder, metrics = train(llama, lists, tmp_path, name=stage, stage=stage, trainer__max_steps=3)
    assert metrics["val/loss"] < metrics["before/loss"] * 1.1 and (folder / "model").is_dir()


def test_mixed_sources(llama: Path, lists: Path, tmp_path: Path) -> None:
    args = [
        a for a in overrides(llama, lists, tmp_path, name="mix", stage="mix_tuna_52k") if "datamodule.path" not in a
    ]
    args += [f"data.contextual={lists}", f"data.probabilistic={lists}", "data.probabilistic_last=20"]
    args += ["data.contextual_first=null", "trainer.max_steps=2"]
    run(compose(args))
    sources = json.loads((tmp_path / "mix" / "run.json").read_text())["parents"]["data"]["sources"]
    assert [source["rank_by"] for source in sources] == ["score", "eq3"]


@pytest.mark.parametrize("loss", ["lmops", "tuna"])
def test_losses_by_name(loss: str, llama: Path, lists: Path, tmp_path: Path) -> None:
    _, metrics = train(llama, lists, tmp_path, name=loss, loss=loss, loss__margin=0.2, trainer__max_steps=2)
    assert metrics["train/loss"] == pytest.approx(metrics["train/loss_rank"] + metrics["train/loss_ce"])


def test_small_steps_are_not_lost(llama: Path, lists: Path, tmp_path: Path) -> None:
    """At lr 1e-6 at least 99% of the weights move: trained weights are float32, whatever the file holds."""
    from transformers import LlamaForCausalLM

    from tests.training.make import write_model

    model = write_model(tmp_path / "bf16")
    LlamaForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    start = {name: tensor.float() for name, tensor in load_file(model / "model.safetensors").items()}
    folder, _ = train(model, lists, tmp_path, name="small", module__lr=1e-6)
    end, embeddings = weights(folder), "model.embed_tokens.weight"
    special = 4  # <pad>, <s>, </s> and <unk> are never read, so their embeddings have no gradient
    for tensors in (start, end):
        tensors[embeddings] = tensors[embeddings][special:]
    moved = sum((end[name] != start[name]).sum().item() for name in start)
    assert moved / sum(tensor.numel() for tensor in start.values()) >= 0.99


def test_lora_leaves_a_merged_model_and_an_adapter(llama: Path, lists: Path, tmp_path: Path) -> None:
    folder, _ = train(llama, lists, tmp_path, name="lora", model__lora=4, trainer__max_steps=3)
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert weights(folder).keys() == load_file(llama / "model.safetensors").keys()
    start = load_file(llama / "model.safetensors")
    assert any((weights(folder)[name] - start[name]).abs().max() > 0 for name in start)
    AutoModelForCausalLM.from_pretrained(folder / "model")


def test_bf16_autocast_trains(llama: Path, lists: Path, tmp_path: Path) -> None:
    _, metrics = train(llama, lists, tmp_path, name="bf16", trainer__precision="bf16-mixed", trainer__max_steps=2)
    assert metrics["val/loss"] > 0


def test_early_stop_ends_a_run_and_exports(llama: Path, lists: Path, tmp_path: Path) -> None:
    folder, metrics = train(
        llama, lists, tmp_path, name="early", module__lr=1.0, trainer__validate_every=1, trainer__early_stop_patience=2,
        trainer__clip_norm=None,
    )  # fmt: skip
    assert len(losses(folder)) < 12 and (folder / "model").is_dir() and metrics["val/loss"] > 0


def test_validation_in_the_middle_is_logged_at_its_step(llama: Path, lists: Path, tmp_path: Path) -> None:
    folder, _ = train(llama, lists, tmp_path, name="mid", trainer__validate_every=4, trainer__accumulate=2)
    with (folder / "metrics.csv").open(newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file) if row.get("val/loss")]
    assert steps == ["0", "4", "8", "12"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss__margin": -1}, r"loss\.margin: expected 0 or more, got -1"),
        ({"trainer__accumulate": 3}, r"datamodule\.batch_size"),
        ({"datamodule__max_length": 129}, r"datamodule\.max_length: expected at most 128"),
        ({"trainer": "gpu"}, "expected a CUDA device"),
        ({"resume": "nowhere"}, "no run at"),
    ],
)
def test_faults_before_weights_load(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr("tuna.modules.scoring.load_scorer", lambda *a, **k: pytest.fail("weights were loaded"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TunaError, match=said):
        train(llama, lists, tmp_path, **changes)
    assert not list(tmp_path.glob("*/run.json"))


def test_all_constructors_faults_come_at_once(llama: Path, lists: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(llama, lists, tmp_path, loss__margin=-1, module__lr=0, datamodule__held_out=-1)
    assert all(key in str(caught.value) for key in ("loss.margin", "module.lr", "datamodule.held_out"))


def test_early_stopping_resumes_where_it_was(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a step with both a checkpoint and a validation: early stopping has counted that validation."""
    from tuna.training.checkpoint import Checkpoints

    changes = {
        "module__lr": 0.3, "trainer__validate_every": 1, "trainer__early_stop_patience": 4,
        "trainer__checkpoint_every": 1, "trainer__clip_norm": None,
    }  # fmt: skip
    whole, _ = train(llama, lists, tmp_path / "whole", name="run", **changes)
    assert len(losses(whole)) < 12
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", _failing_after(Checkpoints.save, 3))
        with pytest.raises(RuntimeError, match="stopped"):
            train(llama, lists, tmp_path / "cut", name="run", **changes)
    cut, _ = train(llama, lists, tmp_path / "cut", name="run", resume="auto", **changes)
    assert losses(cut) == losses(whole)
    assert_equal(weights(cut), weights(whole))


def test_a_finished_run_is_not_done_again(
    whole: Path, llama: Path, lists: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuna.training.fit.fit", lambda *args: pytest.fail("trained again"))
    _, metrics = train(llama, lists, whole.parent, name="whole", resume="auto")
    assert metrics == json.loads((whole / "run.json").read_text())["metrics"]
    assert "is finished already; its model is" in capsys.readouterr().out
    (whole / "model").rename(whole / "moved")
    try:
        with pytest.raises(RunError, match=r"is finished, but its model is not at .*; next: mv .*whole .*whole-old"):
            train(llama, lists, whole.parent, name="whole", resume="auto")
    finally:
        (whole / "moved").rename(whole / "model")


def test_several_machines_need_a_launcher(llama: Path, lists: Path, tmp_path: Path) -> None:
    changes = {"trainer__accelerator": "cpu", "trainer__precision": "32-true", "trainer__num_nodes": 2}
    with pytest.raises(ConfigError, match="torchrun --nnodes 2"):
        train(llama, lists, tmp_path, trainer="fsdp", trainer__devices=1, **changes)


@pytest.mark.once
def test_a_disk_that_fills_up_leaves_a_run_to_resume(llama: Path, lists: Path, tmp_path: Path) -> None:
    """The real thing: no file may grow over 60 kB, so the first checkpoint cannot be written."""
    args = overrides(llama, lists, tmp_path, name="full")
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); {LAUNCH.format(args)}"
    env = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}  # it writes files, too
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "checkpoint cannot be written" in done.stderr and "resume=auto" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "full" / "run.json").read_text())["status"] == "failed"
    folder, metrics = train(llama, lists, tmp_path, name="full", resume="auto")
    assert metrics["val/loss"] > 0 and (folder / "model").is_dir()
