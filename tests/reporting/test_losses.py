"""Losses side by side: differences, hypotheses and sizes from results that the tests choose."""

from pathlib import Path

import pytest

from tests.reporting.make import make_result, report, write
from tuna.reporting.losses import Losses, read_losses
from tuna.stats import holm

# By loss, by seed the marks of four questions.
MARKS = {
    "tuna": ([1, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0]),
    "dpo": ([1, 0, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0]),
    "mle": ([0, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0]),
    "dpo@8": ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]),
}


def book(folder: Path) -> Path:
    places = {}
    for name, by_seed in MARKS.items():
        places[name] = f"results/{name}"
        for seed, marks in enumerate(by_seed):
            run = folder / "runs" / name / str(seed)
            config = {"seed": seed, "loss": {"beta": 0.1, "reference": None}, "module": {"lr": 3e-4}}
            before, after = {"loss_ce": 1.0}, {"loss_ce": 1.5, "pair_accuracy": 0.7 + seed / 10}
            write(run / "run.json", {"config": config, "before": before, "after": after})
            said = [
                {"task": "t", "id": str(k), "prediction": "a b c", "scores": {"accuracy": float(mark)}}
                for k, mark in enumerate(marks)
            ]
            place = folder / "results" / name
            make_result(place, "elementary", f"{name}{seed}", sum(marks) / 4, run=run, examples=said)
    make_result(folder / "results" / "start", "elementary", "start", 0.25)
    contrasts = [
        {"says": "longer lists help", "of": {"dpo@8": 1, "dpo": -1}, "expected": "above"},
        {"says": "not there", "of": {"ipo": 1, "dpo": -1}, "expected": "below"},
    ]
    content = {
        "baseline": "tuna", "start": "results/start", "losses": places | {"ipo": "results/ipo"},
        "sizes": {"dpo": {"4": "dpo", "8": "dpo@8"}}, "contrasts": contrasts,
    }  # fmt: skip
    return write(folder / "losses.json", content)


def read(folder: Path) -> Losses:
    return read_losses(book(folder))


def test_differences_are_paired_and_corrected(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert set(found.changes) == {"dpo", "mle"}  # neither the baseline, nor other sizes, nor what is not measured
    changes = [found.changes[name][0] for name in ("dpo", "mle")]
    assert changes[0].mean == pytest.approx(1 / 12)
    assert [found.changes[name][1] for name in ("dpo", "mle")] == holm([change.p for change in changes])
    assert [line.name for line in found.order()] == ["dpo", "tuna", "mle"]
    assert found.lines["dpo"].settings == "lr=0.0003 loss.beta=0.1"


def test_hypotheses(tmp_path: Path) -> None:
    (_, _, estimate, p, verdict), (_, _, nothing, _, lacks) = read(tmp_path).hypotheses
    assert estimate is not None and estimate.mean == pytest.approx(11 / 12 - 7 / 12) and p < 1
    assert verdict == ("holds" if p < 0.05 else "not decided") and (nothing, lacks) == (None, "not measured")


def test_nothing_measured_yet(tmp_path: Path) -> None:
    content = {"baseline": "tuna", "start": "results/start", "losses": {"dpo": "results/dpo"}, "contrasts": []}
    written = report(tmp_path, f"losses={write(tmp_path / 'losses.json', content)}")
    assert written["losses"]["losses"] == {} and "losses" in written["tables"]


def test_the_report_is_on_them_alone(tmp_path: Path) -> None:
    written = report(tmp_path, f"losses={book(tmp_path)}")
    assert written["tables"] == ["losses", "losses-hypotheses", "losses-sizes"] and written["claims"] == []
    assert written["figures"] == ["losses-cost.png", "losses-forest.png", "losses-sizes.png"]
    table = (tmp_path / "report" / "tables" / "losses.md").read_text()
    assert "Mean over 3 seeds and 4 questions" in table and "| start | 0.250" in table
    assert "corrected by Holm over the 2 differences" in table and "0.800" in table
    losses = written["losses"]
    assert losses["losses"]["dpo"]["by_seed"] == {"0": 0.5, "1": 0.75, "2": 0.5}
    assert losses["sizes"]["dpo"]["8"]["mean"] == pytest.approx(11 / 12)
    assert losses["hypotheses"][1]["verdict"] == "not measured"
