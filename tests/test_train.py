"""train.py as it is typed: bad input gets one clear message and exit code 1, before any weights load."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.make import overrides, write_lists, write_model
from tuna.entry import main
from tuna.programs import TRAIN

ROOT = Path(__file__).parents[1]
GOOD: dict[str, Any] = {
    "id": "1", "instruction": "w5 w6", "input": "", "output": "w7",
    "responses": [{"text": "w8", "score": 1.0}, {"text": "w9", "score": 0.0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def refused(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Type a command that has to be refused; gives what stderr says."""

    def type_it(lists: Path | None = None, *words: str, **changes: Any) -> str:
        loaded = lambda *args, **kwargs: pytest.fail("weights were loaded")  # noqa: E731
        monkeypatch.setattr("tuna.models.loading.load_model", loaded)
        monkeypatch.setattr(sys, "argv", ["train.py"])
        path = lists or write_lists(tmp_path / "lists.jsonl")
        with pytest.raises(SystemExit) as stopped:
            main(TRAIN, [*overrides(llama, path, tmp_path / "runs", **changes), *words])
        assert stopped.value.code == 1
        said = capsys.readouterr().err
        assert said.count("error:") == 1 and "Traceback" not in said
        assert not list(tmp_path.glob("runs/*/model"))
        return said

    return type_it


def rows(path: Path, *changed: dict[str, Any] | str) -> Path:
    lines = [json.dumps(GOOD | {"id": f"good{i}", "instruction": f"w5 w{i + 10}"}) for i in range(20)]
    lines += [row if isinstance(row, str) else json.dumps(GOOD | row) for row in changed]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_unknown_stage(refused: Callable[..., str]) -> None:
    said = refused(stage="tuna_d")
    assert "stage" in said and "tuna_d" in said and "tuna_c" in said


def test_misspelt_key_with_the_nearest(refused: Callable[..., str]) -> None:
    said = refused(None, "loss.lamda=5")
    assert "loss.lamda" in said and "loss.lambda" in said


def test_negative_margin(refused: Callable[..., str]) -> None:
    assert "loss.margin: expected 0 or more, got -0.1" in refused(loss__margin=-0.1)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"responses": [{"text": "w8", "score": float("nan")}, {"text": "w9", "score": 0.0}]}, "score"),
        ("{not json", "JSON"),
        ({"responses": [{"text": "w8", "score": 1.0}]}, "responses"),
        ({"output": None}, "output"),
        ({"instruction": 5}, "instruction"),
        ({"responses": [{"text": "w8", "score": "high"}, {"text": "w9", "score": 0.0}]}, "score"),
        ({"responses": [{"text": "\ud800", "score": 1.0}, {"text": "w9", "score": 0.0}]}, "responses[0].text"),
    ],
    ids=["nan", "no-json", "one-response", "no-output", "instruction", "text-score", "surrogate"],
)
def test_a_bad_row_is_named_by_file_line_and_field(
    refused: Callable[..., str], tmp_path: Path, bad: dict[str, Any] | str, said: str
) -> None:
    path = rows(tmp_path / "bad.jsonl", bad)
    message = refused(path)
    assert f"{path}:21" in message and said in message and "expected" in message


