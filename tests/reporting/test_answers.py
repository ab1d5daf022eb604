from pathlib import Path

from tests.reporting.make import example
from tests.reporting.test_compare import compare, measure
from tuna.reporting.answers import answer_sheets, answers_table


def test_the_same_questions_of_all_systems(tmp_path: Path) -> None:
    for label in ("Alpaca", "Tuna_c"):
        rows = [example(n, f"{label} says {n}", n % 2) for n in range(30 if label == "Alpaca" else 20)]
        measure(tmp_path, label, 0, 0.5, examples=[{**row, "canary": "GUID 1"} for row in rows])
    problems: list[str] = []
    (sheet,) = answer_sheets(compare(tmp_path)[0], 5, problems)
    assert (len(sheet.questions), sheet.total, sheet.canary, problems) == (5, 20, "GUID 1", [])
    for question in sheet.questions:
        number = question["id"][1:]
        assert [(a["system"], a["text"]) for a in question["answers"]] == [
            ("Alpaca", f"Alpaca says {number}"), ("Tuna_c", f"Tuna_c says {number}"),
        ]  # fmt: skip
        assert question["instruction"] == f"Question {number}?" and question["references"] == [f"answer {number}"]
    again = answer_sheets(compare(tmp_path)[0], 5, problems)
    assert again == [sheet] and answer_sheets(compare(tmp_path)[0], 0, problems) == []
    assert [q["id"] for q in sheet.questions] != [f"q{n}" for n in range(5)]  # not just the first
    table = answers_table([sheet])
    assert len(table.rows) == 10 and table.notes == ["GUID 1"]


def test_the_lowest_seed_is_shown_and_long_answers_are_cut(tmp_path: Path) -> None:
    for seed in (2, 1):
        measure(tmp_path, "Tuna_c", seed, 0.5, examples=[example(0, str(seed) * 5000, 1)])
    (sheet,) = answer_sheets(compare(tmp_path)[0], 5, [])
    text = sheet.questions[0]["answers"][0]["text"]
    assert text == "1" * 4000 + " … (5,000 characters)"


def test_what_cannot_be_shown_is_told(tmp_path: Path) -> None:
    measure(tmp_path, "Alpaca", 0, 0.5, examples=[example(0, "a", 1)])
    measure(tmp_path, "Tuna_c", 0, 0.5, examples=[example(1, "b", 1)])
    measure(tmp_path, "Tuna_p", 0, 0.5, examples=[example(1, "c", 1)])
    broken = tmp_path / "results" / "elementary" / "tuna_p-0" / "examples.jsonl"
    broken.write_text("{\n")
    problems: list[str] = []
    assert answer_sheets(compare(tmp_path)[0], 5, problems) == []
    assert problems == [
        f"{broken}:1: expected a JSON object, got '{{'; no answers of Tuna_p are shown",
        "Verifiable tasks: no question was answered by all of Alpaca, Tuna_c",
    ]
