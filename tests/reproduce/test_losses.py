"""The comparison of losses: written out, settings chosen by what measured them, on programs that leave figures."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.reproduce.test_run import PROGRAM
from tuna.config.compose import compose
from tuna.errors import ConfigError, DataError, RunError
from tuna.reporting.losses import read_losses
from tuna.reproduce import run as pipeline
from tuna.reproduce.losses import best_settings, write_out
from tuna.runs import write_json

# A sweep's runs, each with its settings and its seed; results whose figure is the sum of a run's numbers.
SWEEPS = """
if "-m" in sys.argv:
    import itertools
    swept = [[f"{key}={v}" for v in value.split(",")] for key, value in words.items() if "," in value]
    for number, own in enumerate(itertools.product(*swept)):
        job = place / str(number)
        job.mkdir(parents=True, exist_ok=True)
        known = {"job": number, "identity": str(number), "swept": own, "status": "finished"}
        (job / "job.json").write_text(json.dumps(known))
        fixed = {key: float(value) for key, value in words.items() if key in ("lr", "beta") and "," not in value}
        numbers = fixed | {w.partition("=")[0]: float(w.partition("=")[2]) for w in own}
        (job / "run.json").write_text(json.dumps({"config": {
            "seed": int(numbers["seed"]), "loss": {"beta": numbers["beta"]}, "module": {"lr": numbers["lr"]}}}))
"""
MEASURES = """
import json, pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
place = pathlib.Path(words["folder"])
for number, run in enumerate(words["model.path"].split(",")):
    config = json.loads((pathlib.Path(run) / "run.json").read_text())["config"] if run != "tiny" else None
    figure = 0.25 if config is None else config["loss"]["beta"] + config["module"]["lr"] + config["seed"] / 100
    folder = place / "elementary" / f"m{number}"
    folder.mkdir(parents=True, exist_ok=True)
    marks = {"0": figure - 0.1, "1": figure + 0.1}
    rows = [{"task": "t", "id": k, "prediction": "a b", "scores": {"balanced": mark}} for k, mark in marks.items()]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
    (folder / "results.json").write_text(json.dumps({"benchmark": "elementary", "scores": {"balanced": figure},
        "primary": "balanced", "status": "finished", "model": {"run": run if config else None, "name": "m"}}))
"""
LOSSES = {
    "name": "losses", "choosing": [0, 1], "measuring": [7, 8, 9], "baseline": "dpo", "start": "start_marked",
    "size": 4, "sizes": [2], "sizes_of": ["dpo"],
    "contrasts": [{"says": "b over a", "of": {"ipo": 1, "dpo": -1}, "expected": "above"}],
    "losses": {"dpo": "lr=0.1,0.3 beta=0.2", "ipo": "lr=0.1 beta=0.2,0.4"},
    "steps": {"start_marked": "evaluate.py model.path={start}", "report": "report.py losses={book}"},
    "each_loss": {
        "tried": "train.py -m loss={loss} {grid} seed={choosing}",
        "tried_marked": "evaluate.py -m model.path={jobs:tried}",
        "chosen": "train.py -m loss={loss} {fixed} {best:tried_marked} seed={measuring}",
        "marked": "evaluate.py -m model.path={jobs:chosen}",
    },
    "each_size": {
        "at": "train.py -m loss={loss} {fixed} {best:tried_marked} seed={measuring}",
        "marked_at": "evaluate.py -m model.path={jobs:at}",
    },
}  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rank.py", "report.py"):
        (tmp_path / name).write_text(PROGRAM)
    (tmp_path / "train.py").write_text(PROGRAM + SWEEPS)
    (tmp_path / "evaluate.py").write_text(MEASURES)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    monkeypatch.setattr("tuna.console.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)


def reproduce(**settings: object) -> dict[str, float]:
    cfg = {"sizes": {"name": "x", "start": "tiny"}, "pipeline": LOSSES, "jobs": 2}
    return pipeline.run(OmegaConf.create(cfg | settings))


def test_settings_are_chosen_by_some_results_and_measured_by_others(
    programs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce()["steps"] == 12
    said = capsys.readouterr().out
    assert "s0-chosen_dpo: python train.py -m loss=dpo beta=0.2 lr=0.3 seed=7,8,9" in said
    assert "s0-chosen_ipo: python train.py -m loss=ipo lr=0.1 beta=0.4 seed=7,8,9" in said
    runs = "reproduce/x-losses/runs/s0-chosen_dpo"
    assert f"s0-marked_dpo: python evaluate.py -m model.path={runs}/0,{runs}/1,{runs}/2 seed=0" in said
    found = read_losses(Path("reproduce/x-losses/losses.json"))
    assert sorted(found.lines["dpo"].marks) == [7, 8, 9] and found.figure == "balanced"
    assert found.lines["dpo"].settings == "lr=0.3 loss.beta=0.2"
    assert found.sizes == {"dpo": {4: "dpo", 2: "dpo@2"}} and found.start.scores == {"balanced": [0.25]}
    reproduce()
    assert "12 done before" in capsys.readouterr().out


def test_what_is_not_known_yet_stands_in_the_command(programs: None, capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(dry_run=True)
    said = capsys.readouterr().out
    assert "'<best:reproduce/x-losses/results/s0-tried_marked_dpo>' seed=7,8,9" in said
    assert "'model.path=<jobs:reproduce/x-losses/runs/s0-at_dpo_2>'" in said


def test_the_best_settings_are_those_of_the_highest_mean_over_seeds(tmp_path: Path) -> None:
    figures = {("a=1", "seed=0"): 0.9, ("a=1", "seed=1"): 0.1, ("seed=0", "a=2"): 0.6, ("a=2", "seed=1"): 0.5}
    for number, (swept, figure) in enumerate(figures.items()):
        run = tmp_path / "sweep" / str(number)
        run.mkdir(parents=True)
        write_json(run / "job.json", {"job": number, "identity": "", "swept": list(swept), "status": "finished"})
        result = {"scores": {"nll": figure}, "primary": "nll", "model": {"run": str(run)}}
        for name, more in (("high", {}), ("low", {"lower_is_better": ["nll"]})):
            place = tmp_path / name / "b" / str(number)
            place.mkdir(parents=True)
            write_json(place / "results.json", result | more)
    assert best_settings(tmp_path / "high") == ["a=2"]
    assert best_settings(tmp_path / "low") == ["a=1"]
    with pytest.raises(RunError, match=r"nothing: expected results of the jobs of a sweep, there are none"):
        best_settings(tmp_path / "nothing")


def test_seeds_are_the_pipelines_own(programs: None) -> None:
    with pytest.raises(ConfigError, match=r"seeds: .* pipeline.choosing=.*, pipeline.measuring="):
        reproduce(seeds=2)


def test_every_loss_is_in_the_comparison() -> None:
    composed: Any = OmegaConf.to_container(compose(["pipeline=losses"], config_name="reproduce").pipeline)
    names = {path.stem for path in Path("conf/loss").glob("*.yaml")} - {"mix"}
    assert set(composed["losses"]) == names
    steps = write_out(composed)
    assert len(steps) == len(composed["steps"]) + 4 * len(names) + 2 * 3 * 4
    terms = itertools.chain(*(contrast["of"] for contrast in composed["contrasts"]))
    known = {*names, *(f"{loss}@{size}" for loss in composed["sizes_of"] for size in composed["sizes"])}
    assert set(terms) <= known


def test_a_book_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps({"losses": {}}))
    with pytest.raises(DataError, match=r"baseline: missing \(reproduce.py pipeline=losses writes it\)"):
        read_losses(tmp_path / "b.json")
