"""tuna.training.summary and progress: tables, card, figure and log lines from hand-made figures."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tuna.assets.elementary import ElementaryResult
from tuna.config import checks
from tuna.config.commands import ROOT
from tuna.config.compose import compose
from tuna.modules.scoring import ScoringModule
from tuna.runs import RunFolder
from tuna.training import card, curves, samples, summary
from tuna.training.outcome import Outcome
from tuna.training.progress import Progress

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
        "resolved": resolved,
        "data": SimpleNamespace(
            report=SimpleNamespace(to_dict=lambda: {"train_lists": 31, "held_out_lists": 9}),
            sha256="beef",
            settings=SimpleNamespace(batch_size=8),
        ),
        "module": SimpleNamespace(lr=1e-3, answers=True),
        "template": "none",
        "total_steps": 12,
        "config": {"model": {"path": str(source)}, "loss": {"lambda": 1.0}},
    }
    return SimpleNamespace(**(values | changes))


def test_the_held_out_table() -> None:
    assert card.held_out_table(outcome()) == HEAD + (
        "| held-out pair accuracy (`val/pair_accuracy`) | 0.221 | 0.363 | 0.10-0.63 | 0.409 | 0.495 |\n"
        "| held-out loss (`val/loss`) | 6.2771 | 6.1771 | | | |\n"
        "| cross-entropy part (`val/loss_ce`) | 4.5000 | 4.2500 | | | |"
    )


def test_the_held_out_table_with_tasks_and_without_what_was_not_measured() -> None:
    nan = {"length": {"mean": float("nan")}, "random": {"mean": None}}
    only = outcome(before=None, after={"pair_accuracy": 0.5}, baselines=nan)
    table = card.held_out_table(only.with_tasks(result(0.25, 0.1), result(0.5, 0.2)))
    assert table == HEAD + (
        "| held-out pair accuracy (`val/pair_accuracy`) | - | 0.500 | - | - | - |\n"
        "| greedy accuracy, 120 tasks (`val/task_accuracy`) | 0.250 | 0.500 | | | |\n"
        "| open-ended mark (`val/open_ended_mark`) | 0.100 | 0.200 | | | |"
    )
    assert card.held_out_table(Outcome(None, None)) == "Nothing was held out, so nothing was measured."


def test_the_last_lines(tmp_path: Path) -> None:
    target = RunFolder(tmp_path / "w", "w")
    lines = summary.last_lines(compose([]), parts(tmp_path), target, outcome(), None)
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
    alone = summary.last_lines(compose([]), parts(tmp_path), target, outcome(before=None), None)
    assert "  95% interval                       - 0.10-0.63" in alone
    nothing = summary.last_lines(compose([]), parts(tmp_path), target, Outcome(None, None), None)
    assert nothing[1].startswith("nothing was held out")


@pytest.mark.parametrize("stage", ["sft", "alpaca_mul", "tuna_c", "tuna_p", "mix_tuna", "prm"])
@pytest.mark.parametrize("val_path", [None, "my val.jsonl"])
def test_the_next_command_after_a_real_model_is_no_toy(stage: str, val_path: str | None, tmp_path: Path) -> None:
    held_out = [] if val_path is None else [f"datamodule.val_path={val_path}"]
    cfg = compose([f"stage={stage}", "model.path=/m", "model.template=alpaca", "datamodule.path=a", *held_out])
    found = summary.next_command(cfg, Path("my runs/a"), answers=stage != "prm")
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
    assert summary.next_command(compose(words), Path("runs/a"), answers=True) is None


@pytest.mark.parametrize("stage", ["sft", "tuna_c", "prm"])
def test_the_embedded_models_have_the_embedded_questions(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = summary.next_command(compose([f"stage={stage}"]), Path("runs/a"), answers=stage != "prm")
    assert found in ("python evaluate.py model.path=runs/a", "python rank.py ranker=proxy ranker.path=runs/a")


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
    text = card.model_card(compose(["stage=tuna_c"]), parts(model, config=config), target, outcome())
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
    assert "\n# runs/w\n" in text and "- starting model: `llama`, fingerprint `f00d`" in text
    for private in (str(tmp_path), "ann", "bob", "carl"):
        assert private not in text


def test_the_card_holds_the_figures_and_then_the_tasks(tmp_path: Path) -> None:
    cfg, target = compose(["stage=tuna_c"]), RunFolder(tmp_path / "w", "w")
    text = card.model_card(cfg, parts(tmp_path), target, outcome())
    assert card.held_out_table(outcome()) in text and "task_accuracy" not in text
    assert "| figure | value |\n| --- | ---: |\n| perf/tokens_per_second | 9059 |\n| train/loss | 4.234 |\n\n" in text
    assert "train/pair_accuracy" not in text  # a single step's, with neither interval nor baselines
    target.model.mkdir(parents=True)
    (target.model / "README.md").write_text(text)
    measured = outcome().with_tasks(result(0.25, 0.1), result(0.5, 0.2))
    card.rewrite_card(target, card.model_card(cfg, parts(tmp_path), target, measured))
    written = (target.model / "README.md").read_text()
    assert "| greedy accuracy, 120 tasks (`val/task_accuracy`) | 0.250 | 0.500 | | | |" in written
    assert [path.name for path in target.model.iterdir()] == ["README.md"]
    assert measured.metrics()["val/task_accuracy"] == 0.5


def test_the_card_names_the_starting_model(tmp_path: Path) -> None:
    run = tmp_path / "first" / "model"
    run.mkdir(parents=True)
    (tmp_path / "first" / "run.json").write_text("{}")
    hub = SimpleNamespace(source="owner/name", revision="v1", on_hub=True, fingerprint="f00d")
    cfg, target = compose([]), RunFolder(tmp_path / "w", "w")
    assert "`first/model`" in card.model_card(cfg, parts(run), target, outcome())
    assert "`owner/name@v1`" in card.model_card(cfg, parts(run, resolved=hub), target, outcome())


class Answered(tuple[Any, ...]):
    answers = ()


def test_tasks_are_measured_on_the_weights_that_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    from tuna.inference import generate
    from tuna.models import loading

    loaded: list[tuple[str, str, bool]] = []

    def loader(kind: str) -> Any:
        def load(folder: Path, *, trust_remote_code: bool, **rest: Any) -> Any:
            loaded.append((kind, str(folder), trust_remote_code))
            return SimpleNamespace(eval=lambda: folder, chat_template=None)

        return SimpleNamespace(from_pretrained=load)

    monkeypatch.setattr(transformers, "AutoModelForCausalLM", loader("model"))
    monkeypatch.setattr(transformers, "AutoTokenizer", loader("tokenizer"))
    answered = lambda model, tokenizer, records, template: Answered((model, template))  # noqa: E731
    monkeypatch.setattr(generate, "measure_elementary", answered)
    monkeypatch.setattr(samples, "write", lambda target, records, before, after: None)
    monkeypatch.setattr(loading, "grow", lambda model, rows: None)
    target = RunFolder(tmp_path / "w", "w")
    start = tmp_path / "snapshot"
    resolved = SimpleNamespace(source="owner/name", weights_folder=start)
    built = SimpleNamespace(resolved=resolved, model=SimpleNamespace(trust_remote_code=True, rows=64), template="none")
    assert summary.measure_tasks(built, target) == ((start, "none"), (target.model, "none"))
    assert loaded == [
        (kind, str(folder), True) for folder in (start, target.model) for kind in ("model", "tokenizer")
    ]  # fmt: skip


def test_the_figure_draws_what_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    (tmp_path / "metrics.csv").write_text(
        "step,train/loss,train/pair_accuracy,val/loss,val/pair_accuracy\n0,,,6.2,0.22\n1,5.0,0.6,,\n2,4.0,0.7,6.1,0.36\n"
    )
    target = RunFolder(tmp_path, "w")
    target.update(baselines=BASELINES, before=BEFORE, after=AFTER)
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    path = curves.draw(target)
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
    logger = SimpleNamespace(log_metrics=lambda figures, step: rows.append(figures))
    trainer: Any = SimpleNamespace(global_step=0, accumulate_grad_batches=2, loggers=[logger])
    module: Any = ScoringModule()
    module.loss = None
    progress = Progress(every=1, start_step=0, total_steps=2)
    progress.on_train_start(trainer, module)
    for batch in range(4):
        clock.now += 100  # data, validation, the checkpoint of the step before
        progress.on_train_batch_start(trainer, module, None, batch)
        clock.now += 2
        module.train_meter.tokens = {"real": 40 * (batch % 2 + 1), "padded": 100, "response": 10}
        trainer.global_step = (batch + 1) // 2
        progress.on_train_batch_end(trainer, module, None, None, batch)
    assert [row["perf/tokens_per_second"] for row in rows] == [20.0, 20.0]


def test_held_out_lines_show_what_accuracy_is_read_against(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("tuna.training.progress.log", SimpleNamespace(info=said.append))
    figures = {"val/loss": 2.0, "val/pair_accuracy": 0.5}
    state = SimpleNamespace(fn="fit")
    trainer: Any = SimpleNamespace(state=state, global_step=4, callback_metrics=figures, loggers=[])
    module: Any = ScoringModule()
    module.val_meter.last_lists = {"pair_accuracy": [0.5, 0.5]}
    Progress(every=1, start_step=0, total_steps=12, baselines=BASELINES).on_validation_end(trainer, module)
    Progress(every=1, start_step=0, total_steps=12).on_validation_end(trainer, module)
    assert said == [
        "step 4/12  held-out: loss 2.0000  pair_accuracy 0.5000 (95% 0.50-0.50, length-only 0.409, chance 0.495)",
        "step 4/12  held-out: loss 2.0000  pair_accuracy 0.5000",
    ]
