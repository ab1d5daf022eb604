"""Damaged, foreign and hostile checkpoints: the newest sound one is taken, nothing in them runs, nothing is lost."""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_run import assert_equal, train, weights
from tuna.errors import RunError
from tuna.runs import RunFolder
from tuna.training.checkpoint import Checkpoints
from tuna.training.checkpoint_files import METADATA, Reader, damage, hashes, sealed

Damage = Callable[[Path], object]


class _Canary:
    """What a hostile pickle does: leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.fixture(scope="module")
def whole(llama: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(llama, lists, tmp_path_factory.mktemp("runs"), name="run")[0]


@pytest.fixture(scope="module")
def stopped(llama: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped behind step 9, with checkpoints of steps 6 and 9."""
    return _stopped(llama, lists, tmp_path_factory.mktemp("stopped"), 9)


def _stopped(llama: Path, lists: Path, runs: Path, at: int, **changes: object) -> Path:
    save = Checkpoints.save

    def save_then_stop(self: Checkpoints, trainer: Any, module: Any, step: int) -> None:
        save(self, trainer, module, step)
        if step == at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save_then_stop)
        train(llama, lists, runs, name="run", **changes)
    return runs / "run"


def _data(step: Path) -> Path:
    return max(step.glob("*.distcp"), key=lambda path: path.stat().st_size)


def _flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _state(folder: Path, **changes: object) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | changes)))


DAMAGE: dict[str, Damage] = {
    "data cut": lambda step: _cut(_data(step)),
    "data empty": lambda step: _data(step).write_bytes(b""),
    "data missing": lambda step: _data(step).unlink(),
    "a bit of the data": lambda step: _flip(_data(step), 0.5),
    "its first bit": lambda step: _flip(_data(step), 0.0),
    "metadata cut": lambda step: _cut(step / METADATA),
    "metadata missing": lambda step: (step / METADATA).unlink(),
    "a bit of the metadata": lambda step: _flip(step / METADATA, 0.7),
    "no state.json": lambda step: (step / "state.json").unlink(),
    "state.json is a list": lambda step: (step / "state.json").write_text("[1]"),
    "state.json is cut": lambda step: _cut(step / "state.json"),
    "state.json without hashes": lambda step: (step / "state.json").write_text('{"step": 9}'),
    "another count of early stopping": lambda step: (step / "state.json").write_text(
        (step / "state.json").read_text().replace('"stopped": false', '"stopped": true')
    ),
    "another step": lambda step: _state(step, step=8),
    "another run": lambda step: _state(step, run="0" * 16),
}


