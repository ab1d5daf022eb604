import json
import os
from pathlib import Path
from typing import Any

from tuna.errors import DataError
from tuna.sweeps.jobs import Job, assign, error_text, files_of, identity_of, job_in, jobs_in, table

CONFIG: dict[str, Any] = {
    "name": "a", "runs_dir": "runs", "seed": 1, "max_cost": None, "trainer": {"max_steps": 3, "log_every": 1},
    "experiment": {"name": "tuna_c", "summary": "x"}, "model": {"path": "tiny"},
}  # fmt: skip


def test_the_identity_is_what_shapes_the_result() -> None:
    same = CONFIG | {"name": "b", "max_cost": 5, "optimize": "val/loss", "trainer": {"max_steps": 3, "log_every": 9}}
    assert identity_of(same) == identity_of(CONFIG)
    told_otherwise = {"experiment": {"name": "tuna_c", "summary": "y"}}
    assert identity_of(CONFIG | told_otherwise) == identity_of(CONFIG)
    others: list[dict[str, Any]] = [
        {"seed": 2},
        {"trainer": {"max_steps": 4}},
        {"experiment": {"name": "tuna_p"}},
        {"model": {"path": "x"}},
    ]
    assert len({identity_of({**CONFIG, **other}) for other in [{}, *others]}) == 5


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    assert [assign(tmp_path, key, [f"x={key}"]).number for key in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    (tmp_path / "7").mkdir()  # somebody else's
    assert assign(tmp_path, "d", []).number == 8
    assert [job.label() for job in jobs_in(tmp_path)] == ["job 0 (x=a)", "job 1 (x=b)", "job 2 (x=c)", "job 8"]
    assert job_in(tmp_path / "7") is None


def test_a_job_is_done_until_what_it_read_is_written_again(tmp_path: Path) -> None:
    job = Job(tmp_path / "0", 0, "id", ())
    model, lists = tmp_path / "model", tmp_path / "lists.jsonl"
    (model / "model").mkdir(parents=True)
    for file in (weights := model / "model" / "weights", lists):
        file.write_text("")
        os.utime(file, (1, 1))
    config = {"model": {"path": str(model)}, "sources": [{"path": str(lists)}], "output": __file__, "text": "a" * 5000}
    assert not job.is_done(config)
    job.begin()
    job.finish({"loss": 1.0})
    assert job.is_done(config)
    for file in (weights, lists):
        os.utime(file)
        assert not job.is_done(config)
        os.utime(file, (1, 1))
    assert job.is_done(config) and not job.is_done(config | {"dry_run": True})
    job.begin(dry=True)
    job.finish({})
    assert not job.is_done(config)


def test_a_clock_that_was_set_makes_no_job_done_or_undone(tmp_path: Path) -> None:
    job, lists = Job(tmp_path / "0", 0, "id", ()), tmp_path / "lists.jsonl"
    lists.write_text("a")
    os.utime(lists, (5e9, 5e9))  # written while the clock was years ahead
    config = {"path": str(lists), "text": "a" * 5000, "output": __file__}
    job.update(files=files_of(config))
    job.begin()
    job.finish({})
    assert job.is_done(config)
    lists.write_text("b")
    os.utime(lists, (1, 1))  # changed after it, while the clock was years behind
    assert not job.is_done(config)


def test_errors_are_written_without_secrets(tmp_path: Path) -> None:
    job = Job(tmp_path / "0", 0, "id", ("seed=1",))
    job.begin()
    job.fail(ValueError("Incorrect API key provided: sk-abcdefgh12345678"))
    written = (tmp_path / "0" / "job.json").read_text()
    assert json.loads(written)["error"].startswith("ValueError: ") and "sk-" not in written
    job.fail(KeyboardInterrupt())
    assert (job.read()["status"], error_text(DataError("a:1: b"))) == ("interrupted", "a:1: b")


def test_the_optimized_figure_stands_first_and_an_error_in_place_of_figures() -> None:
    metrics = {"before/loss": 2.0, "val/loss": 1.0, "val/pair_accuracy": 0.75, "perf/tokens": 9}
    rows = [
        {"job": 0, "swept": ["a=1", "b=2"], "status": "finished", "metrics": metrics},
        {"job": 11, "swept": [], "status": "failed", "metrics": None, "error": "no\nmore"},
    ]
    assert table(rows, "perf/tokens") == [
        "job  settings  status    perf/tokens  val/pair_accuracy  val/loss",
        "  0  a=1 b=2   finished  9            0.7500             1.0000",
        " 11  -         failed    no",
    ]


def test_figures_of_any_other_program() -> None:
    rows = [{"job": 0, "swept": ["x=1"], "status": "finished", "metrics": {"lists": 3, "spent": None}}]
    assert table(rows, "absent") == ["job  settings  status    lists  spent", "  0  x=1       finished  3"]
