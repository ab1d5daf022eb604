"""Recognition by the whole shape: every pair of formats, every key taken away, every key put in."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data.make import write
from tests.data.test_importers import ALL
from tuna.data.fields import FieldError
from tuna.data.files import read_rows
from tuna.data.importers import choose, importers, recognize, records
from tuna.data.importers.base import kinds_of, shape_of
from tuna.data.load import Source, load_source
from tuna.data.rows import Row
from tuna.errors import DataError

FORMATS = Path(__file__).parent / "formats"
FILES = {path.name: [row.value for row in read_rows(str(path)).rows] for path in sorted(FORMATS.iterdir())}
ROWS = {name: rows[0] for name, rows in FILES.items()} | ALL
# Without the key it is of another format by right, and the stage asks for what is missing.
ANOTHER = {("tuna", "responses"): "alpaca"}


def _name(row: dict[str, Any]) -> str:
    found, problem = recognize(row)
    return found.name if found else problem


def _faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a row of a recognized format."""
    found, _ = recognize(row)
    assert found is not None
    return [str(r) for _, r in records(found, [(0, Row("f:1", row))], Counter()) if isinstance(r, FieldError)]


def test_every_format_has_a_row_here() -> None:
    assert {_name(row) for row in ROWS.values()} == set(importers())


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_file_is_of_one_format(name: str) -> None:
    assert len({_name(row) for row in FILES[name]}) == 1


@pytest.mark.parametrize("name", ROWS)
def test_without_a_key_it_is_itself_or_the_key_is_named(name: str) -> None:
    rows = FILES.get(name, [ROWS[name]])
    for row in rows:
        for key in row:
            cut = {k: v for k, v in row.items() if k != key}
            found, problem = recognize(cut)
            if found is None:
                with pytest.raises(DataError, match=key):
                    choose("auto", [cut], "f")
                assert f"`{key}`" in problem or not set(cut) - {"system", "id", "source"}
            elif found.name == _name(row):
                said = " ".join(_faults(cut))
                assert not said or key in said
            else:
                assert ANOTHER.get((name, key)) == found.name


@pytest.mark.parametrize(
    ("name", "outer", "inner"),
    [
        ("ultrafeedback.jsonl", "completions", "response"),
        ("nectar.jsonl", "answers", "answer"),
        ("nectar.jsonl", "answers", "rank"),
        ("nemo.jsonl", "completions", "rank"),
        ("nemo.jsonl", "completions", "completion"),
    ],
)
def test_without_a_key_inside_a_list_it_is_named(name: str, outer: str, inner: str) -> None:
    row = ROWS[name]
    cut = row | {outer: [{k: v for k, v in value.items() if k != inner} for value in row[outer]]}
    with pytest.raises(DataError, match=rf"which looks like {_name(row)} but has no `{outer}\[\]\.{inner}`\. Known: "):
        choose("auto", [cut], "f")


@pytest.mark.parametrize("name", ROWS)
def test_metadata_changes_nothing(name: str) -> None:
    row = ROWS[name]
    more = row | {"note": "seen", "lang_id": 3, "source": "pond", "nothing": None, "tags": []}
    assert _name(more) == _name(row)
    assert not _faults(more)


@pytest.mark.parametrize("name", ROWS)
def test_with_a_key_of_another_format_it_is_itself_or_nothing_or_wholly_the_other(name: str) -> None:
    row = ROWS[name]
    for other in ROWS.values():
        for key, value in other.items():
            found, problem = recognize(row | {key: value})
            if key in row or found is None:
                assert key in row or "looks like" in problem
                continue
            # It became another format only where that one has a word for all that its own format requires.
            own = importers()[_name(row)]
            needed = {n.partition("[].")[0] for names in own.required for n in names.split("|")} & set(row)
            words = {n.partition("[].")[0] for names in found.keys for n in names.split("|")}
            assert found is own or needed <= words


def test_two_formats_in_one_row_have_to_be_told_apart() -> None:
    both = {"prompt": "Add.", "completion": "3", "label": True, "answers": [{"answer": "3", "rank": 1}]}
    assert recognize(both)[1] == "looks like kto and like nectar, so its format has to be named"
    with pytest.raises(
        DataError, match=r"name its format by datamodule\.format, or name its columns by datamodule\.columns="
    ):
        choose("auto", [both], "f", "datamodule.path")


def test_a_value_of_another_kind_is_named() -> None:
    row = {"instruction": "Add.", "output": "3", "responses": ["3", "4"]}
    assert recognize(row)[1] == "looks like tuna but has `responses` that is not a list of objects"


def test_files_that_mix_formats(tmp_path: Path) -> None:
    alpaca, ranked, pair = ALL["alpaca"], ALL["tuna"], ALL["pairs"]
    five = FILES["armorm.jsonl"][0]
    path = write(tmp_path / "a.jsonl", [pair, alpaca, five, pair])
    loaded = load_source(Source(path))
    assert loaded.format == "pairs" and len(loaded.records) == 2
    assert (
        "a.jsonl:2: line: expected a row of format pairs, as the file begins, got one of alpaca" in loaded.problems[0]
    )
    assert loaded.problems[1] == (
        f"{path}:3: line: expected a row of format pairs, as the file begins, got one of scored_lists; where all rows "
        "are meant so: datamodule.format=pairs"
    )
    assert not load_source(Source(write(tmp_path / "b.jsonl", [pair, pair]), format="pairs")).problems
    # Rows without answers before rows with: the format that has words for both.
    assert load_source(Source(write(tmp_path / "c.jsonl", [alpaca, ranked]), None)).format == "tuna"
    odd = {"prompt": "Add.", "score": 1, "label": True}
    said = load_source(Source(write(tmp_path / "d.jsonl", [{"prompt": "Add."}, odd]), None)).problems[1]
    assert said.endswith(":2: line: looks like kto but has no `completion`")


def test_shapes_do_not_hang_on_values() -> None:
    one, other = ({"q": text, "n": n, "l": texts} for text, n, texts in (("a", 1, ["x"]), ("b", 2.5, ["y", "z"])))
    assert shape_of(one) == shape_of(other) != shape_of(one | {"l": [1]})
    assert shape_of({"a": [{"b": "N/A"}, {"b": 1}, {}]})["a[].b"] == {
        frozenset({"any", "text"}), frozenset({"any", "number"}), frozenset({"null"}),
    }  # fmt: skip
    assert "texts" in kinds_of([]) and "messages" not in kinds_of([]) and "number" not in kinds_of(True)
    assert kinds_of(None) == {"null"}
