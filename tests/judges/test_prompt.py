"""Prompts as files: which question they put, what is wrong with them before anything is asked, the shipped ones."""

import hashlib
from pathlib import Path

import pytest

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.judges import lists, pairwise
from tuna.judges.base import Case, Pair
from tuna.judges.prompt import SHIPPED, CannotShow, Prompt

pytestmark = pytest.mark.once

TURNS = ({"role": "system", "content": "Be brief.\n"}, {"role": "user", "content": "{{ Why }}?\n"})
RECORDS = [
    Record("0", "Say hi."), Record("1", "Say\n\nhi.\n", 'In <b>French</b> & "so".\n'), Record("2", "x", messages=TURNS),
]  # fmt: skip


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def test_the_words_and_keys_of_the_shipped_prompts_are_those_before_they_were_files() -> None:
    """Of commit 9c6b4c5: another byte, and every stored verdict would be asked for again."""
    found = []
    for record in RECORDS:
        for count in (2, 4, 25):
            case = Case(record, [Answer(f"answer {k} {{% x %}}\n  " * (k % 3 + 1)) for k in range(count)])
            found += [(q.prompt, q.key) for q in lists.queries_of(case, {"judge": "openai", "model": "m"}, 1, 7)]
        pair = Pair(record, "a {{ b }}\n", "b\n\n")
        found += [(q.prompt, q.key) for q in pairwise.queries_of(pair, {"judge": "openai", "model": "m"})[:1]]
    assert [(_short(prompt), key[:8]) for prompt, key in found] == [
        ("bcef1e55", "10d51d5b"), ("8506e86b", "3d1a56e3"), ("db93a5af", "d6b0ccad"), ("b5634c06", "0350860b"),
        ("0eb5a7f0", "154948e4"), ("f2cafe8e", "b5dfef1e"), ("8c81ef0d", "73ae35b3"), ("dbf87ac0", "383401c9"),
        ("c161199d", "8cccf041"), ("cbc5f66c", "2c86897d"), ("89339302", "4cf19698"), ("a4c1bcde", "3bfe87f0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ request }}\n{{ answer }}", r"mine\.jinja:2: .*got answer"),
        ("{{ request }}\n\n{{ reponse }}", r"mine\.jinja:3: .*got reponse; did you mean response\?"),
        ("{{ a }} {{ request }}", r"mine\.jinja:1: .*got a$"),
        ("{{ a }}\n{{ b }}\n{{ response }}", r"mine\.jinja:1: .*got a, b, response"),
        ("Rate it.", r"mine\.jinja:1: .*got none of answers"),
        ("{{ response }}\n{% if input %}", r"mine\.jinja:2: expected a Jinja template, got: Unexpected end"),
        ("{{ response }}\n{{ request | shout }}", r"mine\.jinja:2: .*No filter named 'shout'"),
        ("{{ response }}\n{% include 'other' %}", r"mine\.jinja:2: expected one file, got include"),
        ("{{ response }}\n\n{{ ''.__class__.__mro__ }}", r"mine\.jinja:3: access to attribute '__class__'"),
        ("{{ response }}\n{{ request.length }}", r"mine\.jinja:2: 'str object' has no attribute 'length'"),
        ("{{ response }}{{ responses.append(1) }}", r"got response, responses"),
        ("{{ responses.append(1) }}", r"access to attribute 'append' of 'list' object is unsafe"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_told_with_its_line(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^prompt: .*{message}"):
        Prompt.of(source, "mine.jinja")


def test_a_file_that_is_not_there_and_the_names_of_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected pairwise, rubric, table9 or a Jinja file, got 'rubrik'"):
        Prompt.load("rubrik")
    (tmp_path / "mine.jinja").write_bytes(b"\xff{{ response }}")
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        Prompt.load(str(tmp_path / "mine.jinja"))
    assert {p.stem: Prompt.load(p.stem).kind for p in SHIPPED.iterdir()} == {
        "table9": "listwise", "pairwise": "pairwise", "rubric": "pointwise",
    }  # fmt: skip


def test_what_a_row_lacks_is_told_for_that_row() -> None:
    prompt = Prompt.of("{{ request }}\n{{ record.rubric }} {{ output }}\n{{ response }}", "mine.jinja")
    whole = Record("0", "Q", output="R", extra={"rubric": "Be kind."})
    assert prompt.render(whole, response="A") == "Q\nBe kind. R\nA"
    with pytest.raises(CannotShow, match=r"mine\.jinja:2: 'dict object' has no attribute 'rubric'"):
        prompt.render(Record("0", "Q", output="R"), response="A")
    with pytest.raises(CannotShow, match=r"mine\.jinja:2: 'output' is undefined"):
        prompt.render(Record("0", "Q", extra={"rubric": "x"}), response="A")


def test_the_rubric_has_its_scale_its_row_and_its_end() -> None:
    rubric = Prompt.load("rubric")
    text = rubric.render(RECORDS[0], response="Hi.")
    assert text.endswith("\nScore: N") and "\n5: It does all" in text and "===== Answer =====\nHi.\n=====" in text
    assert rubric.render(RECORDS[0], response="Hi.", direct=True).endswith("Reply with the number alone.")
    assert "\n3: " not in rubric.render(RECORDS[0], response="Hi.", high=10)
    own = rubric.render(Record("0", "Q", extra={"rubric": "5: rhymes"}), response="Hi.")
    assert "===== Rubric =====\n5: rhymes\n===== Request" in own and "It does all" not in own
