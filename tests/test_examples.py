"""The examples of functions that docs/functions.md shows: they stand there as they are, are short, and work."""

import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from tests.judges.test_function import context, totals
from tuna.assets import FOLDER
from tuna.config import checks
from tuna.config.compose import compose
from tuna.data.record import Record
from tuna.evaluation.run import run as evaluate
from tuna.inference.context import Context
from tuna.judges.function import Functions
from tuna.ranking.run import run as rank

__all__ = ["context"]  # a fixture
ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_shows_it_as_it_is_and_it_is_short(path: Path) -> None:
    page, text = (ROOT / "docs" / "functions.md").read_text(), path.read_text()
    assert f"```python\n{text}```" in page and len(text.splitlines()) < 15


@pytest.mark.once
def test_the_pages_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in (ROOT / "docs" / "functions.md").read_text().splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("python ")]
    assert len(commands) == 5
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "mine.py").write_text("def short(answer): return -len(answer)\n")
    monkeypatch.chdir(tmp_path)
    for script, *words in commands:
        cfg = compose(words, config_name=script.removesuffix(".py"))
        checks.check(cfg)
        figures = rank(cfg) if script == "rank.py" else evaluate(cfg)
        assert figures.get("lists", 1) and figures.get("score", 1) is not None


def test_there_are_three() -> None:
    assert [path.stem for path in EXAMPLES] == ["last_number", "reward_model", "unit_tests"]


def test_last_number(context: Context) -> None:
    rows = [
        (Record("1", "2 + 3?", output="5"), ["It is 5.", "5, not 6", "none", "5.0"]),
        (Record("2", "Sum?", output="1250"), ["1,250", "-1250"]),
        (Record("3", "Why?", output="Because."), ["5", "6"]),
        (Record("4", "Why?"), ["5", "6"]),
    ]
    scored = totals(Functions(str(ROOT / "examples/last_number.py:score")).score(rows, context))
    assert scored == [[1, 0, 0, 1], [1, 0], [None, None], [None, None]]


def test_unit_tests(context: Context) -> None:
    add = "Here:\n```python\ndef add(a, b):\n    return a {} b\n```\nDone."
    answers = [add.format("+"), add.format("*"), "no code at all", "import os; os._exit(7)", "x = bytearray(3 << 30)"]
    record = Record("1", "Add.", extra={"tests": ["assert add(2, 2) == 4", "assert add(2, 3) == 5"]})
    (scored,) = totals(Functions(str(ROOT / "examples/unit_tests.py:score")).score([(record, answers)], context))
    assert scored == [1, 0.5, 0, 0, 0]


def test_reward_model(tmp_path: Path) -> None:
    """In this process, since a worker's import of transformers takes seconds."""
    tokenizer: Any = AutoTokenizer.from_pretrained(FOLDER / "models" / "tiny")
    sizes: dict[str, Any] = {
        "num_labels": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    text = (ROOT / "examples" / "reward_model.py").read_text()
    assert text.count("FOLDER_OR_HUB_ID") == 1
    (tmp_path / "mine.py").write_text(text.replace("FOLDER_OR_HUB_ID", str(tmp_path / "model")))
    score = runpy.run_path(str(tmp_path / "mine.py"))["score"]
    answers = ["yes", "a much longer answer than that", "no"]
    found = score("Is it?", answers, {})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    for answer, value in zip(answers, found, strict=True):  # each alone, without padding
        chat = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": answer}]
        batch = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            assert float(model(**batch).logits[0, 0]) == pytest.approx(value, abs=1e-5)
    assert len(set(found)) == 3
