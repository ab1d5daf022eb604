"""compare and merge as they are typed: usage, exit codes, files."""

import json
from pathlib import Path

import pytest

from tests.inference.make import write_rows
from tuna.ranking.tools import run_tool

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def ranked(key: str, **scores: float) -> dict[str, object]:
    return {"id": key, "responses": [{"text": text, "score": score} for text, score in scores.items()]}


def test_compare_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_rows(tmp_path / "a.jsonl", [ranked("1", a=2, b=1, c=0), ranked("2", a=1, b=1)])
    two = write_rows(tmp_path / "b.jsonl", [ranked("1", a=2, b=0, c=1), ranked("2", a=1, b=0)])
    run_tool(["compare", str(one), str(two), str(tmp_path / "agreement.json")])
    assert "Spearman, mean over 1 lists: 0.5" in capsys.readouterr().out  # 1 - 6 * 2 / (3 * 8); ties give none
    assert json.loads((tmp_path / "agreement.json").read_text())["lists"] == 2
    assert (tmp_path / "agreement.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "a.jsonl"], "expected python rank.py compare A.jsonl B.jsonl"),
        (["merge", "out.jsonl"], "expected python rank.py merge OUT.jsonl"),
        (["compare", "nothing.jsonl", "neither.jsonl"], "nothing.jsonl: no such file"),
    ],
)
def test_faults_are_one_message(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_tool(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and said.startswith("error: ") and told in said and "Traceback" not in said
