import json
from pathlib import Path

import pytest

from tuna.errors import DataError
from tuna.reporting.paper import PaperCell, paper, read_cells


def test_claims_name_what_there_is() -> None:
    found = paper()
    names = {*found["order"], "@baseline"}
    tags = {sweep["tag"] for sweep in found["sweeps"]}
    for claim in found["claims"]:
        assert claim.get("sweep") in tags or {claim["a"], claim["b"]} <= names


def test_cells_are_read(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text(json.dumps([{"table": "1", "system": "Tuna", "column": "LMentry", "value": 1}]))
    assert read_cells(path) == [PaperCell("1", "Tuna", "LMentry", 1.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "expected JSON"),
        ("{}", "expected a list of cells, got dict"),
        ('[{"table": "1", "system": "T", "column": "c", "value": "x"}]', "cell 1: value: expected a number, got 'x'"),
        ('[{"table": 1, "system": "T", "column": "c", "value": 1}, 5]', "cell 1: table: expected text, got 1"),
    ],
)
def test_wrong_cells(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        read_cells(path)
