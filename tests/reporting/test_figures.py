from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.reporting.make import make_ranking
from tests.reporting.test_claims import sweep as measured_sweep
from tests.reporting.test_compare import compare, measure
from tests.reporting.test_sweeps import lambdas
from tuna.reporting import figures
from tuna.reporting.figures import _axis_places, draw_lengths, draw_sweep, draw_systems
from tuna.reporting.read import Found
from tuna.reporting.sweeps import find_sweeps


def test_zero_stands_left_of_the_least() -> None:
    places = _axis_places([0, 0.1, 1, 5, 10])
    assert places[0.1] == pytest.approx(-1) and places[10] == pytest.approx(1)
    assert places[0] == pytest.approx(-1 - 2 / 3)  # a mean step of the others
    assert sorted(places.values()) == [places[x] for x in sorted(places)]


def test_near_and_negative_values_keep_their_order() -> None:
    assert _axis_places([1.0, 1.3, 1.5]) == {1.0: 1.0, 1.3: 1.3, 1.5: 1.5}
    assert _axis_places([-5, 0, 2]) == {-5: 0.0, 0: 1.0, 2: 2.0}


def test_a_sweep_is_drawn_and_drawn_alike(tmp_path: Path) -> None:
    lambdas(tmp_path, ["figure2"])
    comparison, _ = compare(tmp_path)
    (sweep,) = find_sweeps(comparison)
    first, left = draw_sweep(sweep, comparison, tmp_path)
    bytes_before = first[0][0].read_bytes()
    draw_sweep(sweep, comparison, tmp_path)
    assert [path.name for path, _ in first] == ["figure2-verifiable-tasks.png"] and left == []
    assert first[0][0].read_bytes() == bytes_before
    image = Image.open(first[0][0]).convert("L")
    assert image.width > 500 and min(image.tobytes()) < 60  # something dark was drawn


def frame(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """The limits of the one figure of a folder's one sweep."""
    frames: list[tuple[float, float]] = []
    monkeypatch.setattr(figures, "save", lambda figure, path: frames.append(figure.axes[0].get_ylim()))
    comparison, _ = compare(folder)
    (sweep,) = find_sweeps(comparison)
    draw_sweep(sweep, comparison, folder)
    (limits,) = frames
    return limits


@pytest.mark.parametrize("table", ["figure2", "figure3"])
def test_no_point_is_outside_of_the_frame(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the baseline, be it the point at zero (Figure 3) or a level: far below the others, whose bars are small."""
    for seed in range(2):
        measure(tmp_path, "Alpaca", seed, -3.0, "lmentry")
    measured_sweep(tmp_path, table, {13: [2.0, 2.01], 24: [2.0, 2.01], 52: [2.1, 2.11]})
    low, high = frame(tmp_path, monkeypatch)
    assert low < -3.0 and high > 2.105


def test_a_wide_bar_leaves_the_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured_sweep(tmp_path, "figure2", {13: [2.0, 2.01], 24: [2.0, 2.01], 52: [1.0, 3.0]})
    low, high = frame(tmp_path, monkeypatch)
    assert 1.0 < low < 2.0 and 2.01 < high < 3.0  # the bar at 52 is 12.7 on either side


def test_lengths_say_what_is_left_out(tmp_path: Path) -> None:
    for n in range(8):
        make_ranking(tmp_path, f"r{n}")
    rankings = Found.read([], [tmp_path], []).rankings
    assert draw_lengths(rankings[:3], tmp_path / "a.png") == []
    assert draw_lengths(rankings, tmp_path / "b.png") == ["lengths by rank: 2 of 8 rankings are not drawn"]


def test_the_systems_scores_are_drawn_where_two_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[tuple[str, list[float]]]] = []

    def save(figure: Any, path: Path) -> None:
        drawn.append([(p.get_title(), sorted(c.lines[0].get_xdata()[0] for c in p.containers)) for p in figure.axes])

    monkeypatch.setattr(figures, "save", save)
    measure(tmp_path, "Alpaca", 0, 0.5)
    measure(tmp_path, "Alpaca", 0, 2.0, "lmentry")
    assert draw_systems(compare(tmp_path)[0], tmp_path / "systems.png") == ([], []) and not drawn
    measure(tmp_path, "Tuna_c", 0, 0.6)
    found, left = draw_systems(compare(tmp_path)[0], tmp_path / "systems.png")
    assert [path.name for path, _ in found] == ["systems.png"] and left == []
    assert drawn == [[("Verifiable tasks", [0.5, 0.6])]]  # LMentry measured one
