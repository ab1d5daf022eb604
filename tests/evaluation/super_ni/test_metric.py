"""ROUGE and exact match against a slow second way of computing them, on random texts."""

import json
import random
import string
import subprocess
import sys

import pytest

from tuna.evaluation.super_ni.metric import CATEGORY_METRIC, METRICS, normalized, percent, rounded, score

WORDS = ["the", "Running", "ran", "dogs", "dog", "(B)", "don't", "x_y", "3.5", "Été", "!", "classification", "a"]

# In a process of its own: rouge-score's scorer, made the usual way, sets up logging for the whole process.
_THEIRS = """
import json, sys
from rouge_score.rouge_scorer import RougeScorer
def best(kind, prediction, references):
    return max(RougeScorer([kind], use_stemmer=True).score(each, prediction)[kind].fmeasure for each in references)
for prediction, references in json.load(sys.stdin):
    print(json.dumps([best("rouge1", prediction, references), best("rougeL", prediction, references)]))
"""


def pairs() -> list[tuple[str, list[str]]]:
    rng = random.Random(0)

    def text() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, 8)))

    return [(text(), [text() for _ in range(rng.randint(1, 3))]) for _ in range(60)]


def test_rouge_is_rouge_scores() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _THEIRS],
        input=json.dumps(pairs()),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    ours = [score(prediction, references) for prediction, references in pairs()]
    assert [[each["rouge1"], each["rougeL"]] for each in ours] == theirs
    assert len({each["rougeL"] for each in ours}) > 10


def test_exact_match() -> None:
    def slow(text: str) -> list[str]:
        return "".join(letter for letter in text.lower() if letter not in string.punctuation).split()

    hits = 0
    for prediction, references in [
        *pairs(),
        ("(b)", ["A", " B! "]),
        ("Été", ["été"]),
        ("", ["..."]),
        ("don't", ["dont"]),
    ]:
        expected = any(slow(prediction) == slow(reference) for reference in references)
        assert score(prediction, references)["exact_match"] == float(expected)
        hits += expected
    assert hits >= 4
    assert normalized("a\u2014b") == "a\u2014b"  # only ASCII punctuation goes


def test_means_and_rounding() -> None:
    assert percent([]) is None and rounded(None) is None
    assert rounded(percent([1.0, 0.0, 0.0])) == 33.3333
    scores = [random.Random(1).random() for _ in range(500)]
    total = 0.0
    for each in scores:
        total += each
    assert percent(scores) == 100.0 * total / 500  # added in order: equal to the last digit


def test_categories() -> None:
    assert len(CATEGORY_METRIC) == 12 and set(CATEGORY_METRIC.values()) < set(METRICS)
    assert sum(metric == "exact_match" for metric in CATEGORY_METRIC.values()) == 6


@pytest.mark.parametrize("order", [1, -1])
def test_the_best_reference_counts(order: int) -> None:
    assert score("two red dogs", ["red dogs", "cats"][::order])["rougeL"] == pytest.approx(0.8)
