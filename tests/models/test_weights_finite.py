"""Models whose weights or numbers are NaN: every command that computes with one says so in one message."""

import math
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from tests.evaluation.make import measure
from tests.inference.make import collect
from tests.models.conftest import write_tokenizer
from tests.training.poison import change, nan_loss, one_bad
from tuna.errors import ModelError

RANK = {
    "sampler": ["ranker=contextual", "model.path=M", "model.template=none", "sampler.max_tokens=3"],
    "teacher": ["ranker=probabilistic", "teacher.path=M", "teacher.template=none", "teacher.max_tokens=3"],
    "teacher scores": ["ranker=probabilistic", "teacher.path=M", "teacher.template=none", "score_only=true"],
    "judge": ["judge=local", "judge.path=M", "judge.template=none", "judge.max_tokens=3", "score_only=true"],
    "proxy": ["ranker=proxy", "ranker.path=R", "ranker.template=none", "score_only=true"],
}
EVALUATE = {
    "agreement": ["benchmark=agreement", "benchmark.path=LISTS"],
    "nll": ["benchmark=nll", "benchmark.path=LISTS"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m and r compute NaN where a prompt holds w63; m-nan and r-nan hold NaN."""
    folder = tmp_path_factory.mktemp("models")
    nan_loss(folder / "m")
    AutoModelForSequenceClassification.from_pretrained(folder / "m", num_labels=1).save_pretrained(folder / "r")
    write_tokenizer(folder / "r")
    for name in ("m", "r"):
        shutil.copytree(folder / name, folder / f"{name}-nan")
        change(folder / f"{name}-nan", "transformer.h.0.ln_1.weight", math.nan)
    one_bad(folder / "lists.jsonl", count=14)
    return folder


def words(given: list[str], folder: Path, kind: str) -> list[str]:
    ends = {"M": folder / f"m{kind}", "R": folder / f"r{kind}", "LISTS": folder / "lists.jsonl"}
    return [f"{key}={ends[value]}" if value in ends else word for word in given for key, value in [word.split("=", 1)]]


# The judge's question spells the list's words apart, so that w63 is not in it.
@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in RANK for kind in ("-nan", "") if (name, kind) != ("judge", "")]
)
def test_rank(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    says = r"-nan: the weights hold NaN or infinity \(transformer\.h\.0\.ln_1\.weight\)" if kind else "expected finite"
    with pytest.raises(ModelError, match=says):
        collect(tmp_path, folder / "lists.jsonl", *words(RANK[name], folder, kind))


@pytest.mark.parametrize("kind", ["-nan", ""], ids=["weights", "values"])
@pytest.mark.parametrize("name", list(EVALUATE))
def test_evaluate(folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    says = r"-nan: the weights hold NaN or infinity" if kind else "expected finite log-probabilities, got nan"
    model = [f"model.path={folder / f'm{kind}'}", "model.template=none"]
    with pytest.raises(ModelError, match=says):
        measure(tmp_path, *words(EVALUATE[name], folder, kind), *model)


def test_elementary(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the weights hold NaN"):
        measure(tmp_path, f"model.path={folder / 'm-nan'}", "model.template=alpaca", "limit=2")
