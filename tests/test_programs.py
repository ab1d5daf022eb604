"""The console command, ``python -m tuna``, what it prints to be typed next, and what a wheel holds."""

import os
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest

import tuna
import tuna_ranking
from tuna.console import CHECKOUT, STARTED_AS, as_typed, started_as
from tuna.errors import ConfigError
from tuna.programs import PROGRAMS, console

assert CHECKOUT is not None
ROOT: Path = CHECKOUT
SKIPPED = shutil.ignore_patterns("__pycache__", "*.safetensors")  # weights take the longest to pack


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As someone types ``tuna``, which the shell finds."""
    monkeypatch.setattr(sys, "argv", ["/opt/bin/tuna"])
    monkeypatch.setattr("tuna.programs.started_as", lambda program: "tuna")
    monkeypatch.setenv(STARTED_AS, "tuna")
    return monkeypatch


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_shows_commands_as_they_are_typed(
    name: str, typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console([name, "--help"])
    said = capsys.readouterr().out
    assert f"  tuna {name}" in said and f"python {name}.py" not in said
    assert "tab key" not in said  # Hydra's completion knows no ``tuna train``


def test_the_overview_names_every_command(typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    console([])
    said = capsys.readouterr().out
    assert [name for name in (*PROGRAMS, "data") if f"\n  {name} " not in said] == []
    console(["--version"])
    assert capsys.readouterr().out == f"tuna-ranking {tuna.__version__}\n"


def test_a_misspelt_command(typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        console(["tran", "stage=tuna_c"])
    assert stop.value.code == 1
    assert "tran: expected one of train, " in (said := capsys.readouterr().err) and "did you mean train?" in said


@pytest.mark.parametrize("words", [["-m", "model.path=a"], ["model.path=a,b"]])
def test_a_conversation_is_no_sweep(
    words: list[str], typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    typed.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(SystemExit) as stop:
        console(["chat", "--config-dir", "mine", "seed=1", *words])
    assert stop.value.code == 1 and list(tmp_path.iterdir()) == [tmp_path / "mine"]
    told = "chat runs once: it takes no -m and one value per key; next: tuna chat --config-dir mine seed=1"
    assert capsys.readouterr().err == f"error: {told} model.path=a\n"


def test_tools_and_the_preview(typed: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        console(["rank", "merge"])
    assert "expected tuna rank merge OUT.jsonl" in capsys.readouterr().err
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "Say a.", "output": "a"}\n')
    console(["data", str(file), "show=0"])
    assert "1 rows" in capsys.readouterr().out


def test_commands_work_from_the_folder_one_is_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(STARTED_AS, raising=False)
    monkeypatch.chdir(ROOT)
    assert as_typed("next: python train.py name=a") == "next: python train.py name=a"
    monkeypatch.chdir(tmp_path)
    words = as_typed("python rank.py merge a b").split(" ")
    assert Path(words[1]).samefile(ROOT / "rank.py") and words[2:] == ["merge", "a", "b"]
    monkeypatch.setattr("tuna.console.CHECKOUT", None)  # installed from a wheel
    assert str(ConfigError("next: python train.py name=a")) == "next: tuna train name=a"
    monkeypatch.setenv(STARTED_AS, "python -m tuna")
    assert as_typed("python report.py, python tests.py") == "python -m tuna report, python tests.py"


def test_how_it_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("on path", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tuna").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "on path"))
    assert started_as(str(tmp_path / "on path" / "tuna")) == "tuna"
    assert started_as(str(tmp_path / "elsewhere" / "tuna")) == f"{tmp_path}/elsewhere/tuna"
    assert started_as("/x/tuna/__main__.py") == f"{sys.executable} -m tuna"


@pytest.mark.parametrize("mixed", [False, True])
def test_another_package_of_that_name(
    mixed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "tuna"  # the profile viewer, whose __init__.py has no version
    other.mkdir()
    (other / "__init__.py").write_text("__all__ = ['read_import_profile']\n")
    if mixed:  # installed over ours
        (other / "programs.py").write_text("raise AssertionError('not ours')\n")
    monkeypatch.syspath_prepend(tmp_path)
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tuna"}
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    try:
        with pytest.raises(SystemExit) as stop:
            tuna_ranking.main()
    finally:
        sys.modules.pop("tuna", None)
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert f"`import tuna` finds another package in {other}" in said and "pip uninstall tuna" in said


@pytest.mark.once
def test_a_wheel_works_outside_of_the_checkout(tmp_path: Path) -> None:
    source, empty, site = tmp_path / "source", tmp_path / "empty", tmp_path / "site"
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "tuna_ranking.py", "conf", "tuna"):
        place = ROOT / name
        copy = partial(shutil.copytree, symlinks=True, ignore=SKIPPED) if place.is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(place, source / name)
    empty.mkdir()
    build = f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    packed = {path.relative_to(site / "tuna") for path in (site / "tuna").rglob("*") if path.is_file()}
    there = {path.relative_to(source / "tuna") for path in (source / "tuna").rglob("*") if path.is_file()}
    configs = {Path("conf") / path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert packed == there | configs
    assert not (site / "tuna" / "conf").is_symlink()

    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", STARTED_AS)}
    environment["PYTHONPATH"] = str(site)
    for words, code, says in (
        (["train", "--help"], 0, " -m tuna train stage=tuna_c loss.lambda=5"),
        (["train", "loss.lamda=5"], 1, "did you mean loss.lambda?"),
        (
            ["train", "model.path=OWNER/NAME"],
            1,
            " -m tuna train stage=tuna_c model.path=OWNER/NAME datamodule.path=FILE",
        ),
        (["reproduce", "only=[alpaca]", "dry_run=true"], 0, " -m tuna train stage=sft"),
    ):
        command = [sys.executable, "-P", "-m", "tuna", *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert list(empty.iterdir()) == []
