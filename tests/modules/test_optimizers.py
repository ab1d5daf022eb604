"""Optimizers by config: what they do to a weight, what they keep, and that a run goes on with them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.errors import ConfigError, OtherSettings
from tuna.modules.optimizers import Adafactor, AdamW, AdamW8bit, Optimizer, Rates
from tuna.runs import choose
from tuna.training.run import run

RATES = Rates(0.1, 0.0, (0.9, 0.999), 1e-8)
KINDS = {"adamw": AdamW(), "adafactor": Adafactor(), "adafactor, momentum": Adafactor(momentum=0.9)}


def stepped(optimizer: Optimizer, weight: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, Any]:
    parameter = nn.Parameter(weight.clone())
    made = optimizer.build([parameter], RATES)
    parameter.grad = gradient.clone()
    made.step()
    return parameter.detach(), made.state[parameter]


def test_the_first_step_of_adafactor_by_hand() -> None:
    """Row means r and column means c of the squared gradient: g / sqrt(r c / mean r), clipped to a mean square of 1."""
    weight, gradient = torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    rows, columns = torch.tensor([2.5, 12.5]), torch.tensor([5.0, 10.0])
    update = gradient / (rows[:, None] * columns[None] / rows.mean()).sqrt()
    update = update / max(1.0, float(update.square().mean().sqrt()))
    found, _ = stepped(Adafactor(), weight, gradient)
    torch.testing.assert_close(found, -0.1 * update, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5000,), (80, 60)])
@pytest.mark.parametrize("kind", [*KINDS, "adamw_8bit"])
def test_the_bytes_of_its_state(kind: str, shape: tuple[int, ...]) -> None:
    if kind == "adamw_8bit":
        pytest.importorskip("bitsandbytes")
    optimizer = KINDS.get(kind) or AdamW8bit()
    _, state = stepped(optimizer, torch.ones(shape), torch.rand(shape) + 0.1)
    held = sum(value.nbytes for value in state.values() if isinstance(value, torch.Tensor) and value.dim())
    assert held == pytest.approx(optimizer.state_bytes(shape), rel=0.05)


def test_eight_bits_are_near_thirty_two() -> None:
    pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    weight, gradient = torch.randn(128, 64), torch.randn(128, 64)
    found, exact = (stepped(each, weight, gradient)[0] for each in (AdamW8bit(), AdamW()))
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


def test_what_cannot_be_is_said_before_weights_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes .*; next: pip install 'tuna-ranking\[bitsandbytes\]'"):
        AdamW8bit().check(sharded=False)
    for optimizer in (AdamW8bit(), Adafactor()):
        with pytest.raises(ConfigError, match="has no sharded state; next: optimizer=adamw"):
            optimizer.check(sharded=True)
    AdamW().check(sharded=True)


@pytest.mark.parametrize(
    "words", [["optimizer=adafactor", "optimizer.momentum=0.9"], ["optimizer=adamw_8bit", "optimizer.min_size=256"]]
)
def test_an_interrupted_run_goes_on(words: list[str], tmp_path: Path) -> None:
    if words[0].endswith("8bit"):
        pytest.importorskip("bitsandbytes")
    start, lists = write_model(tmp_path / "model"), write_lists(tmp_path / "lists.jsonl")

    def losses(name: str, **changes: object) -> dict[str, float]:
        changes = {"trainer__max_steps": 6, "module__lr": 0.01, **changes}
        return run(compose([*overrides(start, lists, tmp_path, name=name, **changes), *words]))

    whole = losses("whole")
    losses("cut")
    (tmp_path / "cut" / "checkpoints" / "step-6").rename(tmp_path / "gone")
    state = json.loads((tmp_path / "cut" / "run.json").read_text())
    (tmp_path / "cut" / "run.json").write_text(json.dumps(state | {"status": "interrupted"}))
    resumed = losses("cut", resume="auto")
    assert (tmp_path / "cut" / "checkpoints" / "step-6").is_dir()
    assert resumed["val/loss"] == pytest.approx(whole["val/loss"], rel=1e-5) != whole["before/loss"]


def test_a_run_of_before_had_adamw(tmp_path: Path) -> None:
    config: dict[str, Any] = {"runs_dir": str(tmp_path), "name": "old", "resume": "old", "stage": {"name": "sft"}}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text(
        json.dumps({"status": "failed", "config": config, "parents": {"data_sha256": "d", "model_fingerprint": "m"}})
    )
    node = {"_target_": "tuna.modules.optimizers.AdamW"}
    assert choose(config | {"optimizer": node}, "d", "m").resumed
    with pytest.raises(OtherSettings, match=r"optimizer\._target_: it has"):
        choose(config | {"optimizer": {"_target_": "tuna.modules.optimizers.Adafactor"}}, "d", "m")
