"""tuna.training.samples: answers before and after."""

from pathlib import Path

from tuna.runs import RunFolder
from tuna.training.samples import read, table, write


def test_an_answer_may_hold_any_line_end(tmp_path: Path) -> None:
    target = RunFolder(tmp_path, "x")
    write(target, [{"id": "0", "instruction": "a\u2028b"}], ["c\x85d"], ["e\u2029f"])
    assert [(row["instruction"], row["before"], row["after"]) for row in read(target)] == [
        ("a\u2028b", "c\x85d", "e\u2029f")
    ]


def test_rows_are_written_and_shown_evenly(tmp_path: Path) -> None:
    target = RunFolder(tmp_path, "x")
    assert read(target) == [] == table(target, 3)
    records = [{"id": f"{n}", "instruction": f"é {n}", "input": None} for n in range(10)]
    write(target, records, [f"was {n}" for n in range(10)], ["now" * 1000] * 10)
    rows = read(target)
    assert len(rows) == 10 and rows[3] | {"after": ""} == {
        "id": "3", "task": "", "instruction": "é 3", "input": "", "before": "was 3", "after": ""
    }  # fmt: skip
    shown = table(target, 4)
    assert [row["id"] for row in shown] == ["0", "2", "5", "7"]
    assert len(shown[0]["after"]) == 2000
    assert table(target, 0) == [] and len(table(target, 99)) == 10
