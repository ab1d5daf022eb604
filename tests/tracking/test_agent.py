"""W&B's own sweeps: what its agent makes of the files in conf/wandb, and how the runs that it starts are called."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from tuna.config.compose import compose
from tuna.tracking.loggers import title

FILES = sorted(Path("conf/wandb").glob("*.yaml"))


def commands(sweep: dict[str, Any]) -> list[list[str]]:
    """What ``wandb agent`` would run, macro by macro as its own code does it."""
    names, values = zip(*((name, given["values"]) for name, given in sweep["parameters"].items()), strict=True)
    found = []
    for chosen in itertools.product(*values):
        args = {name: {"value": value} for name, value in zip(names, chosen, strict=True)}
        filled = {**create_sweep_command_args({"args": args}), "interpreter": ["python"], "program": [sweep["program"]]}
        words = [str(word) for word in create_sweep_command(copy.deepcopy(sweep["command"]))]
        found.append([w for word in words for w in (filled.get(word[2:-1], []) if word.startswith("${") else [word])])
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_sweep_starts_runs_that_compose(file: Path) -> None:
    sweep: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    every = commands(sweep)
    assert len(every) >= 5
    for _, program, *words in every:
        assert program == "train.py" and not any(word.startswith("-") for word in words)
        cfg = compose(words, config_name="train")
        for word in words:
            key, _, value = word.partition("=")
            if key in sweep["parameters"]:
                assert float(OmegaConf.select(cfg, key)) == float(value)


def test_the_files_are_there() -> None:
    assert {file.stem for file in FILES} >= {"tuna_c_lambda", "tuna_c_margin", "tuna_p_beta"}


def test_a_run_of_an_agent_is_called_by_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "config.yaml"
    given.write_text("wandb_version: 1\nloss.lambda:\n  value: 5\nseed:\n  value: 1\n")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(given))
    assert title(tmp_path, "tuna_c-1") == "loss.lambda=5,seed=1"
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / "gone.yaml"))
    assert title(tmp_path, "tuna_c-1") == "tuna_c-1"
