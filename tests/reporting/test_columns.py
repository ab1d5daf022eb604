from pathlib import Path

from tests.reporting.make import make_result
from tuna.reporting.columns import Columns
from tuna.reporting.read import Found


def test_other_settings_are_another_column(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for examples in (2, 0):
            make_result(tmp_path, "super_ni", model, 1.0, settings={"examples": examples})
    make_result(tmp_path, "lmentry", "a", 1.0)
    found = Found.read([], [], [tmp_path]).results
    columns = Columns(found)
    assert [column.key for column in columns.all] == ["lmentry", "super_ni examples=0", "super_ni examples=2"]
    assert len({columns.of(result).key for result in found if result.model["name"] == "a"}) == 3
    assert columns.of(found[1]) == columns.of(
        next(r for r in found[2:] if r.path.parent.name[1:] == found[1].path.parent.name[1:])
    )


def test_what_belongs_to_the_system_makes_no_column(tmp_path: Path) -> None:
    make_result(tmp_path, "vicuna_qa", "a", 1.0, settings={"baseline": "f" * 64})
    make_result(tmp_path, "vicuna_qa", "b", 1.0, settings={"baseline": "e" * 64})
    path = make_result(tmp_path, "vicuna_qa", "c", 1.0, settings={"baseline": "d" * 64})
    path.write_text(path.read_text().replace('"template": "auto"', '"template": "alpaca"'))
    assert [column.key for column in Columns(Found.read([], [], [tmp_path]).results).all] == ["vicuna_qa"]


def test_hashes_are_short_and_scores_are_told_apart(tmp_path: Path) -> None:
    make_result(tmp_path, "nll", "a", 1.0, settings={"data": "a" * 64})
    make_result(tmp_path, "nll", "b", 1.0, settings={"data": "b" * 64}, primary="per_token")
    keys = [column.key for column in Columns(Found.read([], [], [tmp_path]).results).all]
    assert keys == ["nll data=aaaaaaaa accuracy", "nll data=bbbbbbbb per_token"]
