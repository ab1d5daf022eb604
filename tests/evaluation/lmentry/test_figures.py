"""LMentry's figures against a slow second way of making them, on random marks."""

import itertools
import random

import pytest

from tuna.evaluation.lmentry.figures import ADJACENT, ANSWER_ORDER, CONTENT, CORE, SCORER, Tally, figures, intervals

Row = tuple[str, int, int, int]  # task, template, answer index, score
PER_TEMPLATE = 7


def marks(seed: int, dropped: float) -> list[Row]:
    rng = random.Random(seed)
    rates = {(name, template): rng.random() for name in SCORER for template in range(3)}
    every = [
        (n, t, rng.randrange(2), int(rng.random() < rates[n, t]))
        for n in SCORER
        for t in range(3)
        for _ in range(PER_TEMPLATE)
    ]
    return [row for row in every if rng.random() >= dropped]


def share(rows: list[Row], of: int, digits: int | None) -> float:
    value = sum(row[3] for row in rows) / of * 100 if of else 0.0
    return value if digits is None else round(value, digits)


def naive(rows: list[Row], rounding: bool) -> dict[str, float]:
    one, two = (1, 2) if rounding else (None, None)
    of = {name: [row for row in rows if row[0] == name] for name in SCORER}
    total = {name: share(of[name], 3 * PER_TEMPLATE, two) for name in SCORER}

    def robust(values: list[float]) -> float:
        return 100 - max(abs(a - b) for a, b in itertools.combinations(values, 2))

    def at_index(name: str, index: int) -> float:
        found = [row for row in of[name] if row[2] == index]
        return share(found, len(found), two)

    parts = {
        "argument_order": [robust([at_index(name, 0), at_index(name, 1)]) for name in ANSWER_ORDER],
        "argument_content": [robust([total[f"{name}_{end}"] for end in ends]) for name, ends in CONTENT.items()],
        "template": [
            robust([share([row for row in of[name] if row[1] == t], PER_TEMPLATE, one) for t in range(3)])
            for name in CORE
        ],
        "adjacent_tasks": [robust([total[name] for name in pair]) for pair in ADJACENT],
    }
    found = {name: sum(values) / len(values) for name, values in parts.items()}
    robustness = sum(found.values()) / 4
    robustness = round(robustness, 1) if rounding else robustness
    accuracy = sum(total[name] for name in CORE) / 25
    return found | {"accuracy": accuracy, "robustness": robustness, "lmentry_score": accuracy * robustness / 100}


def tallied(rows: list[Row]) -> dict[str, Tally]:
    tallies = {name: Tally([PER_TEMPLATE] * 3) for name in SCORER}
    for name, template, index, score in rows:
        tallies[name].add((template, index if SCORER[name] in ANSWER_ORDER else None), score, 1)
    return tallies


@pytest.mark.parametrize(("seed", "dropped"), [(0, 0.0), (1, 0.0), (2, 0.3), (3, 0.6)])
def test_against_the_slow_way(seed: int, dropped: float) -> None:
    rows = marks(seed, dropped)
    found = figures(tallied(rows), partial=False)
    own, full = naive(rows, True), naive(rows, False)
    assert set(found) == set(own) | {f"{name}_full" for name in full}
    for name in own:
        assert found[name] == pytest.approx(own[name], abs=1e-9)
        assert found[f"{name}_full"] == pytest.approx(full[name], abs=1e-9)
    assert found["robustness"] == round(float(found["robustness"] or 0), 1)
    assert own["accuracy"] != full["accuracy"]


def test_the_interval_of_the_accuracy_is_that_of_a_mean_of_shares() -> None:
    rows = marks(0, 0.0)
    found = intervals(tallied(rows), partial=False, seed=0)
    assert set(found) == {"lmentry_score", "accuracy", "robustness"}
    variance = 0.0
    for name in CORE:
        cells: dict[tuple[int, int], list[int]] = {}
        for task, template, index, score in rows:
            if task == name:
                cells.setdefault((template, index if name in ANSWER_ORDER else 0), []).append(score)
        of_right = sum(sum(cell) * (1 - sum(cell) / len(cell)) for cell in cells.values())
        variance += of_right * (100 / (3 * PER_TEMPLATE) / len(CORE)) ** 2
    each = found["accuracy"]
    assert (each.high - each.low) / 2 == pytest.approx(1.96 * variance**0.5, rel=0.15)
    assert (each.high + each.low) / 2 == pytest.approx(each.mean) and each.lists == len(rows)
    assert found["robustness"].low < found["robustness"].mean < found["robustness"].high


def test_a_task_without_predictions_is_unknown_unless_partial() -> None:
    rows = [row for row in marks(0, 0.0) if row[0] != "first_alphabetically_same_first_letter"]
    strict, partial = (figures(tallied(rows), partial=flag) for flag in (False, True))
    assert strict["accuracy"] == partial["accuracy"] is not None
    assert strict["argument_content"] is strict["robustness"] is strict["lmentry_score"] is None
    assert partial["argument_content"] is not None and partial["lmentry_score"] is not None


def test_what_lmentry_is_made_of() -> None:
    assert len(CORE) == len(set(CORE)) == 25 and len(SCORER) == 41 and len(ADJACENT) == len(set(ADJACENT)) == 17
    assert len(ANSWER_ORDER) == 7 and len(CONTENT) == 6 and set(ANSWER_ORDER) | set(CONTENT) <= set(CORE)
    assert {name for pair in ADJACENT for name in pair} <= set(CORE)
