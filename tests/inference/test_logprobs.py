"""Log-probabilities are those of the answer's text: what servers give for a whole generation, cut to its tokens."""

from typing import Any

import pytest

from tuna.inference.logprobs import NO_NUMBER, NOT_THE_TEXTS, text_logprobs


def chat(*tokens: tuple[str, float | None]) -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": value} for token, value in tokens]}


END = ("<|im_end|>", -0.5)
THOUGHT = ("A tree", -8.0), (" fits", -8.0), ("</think>", -4.0), ("\n\n", -2.0)


@pytest.mark.parametrize(
    ("given", "text", "kept"),
    [
        (chat(("The", -1.0), (" elm", -2.0)), "The elm", [-1.0, -2.0]),
        (chat((" The", -1.0), (" elm", -2.0), ("\n", -3.0), END), "The elm", [-1.0, -2.0, -3.0, -0.5]),
        (chat(("The", -1.0), ("elm", -2.0), ("", -0.25)), "The elm", [-1.0, -2.0, -0.25]),  # decoded one by one
        (chat(*THOUGHT, ("The", -1.0), (" elm", -2.0), END), "The elm", [-1.0, -2.0, -0.5]),
        (chat(*THOUGHT, ("elm", -1.0), ("\n</think>", -1.0), ("elm", -2.0), END), "elm", [-2.0, -0.5]),
        (chat(("The", -1.0), (" <", -2.0), ("br", -3.0), (">", -4.0)), "The <br>", [-1.0, -2.0, -3.0, -4.0]),
        # parts of a character: as U+FFFD, as OpenAI's completions write them
        (chat(*THOUGHT, ("\ufffd", -1.0), ("\ufffd", -2.0), ("lm", -3.0), END), "\u00c9lm", [-1.0, -2.0, -3.0, -0.5]),
        ({"tokens": ["bytes:\\xc3", "bytes:\\x89", "lm"], "token_logprobs": [-1.0] * 3}, "\u00c9lm", [-1.0] * 3),
        ({"token_logprobs": [-1.0, -2.0]}, "The elm", [-1.0, -2.0]),  # no tokens to compare
    ],
)  # fmt: skip
def test_the_tokens_of_the_text(given: dict[str, Any], text: str, kept: list[float]) -> None:
    assert text_logprobs(given, text, thought=False) == (kept, None)


def test_bytes_count_before_names() -> None:
    names = [("\\xc3", list(b"\xc3")), ("\\x89", list(b"\x89")), ("lm", None)]
    given = {"content": [{"token": name, "bytes": data, "logprob": -1.0} for name, data in names]}
    assert text_logprobs(given, "\u00c9lm", thought=False) == ([-1.0] * 3, None)


@pytest.mark.parametrize(
    ("given", "text", "thought", "why"),
    [
        (chat(*THOUGHT, ("The", -1.0), (" oak", -2.0)), "The elm", True, NOT_THE_TEXTS),
        (chat(*THOUGHT[:3], (">The", -1.0), (" elm", -2.0)), "The elm", True, NOT_THE_TEXTS),  # a token of both
        (chat(("The", -1.0), (" elm", -2.0), (" grows", -3.0)), "The elm", False, NOT_THE_TEXTS),
        (chat(("The", -1.0)), "The elm", False, NOT_THE_TEXTS),
        ({"token_logprobs": [-1.0, -2.0]}, "The elm", True, NOT_THE_TEXTS),
        (chat(("The", -1.0), (" elm", -9999.0)), "The elm", False, NO_NUMBER),
        (chat(("The", -1.0), (" elm", float("-inf"))), "The elm", False, NO_NUMBER),
        (chat(("The", -1.0), (" elm", None)), "The elm", False, NO_NUMBER),
        (None, "The elm", True, None),
        (chat(*THOUGHT), "", True, None),
    ],
)
def test_none_and_why(given: Any, text: str, thought: bool, why: str | None) -> None:
    assert text_logprobs(given, text, thought=thought) == ([], why)


def test_a_floor_within_the_thought_does_not_count() -> None:
    assert text_logprobs(chat(("hm", -9999.0), ("elm", -1.0), END), "elm", thought=True) == ([-1.0, -0.5], None)
