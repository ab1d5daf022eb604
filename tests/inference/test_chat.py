"""tuna chat: lines in, the model's greedy answers out; a conversation goes on where there is a chat template."""

import io
import sys

import pytest

from tuna.config.compose import compose
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError
from tuna.inference import generate
from tuna.inference.chat import run
from tuna.inference.generate import Generator, greedy_answers


def talked(typed: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[list[Record], list[Generator]]:
    """What the model was asked, and the generator that answered."""
    asked: list[Record] = []
    made: list[Generator] = []

    class Told(Generator):
        def prompt(self, record: Record, *, cut: bool = True) -> list[int]:
            asked.append(record)
            made.append(self)
            return super().prompt(record, cut=cut)

    monkeypatch.setattr(generate, "Generator", Told)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert run(compose(["max_tokens=8", *words], config_name="chat")) == {"answers": float(len(asked))}
    monkeypatch.undo()
    return asked, made[:1]


def test_answers_are_the_models_and_a_conversation_goes_on_until_an_empty_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, (generator,) = talked("Name a color. \nAnd another.\n\nSpell red.", monkeypatch)
    out, err = capsys.readouterr()
    prompts = [generator.encoder.prompt(record).tolist() for record in asked]
    assert out.split("\n")[:-1] == greedy_answers(generator.model, generator.encoder, prompts, max_tokens=8)
    first = out.split("\n")[0]
    assert [record.conversation for record in asked] == [
        [{"role": "user", "content": "Name a color."}],
        [
            {"role": "user", "content": "Name a color."}, {"role": "assistant", "content": first},
            {"role": "user", "content": "And another."},
        ],
        [{"role": "user", "content": "Spell red."}],
    ]  # fmt: skip
    assert err.startswith("tiny, template chat; the conversation goes on") and "> " not in err


def test_without_a_chat_template_each_line_is_a_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, _ = talked("One.\nTwo.\n", monkeypatch, "model.template=alpaca", "temperature=1")
    assert [(record.id, record.instruction, record.messages) for record in asked] == [
        ("0", "One.", ()),
        ("1", "Two.", ()),
    ]
    assert "each line is a question by itself" in capsys.readouterr().err


def test_a_prompt_that_was_shortened_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talked(f"Name {'a color ' * 300}.\n\nName a color.\n", monkeypatch, "max_tokens=2")
    told = "(shortened to fit the model's 512 positions; an empty line begins anew)"
    assert capsys.readouterr().err.count(told) == 1


def test_a_wrong_value_is_told_before_a_model_is_looked_for() -> None:
    with pytest.raises(ConfigError, match="temperature: expected"):
        run(compose(["temperature=-1", "model.path=nowhere"], config_name="chat"))


def test_what_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = io.TextIOWrapper(io.BytesIO(b"Name a color.\na\xffb\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    with pytest.raises(DataError, match=r"^stdin: line 2: expected valid Unicode text, got '\\udcff'; next: "):
        run(compose(["max_tokens=2"], config_name="chat"))
    assert capsys.readouterr().out.count("\n") == 1
