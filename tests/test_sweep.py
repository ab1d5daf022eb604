"""python train.py -m as it is typed: a failing job, a SIGKILL in the middle, the same command again; sharded jobs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.kills import finish, kill_when, start, steps_run
from tests.training.make import overrides, write_lists, write_model
from tuna.entry import main
from tuna.programs import TRAIN


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("data") / "lists.jsonl")


def jobs(sweep: Path) -> list[dict[str, Any]]:
    """The rows of sweep.json."""
    return list(json.loads((sweep / "sweep.json").read_text())["jobs"])


def test_after_a_failure_and_a_kill_only_what_was_missing_runs(llama: Path, lists: Path, tmp_path: Path) -> None:
    args = ["-m", *overrides(llama, lists, tmp_path / "runs", name="sweep", datamodule__max_length="128,129,127,126")]
    sweep = tmp_path / "runs" / "sweep"
    assert kill_when(args, lambda: (sweep / "2" / "checkpoints" / "step-6").exists())
    assert [job["status"] for job in jobs(sweep)] == ["pending"] * 4  # it was written before the first job ran
    assert (steps_run(sweep / "0"), (sweep / "3" / "run.json").exists()) == (12, False)
    first = (sweep / "0" / "run.json").read_text()

    process = start(args)
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 1, said
    assert "1 of 4 jobs are finished already" in said
    assert "job 2 (datamodule.max_length=127) did not end; it runs again" in said
    assert "error: job 1 (datamodule.max_length=129): datamodule.max_length: expected at most 128" in said
    assert "resumed at step" in said and "3 of 4 jobs are finished" in said
    assert (sweep / "0" / "run.json").read_text() == first and steps_run(sweep / "0") == 12
    assert (
        12 <= steps_run(sweep / "2") <= 15 and steps_run(sweep / "3") == 12
    )  # a kill costs checkpoint_every=3 at most
    rows = jobs(sweep)
    assert [(row["swept"], row["status"]) for row in rows] == [
        (["datamodule.max_length=128"], "finished"),
        (["datamodule.max_length=129"], "failed"),
        (["datamodule.max_length=127"], "finished"),
        (["datamodule.max_length=126"], "finished"),
    ]
    for number in (0, 2, 3):
        run = json.loads((sweep / str(number) / "run.json").read_text())
        assert (run["status"], run["name"]) == ("finished", f"sweep/{number}")
        assert rows[number]["metrics"]["val/loss"] == run["metrics"]["val/loss"]
        assert run["config"]["datamodule"]["max_length"] == int(rows[number]["swept"][0].partition("=")[2])


def test_jobs_that_shard_over_processes_start_no_sweep_of_their_own(llama: Path, lists: Path, tmp_path: Path) -> None:
    sharded = {
        "trainer": "fsdp", "trainer__accelerator": "cpu", "trainer__devices": 2, "trainer__precision": "32-true",
        "trainer__max_steps": 2,
    }  # fmt: skip
    args = ["-m", *overrides(llama, lists, tmp_path / "runs", name="sweep", seed="0,1", **sharded)]
    said = finish(args)
    assert said.count("2 of 2 jobs are finished:") == 1 and said.count("step 2/2") == 2
    sweep = tmp_path / "runs" / "sweep"
    assert sorted(path.parent.name for path in sweep.glob("*/model")) == ["0", "1"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["cache", "sweep"]
    assert "step 2/2" not in finish(args)  # both are done


def test_a_folder_that_cannot_be_made_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as stopped:
        main(TRAIN, ["-m", "seed=0,1", "name=sweep", f"runs_dir={tmp_path}/file/runs"])
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and "sweep: cannot write to it (Not a directory); choose" in said
    assert "Traceback" not in said
