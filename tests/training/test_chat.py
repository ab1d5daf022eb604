"""A model whose turns end in another token than its eos, tuned on conversations, then used as transformers uses it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from tests.chat.models import write_model
from tests.chat.templates import FIXTURES
from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.data.load import Source, load_source
from tuna.models.source import ModelConfig
from tuna.training.run import run

TALKS = [
    [("system", "You are a gardener."), ("user", "When?"), ("assistant", "In spring."), ("user", "How deep?")],
    [("user", "Name a river."), ("assistant", "The Ebro."), ("user", "Where does it end?")],
    [("user", "Say <|im_end|> aloud.")],
]


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    rows = [
        {
            "messages": [{"role": role, "content": content} for role, content in talk],
            "output": "Two inches.",
            "responses": [{"text": "Two inches.", "score": 1}, {"text": " No.", "score": 0}],
        }
        for talk in TALKS
    ]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(start: Path, talks: Path, runs: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "name": "talks", "datamodule__template": "auto", "datamodule__held_out": 0, "datamodule__max_length": 200,
        "datamodule__batch_size": 2, "trainer__max_epochs": 1,
    }  # fmt: skip
    run(compose(overrides(start, talks, runs, **(given | changes))))
    return runs / "talks" / "model"


@pytest.mark.parametrize("name", ["chatml_base", "gemma3", "llama3"])
def test_the_prompt_in_use_is_the_one_trained_on(name: str, talks: Path, tmp_path: Path) -> None:
    start = write_model(FIXTURES[name], tmp_path / name)
    told = json.loads((start / "generation_config.json").read_text())
    told["eos_token_id"] = FIXTURES[name].tokenizer.eos_token_id
    (start / "generation_config.json").write_text(json.dumps(told))
    model = train(start, talks, tmp_path)
    chat: Any = pipeline("text-generation", model=str(model), device="cpu")
    end = chat.tokenizer.convert_tokens_to_ids(FIXTURES[name].ends_with)
    ends = chat.model.generation_config.eos_token_id
    assert end in (ends if isinstance(ends, list) else [ends])
    seen: list[list[int]] = []
    generate: Callable[..., Any] = chat.model.generate

    def tracked_by_wandb(*args: Any, **more: Any) -> Any:
        seen.append(more["input_ids"][0].tolist())
        return generate(*args, **more)

    chat.model.generate = tracked_by_wandb
    encoder = ModelConfig(str(model)).encoder()
    for record in load_source(Source(str(talks))).records[:2]:  # transformers takes the third's <|im_end|> for its own
        chat(record.conversation, max_new_tokens=3, do_sample=False)
        assert encoder.prompt(record).tolist() == seen.pop()


def test_every_assistant_turn_is_a_target(talks: Path, tmp_path: Path) -> None:
    start = write_model(FIXTURES["chatml_base"], tmp_path / "start")
    train(start, talks, tmp_path, stage="sft", datamodule__targets="assistant", name="talks")
    written = json.loads((tmp_path / "talks" / "run.json").read_text())
    assert written["status"] == "finished"


def test_a_dated_template_is_the_same_tomorrow(talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import chat_template_utils

    hashes = []
    for day in ("2026-01-01", "2026-01-02"):

        class Clock(chat_template_utils.datetime):  # type: ignore[name-defined,misc]
            @classmethod
            def now(cls, tz: Any = None, day: str = day) -> Any:
                return cls.fromisoformat(day)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        start = write_model(FIXTURES["dated"], tmp_path / f"start-{day}")
        train(start, talks, tmp_path / day)
        written = json.loads((tmp_path / day / "talks" / "run.json").read_text())
        hashes.append(written["parents"]["data_sha256"])
    assert hashes[0] == hashes[1]
