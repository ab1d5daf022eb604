"""The entry point as a user meets it: output, exit codes, and where things are written."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from tuna.config import checks
from tuna.config.arguments import read_command_line
from tuna.config.compose import CONF
from tuna.config.help import Program
from tuna.console import typed
from tuna.entry import main

PROGRAM = Program(
    run="shop.runs:run", config_name="train", purpose="A trial.", examples=("python x.py",), results="Here."
)


def exit_code(shop: Path, *argv: str) -> int:
    try:
        main(PROGRAM, argv, config_dir=shop)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(autouse=True)
def _restore_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x.py"])
    for name in ("TUNA_DEBUG", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)


def test_a_run_gets_its_config_and_writes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "thing.lambda=5", "name=a") == 0
    assert capsys.readouterr() == ("RUN a 5 0\n", "")
    assert sorted(path.name for path in shop.parent.iterdir()) == ["conf", "shop"]


def test_faults_of_the_command_line_and_of_the_run_look_alike(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "thing.lamda=5", "seed=x") == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: thing.lamda: no such key; thing is Base here, with the keys: lambda, betas; did you mean thing.lambda?",
        "       seed: expected a whole number of 0 or more, got 'x'",
    ]
    assert exit_code(shop, "seed=13") == 1
    assert capsys.readouterr() == ("RUN None 1.0 13\n", "error: seed: expected another\n       size: and another\n")


def test_one_composition_and_one_check_for_a_run(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(ConfigLoaderImpl, "load_configuration")
    counted(checks, "problems")
    assert exit_code(shop, "thing.lambda=5") == 0
    assert calls == ["load_configuration", "problems"]


def test_hydras_settings_of_a_run_hold(shop: Path) -> None:
    assert exit_code(shop, "hydra.run.dir=out/${hydra.job.name}", "hydra.output_subdir=.hydra", "name=a") == 0
    assert (shop.parent / "out" / "train" / ".hydra" / "config.yaml").read_text().startswith("name: a\n")


@pytest.mark.parametrize("variable", ["TUNA_DEBUG", "HYDRA_FULL_ERROR"])
def test_a_traceback_is_shown_where_asked_for(
    variable: str, shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    assert exit_code(shop, "seed=13") == 1
    assert "Traceback" in capsys.readouterr().err
    assert os.environ[variable] == "1"


def test_what_stands_in_the_way_of_a_file_is_one_message(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "seed=18") == 1
    told = "out/a.json: Is a directory; what was stored is kept. Next: put that right, or move it away, then the same"
    assert capsys.readouterr().err == f"error: {told} command\n"


def test_a_bug_keeps_its_traceback_and_an_interrupt_its_code(shop: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(shop, "seed=14")
    assert exit_code(shop, "seed=15") == 130
    assert exit_code(shop, "seed=17") == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.parametrize(
    ("seed", "code"), [(19, 143), (20, 143), (21, 130), (22, 143)],
    ids=["in a destructor", "a clean-up fails", "a clean-up fails after Ctrl-C", "a fault is being told"],
)  # fmt: skip
def test_no_moment_of_a_signal_gives_a_traceback(
    seed: int, code: int, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(shop, f"seed={seed}") == code
    assert capsys.readouterr().err.startswith("interrupted: what was saved is kept; to go on: ")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_sweep_ends_by_a_signal_whatever_a_clean_up_made_of_it(shop: Path) -> None:
    assert exit_code(shop, "-m", "seed=20,1", "name=a") == 143
    states = [json.loads(path.read_text())["status"] for path in sorted(shop.parent.glob("runs/a/*/job.json"))]
    assert states == ["interrupted", "pending"]


def test_an_interrupt_has_its_code_and_the_command_that_goes_on(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "seed=15", "runs_dir=a b") == 130
    told = f"interrupted: what was saved is kept; to go on: {typed('train')} seed=15 'runs_dir=a b' resume=auto\n"
    assert capsys.readouterr().err == told


def test_the_command_that_goes_on_has_the_folder_of_ones_own(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine := shop.parent / "my own").mkdir()
    assert exit_code(shop, "--config-dir", "my own", "seed=15") == 130
    told = capsys.readouterr().err
    assert told.endswith(f"to go on: {typed('train')} seed=15 --config-dir 'my own' resume=auto\n")
    words = shlex.split(told.partition(typed("train"))[2])
    line = read_command_line(words)
    assert (line.wrong, line.config_dirs, len(line.overrides)) == ((), (Path(mine.name),), 2)
    sweep = exit_code(shop, "-m", "--config-dir", "my own", "seed=1,13", "name=a")
    again = [told for told in capsys.readouterr().out.split("\n") if told.startswith(("again", "sweep   runs"))]
    assert sweep == 1 and len(again) == 2
    assert all(f"{typed('train')} seed=1,13 name=a -m --config-dir 'my own'" in told for told in again)


def test_hydras_own_options_pass(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "--cfg", "job", "-p", "thing") == 0
    assert "lambda: 1.0" in capsys.readouterr().out
    assert exit_code(shop, "--help") == 0
    assert "A trial." in capsys.readouterr().out


def test_only_the_first_of_several_processes_speaks(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert exit_code(shop, "seed=x") == 1
    assert capsys.readouterr().err == ""


def test_train_py_refuses_before_torch_and_without_echoing_a_key(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['train.py', 'loss.lamda=5', 'judge.api_key=sk-hidden-hidden']\n"
        "try:\n"
        f"    runpy.run_path({str(CONF.parent / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert 'torch' not in sys.modules and 'lightning' not in sys.modules\n"
        "    sys.exit(stop.code)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(CONF.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 1
    assert "hidden-hidden" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: judge.api_key=<hidden>: ") and "did you mean loss.lambda?" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "thing.extra={api_key: very-hidden}",
        "+thing.extra={headers: {Authorization: very-hidden}}",
        "openai_key=very-hidden",
        "name=https://user:very-hidden@host",
        "name=${oc.env:HIDDEN}",
    ],
)
@pytest.mark.parametrize("full", ["0", "1"])
def test_a_secret_stops_it_before_hydra_and_is_never_shown(
    full: str, text: str, shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNA_DEBUG", full)
    monkeypatch.setenv("HIDDEN", "very-hidden")
    for name in ("_run_hydra", "run_composed"):
        monkeypatch.setattr(f"tuna.entry.{name}", lambda *_: pytest.fail("Hydra was started"))
    assert exit_code(shop, "thing=data", text) == 1
    out, err = capsys.readouterr()
    assert "=<hidden>: " in err and "very-hidden" not in out + err


def test_train_py_is_thin() -> None:
    assert len((CONF.parent / "train.py").read_text().splitlines()) <= 60


def test_the_version_is_tuna_s_own(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(shop, "--version") == 0
    out = capsys.readouterr().out
    assert out.startswith("tuna-ranking ") and ", hydra-core 1.3" in out and ", torch " in out


def test_a_python_without_the_environment_is_told_where_it_is(tmp_path: Path) -> None:
    root = CONF.parent.resolve()
    there = (root / ".venv" / "bin" / "python").exists()
    for cwd, make, python in (
        (root, "make install", ".venv/bin/python"), (tmp_path, f"make -C {root} install", f"{root}/.venv/bin/python")
    ):  # fmt: skip
        script = os.path.join("" if cwd == root else root, "train.py")
        words = [sys.executable, "-S", script, "name=a b"]
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={})
        assert done.returncode == 1 and done.stderr.startswith(f"error: {sys.executable} has not what Tuna needs")
        begin = "" if there else f"{make}, then "
        assert done.stderr.endswith(f"next: {begin}{python} {script} 'name=a b'\n")
