"""tuna.runs: names, run.json, the lock, which run is resumed, and the room it needs."""

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from tuna.errors import RunError
from tuna.runs import RunFolder, check_space, choose, read_json, read_run, write_json

CONFIG: dict[str, Any] = {"name": None, "seed": 0, "module": {"lr": 1e-4}, "trainer": {"checkpoint_every": 5}}


def make_run(runs: Path, name: str, status: str = "running", started: str = "2026-01-01", **config: Any) -> Path:
    path = runs / name
    path.mkdir(parents=True)
    parents = {"data_sha256": "d", "model_fingerprint": "m"}
    write_json(path / "run.json", {"status": status, "started": started, "config": CONFIG | config, "parents": parents})
    return path


def ask(runs: Path, **changes: Any) -> RunFolder:
    data, model, config = changes.pop("data", "d"), changes.pop("model", "m"), changes.pop("config", CONFIG)
    asked = {"runs_dir": str(runs), "name": None, "stage": {"name": "tuna_c"}, "resume": None}
    return choose(config | asked | changes, data, model)


def test_a_new_run_is_named_after_stage_and_time(tmp_path: Path) -> None:
    chosen = ask(tmp_path)
    assert chosen.name.startswith("tuna_c-2") and not chosen.resumed and chosen.path.parent == tmp_path


def test_a_taken_name_is_an_error_that_names_the_way_on(tmp_path: Path) -> None:
    make_run(tmp_path, "mine", status="finished")
    with pytest.raises(RunError, match=r"mine is taken \(status: finished\).*its model is"):
        ask(tmp_path, name="mine")
    make_run(tmp_path, "open")
    with pytest.raises(RunError, match=r"open is taken \(status: running\).*resume=auto"):
        ask(tmp_path, name="open")


def test_auto_with_a_name_goes_on_or_finds_it_done_or_refuses(tmp_path: Path) -> None:
    make_run(tmp_path, "open")
    make_run(tmp_path, "done", status="finished")
    make_run(tmp_path, "other", module={"lr": 1.0})
    assert ask(tmp_path, resume="auto", name="open").resumed
    assert ask(tmp_path, resume="auto", name="done").finished
    assert not ask(tmp_path, resume="auto", name="new").resumed
    with pytest.raises(RunError, match=r"module\.lr"):
        ask(tmp_path, resume="auto", name="other")


def test_a_broken_run_json_elsewhere_does_not_matter(tmp_path: Path) -> None:
    (make_run(tmp_path, "broken") / "run.json").write_text("{")
    make_run(tmp_path, "open")
    assert ask(tmp_path, resume="auto").path == tmp_path / "open"


def test_a_run_has_one_name_and_one_id_however_it_is_resumed(tmp_path: Path) -> None:
    run = make_run(tmp_path, "sweep/3")
    by_path, by_name, auto = (ask(tmp_path, resume=how) for how in (str(run), "sweep/3", "auto"))
    assert by_path.name == by_name.name == auto.name == "sweep/3"
    assert by_path.run_id() == by_name.run_id() == auto.run_id()


def test_auto_takes_the_newest_unfinished_run_of_the_same_config(tmp_path: Path) -> None:
    make_run(tmp_path, "old", started="2026-01-01")
    make_run(tmp_path, "new", started="2026-02-01")
    make_run(tmp_path, "done", status="finished", started="2026-03-01")
    make_run(tmp_path, "other", started="2026-04-01", module={"lr": 1.0})
    chosen = ask(tmp_path, resume="auto")
    assert chosen.path == tmp_path / "new" and chosen.resumed


def test_auto_starts_anew_where_nothing_is_unfinished(tmp_path: Path) -> None:
    assert not ask(tmp_path, resume="auto").resumed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": CONFIG | {"module": {"lr": 1.0}}}, r"module\.lr: it has 0\.0001, now 1\.0"),
        ({"data": "x"}, "data: "),
        ({"model": "x"}, "model: "),
    ],
)
def test_resume_with_other_settings_is_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    run = make_run(tmp_path, "mine")
    with pytest.raises(RunError, match=said):
        ask(tmp_path, resume=str(run), **changes)


