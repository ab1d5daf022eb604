"""The clone's scorers in their own process: what they print, need or lack does not reach the house's."""

import os
import sys
from pathlib import Path

import pytest

from tests.evaluation.lmentry.make import write_clone
from tuna.errors import ConfigError, RunError
from tuna.evaluation.lmentry.clone import CLONE, REPOSITORY, SCORERS, check_scorers, mark, read_tasks
from tuna.evaluation.lmentry.figures import CORE
from tuna.evaluation.questions import find_clone


def test_marks_keep_their_order_in_any_number_of_processes(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry")
    before = {path: path.stat().st_mtime_ns for path in clone.rglob("*")}
    examples = [example for file in read_tasks(clone / "data", partial=False)[0][:3] for example in file.examples]
    predictions = [f"é {example.raw['metadata']['answer']}" if i % 3 else "w1" for i, example in enumerate(examples)]
    marks = mark(clone, examples, predictions, 5)
    assert marks == [(1, 0) if i % 3 else (0, 0) for i in range(len(examples))] and len(marks) == 18
    assert mark(clone, examples, predictions, 1) == marks
    assert mark(clone, [], [], 2) == []
    assert not any(name.startswith("lmentry") for name in sys.modules)
    assert str(clone) not in sys.path
    assert {path: path.stat().st_mtime_ns for path in clone.rglob("*")} == before  # no __pycache__ either


def test_a_clone_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clone(tmp_path / "lmentry")
    monkeypatch.chdir(tmp_path)
    check_scorers(find_clone("lmentry", REPOSITORY, CLONE, SCORERS).absolute())
    assert os.getcwd() == str(tmp_path)


def test_a_package_that_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry", before="import no_such_package_of_numbers.inside")
    with pytest.raises(
        ConfigError, match=r"need the package no_such_package_of_numbers.*pip install .*(num2words>=|lmentry)"
    ):
        check_scorers(clone)


@pytest.mark.parametrize("before", ["import lmentry.nothing", "1 / 0", "raise SystemExit(3)"])
def test_a_clone_that_cannot_be_imported(before: str, tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry", before=before)
    with pytest.raises(ConfigError, match=r"cannot be imported \(.*\); next: git clone"):
        check_scorers(clone)


def test_scorers_that_are_lacking(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry", names=CORE[2:])
    with pytest.raises(ConfigError, match=r"got none for sentence_containing, sentence_not_containing; next"):
        check_scorers(clone)


def test_a_mark_that_is_none(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry")
    example = read_tasks(clone / "data", partial=False)[0][0].examples[0]
    with pytest.raises(RunError, match=r"gave \[None, None\], expected a score and a certainty"):
        mark(clone, [example], ["odd"], 1)


def test_the_hash_follows_the_source(tmp_path: Path) -> None:
    one, other = write_clone(tmp_path / "a"), write_clone(tmp_path / "b", before="# other")
    assert check_scorers(one) == check_scorers(write_clone(tmp_path / "c")) != check_scorers(other)
