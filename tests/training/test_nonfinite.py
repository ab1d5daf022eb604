"""trainer.nonfinite: a loss, gradient or weight that is no number stops the run, or the step is left out."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.make import overrides
from tests.training.poison import BAD, change, nan_gradient, nan_loss, one_bad
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.errors import ModelError, RunError
from tuna.losses.base import total
from tuna.models.weights import not_finite
from tuna.modules.meter import Fault
from tuna.runs import steps_in
from tuna.training import nonfinite
from tuna.training.checkpoint import Checkpoints
from tuna.training.run import NODES, prepare, run

MODELS = {"loss": nan_loss, "gradient norm": nan_gradient}


@pytest.fixture(scope="module", params=list(MODELS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def poisoned(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[kind](tmp_path_factory.mktemp("poisoned"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_bad(tmp_path_factory.mktemp("bad") / "lists.jsonl")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_bad(tmp_path_factory.mktemp("sound") / "lists.jsonl", bad=None, count=9, seed=1)


def args(model: Path, bad: Path, sound: Path, runs: Path, **changes: object) -> list[str]:
    """A run of 80 steps with a step that holds the bad record in each of 20 epochs; up to 4 may be left out."""
    settings = {"name": "run", "datamodule__held_out": 0, "datamodule__val_path": sound, "trainer__max_epochs": 20}
    return overrides(model, bad, runs, **{**settings, "trainer__max_steps": 12, **changes})


def written(folder: Path) -> dict[str, Any]:
    """run.json, which has to be JSON: no bare NaN or Infinity."""
    return dict(json.loads((folder / "run.json").read_text(), parse_constant=lambda text: pytest.fail(text)))


def column(folder: Path, name: str) -> dict[int, str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): row[name] for row in csv.DictReader(file) if row.get(name)}


def bad_steps(data: Any, steps: int) -> list[int]:
    """From 0, those that hold the bad record."""
    return [s for s in range(steps) if any(r.id == str(BAD) for part in data.records_at(s) for r in part)]


def slow_loop(command: list[str], steps: int, lr: float, clip: float | None) -> tuple[list[int], dict[str, Any]]:
    """The same training by plain PyTorch, which never sees a step with the bad record; skipped steps and weights."""
    cfg = compose(command)
    parts = prepare(cfg, build_all(cfg, *NODES))
    torch.manual_seed(0)
    scorer: Any = parts.module.load_scorer(parts.model)
    skipped = bad_steps(parts.data, steps)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=lr, weight_decay=0.0, fused=True)  # a key's bias is noise
    batches = parts.data.train_dataloader().dataset
    each = parts.data.accumulate
    for step in sorted(set(range(steps)) - set(skipped)):
        optimizer.zero_grad()
        for micro in range(each):
            batch = batches[step * each + micro]
            parts.module.scorer = scorer
            lists = parts.module(batch)
            total(parts.loss(lists), lists, batch.totals).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(scorer.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * max(0, step - 2) / (steps - 2))) / 2 if step >= 2 else (
                lr * (step + 1) / 2
            )  # fmt: skip
        optimizer.step()
    return [step + 1 for step in skipped], {n.removeprefix("model."): p.detach() for n, p in scorer.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"stage": "prm"}, {"stage": "sft", "trainer__accumulate": 4}], ids=str)
def test_the_run_stops_with_step_and_record(
    kind: str, poisoned: Path, bad: Path, sound: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    command = args(poisoned, bad, sound, tmp_path, trainer__checkpoint_every=1, trainer__keep_checkpoints=1, **changes)
    with pytest.raises(RunError) as caught:
        run(compose(command))
    told, folder = str(caught.value), tmp_path / "run"
    step = int(told.split("/")[0].removeprefix("step "))
    assert f"the {kind} is nan" in told and f"lists.jsonl:{BAD + 1} (id {BAD})" in told
    if kind == "loss":
        assert told.count("(id ") == 1  # the record at fault, not the batch
    assert "trainer.nonfinite=skip" in told and "module.lr=0.0001" in told
    assert written(folder)["status"] == "failed" and not (folder / "model").exists()
    kept = [at for at, _ in steps_in(folder / "checkpoints")]
    assert kept == ([step - 1] if step > 1 else []) and (not kept or f"step {step - 1} is kept" in told)
    assert step not in (column(folder, "train/loss") if step > 1 else {})


@pytest.mark.parametrize(
    "changes", [{}, {"trainer__accumulate": 2}, {"trainer__clip_norm": None}], ids=["plain", "accumulate", "unclipped"]
)
def test_a_skipped_step_leaves_no_trace(
    poisoned: Path, bad: Path, sound: Path, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "LIMIT", 3)  # 12 steps in 3 epochs: 4 may be left out
    command = args(poisoned, bad, sound, tmp_path, trainer__nonfinite="skip", **changes)
    run(compose(command))
    again = args(poisoned, bad, sound, tmp_path / "slow", **changes)
    skipped, weights = slow_loop(again, 12, 1e-3, changes.get("trainer__clip_norm", 1.0))
    folder = tmp_path / "run"
    assert len(skipped) == 3 and written(folder)["skipped_steps"] == skipped
    assert written(folder)["status"] == "finished"
    counted = {step: float(value) for step, value in column(folder, "train/skipped_steps").items()}
    assert counted == {step: sum(at <= step for at in skipped) for step in range(1, 13)}
    assert all(math.isfinite(float(value)) for value in column(folder, "train/loss").values())
    assert f"3 of 12 steps ({', '.join(map(str, skipped))})" in (folder / "log.txt").read_text()
    assert "3 of them left out" in (folder / "model" / "README.md").read_text()
    made = load_file(folder / "model" / "model.safetensors")
    assert max((made[name] - weights[name]).abs().max().item() for name in made) < 1e-5


def test_resumed_with_skip_after_the_stop(
    poisoned: Path, bad: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "LIMIT", 3)
    run(compose(args(poisoned, bad, sound, tmp_path / "whole", trainer__nonfinite="skip")))
    every = {"trainer__checkpoint_every": 1}
    with pytest.raises(RunError, match=r"resume=auto trainer\.nonfinite=skip"):
        run(compose(args(poisoned, bad, sound, tmp_path / "cut", **every)))
    run(compose(args(poisoned, bad, sound, tmp_path / "cut", resume="auto", trainer__nonfinite="skip", **every)))
    one, other = (load_file(tmp_path / name / "run" / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert written(tmp_path / "cut" / "run")["skipped_steps"] == written(tmp_path / "whole" / "run")["skipped_steps"]


def test_skips_are_limited(llama: Path, lists: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"steps skipped before: 1; .* skips 1 in 20 of the 12 steps at most"):
        run(compose(overrides(llama, lists, tmp_path, name="run", module__lr=1e4, trainer__nonfinite="skip")))
    assert len(written(tmp_path / "run")["skipped_steps"]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer__precision": "bf16-mixed"},
        {"trainer__validate_every": 1, "trainer__early_stop_patience": 1},
        {"stage": "prm"},
    ],
    ids=str,
)
def test_a_rate_that_is_too_high_is_no_success(
    llama: Path, lists: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(RunError, match=r"(?s)(nan|inf).*module\.lr=100000"):
        run(compose(overrides(llama, lists, tmp_path, name="run", module__lr=1e6, **changes)))
    assert written(tmp_path / "run")["status"] == "failed" and not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("stage", ["tuna_c", "prm"])
def test_a_start_that_holds_nan_is_refused(lists: Path, tmp_path: Path, stage: str) -> None:
    from tests.training.make import write_model

    model = change(write_model(tmp_path / "llama"), "model.norm.weight", math.nan)
    with pytest.raises(ModelError, match=r"the weights hold NaN or infinity \(.*norm\.weight\)"):
        run(compose(overrides(model, lists, tmp_path, name="run", stage=stage)))
    assert written(tmp_path / "run")["status"] == "failed" and not list((tmp_path / "run/checkpoints").iterdir())


def test_unsound_weights_are_never_saved(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that an optimizer step overflows, just before a checkpoint."""
    due = Checkpoints.on_train_batch_end

    def spoilt(self: Checkpoints, trainer: Any, module: Any, *rest: Any) -> None:
        if trainer.global_step == 6:
            next(iter(module.scorer.parameters())).data[0] = torch.inf
        due(self, trainer, module, *rest)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", spoilt)
    keeps = {"trainer__keep_checkpoints": 1, "trainer__nonfinite": "skip"}
    with pytest.raises(RunError, match=r"step 6/12: the weights hold NaN or infinity \(model\.model\.embed_tokens"):
        run(compose(overrides(llama, lists, tmp_path, name="run", **keeps)))
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-3"]
    assert not (tmp_path / "run" / "model").exists()


