"""Rounds: written out, ended when the measure falls, taken up again; and the real commands at the smallest sizes."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.reproduce.test_run import PROGRAM, calls
from tuna.config.compose import compose
from tuna.data.files import read_rows
from tuna.entry import main
from tuna.errors import ConfigError, RunError
from tuna.inference.elementary import held_out_records
from tuna.programs import EVALUATE, RANK, REPORT, TRAIN
from tuna.ranking.tools import run_tool
from tuna.reporting.rounds import read_rounds
from tuna.reproduce import run as pipeline
from tuna.reproduce.plan import Step
from tuna.reproduce.rounds import write_out

MEASURES = """
figures = json.loads(os.environ["FIGURES"])
place = pathlib.Path(words["folder"])
with open("calls.txt", "a") as calls:
    calls.write(place.name + "\\n")
result = place / "elementary" / "m" / "results.json"
result.parent.mkdir(parents=True, exist_ok=True)
score = figures.get(place.name.partition("-")[2])
result.write_text(json.dumps({"scores": {"accuracy": score}, "primary": "accuracy", "status": "finished"}))
"""
ROUNDS = {
    "name": "rounds",
    "rounds": 3,
    "each_round": {
        "lists": "rank.py model.path={current} input=i first={until} last={rest} {judge}",
        "tuned": "train.py model.path={current} datamodule.path={lists}",
        "measured": "evaluate.py {benchmark} model.path={tuned}",
    },
    "current": "tuned",
    "measure": ["start_measured", "measured"],
    "steps": {
        "start_measured": "evaluate.py {benchmark} model.path={start}",
        "other": "rank.py model.path={start}",
        "report": "report.py rounds={book}",
    },
    "once": ["start_measured"],
    "rows": {"Start": [None, "start_measured"], "Round {round}": ["tuned", "measured"]},
}
SIZES = {"name": "x", "start": "tiny", "all": 5, "first": 2, "judge": "judge=checker", "benchmark": ""}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train.py", "rank.py", "report.py"):
        (tmp_path / name).write_text(PROGRAM)
    (tmp_path / "evaluate.py").write_text("\n".join(PROGRAM.splitlines()[:2]) + MEASURES)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    monkeypatch.setattr("tuna.console.CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIGURES", '{"start_measured": 0.5, "measured_1": 0.6, "measured_2": 0.55, "measured_3": 0.7}')


def reproduce(**settings: object) -> dict[str, float]:
    return pipeline.run(OmegaConf.create({"sizes": SIZES, "pipeline": ROUNDS, "jobs": 2} | settings))


def test_they_end_when_the_measure_falls_and_go_on_with_more_patience(
    programs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce(seeds=2)
    said = capsys.readouterr().out
    assert "s1: round 2 measured 0.55, after round 1 (0.6; 0 is the start): no further round" in said
    assert "result of seed 0: Round 1, 0.6: reproduce/x-rounds/runs/s0-tuned_1" in said
    called = calls()
    assert called.count("s0-start_measured") == 1 and "s1-start_measured" not in called
    assert "s1-tuned_2" in called and not [name for name in called if name.endswith("_3")]
    assert called[-1] == "report" and "s0-other.jsonl" in called
    book = json.loads(Path("reproduce/x-rounds/rounds.json").read_text())
    assert [(r["name"], r["seed"], r["measured"]) for r in book["rows"]][4:6] == [
        ("Start", 1, ["results/s0-start_measured"]), ("Round 1", 1, ["results/s1-measured_1"])
    ]  # fmt: skip
    reproduce(seeds=2)
    assert not Path("calls.txt").exists()  # nothing is done twice, and what was not needed is still not needed
    capsys.readouterr()
    reproduce(seeds=2, rounds_patience=2)
    assert set(calls()) == {
        *(f"s{s}-{name}" for s in (0, 1) for name in ("lists_3.jsonl", "tuned_3", "measured_3")),
        "report",
    }
    assert "result of seed 1: Round 3, 0.7" in capsys.readouterr().out


def test_a_step_that_fails_is_named_with_the_command_to_go_on(
    programs: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "_typed", lambda: ["pipeline=rounds", "rounds=2", "judge=openai", "judge.model=m"])
    monkeypatch.setenv("FAILS", "s0-lists_2.jsonl")
    with pytest.raises(RunError, match=r"1 of 9 steps failed \(s0-lists_2\).*rounds=2 judge=openai judge.model=m"):
        reproduce(rounds=2)
    said = capsys.readouterr()
    assert "it broke: s0-lists_2.jsonl" in said.err and "judge=openai judge.model=m seed=0" in said.out
    monkeypatch.setenv("FAILS", "")
    calls()
    reproduce(rounds=2)
    assert calls() == ["s0-lists_2.jsonl", "s0-tuned_2", "s0-measured_2", "report"]


def test_a_measure_without_a_figure_is_told(programs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIGURES", "{}")
    with pytest.raises(RunError, match=r"s0-start_measured: expected a result with a figure .*; next: move"):
        reproduce()


def test_the_instructions_begin_again_when_they_are_used_up() -> None:
    steps = write_out(ROUNDS, SIZES, 4).steps
    assert ["first=4 last=3" in steps[f"lists_{n}"] for n in (1, 2, 3, 4)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rounds": 0}, "rounds: expected 1 or more"),
        ({"sizes": SIZES | {"first": "all"}}, "sizes.first: expected a whole number of instructions, got 'all'"),
        ({"pipeline": ROUNDS | {"current": "tunde"}}, "pipeline.current: tunde is no step .* did you mean tuned?"),
        ({"pipeline": {"steps": {"a": "report.py"}, "systems": []}, "rounds": 2}, "next: .* pipeline=rounds"),
    ],
)
def test_wrong_settings(changed: dict[str, object], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told):
        reproduce(**changed)
    assert not Path("reproduce").exists()


def test_killed_after_any_step_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[str] = []

    def execute(self: pipeline._Run, step: Step, words: Sequence[str]) -> tuple[int, float]:
        ran.append(step.name)
        result = step.makes / "elementary" / "m" / "results.json" if step.words[0] == "evaluate.py" else step.makes
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps({"scores": {"accuracy": 0.5}, "primary": "accuracy", "status": "finished"}))
        return 0, 0.0

    def note_nothing(self: pipeline._Run, step: Step, status: str, seconds: float, whole: bool) -> None:
        raise KeyboardInterrupt  # as a kill: the step is done, and nobody knows

    note = pipeline._Run._note
    monkeypatch.setattr(pipeline._Run, "_execute", execute)
    done: list[str] = []
    for number in range(1, 10):
        monkeypatch.setattr(pipeline._Run, "_note", note_nothing)
        with pytest.raises(KeyboardInterrupt):
            reproduce(rounds=2, jobs=1)
        monkeypatch.setattr(pipeline._Run, "_note", note)
        again = reproduce(rounds=2, jobs=1, only=[ran[-1]])  # the step that was killed, by the same command
        assert again["steps"] <= number and ran[-1] == ran[-2] and ran[-1] not in done
        done.append(ran[-1])
    ran.clear()
    assert reproduce(rounds=2, jobs=1)["steps"] == 9 and len({*done}) == 9 and not ran


def in_process(self: pipeline._Run, step: Step, typed: Sequence[str]) -> tuple[int, float]:
    """The step's command as it is typed, without the seconds of a new process."""
    program, *words = typed
    begin = time.monotonic()
    try:
        if words[0] == "best":
            run_tool(words)
        else:
            main({"train.py": TRAIN, "rank.py": RANK, "evaluate.py": EVALUATE, "report.py": REPORT}[program], words)
    except SystemExit as stopped:
        return int(str(stopped.code)), time.monotonic() - begin
    return 0, time.monotonic() - begin