def test_keys_that_shape_nothing_may_change(tmp_path: Path) -> None:
    make_run(tmp_path, "mine")
    changed = CONFIG | {"trainer": {"checkpoint_every": 50}, "name": "x"}
    assert ask(tmp_path, resume="mine", config=changed).resumed


def test_a_number_is_the_same_however_it_was_typed(tmp_path: Path) -> None:
    make_run(tmp_path, "a", module={"lr": 1}, betas=(0.9, 1))
    assert ask(tmp_path, resume="a", config=CONFIG | {"module": {"lr": 1.0}, "betas": [0.9, 1.0]}).resumed


def test_resume_of_a_finished_or_missing_run(tmp_path: Path) -> None:
    make_run(tmp_path, "done", status="finished")
    with pytest.raises(RunError, match="is finished; its model is"):
        ask(tmp_path, resume="done")
    with pytest.raises(RunError, match="no run at"):
        ask(tmp_path, resume="nowhere")


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path\nfrom tuna.runs import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r}), 'x').locked(patience=0): pass"
    )
    with RunFolder(tmp_path, "x").locked():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert other.returncode != 0 and "another process is working on this run" in other.stderr
    with RunFolder(tmp_path, "x").locked():  # free again
        pass


def test_a_full_disk_is_said_up_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("tuna.runs.shutil.disk_usage", lambda path: usage(10**9, 10**9, 10**8))
    with pytest.raises(RunError, match=r"needs about 2\.81 GB for 2 checkpoints and the model, 0\.10 GB are free"):
        check_space(tmp_path / "run", parameters=70_000_000, trainable=70_000_000, keep=2)


def test_an_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(RunError, match="cannot write to"):
        check_space(tmp_path / "run", parameters=1, trainable=1, keep=1)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="cannot write to"):
        check_space(tmp_path / "runs" / "x", parameters=1, trainable=1, keep=1)


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": float("nan"), "b": [1.5, float("-inf")], "c": {"d": (float("inf"), 2)}})
    written = "".join((tmp_path / "run.json").read_text().split())
    assert written == '{"a":null,"b":[1.5,null],"c":{"d":[null,2]}}'


def test_a_run_of_before_resumes_with_settings_that_are_new_or_only_say_how(tmp_path: Path) -> None:
    make_run(tmp_path, "old", margin=float("inf"))
    new = CONFIG | {"margin": float("inf"), "trainer": {"checkpoint_every": 5, "nonfinite": "skip"}}
    assert ask(tmp_path, resume="auto", config=new).resumed


ODD = {
    "list": "[1]", "number": "3", "null": "null", "cut": '{"status": "runn', "empty": "", "nested": "[" * 100_000,
    "huge number": '{"a": ' + "9" * 5000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
def test_a_json_file_that_holds_anything_is_one_message(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run.json: expected .* mend it, or move it away"):
        read_json(tmp_path / "run.json")


def test_nor_does_what_is_no_text_or_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{}")
    (tmp_path / "b.json").mkdir()
    for name in ("a.json", "b.json"):
        with pytest.raises(RunError, match=rf"{name}: (expected JSON|cannot be read)"):
            read_json(tmp_path / name)
    assert read_json(tmp_path / "a.json" / "c.json") == {} == read_json(tmp_path / "d.json")


def test_keys_of_other_types_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"status": "failed", "config": [1], "name": None})
    with pytest.raises(RunError, match=r"run.json: config: expected an object, got \[1\]"):
        read_run(tmp_path)
    write_json(tmp_path / "run.json", {"status": "failed", "name": None})
    assert read_run(tmp_path) == {"status": "failed"}
    with pytest.raises(RunError, match="started: missing"):
        read_json(tmp_path / "run.json", needs=("status", "started"))


@pytest.mark.parametrize("written", ["[1]", '{"status": "failed", "parents": 3}', '{"config": "x"}', "{"])
def test_no_neighbor_breaks_auto(written: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text(written)
    chosen = ask(tmp_path, resume="auto", config={})
    assert not chosen.resumed and "odd/run.json" in caplog.text and "left alone" in caplog.text