@pytest.mark.once
@pytest.mark.parametrize("how", DAMAGE)
def test_the_newest_sound_one_is_taken(
    how: str, whole: Path, stopped: Path, llama: Path, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "step-9"
    DAMAGE[how](step)
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    said = (folder / "log.txt").read_text()
    assert "step-9: " in said and "set aside as step-9.aside" in said and "resumed at step 6" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-12", "step-9", "step-9.aside"]
    assert_equal(weights(folder), weights(whole), 1e-6)


@pytest.mark.once
def test_steps_beyond_the_plan_and_foreign_ones(
    whole: Path, stopped: Path, llama: Path, lists: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "step-9", checkpoints / "step-9999")
    _state(checkpoints / "step-9999", step=9999)
    shutil.rmtree(checkpoints / "step-9")
    other = _stopped(llama, lists, tmp_path / "other", 9, seed=1)
    shutil.copytree(other / "checkpoints" / "step-9", checkpoints / "step-9")
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    said = (folder / "log.txt").read_text()
    assert "step-9999: expected a step of this run's 12, got 9999" in said
    assert "step-9: it belongs to another run" in said
    assert_equal(weights(folder), weights(whole), 1e-6)


@pytest.mark.once
def test_without_a_sound_one_the_run_begins_anew_and_says_so(
    whole: Path, stopped: Path, llama: Path, lists: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    for step in (6, 9):
        _cut(_data(tmp_path / "run" / "checkpoints" / f"step-{step}"))
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    assert "no sound checkpoint is left, so the run starts at step 0" in (folder / "log.txt").read_text()
    assert_equal(weights(folder), weights(whole), 1e-6)


@pytest.mark.once
def test_a_run_that_was_moved_goes_on(whole: Path, stopped: Path, llama: Path, lists: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "elsewhere")
    folder, _ = train(llama, lists, tmp_path, name="elsewhere", resume="auto")
    assert "resumed at step 9" in (folder / "log.txt").read_text()
    assert_equal(weights(folder), weights(whole), 1e-6)


@pytest.mark.parametrize("sealed", [True, False], ids=["hashes made to fit", "a run of an older version"])
def test_a_hostile_table_of_contents_runs_nothing(
    sealed: bool, stopped: Path, llama: Path, lists: Path, tmp_path: Path
) -> None:
    """Whoever can write the pickle can write its hash as well."""
    shutil.copytree(stopped, tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "step-9"
    (step / METADATA).write_bytes(pickle.dumps(_Canary(tmp_path / "canary")))
    if sealed:
        _state(step, files=hashes(step, [path.name for path in step.iterdir() if path.name != "state.json"]))
    else:
        _make_old(tmp_path / "run")
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    said = (folder / "log.txt").read_text()
    assert "mkdir, which no checkpoint has" in said and "resumed at step 6" in said
    assert not (tmp_path / "canary").exists()
    with pytest.raises(RunError, match="no checkpoint has"):
        Reader(step.with_name("step-9.aside")).read_metadata()


def test_nor_does_what_stands_beside_the_tensors(stopped: Path, llama: Path, lists: Path, tmp_path: Path) -> None:
    """A learning rate lies in the data file as a pickle of its own."""
    shutil.copytree(stopped, tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "step-9"
    table = Reader(step).read_metadata()
    place = next(place for index, place in table.storage_data.items() if index.fqn.endswith(".lr"))
    with (step / "planted.distcp").open("wb") as file:
        torch.save(_Canary(tmp_path / "canary"), file)
    place.relative_path, place.offset = "planted.distcp", 0
    place.length = (step / "planted.distcp").stat().st_size
    (step / METADATA).write_bytes(pickle.dumps(table))
    _state(step, files=hashes(step, [path.name for path in step.iterdir() if path.name != "state.json"]))
    with pytest.raises(RunError, match="step-9"):
        train(llama, lists, tmp_path, name="run", resume="auto")
    assert not (tmp_path / "canary").exists()


def _make_old(folder: Path) -> None:
    """As a version that wrote no hashes left it."""
    run = folder / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"schema_version": 1}))
    for state in folder.glob("checkpoints/*/state.json"):
        written = json.loads(state.read_text())
        state.write_text(json.dumps({key: written[key] for key in ("step", "stopped", "early_stopping")}))


@pytest.mark.once
def test_a_run_of_an_older_version_goes_on(
    whole: Path, stopped: Path, llama: Path, lists: Path, tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    _make_old(tmp_path / "run")
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    said = (folder / "log.txt").read_text()
    assert "step-9: written by an older version, without hashes" in said and "resumed at step 9" in said
    assert_equal(weights(folder), weights(whole), 1e-6)


@pytest.mark.once
def test_nor_are_its_damaged_checkpoints_taken(stopped: Path, llama: Path, lists: Path, tmp_path: Path) -> None:
    """The parts are ZIP archives, which carry a CRC-32."""
    shutil.copytree(stopped, tmp_path / "run")
    _make_old(tmp_path / "run")
    step = tmp_path / "run" / "checkpoints" / "step-9"
    table = Reader(step).read_metadata()
    place = next(place for index, place in table.storage_data.items() if index.fqn.endswith("q_proj.weight"))
    data = bytearray((step / place.relative_path).read_bytes())
    data[place.offset + place.length // 2] ^= 1
    (step / place.relative_path).write_bytes(data)
    folder, _ = train(llama, lists, tmp_path, name="run", resume="auto")
    said = (folder / "log.txt").read_text()
    assert "is damaged (the CRC-32 of" in said and "resumed at step 6" in said


def test_a_file_that_cannot_be_read_is_not_called_damaged(
    stopped: Path, llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stopped, tmp_path / "run")

    def failing(folder: Path, written: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("tuna.training.checkpoint_files.damage", failing)
    with pytest.raises(RunError, match=r"step-9: cannot be read \(Input/output error\)"):
        train(llama, lists, tmp_path, name="run", resume="auto")
    assert (tmp_path / "run" / "checkpoints" / "step-9").is_dir()


def test_hashes_tell_every_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    written = hashes(tmp_path, ["a"])
    assert written == {"a": {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}}
    assert damage(tmp_path, written) is None
    (tmp_path / "a").write_bytes(b"weighty")
    assert damage(tmp_path, written) == "a was changed since it was written (another SHA-256)"
    (tmp_path / "a").write_bytes(b"weight")
    assert damage(tmp_path, written) == "a has 6 bytes, not those that were written"
    (tmp_path / "a").unlink()
    assert damage(tmp_path, written) == "a is missing"


@pytest.mark.parametrize("write", ["state.json", METADATA])
def test_ctrl_c_while_a_checkpoint_is_written(
    write: str, llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch makes a CheckpointException of it, of which Lightning would make a failed run."""
    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if write == METADATA:
        monkeypatch.setattr(FileSystemWriter, "finish", interrupted)
    else:
        monkeypatch.setattr("tuna.training.checkpoint.write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(llama, lists, tmp_path, name="run")
    assert RunFolder(tmp_path / "run", "run").read()["status"] == "interrupted"
