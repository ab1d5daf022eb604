"""report.py as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reporting.make import make_run
from tuna.entry import main
from tuna.programs import REPORT

ROOT = Path(__file__).parents[1]


def typed(folder: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, str(ROOT / "report.py"), *words]
    found = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    return found.returncode, found.stdout, found.stderr


def test_it_is_short() -> None:
    assert len((ROOT / "report.py").read_text().splitlines()) <= 60


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py"])
    main(REPORT, ["--help"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("report.html", "replicates", "baseline=Alpaca", "SOURCE_DATE_EPOCH"))


def test_typed(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a", system="Tuna_c", tables=[1])
    code, out, err = typed(tmp_path)
    assert code == 0, err
    assert "systems: 1, runs: 1" in out and "written: report/report.html" in out
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to report on"),
        (["run=other"], "run: no such key; did you mean runs?"),
        (["runs=nowhere"], "runs: nowhere: no such folder"),
        (["questions=-2"], "questions: expected 0 or more, got -2"),
        (["questions=many"], "questions: expected a whole number of 0 or more, got 'many'"),
        (["paper=none.json"], "paper: expected a JSON file"),
    ],
)
def test_wrong_input_is_one_message(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report.py"])
    with pytest.raises(SystemExit) as stopped:
        main(REPORT, words)
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and told in said and "Traceback" not in said
    assert not (tmp_path / "report").exists()
