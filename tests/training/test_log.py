"""tuna.training.log: first lines, progress lines, and the closing table, from hand-made figures."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training.test_results import BASELINES, outcome, parts
from tuna.config import checks
from tuna.config.compose import CONF, compose
from tuna.modules.scoring import ScoringModule
from tuna.runs import RunFolder
from tuna.training import log
from tuna.training.log import Progress
from tuna.training.results import Outcome


def test_the_last_lines(tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "w", "w")
    lines = log.last_lines(parts(tmp_path), target, outcome(), None)
    assert lines[:7] == [
        "",
        "                                before     after    change",
        "held-out pair accuracy           0.221     0.363    +0.143",
        "  baseline: length-only          0.409     0.409",
        "  baseline: chance               0.495     0.495",
        "  95% interval               0.03-0.43 0.10-0.63",
        "held-out loss                   6.2771    6.1771    -0.100",
    ]
    assert f"metrics  {tmp_path}/w/run.json" in lines  # no metrics.csv with logger=wandb
    alone = log.last_lines(parts(tmp_path), target, outcome(before=None), None)
    assert "  95% interval                       - 0.10-0.63" in alone
    nothing = log.last_lines(parts(tmp_path), target, Outcome(None, None), None)
    assert nothing[1].startswith("nothing was held out")


@pytest.mark.parametrize("stage", ["sft", "alpaca_mul", "tuna_c", "tuna_p", "mix_tuna", "prm"])
@pytest.mark.parametrize("val_path", [None, "my val.jsonl"])
def test_the_next_command_after_a_real_model_is_no_toy(stage: str, val_path: str | None, tmp_path: Path) -> None:
    held_out = [] if val_path is None else [f"datamodule.val_path={val_path}"]
    cfg = compose([f"stage={stage}", "model.path=/m", "model.template=alpaca", "datamodule.path=a", *held_out])
    found = log.next_command(cfg, Path("my runs/a"), answers=stage != "prm")
    if val_path is None:
        assert found is None
        return
    assert found is not None
    _, program, *words = shlex.split(found)
    checks.check(made := compose(words, config_name=Path(program).stem))
    read = made.input if program == "rank.py" else made.benchmark.path
    assert read == val_path and "my runs/a" in (made.model.path, made.ranker.path if "ranker" in made else "")
    if stage != "prm":
        wanted = "nll" if stage in ("sft", "alpaca_mul") else "agreement"
        assert f"benchmark={wanted}" in words and made.model.template == "alpaca"
        assert made.benchmark.get("rank_by", "score") == ("eq3" if stage == "tuna_p" else "score")


@pytest.mark.parametrize("key", ["columns={instruction: q}", "val_split=test", "format=pairs", "bad_rows=drop"])
def test_no_command_where_the_held_out_file_needs_more_than_its_path(key: str) -> None:
    words = ["model.path=/m", "datamodule.path=a", "datamodule.val_path=v", f"datamodule.{key}"]
    assert log.next_command(compose(words), Path("runs/a"), answers=True) is None


@pytest.mark.parametrize("stage", ["sft", "tuna_c", "prm"])
def test_the_embedded_models_have_the_embedded_questions(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)
    found = log.next_command(compose([f"stage={stage}"]), Path("runs/a"), answers=stage != "prm")
    assert found in ("python evaluate.py model.path=runs/a", "python rank.py ranker=proxy ranker.path=runs/a")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_tokens_per_second_counts_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two micro-batches a step of 2 seconds each; checkpoints, validation and waiting for data are not counted."""
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    rows: list[dict[str, float]] = []
    logger: Any = SimpleNamespace(log_metrics=lambda figures, step: rows.append(figures))
    trainer: Any = SimpleNamespace(global_step=0, accumulate_grad_batches=2)
    module: Any = ScoringModule()
    module.loss = None
    progress = Progress(every=1, start_step=0, total_steps=2, loggers=[logger])
    progress.on_train_start(trainer, module)
    for batch in range(4):
        clock.now += 100  # data, validation, the checkpoint of the step before
        progress.on_train_batch_start(trainer, module, None, batch)
        clock.now += 2
        module.train_meter.tokens = [40 * (batch % 2 + 1), 100]
        trainer.global_step = (batch + 1) // 2
        progress.on_train_batch_end(trainer, module, None, None, batch)
    assert [row["perf/tokens_per_second"] for row in rows] == [20.0, 20.0]


def test_held_out_lines_show_what_accuracy_is_read_against(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("tuna.training.log.log", SimpleNamespace(info=said.append))
    figures = {"val/loss": 2.0, "val/pair_accuracy": 0.5}
    state = SimpleNamespace(fn="fit")
    trainer: Any = SimpleNamespace(state=state, global_step=4, callback_metrics=figures)
    module: Any = ScoringModule()
    module.val_meter.last_lists = {"pair_accuracy": [0.5, 0.5]}
    Progress(every=1, start_step=0, total_steps=12, baselines=BASELINES).on_validation_end(trainer, module)
    Progress(every=1, start_step=0, total_steps=12).on_validation_end(trainer, module)
    assert said == [
        "step 4/12  held-out: loss 2.0000  pair_accuracy 0.5000 (95% 0.50-0.50, length-only 0.409, chance 0.495)",
        "step 4/12  held-out: loss 2.0000  pair_accuracy 0.5000",
    ]


def test_long_steps_and_held_out_figures_are_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lines = [0.0], list[str]()
    monkeypatch.setattr("tuna.training.log.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(log.log, "info", lines.append)
    progress = Progress(every=10, start_step=0, total_steps=100)
    trainer: Any = SimpleNamespace(accumulate_grad_batches=4, global_step=0, num_val_batches=[8])
    progress.on_train_start(trainer, None)
    for batch, now[0] in enumerate((4.0, 8.0, 12.0)):
        progress.on_train_batch_start()
        progress.on_train_batch_end(trainer, None, None, None, batch)
    assert lines == ["step 1/100: 3 of 4 passes done"]
    progress.on_validation_start(trainer, None)
    for batch, now[0] in enumerate((18.0, 24.0)):
        progress.on_validation_batch_end(trainer, None, None, None, batch, 0)
    assert lines[1:] == ["held-out: 2/8 passes, left 36 s"]


def test_the_checkpoints_of_a_finished_run_are_told_of_where_they_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = RunFolder(tmp_path / "w", "w")
    (target.checkpoints / "step-1").mkdir(parents=True)
    (target.checkpoints / "step-1" / "part").write_bytes(b"0" * 1000)
    told = f"{target.checkpoints}, which nothing needs now"
    assert told not in "\n".join(log.last_lines(parts(tmp_path), target, outcome(), None))
    monkeypatch.setattr(log, "LARGE", 1000)
    assert told in "\n".join(log.last_lines(parts(tmp_path), target, outcome(), None))
