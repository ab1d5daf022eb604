"""BERTScore against the definition, worked out pair by pair on a random encoder."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.evaluation.make import measure, results_of, write_rows
from tests.evaluation.super_ni.make import write_clone
from tuna.errors import ConfigError, ModelError
from tuna.evaluation.super_ni.metric import BertScore

WORDS = ["red", "green", "blue", "dog", "cat", "big", "small", "yellow", "lemon"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()  # type: ignore[assignment,unused-ignore]
    inner.post_processor = TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])  # type: ignore[assignment,unused-ignore]
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=16,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def slow(folder: Path, prediction: str, reference: str, layer: int) -> float:
    """F1 of the mean best cosine, both ways, over words without the tokens around them."""
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder).eval()

    def words(text: str) -> list[Any]:
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        return [state / state.norm() for state in states[1:-1]]

    a, b = words(prediction), words(reference)
    if not a or not b:
        return 0.0
    precision = sum(max(float(x @ y) for y in b) for x in a) / len(a)
    recall = sum(max(float(x @ y) for x in a) for y in b) / len(b)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [None, 1])
def test_by_the_definition(encoder: Path, layer: int | None) -> None:
    # Lengths in an order that sorting would not give back, the reason that pairs go one at a time.
    predictions = ["red dog", "", "small", "big blue cat red", "red dog", "green " * 12]
    references = [
        ["green dog big"],
        ["red"],
        ["small", "cat big"],
        ["cat", "blue", "dog dog dog"],
        ["red dog"],
        ["blue"],
    ]
    found = BertScore(str(encoder), layer).f1(predictions, references)
    expected = [
        max(slow(encoder, prediction, reference, -1 if layer is None else layer) for reference in several)
        for prediction, several in zip(predictions, references, strict=True)
    ]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[1] == 0.0 and found[4] == pytest.approx(1.0) and len(set(found)) >= 4


def test_beside_the_other_figures(encoder: Path, tmp_path: Path) -> None:
    answers = write_rows(
        tmp_path / "a.jsonl", [{"id": "task1-b", "prediction": "yellow"}, {"id": "task1-c", "prediction": "red"}]
    )
    clone = write_clone(tmp_path / "ni")
    words = ("benchmark=super_ni", f"benchmark.root={clone}", f"answers={answers}", f"benchmark.bert_score={encoder}")
    scores = measure(tmp_path / "r", *words)
    results, examples, _ = results_of(tmp_path / "r", "super_ni")
    each = [example["scores"]["bert_score"] for example in examples]
    assert each[0] == pytest.approx(1.0, abs=1e-5) and each[1] == pytest.approx(
        slow(encoder, "red", "blue", -1), abs=1e-5
    )
    assert scores["bert_score_full"] == pytest.approx(50 * sum(each)) and "bert_score" in results["intervals"]


def test_faults(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"bert_score=\S+: expected the folder of an encoder, found no config.json"):
        BertScore(str(tmp_path), None)
    with pytest.raises(ConfigError, match="bert_layers: expected 1 to 2, got 3"):
        BertScore(str(encoder), 3).f1(["a"], [["b"]])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        BertScore(str(tmp_path), None).f1(["a"], [["b"]])
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.text.bert", None)
    with pytest.raises(ConfigError, match=r"pip install .*(torchmetrics>=|bertscore)"):
        BertScore(str(encoder), None)
