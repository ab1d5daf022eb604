"""tuna.training.results: tables, card and figure from hand-made figures."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tuna.config.compose import compose
from tuna.inference.elementary import ElementaryResult
from tuna.runs import RunFolder
from tuna.training import results
from tuna.training.results import Outcome

BEFORE = {"loss": 6.2771, "loss_ce": 4.5, "pair_accuracy": 0.2205, "pair_accuracy_interval": [0.0317, 0.4348]}
AFTER = {"loss": 6.1771, "loss_ce": 4.25, "pair_accuracy": 0.3634, "pair_accuracy_interval": [0.0952, 0.6349]}
BASELINES = {
    "length": {"mean": 0.4093, "low": 0.18, "high": 0.62, "lists": 7},
    "random": {"mean": 0.4951, "low": 0.21, "high": 0.73, "lists": 7},
}
LAST = {"train/loss": 4.2338, "train/pair_accuracy": 0.9167, "perf/tokens_per_second": 9058.9}
HEAD = """\
| figure | before | after | 95% interval (after) | length-only | chance |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {"before": BEFORE, "after": AFTER, "baselines": BASELINES, "last": LAST}
    return Outcome(**(values | changes))


def result(accuracy: float, mark: float) -> ElementaryResult:
    return ElementaryResult(accuracy, {}, mark, 120, 30, ())


def parts(source: Path, **changes: Any) -> Any:
    resolved = SimpleNamespace(source=str(source), fingerprint="f00d", on_hub=False, revision=None)
    values: dict[str, Any] = {
        "cfg": compose(["stage=tuna_c"]),
        "resolved": resolved,
        "data": SimpleNamespace(
            report=SimpleNamespace(to_dict=lambda: {"train_lists": 31, "held_out_lists": 9}),
            sha256="beef",
            batch_size=8,
        ),
        "module": SimpleNamespace(lr=1e-3, answers=True),
        "template": "none",
        "total_steps": 12,
        "training": SimpleNamespace(keep_checkpoints=2),
        "config": {"model": {"path": str(source)}, "loss": {"lambda": 1.0}},
    }
    return SimpleNamespace(**(values | changes))


def test_the_held_out_table() -> None:
    assert results.held_out_table(outcome()) == HEAD + (
        "| held-out pair accuracy (`val/pair_accuracy`) | 0.221 | 0.363 | 0.10-0.63 | 0.409 | 0.495 |\n"
        "| held-out loss (`val/loss`) | 6.2771 | 6.1771 | | | |\n"
        "| cross-entropy part (`val/loss_ce`) | 4.5000 | 4.2500 | | | |"
    )


def test_the_held_out_table_with_tasks_and_without_what_was_not_measured() -> None:
    nan = {"length": {"mean": float("nan")}, "random": {"mean": None}}
    only = outcome(before=None, after={"pair_accuracy": 0.5}, baselines=nan)
    table = results.held_out_table(replace(only, tasks=(result(0.25, 0.1), result(0.5, 0.2))))
    assert table == HEAD + (
        "| held-out pair accuracy (`val/pair_accuracy`) | - | 0.500 | - | - | - |\n"
        "| greedy accuracy, 120 tasks (`val/task_accuracy`) | 0.250 | 0.500 | | | |\n"
        "| open-ended mark (`val/open_ended_mark`) | 0.100 | 0.200 | | | |"
    )
    assert results.held_out_table(Outcome(None, None)) == ""


def test_the_card_names_no_path_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/work/people/ann")
    model = tmp_path / "models" / "llama"
    config = {
        "name": None,
        "runs_dir": "/home/bob/runs",
        "model": {"path": str(model), "lora": {"r": 4}},
        "datamodule": {
            "path": Path("/work/people/ann/lists.jsonl"),
            "sources": [{"path": str(tmp_path / "a.jsonl"), "rank_by": "score"}],
            "cache_dir": "~/cache",
            "val_path": r"C:\Users\carl\data\val.jsonl",
            "template": "none",
        },
        "hub": "owner/name",
        "loss": {"lambda": 1.0},
    }
    target = RunFolder(tmp_path / "runs" / "w", str(tmp_path / "runs" / "w"), resumed=True)
    text = results.model_card(parts(model, config=config), target, outcome())
    shown = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert shown == {
        "name": None,
        "runs_dir": "runs",
        "model": {"path": "models/llama", "lora": {"r": 4}},
        "datamodule": {
            "path": "lists.jsonl",
            "sources": [{"path": f"{tmp_path.name}/a.jsonl", "rank_by": "score"}],
            "cache_dir": "cache",
            "val_path": "data/val.jsonl",
            "template": "none",
        },
        "hub": "owner/name",
        "loss": {"lambda": 1.0},
    }
    assert "\n# runs/w\n" in text and "- starting model: `models/llama`, fingerprint `f00d`" in text
    for private in (str(tmp_path), "ann", "bob", "carl"):
        assert private not in text


def test_the_card_holds_the_figures_and_then_the_tasks(tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "w", "w")
    text = results.model_card(parts(tmp_path), target, outcome())
    assert results.held_out_table(outcome()) in text and "task_accuracy" not in text
    assert "| figure | value |\n| --- | ---: |\n| perf/tokens_per_second | 9059 |\n| train/loss | 4.234 |\n\n" in text
    assert "train/pair_accuracy" not in text  # a single step's, with neither interval nor baselines
    measured = outcome(tasks=(result(0.25, 0.1), result(0.5, 0.2)))
    written = results.model_card(parts(tmp_path), target, measured)
    assert "| greedy accuracy, 120 tasks (`val/task_accuracy`) | 0.250 | 0.500 | | | |" in written
    assert measured.metrics()["val/task_accuracy"] == 0.5


def test_the_card_names_the_starting_model(tmp_path: Path) -> None:
    run = tmp_path / "first" / "model"
    run.mkdir(parents=True)
    (tmp_path / "first" / "run.json").write_text("{}")
    hub = SimpleNamespace(source="owner/name", revision="v1", on_hub=True, fingerprint="f00d")
    target = RunFolder(tmp_path / "w", "w")
    assert "`first/model`" in results.model_card(parts(run), target, outcome())
    assert "`owner/name@v1`" in results.model_card(parts(run, resolved=hub), target, outcome())


def test_the_figure_draws_what_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    (tmp_path / "metrics.csv").write_text(
        "step,train/loss,train/pair_accuracy,val/loss,val/pair_accuracy\n0,,,6.2,0.22\n1,5.0,0.6,,\n2,4.0,0.7,6.1,0.36\n"
    )
    target = RunFolder(tmp_path, "w")
    target.update(baselines=BASELINES, before=BEFORE, after=AFTER)
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    path = results.draw_curves(target)
    assert path is not None and path.stat().st_size > 1000
    loss, accuracy = pyplot.gcf().axes
    dotted = {
        line.get_label(): np.asarray(line.get_ydata()).tolist()
        for line in accuracy.lines
        if line.get_linestyle() == ":"
    }
    assert dotted == {"length-only": [0.4093] * 2, "chance": [0.4951] * 2}
    assert not [line for line in loss.lines if line.get_linestyle() == ":"]
    bars = [[tuple(map(float, point)) for point in bar.get_segments()[0]] for bar in accuracy.collections]  # type: ignore[attr-defined]
    assert bars == [[(0.0, 0.0317), (0.0, 0.4348)], [(2.0, 0.0952), (2.0, 0.6349)]]
    monkeypatch.undo()
    pyplot.close("all")
