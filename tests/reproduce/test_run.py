"""The pipeline at work, on programs that only write what they are told to: once each, in order, whatever fails."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tuna.config.arguments import read_command_line
from tuna.config.compose import CONF, run_composed
from tuna.config.overrides import check_command_line
from tuna.console import typed
from tuna.errors import ConfigError, RunError
from tuna.reproduce import run as pipeline
from tuna.runs import RunFolder

PROGRAM = """import json, os, pathlib, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
place = pathlib.Path(words.get("output") or pathlib.Path(words["runs_dir"]) / words["name"])
with open("calls.txt", "a") as calls:
    calls.write(place.name + "\\n")
for need in words.get("model.path", "").split(","):
    assert need in ("tiny", "") or pathlib.Path(need).exists(), need
time.sleep(float(os.environ.get("SLOW", 0)))
if place.name in os.environ.get("REFUSES", "").split():
    sys.exit(5)
if place.name in os.environ.get("FAILS", "").split():
    sys.exit("it broke: " + place.name)
if place.suffix:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("[]")
else:
    place.mkdir(parents=True, exist_ok=True)
"""
STEPS = {
    "base": "train.py model.path={start}",
    "lists": "rank.py model.path={base}",
    "tuned": "train.py model.path={base} datamodule.path={lists}",
    "other": "train.py model.path={base}",
    "report": "report.py",
}


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train.py", "rank.py", "report.py"):
        (tmp_path / name).write_text(PROGRAM)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    monkeypatch.setattr("tuna.console.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)


def reproduce(**settings: object) -> dict[str, float]:
    cfg = {"sizes": {"name": "x", "start": "tiny"}, "pipeline": {"steps": STEPS, "systems": []}, "jobs": 2}
    return pipeline.run(OmegaConf.create(cfg | settings))


def calls() -> list[str]:
    found = Path("calls.txt").read_text().split()
    Path("calls.txt").unlink()
    return found


def test_each_step_once_and_then_never_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(seeds=2)["steps"] == 9
    assert sorted(calls()) == sorted(
        [f"s{s}-{name}" for s in (0, 1) for name in ("base", "lists.jsonl", "tuned", "other")] + ["report"]
    )
    said = capsys.readouterr().out
    assert "s0-base: python train.py model.path=tiny seed=0 name=s0-base" in said and "9/9, about 0 s left" in said
    reproduce(seeds=2)
    assert not Path("calls.txt").exists()
    assert "9 done before" in capsys.readouterr().out
    reproduce(seeds=3)
    assert sorted(calls()) == ["report", "s2-base", "s2-lists.jsonl", "s2-other", "s2-tuned"]


def test_a_failed_step_ends_only_what_needs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAILS", "s0-lists.jsonl")
    with pytest.raises(RunError, match=r"1 of 5 steps failed \(s0-lists\), 2 that need them"):
        reproduce()
    assert sorted(calls()) == ["s0-base", "s0-lists.jsonl", "s0-other"]
    assert "it broke: s0-lists.jsonl" in capsys.readouterr().err
    state = json.loads(Path("reproduce/x/steps.json").read_text())
    assert state["s0-lists"]["status"] == "failed" and state["s0-other"]["status"] == "finished"
    monkeypatch.setenv("FAILS", "")
    reproduce()
    assert sorted(calls()) == ["report", "s0-lists.jsonl", "s0-tuned"]


def test_the_command_that_goes_on_has_the_folder_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Path("my own")
    (mine / "pipeline").mkdir(parents=True)
    (mine / "pipeline" / "few.yaml").write_text(json.dumps({"name": "few", "steps": STEPS, "systems": []}))
    monkeypatch.setenv("FAILS", "s0-base")
    line = read_command_line(["--config-dir", "my own", "pipeline=few", "jobs=1"])
    cfg = check_command_line(line, config_dir=CONF, config_name="reproduce")
    with pytest.raises(RunError) as failed:
        run_composed(cfg, pipeline.run, CONF)
    words = shlex.split(str(failed.value).partition("The same command runs what is missing: ")[2])
    assert words == [*typed("reproduce").split(), "--config-dir", str(mine.absolute()), "pipeline=few", "jobs=1"]


def test_another_command_or_a_lost_result_runs_again() -> None:
    reproduce()
    calls()
    Path("reproduce/x/rankings/s0-lists.jsonl").unlink()
    reproduce()
    assert calls() == ["s0-lists.jsonl", "s0-tuned", "report"]
    Path("reproduce/x/rankings/s0-lists.jsonl").write_text("[")  # cut: rank.py says what to do with it
    reproduce()
    assert calls() == ["s0-lists.jsonl", "s0-tuned", "report"]
    reproduce(sizes={"name": "x", "start": ""})
    assert sorted(calls()) == ["report", "s0-base", "s0-lists.jsonl", "s0-other", "s0-tuned"]


def test_what_stands_there_with_other_settings_is_left_to_a_person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce()
    monkeypatch.setenv("REFUSES", "s0-base")
    for _ in range(2):  # the second time the command is the same, and so is what is said
        with pytest.raises(RunError):
            reproduce(sizes={"name": "x", "start": ""})
        told = capsys.readouterr().err
        assert "reproduce/x/runs/s0-base was made with other settings or from other data" in told
        assert "move it away" in told
    assert Path("reproduce/x/runs/s0-base").exists()
    monkeypatch.setenv("REFUSES", "")
    monkeypatch.setenv("FAILS", "s0-base")
    with pytest.raises(RunError):
        reproduce(sizes={"name": "x", "start": ""})
    assert "move it away" not in capsys.readouterr().err


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with RunFolder(Path("reproduce/x"), "x").locked(), pytest.raises(RunError, match="another process is working"):
        reproduce()
    assert not Path("calls.txt").exists()


def test_only_some_steps_and_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(only=["s0-tuned"])
    assert sorted(calls()) == ["s0-base", "s0-lists.jsonl", "s0-tuned"]
    with pytest.raises(ConfigError, match="only: no such steps: tunad"):
        reproduce(only=["tunad"])


def test_a_dry_run_prints_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    reproduce(dry_run=True, seeds=2)
    assert len(capsys.readouterr().out.splitlines()) == 9 and not Path("reproduce").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_key_in_a_file_of_sizes_is_refused(dry_run: bool, capsys: pytest.CaptureFixture[str]) -> None:
    steps = STEPS | {"lists": "rank.py model.path={base} {judge}"}
    sizes = {"name": "x", "start": "tiny", "judge": "judge=openai judge.api_key=hunter2"}
    with pytest.raises(ConfigError, match=r"s0-lists: judge.api_key=<hidden>: a literal key") as refused:
        reproduce(sizes=sizes, pipeline={"steps": steps, "systems": []}, dry_run=dry_run)
    said = capsys.readouterr()
    assert "hunter2" not in str(refused.value) + said.out + said.err
    assert not Path("reproduce").exists() and not Path("calls.txt").exists()


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"jobs": 0}, {"jobs": "many"}, {"dry_run": "yes"}])
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        reproduce(**wrong)


def begun(tmp_path: Path, slow: float, **settings: object) -> subprocess.Popen[bytes]:
    """The pipeline in a process of its own, once its first step has made its result."""
    all_settings = {"sizes": {"name": "x", "start": "tiny"}, "pipeline": {"steps": STEPS, "systems": []}, **settings}
    code = (
        "import pathlib; from omegaconf import OmegaConf; from tuna.reproduce import run as pipeline\n"
        f"pipeline.ROOT = pathlib.Path({str(tmp_path)!r})\npipeline.run(OmegaConf.create({all_settings!r}))"
    )
    environment = os.environ | {"SLOW": str(slow), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=-1)
    end = time.monotonic() + 60
    while not Path("calls.txt").exists():
        assert time.monotonic() < end and process.poll() is None, "it never got anywhere"
        time.sleep(0.01)
    return process


def test_an_interrupt_ends_the_steps_at_work(tmp_path: Path) -> None:
    process = begun(tmp_path, 60.0, jobs=2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert calls() == ["s0-base"] and not Path("reproduce/x/runs/s0-base").exists()


@pytest.mark.parametrize("back", [-1e9, 1e9])
def test_a_clock_that_was_set_makes_nothing_done_or_undone(back: float, monkeypatch: pytest.MonkeyPatch) -> None:
    reproduce()
    calls()
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + back)
    Path("reproduce/x/rankings/s0-lists.jsonl").unlink()
    reproduce(only=["lists"])
    assert calls() == ["s0-lists.jsonl"]
    reproduce()
    assert calls() == ["s0-tuned", "report"]
    reproduce()
    assert not Path("calls.txt").exists()


def test_killed_and_run_again(tmp_path: Path) -> None:
    process = begun(tmp_path, 0.2, jobs=1)
    while not Path("reproduce/x/runs/s0-base").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.5)  # a step that was running ends by itself
    before = json.loads(Path("reproduce/x/steps.json").read_text()) if Path("reproduce/x/steps.json").exists() else {}
    calls()
    reproduce()
    assert len(calls()) == 5 - len(before) and Path("reproduce/x/report").exists()


def test_a_step_for_all_seeds_is_run_once() -> None:
    steps = {"base": "train.py model.path={start}", "tuned": "train.py model.path={base}"}
    reproduce(seeds=2, pipeline={"steps": steps, "systems": [], "once": ["base"]})
    assert sorted(calls()) == ["s0-base", "s0-tuned", "s1-tuned"]


def test_a_short_trial_is_another_folder(capsys: pytest.CaptureFixture[str]) -> None:
    steps = {"lists": "rank.py {limit} first={first} {few}"}
    sizes = {"name": "x", "first": 9, "limit": "", "few": ""}
    reproduce(pipeline={"steps": steps, "systems": []}, sizes=sizes, dry_run=True)
    assert "rank.py first=9 seed=0 output=reproduce/x/" in capsys.readouterr().out
    reproduce(pipeline={"steps": steps, "systems": []}, sizes=sizes, dry_run=True, limit=4)
    told = "rank.py limit=4 first=4 datamodule.first=4 seed=0 output=reproduce/x-limit4/"
    assert told in capsys.readouterr().out
    with pytest.raises(ConfigError, match="limit: no step of this pipeline takes it"):
        reproduce(limit=4)


def test_time_is_told_by_what_steps_took_where_they_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    minutes = {"base": 2, "lists": 1, "tuned": 1, "other": 1}
    of = {"name": "x", "start": "tiny", "minutes": minutes}
    reproduce(sizes=of, only=["base"])
    assert "about 2 min 0 s, as it was measured" in capsys.readouterr().out
    calls()
    reproduce(sizes=of, dry_run=True)
    assert "about 6 min 15 s, as it was measured" in capsys.readouterr().err  # the report's is the mean of the others
    state = Path("reproduce/x/steps.json")
    noted = json.loads(state.read_text())
    noted["s0-base"]["seconds"] = 60.0
    state.write_text(json.dumps(noted))
    reproduce(sizes=of, only=["base", "lists"])
    assert "about 30 s: 1 min 0 s where it was measured, times 0.5, as the steps done bef" in capsys.readouterr().out


def test_a_step_that_was_begun_before_says_nothing_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    of = {"name": "x", "start": "tiny", "minutes": {"base": 2, "lists": 1, "tuned": 1, "other": 1}}
    Path("reproduce/x/runs/s0-base").mkdir(parents=True)
    Path("reproduce/x/rankings/s0-lists.store").mkdir(parents=True)
    reproduce(sizes=of, only=["lists"], jobs=1)
    said = capsys.readouterr().out
    assert "s0-base: done in 0 s; 1/2\n" in said and "s0-lists: done in 0 s; 2/2\n" in said
    reproduce(sizes=of, jobs=1)
    said = capsys.readouterr().out
    assert "about 3 min 15 s, as it was measured" in said and "1/3, about" in said