def test_a_held_out_loss_that_is_no_number(bad: Path, sound: Path, tmp_path: Path) -> None:
    model = nan_loss(tmp_path / "gpt2")
    with pytest.raises(
        RunError, match=rf"^the held-out loss is nan \(records: \S*lists.jsonl:{BAD + 1} \(id {BAD}\)\)"
    ):
        run(compose(args(model, sound, bad, tmp_path, trainer__nonfinite="skip")))


@pytest.mark.parametrize(
    ("fault", "scale", "normal"),
    [
        (Fault(0.5, math.inf, ()), 65536.0, True),  # GradScaler halves its scale and leaves the step out
        (Fault(0.5, math.inf, ()), 0.5, False),  # and did so until nothing was left to halve
        (Fault(math.nan, math.nan, ()), 65536.0, False),
    ],
)
def test_overflows_that_16_mixed_lives_with(fault: Fault, scale: float, normal: bool) -> None:
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=SimpleNamespace(get_scale=lambda: scale)))
    assert nonfinite._scaled(trainer, fault) is normal
    assert not nonfinite._scaled(SimpleNamespace(precision_plugin=SimpleNamespace(scaler=None)), fault)


def test_not_finite_names_every_kind() -> None:
    tensors = {
        "whole": torch.ones(2), "nan": torch.tensor([1.0, math.nan]), "minus": torch.tensor([-math.inf]),
        "half": torch.tensor([math.inf], dtype=torch.bfloat16), "ids": torch.tensor([1]), "none": torch.zeros(0),
        "large": torch.tensor([1e308], dtype=torch.float64),
    }  # fmt: skip
    assert not_finite(tensors.items()) == ["nan", "minus", "half"]
