"""Rounds side by side: paired by question and seed, drawn, told in JSON; what is no book is refused."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.make import make_ranking, make_result, report, write
from tuna.errors import ConfigError, DataError
from tuna.reporting.rounds import Rounds, read_rounds
from tuna.runs import note_latest
from tuna.stats import Estimate

# By seed the accuracy on two questions: round 2 answers one more rightly with seed 1.
ANSWERS = {"Start": ([1, 0], [1, 0]), "Round 1": ([1, 0], [1, 0]), "Round 2": ([1, 0], [1, 1])}


def book(folder: Path) -> Path:
    rows = []
    for number, (name, by_seed) in enumerate(ANSWERS.items()):
        for seed, right in enumerate(by_seed):
            place = folder / "results" / f"s{seed}-{number}"
            said = [
                {"task": "t", "id": str(k), "prediction": "a " * (number + k), "scores": {"accuracy": float(value)}}
                for k, value in enumerate(right)
            ]
            make_result(place, "elementary", f"m{seed}{number}", sum(right) / 2, examples=said)
            nll: dict[str, Any] = {"primary": "nll", "lower_is_better": ["nll"]}
            make_result(folder / "results" / f"n{seed}-{number}", "nll", f"m{seed}{number}", 1.0 + number, **nll)
            rows.append(
                {
                    "name": name, "round": number, "seed": seed, "model": f"runs/{number}" if number else None,
                    "measured": [f"results/s{seed}-{number}", f"results/n{seed}-{number}"],
                }
            )  # fmt: skip
    rows.append({"name": "Round 3", "round": 3, "seed": 0, "model": "runs/3", "measured": ["results/not-run"]})
    return write(folder / "rounds.json", {"patience": 1, "rows": rows})


def read(folder: Path) -> Rounds:
    return read_rounds(book(folder))


def test_figures_and_paired_differences(tmp_path: Path) -> None:
    rounds = read(tmp_path)
    start, first, second = rounds.lines
    assert rounds.names == ["accuracy", "words per answer", "nll"] and rounds.lower == {"nll"}
    gain = second.estimate("accuracy", first)
    # Over the seeds the second question gained one half, the first nothing: 0.25 +- 1.96 * sqrt(0.125) / sqrt(2).
    assert gain is not None and gain.high is not None
    assert gain.mean == 0.25 and gain.high == pytest.approx(0.25 + 1.959964 * math.sqrt(0.125 / 2))
    words, nll = second.estimate("words per answer"), second.estimate("nll", start)
    assert words is not None and words.mean == 2.5 and nll is not None and (nll.mean, nll.low) == (2.0, None)
    assert {seed: line.name for seed, line in rounds.best.items()} == {0: "Round 2", 1: "Round 2"}  # the last of equals


def test_the_latest_measurement_counts_whatever_clocks_said(tmp_path: Path) -> None:
    rows = [{"name": "Start", "round": 0, "seed": 0, "measured": ["results"]}]
    places = [
        make_result(tmp_path / "results", "elementary", name, score, ended=f"2026-10-25T0{hour}:30:00")
        for name, score, hour in (("first", 0.25, 2), ("then", 0.5, 1))  # clocks were set back between the two
    ]
    note_latest(tmp_path / "results", places[1].parent)
    (line,) = read_rounds(write(tmp_path / "rounds.json", {"rows": rows})).lines
    assert line.estimate("accuracy") == Estimate(0.5)


def test_they_are_a_section_of_the_report(tmp_path: Path) -> None:
    make_ranking(tmp_path / "rankings", "judged")
    written = report(tmp_path, f"rounds={book(tmp_path)}")
    table = (tmp_path / "report" / "tables" / "rounds.md").read_text()
    assert "| Round 2 | 2 | 0.750" in table and "Δ +0.250" in table and "seed 1: the best is Round 2, runs/2" in table
    assert written["rounds"]["lines"][2]["figures"]["accuracy"]["by_seed"] == {"0": 0.5, "1": 1.0}
    assert (tmp_path / "report" / "figures" / "rounds.png").read_bytes().startswith(b"\x89PNG")
    assert "rounds.png" in written["figures"] and 'id="rounds"' in (tmp_path / "report" / "report.html").read_text()


def test_what_is_no_book(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows: expected objects with name, round, seed, measured"):
        read_rounds(write(tmp_path / "b.json", {"rows": [{"name": "Round 1"}]}))
    make_ranking(tmp_path / "rankings", "judged")
    with pytest.raises(ConfigError, match="rounds: expected a JSON file, there is none at nowhere"):
        report(tmp_path, "rounds=nowhere.json")
