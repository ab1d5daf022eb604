"""LMentry's tasks, and its figures from marked predictions: accuracy, four kinds of robustness, and their score.

Definitions: Efrat et al. 2022 (arXiv 2211.02069), section 4. Each figure is given twice: with the roundings of its
owners' analysis (a template's accuracy to 1 decimal, a task's to 2, robustness to 1 before the product), and without.
The orders of tasks are those in which its owners take their means, so that sums round alike.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tuna.stats import Interval, by_spread

# The 25 core tasks.
CORE = (
    "sentence_containing", "sentence_not_containing", "word_containing", "word_not_containing", "most_associated_word",
    "least_associated_word", "any_words_from_category", "all_words_from_category", "first_alphabetically",
    "more_letters", "less_letters", "bigger_number", "smaller_number", "rhyming_word", "homophones", "word_after",
    "word_before", "starts_with_word", "ends_with_word", "starts_with_letter", "ends_with_letter", "first_word",
    "last_word", "first_letter", "last_letter",
)  # fmt: skip

# Tasks that offer two answers, where the right one comes first or second.
ANSWER_ORDER = (
    "more_letters", "less_letters", "first_alphabetically", "rhyming_word", "homophones", "bigger_number",
    "smaller_number",
)  # fmt: skip

# The same task with easier and harder arguments: the ends of the files' names.
CONTENT = {
    "first_alphabetically": (
        "far_first_letter", "different_first_letter", "consecutive_first_letter", "same_first_letter",
    ),
    "all_words_from_category": ("0_distractors", "1_distractors", "2_distractors"),
    "any_words_from_category": ("5_distractors", "4_distractors", "3_distractors"),
    "rhyming_word": ("orthographically_similar", "orthographically_different"),
    "more_letters": ("length_diff_3plus", "length_diff_1"),
    "less_letters": ("length_diff_3plus", "length_diff_1"),
}  # fmt: skip

# Tasks that ask nearly the same.
ADJACENT = (
    ("bigger_number", "smaller_number"), ("more_letters", "less_letters"), ("word_after", "word_before"),
    ("most_associated_word", "least_associated_word"), ("any_words_from_category", "all_words_from_category"),
    ("sentence_containing", "sentence_not_containing"), ("word_containing", "word_not_containing"),
    ("starts_with_word", "starts_with_letter"), ("ends_with_word", "ends_with_letter"),
    ("sentence_containing", "word_containing"), ("sentence_not_containing", "word_not_containing"),
    ("first_word", "first_letter"), ("last_word", "last_letter"), ("starts_with_word", "ends_with_word"),
    ("starts_with_letter", "ends_with_letter"), ("first_word", "last_word"), ("first_letter", "last_letter"),
)  # fmt: skip

# Each of the 41 files, and the core task whose scorer marks it.
SCORER = {name: name for name in CORE} | {f"{core}_{end}": core for core, ends in CONTENT.items() for end in ends}

Rounding = Callable[[float, int], float]
Part = tuple[str, str, list[float | None]]  # component, what is compared, the accuracies
Cell = tuple[int, int | None]  # template and answer index
REDRAWN = 500  # times, for a standard deviation


@dataclass
class Tally:
    """How many predictions of one task there are and are right (their score is 1), by template and answer index."""

    asked: Sequence[int]  # questions of each template
    no_index: frozenset[int] = frozenset()  # the answer indices that no question has (in a quick look)
    given: Counter[Cell] = field(default_factory=Counter)
    right: Counter[Cell] = field(default_factory=Counter)
    certain: int = 0  # predictions whose mark the scorer is certain of

    def add(self, cell: Cell, score: int, certainty: int) -> None:
        """Count a prediction."""
        self.given[cell] += 1
        self.right[cell] += score
        self.certain += certainty

    def redrawn(self, rng: np.random.Generator) -> "Tally":
        """The same with as many predictions of each template and answer index, drawn from those that are there."""
        right = {cell: int(rng.binomial(n, self.right[cell] / n)) for cell, n in self.given.items()}
        return replace(self, right=Counter(right))

    def accuracy(self, rounded: Rounding) -> float | None:
        """Right predictions in 100 questions, so a missing prediction is a wrong one; None where none was answered."""
        return rounded(self.right.total() / sum(self.asked) * 100, 2) if self.given else None

    def of_templates(self, rounded: Rounding) -> list[float | None]:
        """The same for each template."""
        return [
            rounded(sum(n for cell, n in self.right.items() if cell[0] == template) / asked * 100, 1)
            if asked and self.given
            else None
            for template, asked in enumerate(self.asked)
        ]

    def of_indices(self, rounded: Rounding) -> list[float | None]:
        """Right ones in 100 predictions where the right answer came first, and second; 0 where none is right."""
        given, right = (
            [sum(n for cell, n in of.items() if cell[1] == i) for i in (0, 1)] for of in (self.given, self.right)
        )
        return [
            rounded(right[i] / max(1, given[i]) * 100, 2) if self.given and i not in self.no_index else None
            for i in (0, 1)
        ]


def gap_robustness(accuracies: Sequence[float | None]) -> float | None:
    """100 - the largest gap between accuracies; None where one is not known.

    >>> gap_robustness([40.0, 55.5, 50.0]), gap_robustness([40.0, None])
    (84.5, None)
    """
    known = [value for value in accuracies if value is not None]
    return 100 - (max(known) - min(known)) if known and len(known) == len(accuracies) else None


def parts(tallies: Mapping[str, Tally], rounded: Rounding) -> list[Part]:
    """Everything that robustness compares, in its owners' order."""
    of = {name: tallies.get(name, Tally([0, 0, 0])) for name in SCORER}
    total = {name: tally.accuracy(rounded) for name, tally in of.items()}
    found: list[Part] = [("argument_order", task, of[task].of_indices(rounded)) for task in ANSWER_ORDER]
    found += [("argument_content", task, [total[f"{task}_{end}"] for end in ends]) for task, ends in CONTENT.items()]
    found += [("template", task, of[task].of_templates(rounded)) for task in CORE]
    found += [("adjacent_tasks", " / ".join(pair), [total[task] for task in pair]) for pair in ADJACENT]
    return found


