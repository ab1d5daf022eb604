"""Super-NaturalInstructions' metrics, as Tk-Instruct's published evaluation computes them (Wang et al. 2022, sec. 5).

Each prediction is compared with every reference, and the best counts: exact match after lowercasing, dropping ASCII
punctuation and collapsing spaces; ROUGE-1 and ROUGE-L F1 with Porter stemming. A figure is 100 x the mean over
instances, official ones rounded to 4 decimals.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

METRICS = ("exact_match", "rouge1", "rougeL")
DECIMALS = 4

# The metric that stands for a category, where the official code has one; other categories have none.
CATEGORY_METRIC = {
    "textual_entailment": "exact_match",
    "cause_effect_classification": "exact_match",
    "coreference_resolution": "exact_match",
    "dialogue_act_recognition": "exact_match",
    "answerability_classification": "exact_match",
    "word_analogy": "exact_match",
    "overlap_extraction": "rougeL",
    "keyword_tagging": "rougeL",
    "question_rewriting": "rougeL",
    "title_generation": "rougeL",
    "data_to_text": "rougeL",
    "grammar_error_correction": "rougeL",
}
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """What exact match compares.

    >>> normalized(" The  answer: (B)! ")
    'the answer b'
    """
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


class Metric:
    """Scores predictions, 0 to 1 each.

    >>> Metric().score("Answers: yes", ["no", "The answer is yes."])["rougeL"]
    0.6666666666666666
    """

    @cached_property
    def _rouge(self) -> Any:
        # Its tokenizer is handed over: where it makes its own it logs that, and so sets up logging for all.
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        return RougeScorer(["rouge1", "rougeL"], tokenizer=DefaultTokenizer(use_stemmer=True))

    def score(self, prediction: str, references: Sequence[str]) -> dict[str, float]:
        """The best of each metric over the references."""
        found = [self._rouge.score(target=reference, prediction=prediction) for reference in references]
        wanted = normalized(prediction)
        return {
            "exact_match": float(any(wanted == normalized(reference) for reference in references)),
            "rouge1": max(each["rouge1"].fmeasure for each in found),
            "rougeL": max(each["rougeL"].fmeasure for each in found),
        }


def percent(scores: Iterable[float]) -> float | None:
    """100 x the mean, added up in order as the official code does; None of none.

    >>> percent([1.0, 0.0, 0.0])
    33.333333333333336
    """
    total, count = 0.0, 0
    for score in scores:
        total, count = total + score, count + 1
    return 100.0 * total / count if count else None


def rounded(value: float | None) -> float | None:
    """To the official 4 decimals."""
    return None if value is None else round(value, DECIMALS)


def group_rows(
    name: str,
    groups: Sequence[str],
    scores: Sequence[Mapping[str, float]],
    categories: Mapping[str, str],
    every: Sequence[str],
) -> list[dict[str, Any]]:
    """A row a group, in the order of ``every`` (the group of each instance, answered or not).

    name: what a group is (task, category). groups, scores: of each prediction. categories: group -> category.
    """
    of: dict[str, list[Mapping[str, float]]] = {group: [] for group in every}
    for group, each in zip(groups, scores, strict=True):
        of[group].append(each)
    rows = []
    for group, found in of.items():
        metric = CATEGORY_METRIC.get(categories[group])
        full = {key: percent(each[key] for each in found) for key in METRICS}
        row: dict[str, Any] = {name: group, "n": len(found), "N": every.count(group), "metric": metric}
        row["score"] = rounded(full[metric]) if metric else None
        row |= {key: rounded(full[key]) for key in ("exact_match", "rougeL")}
        rows.append(row | {f"{key}_full": full[key] for key in ("exact_match", "rougeL")})
    return rows
