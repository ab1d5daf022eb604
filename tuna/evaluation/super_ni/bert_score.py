"""BERTScore (Zhang et al. 2020) by torchmetrics and a model in a local folder: F1, the best over the references.

torchmetrics is handed one pair at a time: it sorts a call's predictions and references by length, each by itself, and
puts neither back into its order, so that texts of different pairs are compared (1.9.0;
Lightning-AI/torchmetrics#2728). The bert-score package, which it follows, fails with transformers 5.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tuna.console import Progress
from tuna.errors import ConfigError, ModelError


class BertScore:
    """F1 of cosine-matched token embeddings, 0 to 1, without idf weights and without rescaling.

    folder: an encoder in Hugging Face layout whose tokenizer puts a token before and one after a text. layers: whose
    output is compared; null is the last (17 of roberta-large is what published figures use).

    Raises:
        ConfigError: the library is missing, or there is no such folder or layer.
    """

    def __init__(self, folder: str, layers: int | None) -> None:
        try:
            from torchmetrics.functional.text.bert import bert_score
        except ImportError:
            raise ConfigError(
                "benchmark.bert_score: needs the package torchmetrics, which is not installed; next: "
                "pip install 'tuna-ranking[bertscore]'"
            ) from None
        if not (Path(folder).expanduser() / "config.json").is_file():
            raise ConfigError(f"benchmark.bert_score={folder}: expected the folder of an encoder, found no config.json")
        self._score: Callable[..., Any] = bert_score
        self._folder, self._layers = Path(folder).expanduser(), layers

    def fingerprint(self) -> str:
        """Hash of the encoder's config and weights."""
        from tuna.models.folder import fingerprint

        return fingerprint(self._folder)

    def f1(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        """One value a prediction, the best over its references.

        Raises:
            ModelError: the model or its tokenizer cannot be read.
        """
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        from tuna.models.device import device_named

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
        found = dict.fromkeys(pair for pairs in asked for pair in pairs)
        progress, device = Progress("BERTScores", len(found)), str(device_named("auto"))
        length, scores = _length(tokenizer, model), dict[tuple[str, str], float]()
        for text, one in found:
            score = self._score(
                [text], [one], model=model, user_tokenizer=tokenizer, num_layers=self._layers, max_length=length,
                truncation=True, device=device,
            )["f1"]  # fmt: skip
            scores[text, one] = float(score)
            progress.update(1)
        progress.close()
        return [max(scores[pair] for pair in pairs) for pairs in asked]


def _length(tokenizer: Any, model: Any) -> int:
    """Tokens that the model takes."""
    return int(min(512, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512)))