def test_an_empty_file(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    assert str(path) in refused(path)


def test_a_missing_file(refused: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere.jsonl") in refused(tmp_path / "nowhere.jsonl")


def test_a_folder_without_a_tokenizer(refused: Callable[..., str], llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(llama, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    said = refused(model__path=folder)
    assert str(folder) in said and "no tokenizer" in said


def test_a_real_model_without_data(refused: Callable[..., str]) -> None:
    said = refused(datamodule__path=None)
    assert "datamodule.path" in said and "Next: python train.py" in said


def test_max_length_beyond_the_positions(refused: Callable[..., str]) -> None:
    assert "datamodule.max_length: expected at most 128" in refused(datamodule__max_length=500)


def test_a_full_disk(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("tuna.runs.shutil.disk_usage", lambda path: usage(1, 1, 0))
    assert "are free on its disk" in refused()


def test_an_unwritable_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write to" in refused(runs_dir=tmp_path / "file" / "runs", datamodule__cache_dir=tmp_path / "cache")


def test_several_faults_in_one_message(refused: Callable[..., str]) -> None:
    said = refused(None, "loss.lamda=5", "module.lr=fast", stage="tuna_d")
    assert all(word in said for word in ("tuna_d", "loss.lamda", "module.lr"))


def test_faults_of_model_data_and_folder_come_together(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "run.json").write_text("{}")
    said = refused(
        rows(tmp_path / "a.jsonl", "{broken"),
        name="taken",
        model__path="nowhere",
        datamodule__held_out=0,
        datamodule__val_path="none.jsonl",
    )
    assert [word for word in ("taken", "model.path=nowhere", "a.jsonl:21: ", "none.jsonl") if word not in said] == []


def test_a_key_in_an_override_is_refused_unechoed() -> None:
    secret = "sk-" + "a1b2c3d4" * 5
    done = subprocess.run(
        [sys.executable, "train.py", f"logger.project={secret}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and secret not in done.stdout + done.stderr and "error:" in done.stderr


def test_help_explains_itself() -> None:
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.count("python train.py") >= 3
    for word in ("stage", "model", "trainer", "logger", "loss", "tuna_c", "smollm2_135m", "fsdp", "runs/"):
        assert word in done.stdout


def test_train_py_stays_thin() -> None:
    assert len((ROOT / "train.py").read_text().splitlines()) <= 60


def test_a_run_from_the_command_line(llama: Path, tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists.jsonl")
    args = overrides(llama, lists, tmp_path / "runs", name="typed", trainer__max_steps=2, loss__lambda=5)
    done = subprocess.run([sys.executable, "train.py", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("stage   tuna_c", "lr 0.001", "step 2/2", "held-out pair accuracy", "model    ", "metrics  "):
        assert word in done.stdout
    assert json.loads((tmp_path / "runs" / "typed" / "run.json").read_text())["config"]["loss"]["lambda"] == 5


EARLY = """
import sys
from tuna.programs import TRAIN
from tuna.entry import main
try:
    main(TRAIN, sys.argv[1:])
finally:
    print(sorted({"torch", "lightning", "transformers", "wandb"} & set(sys.modules)))
"""


@pytest.mark.parametrize("fault", ["no file", "a bad row", "no model", "no path", "a taken name"])
def test_a_fault_of_files_is_told_before_the_large_imports(tmp_path: Path, llama: Path, fault: str) -> None:
    good = rows(tmp_path / "good.jsonl")
    changes: dict[str, dict[str, Any]] = {
        "no file": {"datamodule__path": tmp_path / "none.jsonl"},
        "a bad row": {"datamodule__path": rows(tmp_path / "bad.jsonl", {"instruction": 3})},
        "no model": {"model__path": tmp_path / "none"},
        "no path": {"datamodule__path": "null"},
        "a taken name": {"name": "taken"},
    }
    (tmp_path / "runs" / "taken").mkdir(parents=True)
    (tmp_path / "runs" / "taken" / "run.json").write_text("{}")
    words = overrides(llama, good, tmp_path / "runs", **changes[fault])
    done = subprocess.run(
        [sys.executable, "-c", EARLY, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (1, "[]"), done.stderr
    assert done.stderr.startswith("error: ")


def test_the_data_is_read_once(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tuna.data import load

    read: list[str] = []
    whole = load.load_source

    def counted(source: load.Source) -> load.Loaded:
        read.append(source.path)
        return whole(source)

    monkeypatch.setattr(load, "load_source", counted)
    monkeypatch.setattr("tuna.training.run.check_grades", lambda *_: sys.exit(7))  # the data is read by then
    path = rows(tmp_path / "lists.jsonl")
    with pytest.raises(SystemExit) as stopped:
        main(TRAIN, overrides(llama, path, tmp_path / "runs"))
    assert (stopped.value.code, read) == (7, [str(path)])