def test_the_real_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline._Run, "_execute", in_process)
    monkeypatch.setattr(sys, "argv", ["a program"])
    for name, count in (("questions", 4), ("instructions", 16)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out_records()[:count]))
    sizes = {
        "first": "8", "all": "16", "instructions": "instructions.jsonl", "questions": "questions.jsonl",
        "train": "scale=tiny evaluate=false debug=short", "sample": "sampler.max_tokens=8 sampler.trials=0",
        "of_round": "datamodule.batch_size=4 logger=none", "of_sft": "datamodule.batch_size=4 logger=none",
        "of_nll": "limit=4", "held_out_c": "datamodule.held_out=0", "held_out_alpaca": "datamodule.held_out=0",
        "benchmark": "benchmark=elementary limit=4 benchmark.max_tokens=8",
    }  # fmt: skip
    words = ["pipeline=rounds", "rounds=2", "rounds_patience=2", "jobs=1", "only=[measured_2,best_of_n,sft]"]
    words += [f"sizes.{key}={value}" if value.isdigit() else f'sizes.{key}="{value}"' for key, value in sizes.items()]
    pipeline.run(compose(words, config_name="reproduce"))
    assert "result of seed 0: " in capsys.readouterr().out
    rounds = read_rounds(Path("reproduce/tiny-rounds/rounds.json"))
    assert [line.name for line in rounds.lines] == ["Start", "Round 1", "Round 2", "Best of N answers"]
    assert rounds.names == ["accuracy", "open_ended", "words per answer"]
    rows = [row.value for row in read_rows("reproduce/tiny-rounds/rankings/s0-best.jsonl").rows]
    assert len(rows) == 8 and all("responses" not in row and row["best_of"] == 4 for row in rows)
