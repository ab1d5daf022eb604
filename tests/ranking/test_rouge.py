"""ROUGE-L equals the rouge-score package's on what both read alike."""

import random

from rouge_score.rouge_scorer import RougeScorer

from tuna.ranking.rouge import rouge_l


def test_equals_the_package_on_random_texts() -> None:
    scorer, rng = RougeScorer(["rougeL"]), random.Random(0)
    for _ in range(300):
        a, b = (" ".join(rng.choice("A b, c-d 12 x. y z") for _ in range(rng.randint(1, 120))) for _ in range(2))
        expected = 1.0 if a == b else scorer.score(a, b)["rougeL"].fmeasure
        assert abs(rouge_l(a, b) - expected) < 1e-12


def test_edges() -> None:
    assert rouge_l("", "") == 1 and rouge_l("!", "?") == 0 and rouge_l("a", "") == 0
    assert rouge_l("你好吗", "你好") == 0.8
