"""Super-NaturalInstructions' metrics, as Tk-Instruct's published evaluation computes them (Wang et al. 2022, sec. 5).

Each prediction is compared with every reference, and the best counts: exact match after lowercasing, dropping ASCII
punctuation and collapsing spaces; ROUGE-1 and ROUGE-L F1 with Porter stemming. A figure is 100 x the mean over
instances, official ones rounded to 4 decimals.

BERTScore (Zhang et al. 2020) is by torchmetrics and a model in a local folder. torchmetrics is handed one pair at a
time: of more it compares texts of different pairs, sorting predictions and references by length each (1.9.0;
Lightning-AI/torchmetrics#2728). The bert-score package, which it follows, fails with transformers 5.
"""

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, reduce
from operator import add
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tuna.config.commands import install
from tuna.console import Progress
from tuna.errors import ConfigError, ModelError
from tuna.models.folder import fingerprint
from tuna.models.loading import device_named

METRICS = ("exact_match", "rouge1", "rougeL")

# The metric that stands for a category, where the official code has one; other categories have none.
_EXACT = (
    "textual_entailment", "cause_effect_classification", "coreference_resolution", "dialogue_act_recognition",
    "answerability_classification", "word_analogy",
)  # fmt: skip
_ROUGE = (
    "overlap_extraction", "keyword_tagging", "question_rewriting", "title_generation", "data_to_text",
    "grammar_error_correction",
)  # fmt: skip
CATEGORY_METRIC = dict.fromkeys(_EXACT, "exact_match") | dict.fromkeys(_ROUGE, "rougeL")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> str:
    """What exact match compares.

    >>> normalized(" The  answer: (B)! ")
    'the answer b'
    """
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


@cache
def _rouge() -> Any:
    # Its tokenizer is handed over: where it makes its own it logs that, and so sets up logging for all.
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    return RougeScorer(["rouge1", "rougeL"], tokenizer=DefaultTokenizer(use_stemmer=True))


def score(prediction: str, references: Sequence[str]) -> dict[str, float]:
    """The best of each metric over the references, 0 to 1 each.

    >>> score("Answers: yes", ["no", "The answer is yes."])["rougeL"]
    0.6666666666666666
    """
    found = [_rouge().score(target=reference, prediction=prediction) for reference in references]
    return {
        "exact_match": float(normalized(prediction) in map(normalized, references)),
        "rouge1": max(each["rouge1"].fmeasure for each in found),
        "rougeL": max(each["rougeL"].fmeasure for each in found),
    }


def percent(scores: Iterable[float]) -> float | None:
    """100 x the mean, added up in order as the official code does; None without any.

    >>> percent([1.0, 0.0, 0.0])
    33.333333333333336
    """
    values = list(scores)
    return 100.0 * reduce(add, values) / len(values) if values else None  # sum() rounds less from Python 3.12 on


def rounded(value: float | None) -> float | None:
    """To the official 4 decimals."""
    return None if value is None else round(value, 4)


def group_rows(
    name: str, held: Mapping[str, Sequence[Mapping[str, float]]], totals: Mapping[str, int], category: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row per group (a task or a category, as ``name`` says), by its scores and its number of instances."""
    rows = []
    for group, scores in held.items():
        metric = CATEGORY_METRIC.get(category[group])
        full = {key: percent(each[key] for each in scores) for key in METRICS}
        row: dict[str, Any] = {name: group, "n": len(scores), "N": totals[group], "metric": metric}
        row["score"] = rounded(full[metric]) if metric else None
        row |= {key: rounded(full[key]) for key in ("exact_match", "rougeL")}
        rows.append(row | {f"{key}_full": full[key] for key in ("exact_match", "rougeL")})
    return rows


class BertScore:
    """F1 of cosine-matched token embeddings, 0 to 1, without idf weights and without rescaling.

    folder: an encoder in Hugging Face layout whose tokenizer puts a token before and one after a text. layers: whose
    output is compared; null is the last (17 of roberta-large is what published figures use). Raises: ConfigError where
    torchmetrics or the folder's config.json is missing.
    """

    def __init__(self, folder: str, layers: int | None) -> None:
        try:
            from torchmetrics.functional.text.bert import bert_score
        except ImportError:
            raise ConfigError(
                "benchmark.bert_score: needs the package torchmetrics, which is not installed; next: "
                f"{install('bertscore')}"
            ) from None
        if not (Path(folder).expanduser() / "config.json").is_file():
            raise ConfigError(f"benchmark.bert_score={folder}: expected the folder of an encoder, found no config.json")
        self._score: Callable[..., Any] = bert_score
        self._folder, self._layers = Path(folder).expanduser(), layers

    def fingerprint(self) -> str:
        """Hash of the encoder's config and weights."""
        return fingerprint(self._folder)

    def f1(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """One value per prediction, the best over its references.

        Raises: ConfigError where the encoder has no such layer; ModelError where it cannot be read.
        """
        disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder)
            model = AutoModel.from_pretrained(self._folder, dtype=torch.float32)
        except Exception as error:
            raise ModelError(f"benchmark.bert_score={self._folder}: cannot be loaded ({error})") from error
        if self._layers is not None and not 0 < self._layers <= model.config.num_hidden_layers:
            raise ConfigError(
                f"benchmark.bert_layers: expected 1 to {model.config.num_hidden_layers}, got {self._layers}"
            )
        asked = [[(text, one) for one in several] for text, several in zip(predictions, references, strict=True)]
        progress = Progress("BERTScores", len({pair for pairs in asked for pair in pairs}))
        positions, device = getattr(model.config, "max_position_embeddings", 512), str(device_named("auto"))

        @cache
        def score(text: str, reference: str) -> float:
            progress.update(1)
            return float(self._score(
                [text], [reference], model=model, user_tokenizer=tokenizer, num_layers=self._layers, truncation=True,
                max_length=int(min(512, tokenizer.model_max_length, positions)), device=device,
            )["f1"])  # fmt: skip

        found = [max(score(*pair) for pair in pairs) for pairs in asked]
        progress.close()
        return found
