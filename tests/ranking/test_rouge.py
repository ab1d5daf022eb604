"""ROUGE-L equals the rouge-score package's on what both read alike."""

import json
import random
import subprocess
import sys

from tuna.ranking.rouge import rouge_l

# In a process of its own: the package brings absl's logging, which holds on to pytest's stderr.
PACKAGE = """
import json, sys
from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rougeL"])
print(json.dumps([scorer.score(a, b)["rougeL"].fmeasure for a, b in json.load(sys.stdin)]))
"""


def test_equals_the_package_on_random_texts() -> None:
    rng = random.Random(0)
    pairs = [
        [" ".join(rng.choice("A b, c-d 12 x. y z") for _ in range(rng.randint(1, 120))) for _ in range(2)]
        for _ in range(300)
    ]
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE], input=json.dumps(pairs), capture_output=True, text=True, check=True
    )
    for (a, b), expected in zip(pairs, json.loads(done.stdout), strict=True):
        assert abs(rouge_l(a, b) - (1.0 if a == b else expected)) < 1e-12


def test_edges() -> None:
    assert rouge_l("", "") == 1 and rouge_l("!", "?") == 0 and rouge_l("a", "") == 0
    assert rouge_l("你好吗", "你好") == 0.8
