"""Sources: ranges, originals, and all faults at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.make import row, write
from tests.data.test_importers import DAVINCI, FORMATTED, GPT4, PAIRS
from tuna.assets import is_asset
from tuna.data import load
from tuna.data.load import Loaded, Source, load_questions, load_source, load_sources
from tuna.errors import DataError


def _ids(loaded: Loaded) -> list[str]:
    return [record.id for record in loaded.records]


def _error(*sources: Source) -> str:
    with pytest.raises(DataError) as fault:
        load_sources(sources, "error")
    return str(fault.value)


def test_ranges_are_in_file_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(n) for n in range(10)])
    assert _ids(load_source(Source(path, first=3))) == ["0", "1", "2"]
    assert _ids(load_source(Source(path, last=2))) == ["8", "9"]
    assert _ids(load_source(Source(path, first=6, last=6))) == ["4", "5"]
    assert _error(Source(path, first=11)) == f"{path}: first: expected at most 10 (the file's rows), got 11"
    assert "none in common" in _error(Source(path, first=3, last=3))


def test_embedded_files_are_cut_to_what_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jsonl", [row(n) for n in range(4)])
    monkeypatch.setattr(load, "is_asset", lambda path: True)
    loaded = load_source(Source(path, first=13000))
    assert len(loaded.records) == 4
    assert loaded.notes == [f"{path}: first=13000 cut to the 4 embedded rows"]


def test_embedded_is_decided_by_the_path() -> None:
    assets = Path(load.__file__).parent.parent / "assets" / "ranked.jsonl"
    assert is_asset(str(assets))
    assert not is_asset("ranked.jsonl")


def test_all_malformed_rows_are_listed_and_none_hides_another(tmp_path: Path) -> None:
    rows: list[Any] = [
        row(0),
        "{no json",
        row(2, [("only", 1.0)]),
        row(3, [("a", float("nan")), ("b", 0.0)]),
        [1, 2],
        row(5, output=None),
        row(6, instruction=" "),
    ]
    path = write(tmp_path / "a.jsonl", rows)
    other = write(tmp_path / "b.jsonl", [row(0), row(1, instruction=3)])
    lines = _error(Source(path), Source(other)).splitlines()
    assert [line.split(": ")[0] for line in lines[:7]] == [f"{path}:{n}" for n in (2, 3, 4, 5, 6, 7)] + [f"{other}:2"]
    assert "line: expected JSON, got '{no json'" in lines[0]
    assert "responses: expected two responses or more, got a list of 1" in lines[1]
    assert "responses[0].score: expected a finite number, got NaN" in lines[2]
    assert "line: expected a JSON object, got a list of 2" in lines[3]
    assert "output: expected the original response (a string), got nothing; set datamodule.original=" in lines[4]
    assert "instruction: expected some text, got ' '" in lines[5]
    assert lines[7] == "7 malformed rows; next: mend them, or datamodule.bad_rows=drop"
    kept = load_sources([Source(path)], bad_rows="drop")[0]
    assert _ids(kept) == ["0"]
    assert kept.reasons["bad row: line: expected JSON"] == 1
    assert kept.reasons["bad row: responses[].score: expected a finite number"] == 1
    assert sum(kept.reasons.values()) == 6


def test_a_long_list_of_faults_is_cut_with_a_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0), *(row(n, instruction=n) for n in range(1, 26))])
    lines = _error(Source(path)).splitlines()
    assert len(lines) == 22
    assert lines[20:] == ["... and 5 more", "25 malformed rows; next: mend them, or datamodule.bad_rows=drop"]
    path = write(tmp_path / "a.jsonl", [row(n, output=None) for n in range(25)])
    with pytest.raises(DataError, match="no usable row is left of 25"):
        load_sources([Source(path)], bad_rows="drop")


def test_a_fault_of_many_rows_hides_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*(row(n, output=None) for n in range(25)), "{no json"])
    first, second, last = _error(Source(path)).splitlines()
    assert first.startswith(f"{path}:1: output: expected the original response") and "set datamodule.original" in first
    assert first.endswith(" (24 more rows are like it)") and second.startswith(f"{path}:26: line: expected JSON")
    assert last.startswith("26 malformed rows; next")


def test_original_best_and_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0, output=None), row(1)])
    assert not load_source(Source(path, original="none")).problems
    loaded = load_source(Source(path, original="best"))
    assert loaded.original_best
    assert [record.output for record in loaded.records] == [None, "out 1"]


def test_pairs_take_the_chosen_one_as_original(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [PAIRS])
    assert load_source(Source(path)).original_best
    assert not load_source(Source(path, original="none")).original_best


def test_sft_needs_the_output_or_a_best_candidate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0, output=None)])
    assert "set datamodule.original=best or FILE" in _error(Source(path, rank_by=None))
    assert load_source(Source(path, rank_by=None, original="best")).original_best
    bare = write(tmp_path / "b.jsonl", [row(0, output=None) | {"responses": [{"text": "a"}, {"text": "b"}]}])
    said = _error(Source(bare, rank_by=None, original="best"))
    assert "output: expected the original response" in said and "original=best" not in said
    pairs = load_source(Source(write(tmp_path / "c.jsonl", [PAIRS]), rank_by=None))
    assert pairs.original_best and not pairs.problems, "the chosen one is the target"


def test_a_split_that_is_read_alone_is_noted(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [row(0)])
    assert load_source(Source(str(tmp_path))).notes == [f"{tmp_path}: split train is read, test not"]


def test_questions_need_an_id_of_their_own_and_nothing_else(tmp_path: Path) -> None:
    rows = [{"instruction": "Add."}, row(7), {"instruction": "Add.", "id": 0}]
    path = write(tmp_path / "a.jsonl", rows)
    loaded = load_questions(Source(path, None, key="input"))
    assert _ids(loaded) == ["0", "7"]
    assert loaded.problems == [f"{path}:3: id: expected an id of its own ({path}:1 has it too), got '0'"]


@pytest.mark.parametrize("given", [GPT4, FORMATTED])
def test_the_authors_files_name_the_file_to_join(tmp_path: Path, given: dict[str, Any]) -> None:
    path = write(tmp_path / "a.jsonl", [given])
    assert "set datamodule.original=best, none or FILE (Alpaca rows such as alpaca_data.json, joined by id)" in _error(
        Source(path)
    )


def test_joining_alpaca_rows_by_id(tmp_path: Path) -> None:
    alpaca = tmp_path / "alpaca.json"
    rows = [{"instruction": f"Do {n}.", "input": "", "output": f"out {n}"} for n in range(9)]
    rows[7]["instruction"] = "Add."
    alpaca.write_text(json.dumps(rows))
    path = write(tmp_path / "a.jsonl", [GPT4, GPT4 | {"id": 99}, GPT4 | {"id": 3}])
    loaded = load_source(Source(path, original=str(alpaca)))
    assert [record.output for record in loaded.records] == ["out 7"]
    assert f"{path}:2: id: expected the id of a row of {alpaca}, got '99'" in loaded.problems
    assert f"{path}:3: id: expected the same instruction as row 3 of {alpaca}, got 'Add.'" in loaded.problems


def test_davinci_is_ranked_by_eq3_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [DAVINCI])
    assert not load_source(Source(path, "eq3")).problems
    assert "responses[0].score: expected a finite number, got nothing" in _error(Source(path, "score"))
    assert "set datamodule.rank_by=eq3" in _error(Source(path, "score"))


def test_alpaca_rows_are_no_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": "Add.", "output": "3"}])
    assert "responses: expected two responses or more, got a list of 0" in _error(Source(path))
    assert len(load_source(Source(path, rank_by=None)).records) == 1
