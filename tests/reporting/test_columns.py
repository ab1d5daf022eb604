from pathlib import Path

from tests.reporting.make import make_result
from tuna.reporting.columns import find_columns
from tuna.reporting.read import Found


def keys(folder: Path) -> set[str]:
    return {column.key for column in find_columns(Found.read([], [], [folder]).results).values()}


def test_other_settings_are_another_column(tmp_path: Path) -> None:
    for model in ("a", "b"):
        for examples in (2, 0):
            make_result(tmp_path, "super_ni", model, 1.0, settings={"examples": examples})
    make_result(tmp_path, "lmentry", "a", 1.0)
    found = Found.read([], [], [tmp_path]).results
    columns = find_columns(found)
    found_keys = {(result.model["name"], result.path.parent.name[2:]): columns[result.path].key for result in found}
    assert found_keys == {
        ("a", ""): "lmentry", ("a", "examples0"): "super_ni examples=0", ("a", "examples2"): "super_ni examples=2",
        ("b", "examples0"): "super_ni examples=0", ("b", "examples2"): "super_ni examples=2",
    }  # fmt: skip


def test_what_belongs_to_the_system_makes_no_column(tmp_path: Path) -> None:
    make_result(tmp_path, "vicuna_qa", "a", 1.0, settings={"baseline": "f" * 64})
    make_result(tmp_path, "vicuna_qa", "b", 1.0, settings={"baseline": "e" * 64})
    path = make_result(tmp_path, "vicuna_qa", "c", 1.0, settings={"baseline": "d" * 64})
    path.write_text(path.read_text().replace('"template": "auto"', '"template": "alpaca"'))
    assert keys(tmp_path) == {"vicuna_qa"}


def test_hashes_are_short_and_scores_are_told_apart(tmp_path: Path) -> None:
    make_result(tmp_path, "nll", "a", 1.0, settings={"data": "a" * 64})
    make_result(tmp_path, "nll", "b", 1.0, settings={"data": "b" * 64}, primary="per_token")
    assert keys(tmp_path) == {"nll data=aaaaaaaa accuracy", "nll data=bbbbbbbb per_token"}