def figures(tallies: Mapping[str, Tally], *, partial: bool) -> dict[str, float | None]:
    """All figures, those with the owners' roundings by their names, those without any as ``<name>_full``.

    lmentry_score = accuracy * robustness / 100; robustness is the mean of its kinds, each the mean over its parts of
    100 - (the largest gap in accuracy). partial: take means over what is known; else one unknown accuracy leaves a
    figure unknown (None).
    """
    full = _figures(tallies, _exact, partial)
    return _figures(tallies, round, partial) | {f"{name}_full": value for name, value in full.items()}


def intervals(tallies: Mapping[str, Tally], *, partial: bool, seed: int) -> dict[str, Interval]:
    """95% of the score, the accuracy and the robustness: the figure +- 1.96 standard deviations over redrawn answers.

    Not percentiles of the redrawn figures: chance alone widens a gap, so their robustness lies below that of the data.
    """
    rng = np.random.default_rng(seed)
    again = [
        _figures({name: tally.redrawn(rng) for name, tally in tallies.items()}, _exact, partial) for _ in range(REDRAWN)
    ]
    count = sum(tally.given.total() for tally in tallies.values())
    return {
        name: by_spread(figure, [each[name] or 0.0 for each in again], count)
        for name, figure in _figures(tallies, round, partial).items()
        if name in ("lmentry_score", "accuracy", "robustness") and figure is not None
    }


def _exact(value: float, _: int) -> float:
    return value


def _figures(tallies: Mapping[str, Tally], rounded: Rounding, partial: bool) -> dict[str, float | None]:
    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known and (partial or len(known) == len(values)) else None  # as its owners add

    accuracy = mean([tallies[name].accuracy(rounded) if name in tallies else None for name in CORE])
    by_component: dict[str, list[float | None]] = {}
    for component, _, accuracies in parts(tallies, rounded):
        by_component.setdefault(component, []).append(gap_robustness(accuracies))
    components = {name: mean(values) for name, values in by_component.items()}
    robustness = mean([*components.values()])
    if robustness is not None:
        robustness = float(rounded(np.float64(robustness), 1))  # numpy's rounding, as its owners'
    score = None if accuracy is None or robustness is None else accuracy * (robustness / 100)
    return {"lmentry_score": score, "accuracy": accuracy, "robustness": robustness, **components}


def task_rows(tallies: Mapping[str, Tally], names: Iterable[str]) -> list[dict[str, Any]]:
    """A row per task: its accuracy, its templates', and how much of it the scorer is certain of."""
    return [
        {
            "task": name, "n": tally.given.total(), "N": sum(tally.asked), "accuracy": tally.accuracy(round),
            **{f"template{i}": value for i, value in enumerate(tally.of_templates(round))},
            "certainty": round(tally.certain / sum(tally.asked) * 100, 2) if tally.given else None,
            "accuracy_full": tally.accuracy(_exact),
        }
        for name in names
        if (tally := tallies.get(name)) is not None
    ]  # fmt: skip


def part_rows(tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """A row for each set of accuracies that robustness compares."""
    return [
        {"component": component, "of": what, "accuracies": accuracies, "robustness": gap_robustness(accuracies)}
        for component, what, accuracies in parts(tallies, round)
        if any(value is not None for value in accuracies)
    ]
