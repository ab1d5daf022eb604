"""A sweep as it is typed, and typed again."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins

from tests.sweeps.conftest import Type
from tuna.config.compose import CONF
from tuna.console import CHECKOUT, STARTED_AS, typed
from tuna.errors import ConfigError
from tuna.runs import RunFolder
from tuna.sweeps.launcher import check_optimized


def told(name: str) -> dict[str, Any]:
    """sweep.json, its jobs by number."""
    found: dict[str, Any] = json.loads(Path("runs", name, "sweep.json").read_text())
    return found | {"jobs": {job["job"]: job for job in found["jobs"]}}


def test_a_failed_job_lets_the_others_run_and_is_the_one_that_runs_again(sweep: Type) -> None:
    code, ran, said = sweep("seed=12,13,11", "name=s")
    assert (code, ran) == (1, ["s/0 12", "s/1 13", "s/2 11"])
    assert "error: job 1 (seed=13): seed: expected another\n       size: and another\n" in said
    assert "Traceback" not in said and "sweep   2 of 3 jobs are finished: runs/s/sweep.json" in said
    assert sorted(path.name for path in Path("runs/s").iterdir() if path.name[0] != ".") == [
        "0", "1", "2", "multirun.yaml", "sweep.json",
    ]  # fmt: skip
    jobs = told("s")["jobs"]
    assert [jobs[n]["status"] for n in range(3)] == ["finished", "failed", "finished"]
    assert (jobs[0]["metrics"], jobs[1]["error"]) == (
        {"loss": 1.5, "note": None},
        "seed: expected another\nsize: and another",
    )

    code, ran, said = sweep("seed=12,13,11", "name=s")
    assert (code, ran) == (1, ["s/1 13"])
    assert "sweep   2 of 3 jobs are finished already" in said
    assert "sweep   job 1 (seed=13) failed before; it runs again: seed: expected another" in said
    assert sweep("seed=12,11", "name=s")[:2] == (0, [])  # what was not asked for does not count
    assert told("s")["jobs"][1]["status"] == "failed" and not told("s")["jobs"][1]["asked"]


def test_a_job_keeps_its_number_whatever_the_sweep_becomes(sweep: Type) -> None:
    sweep("seed=1,2", "name=s")
    code, ran, said = sweep("seed=7,2,1", "name=s")
    assert (code, ran) == (0, ["s/2 7"])
    assert [line.split() for line in said.splitlines() if "finished  " in line] == [
        ["0", "seed=1", "finished", "0.1250"],
        ["1", "seed=2", "finished", "0.2500"],
        ["2", "seed=7", "finished", "0.8750"],
    ]
    # Another setting that is fixed makes other jobs, and an old folder is never taken for them.
    assert sweep("seed=1,2", "name=s", "thing.lambda=3")[:2] == (0, ["s/3 1", "s/4 2"])
    assert "3 jobs with other settings" in sweep("seed=1,2", "name=s", "thing.lambda=3")[2]
    assert sweep("seed=1,1", "thing.lambda=1.0,1.00", "name=t")[1] == ["t/0 1"]  # the same job four times


def test_a_bug_in_a_job_is_shown_and_counts_as_its_failure(sweep: Type) -> None:
    code, ran, said = sweep("seed=14,16,3", "name=s")
    assert (code, ran) == (1, ["s/0 14", "s/1 16", "s/2 3"])
    assert "Traceback" in said and "error: job 0 (seed=14): ZeroDivisionError: a bug" in said
    jobs = told("s")["jobs"]
    assert [jobs[n]["error"] for n in range(3)] == ["ZeroDivisionError: a bug", "SystemExit: 7", None]


def test_an_interrupt_ends_the_sweep_with_130_and_it_goes_on(sweep: Type) -> None:
    code, ran, said = sweep("seed=1,15,2", "name=s")
    assert (code, ran) == (130, ["s/0 1", "s/1 15"])
    assert said.count("seed=1,15,2") == 2  # at the start, for whoever kills it, and at the end
    assert f"again   {typed('train')} " in said and said.endswith("interrupted: what was saved is kept\n")
    assert [job["status"] for job in told("s")["jobs"].values()] == ["finished", "interrupted", "pending"]
    code, ran, said = sweep("seed=1,15,2", "name=s")
    assert ran == ["s/1 15"] and "job 1 (seed=15) was interrupted; it runs again" in said


def test_a_killed_job_runs_again(sweep: Type) -> None:
    sweep("seed=1,2", "name=s")
    file = Path("runs/s/1/job.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running", "ended": None}))
    code, ran, said = sweep("seed=1,2", "name=s")
    assert (code, ran) == (0, ["s/1 2"]) and "job 1 (seed=2) did not end; it runs again" in said


def test_an_unnamed_sweep_says_how_to_go_on_with_it(sweep: Type) -> None:
    _, ran, said = sweep("seed=1,13", "thing.betas=[0.5,0.5]")
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("sweep-2") and ran == [f"{folder.name}/0 1", f"{folder.name}/1 13"]
    again = next(line for line in said.splitlines() if line.startswith(f"again   {typed('train')} "))
    assert again.endswith(f" name={folder.name}")
    words = [word for word in shlex.split(again)[3:] if word not in ("-m", "hydra/hydra_logging=none")]
    assert sweep(*words)[:2] == (1, [f"{folder.name}/1 13"])


@pytest.mark.parametrize("started", ["tuna", "python -m tuna", None])
def test_the_command_is_the_one_that_was_typed(
    started: str | None, sweep: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    if started:
        monkeypatch.setenv(STARTED_AS, started)
    monkeypatch.setattr(sys, "argv", ["/somewhere/tuna/__main__.py"])
    said = sweep("seed=13", "name=s")[2]
    command = f"{started} train" if started else shlex.join(["python", f"{CHECKOUT}/train.py"])  # not in the checkout
    command += " hydra/hydra_logging=none seed=13 name=s -m"
    assert f"to repeat what failed: {command}\n" in said and f"again   {command}\n" in said
    assert told("s")["command"] == command


def test_names_with_folders_and_odd_letters(sweep: Type) -> None:
    assert sweep("seed=1", "name=a/b+c.d", "runs_dir='its here'")[:2] == (0, ["a/b+c.d/0 1"])
    assert Path("its here/a/b+c.d/0/job.json").exists()


def test_two_jobs_are_not_sent_to_one_place_of_the_hub(sweep: Type) -> None:
    code, ran, said = sweep("seed=1,2", "thing.lambda=3,4", "name=s", "+push_to_hub=me/x-${seed}")
    assert (code, ran) == (1, []) and "push_to_hub: two jobs of this sweep would be sent to me/x-1; name every" in said
    assert not list(Path("runs/s").glob("*/job.json"))
    assert sweep("seed=1,2", "name=s", "+push_to_hub=me/x-${seed}")[:2] == (0, ["s/0 1", "s/1 2"])


def test_batches_go_on_after_a_failure(sweep: Type) -> None:
    code, ran, _ = sweep("seed=13,1,2", "name=s", "hydra.sweeper.max_batch_size=1")
    assert (code, ran) == (1, ["s/0 13", "s/1 1", "s/2 2"])


def test_values_of_a_file_are_swept(sweep: Type) -> None:
    assert sweep("experiment=sweep", "name=s")[:2] == (0, ["s/0 1", "s/1 2"])
    assert sweep("experiment=sweep", "seed=4,1", "name=s")[1] == ["s/2 4"]


def test_what_a_job_reads_may_change(sweep: Type, shop: Path) -> None:
    Path("words.txt").write_text("one")
    (shop / "thing" / "file.yaml").write_text("_target_: shop.things.Required\npath: words.txt\n")
    assert sweep("thing=file", "seed=1,2", "name=s")[1] == ["s/0 1", "s/1 2"]
    assert sweep("thing=file", "seed=1,2", "name=s")[1] == []
    Path("words.txt").write_text("two")
    code, ran, said = sweep("thing=file", "seed=1,2", "name=s")
    assert (code, ran) == (0, ["s/0 1", "s/1 2"]) and "is finished, but a file it reads was changed" in said


def test_one_folder_is_one_sweep_of_one_command_at_a_time(sweep: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = RunFolder.locked
    monkeypatch.setattr(RunFolder, "locked", lambda folder: locked(folder, patience=0))
    with locked(RunFolder(Path("runs/s"), "s")):
        code, ran, said = sweep("seed=1", "name=s")
    assert (code, ran) == (1, []) and "another process is working" in said
    Path("runs/s/run.json").write_text("{}")
    code, ran, said = sweep("seed=1", "name=s")
    assert (code, ran) == (1, []) and said.startswith("error: name: runs/s is a run; a sweep needs a folder of its own")


def test_a_sweep_inside_of_torchrun_is_refused(sweep: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, ran, said = sweep("seed=1,2")
    assert (code, ran) == (1, []) and "cannot run inside of torchrun" in said


def test_the_figure_to_optimize_has_to_be_there(sweep: Type) -> None:
    assert sweep("seed=1,2", "optimize=loss", "name=s")[0] == 0 and told("s")["optimize"] == "loss"
    code, _, said = sweep("seed=1", "optimize=los", "name=t")
    assert code == 1 and "optimize: expected a figure of the job's, got los; there are: loss, note" in said
    with pytest.raises(ConfigError, match="there are: none"):
        check_optimized("loss", None)
    check_optimized(None, None)


def test_what_the_launcher_itself_cannot_do(sweep: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("a worker was killed")

    with monkeypatch.context() as patch:
        name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
        patch.setattr(Plugins.instance().class_name_to_class[name], "launch", broken)
        code, ran, said = sweep("seed=1,2", "name=s")
    assert (code, ran) == (1, []) and "error: BasicLauncher: OSError: a worker was killed" in said
    assert [job["status"] for job in told("s")["jobs"].values()] == ["pending", "pending"]
    with monkeypatch.context() as patch:  # a worker that cannot begin a job
        patch.setattr("tuna.entry._sweep_job", broken)
        assert sweep("seed=1,2", "name=s")[0] == 1
    assert [job["error"] for job in told("s")["jobs"].values()] == ["OSError: a worker was killed"] * 2
    assert sweep("seed=1,2", "name=s")[:2] == (0, ["s/0 1", "s/1 2"])


def test_a_launchers_worker_process_reads_our_files() -> None:
    code = (
        "from hydra.core.singleton import Singleton\n"
        "from hydra._internal.sources_registry import SourcesRegistry\n"
        "from tuna.config.compose import SignatureSource, compose, install\n"
        "install()\n"
        "Singleton.set_state(Singleton.get_state())\n"  # what joblib, submitit and Ray do
        "assert SourcesRegistry.instance().types['file'] is SignatureSource\n"
        "assert compose(['loss.margin=0.2']).loss.margin == 0.2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CONF.parent)
