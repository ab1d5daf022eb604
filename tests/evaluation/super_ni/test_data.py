"""Prompts of Super-NaturalInstructions: the wording to the space, the limit, and what is cut."""

import pytest

from tuna.errors import ConfigError
from tuna.evaluation.super_ni.data import Task, make_prompt

EXAMPLES = (("grass", "green"), (" snow! ", "white\n"), ("coal", "black"))
TASK = Task("t", "c", "Name the colour. ", EXAMPLES, ())
ZERO = "Definition: Name the colour.\n\nNow complete the following example -\nInput: blood.\nOutput: "
TWO = (
    "Definition: Name the colour.\n\n"
    " Positive Example 1 -\nInput: grass.\n Output: green.\n\n"
    " Positive Example 2 -\nInput: snow!\n Output: white.\n\n"
    "Now complete the following example -\nInput: blood.\nOutput: "
)


def test_the_wording() -> None:
    assert make_prompt(TASK, "blood", 0, None, 0).text == ZERO
    two = make_prompt(TASK, " blood\n", 2, len, 1000)
    assert two.text == TWO and two.shown == 2 and not two.cut
    assert make_prompt(TASK, "blood", 9, None, 0).shown == 3
    assert make_prompt(Task("t", "c", "", (), ()), "", 2, None, 0).text == (
        "Definition: .\n\nNow complete the following example -\nInput: .\nOutput: "
    )


def test_examples_as_long_as_there_is_room() -> None:
    # The examples are measured with a space between them, as officially.
    three = make_prompt(TASK, "blood", 3, None, 0).text
    assert make_prompt(TASK, "blood", 3, len, len(three) + 1).shown == 3
    assert make_prompt(TASK, "blood", 3, len, len(three)).shown == 2
    assert make_prompt(TASK, "blood", 2, len, len(TWO)).text == TWO
    one = make_prompt(TASK, "blood", 2, len, len(TWO) - 1)
    assert one.shown == 1 and not one.cut
    none = make_prompt(TASK, "blood", 2, len, len(ZERO))
    assert none.text == ZERO and none.shown == 0 and not none.cut


@pytest.mark.parametrize("limit", range(len(ZERO) - 5, len(ZERO) + 10))
def test_a_long_input_is_cut_and_nothing_else(limit: int) -> None:
    long = "blood and more blood " * 30
    prompt = make_prompt(TASK, long, 2, len, limit)
    assert prompt.cut and prompt.shown == 0 and limit - 1 <= len(prompt.text) <= limit
    head, _, asked = prompt.text.partition("\nInput: ")
    kept = asked.removesuffix("\nOutput: ").removesuffix(".")
    assert head == ZERO.partition("\nInput: ")[0] and asked.endswith("\nOutput: ") and long.startswith(kept)


def test_then_the_definition() -> None:
    task = Task("t", "c", "Name the colour of it. " * 30, EXAMPLES, ())
    prompt = make_prompt(task, "blood", 2, len, 100)
    assert prompt.cut and 98 <= len(prompt.text) <= 100
    assert prompt.text.startswith("Definition: Name the") and prompt.text.endswith(
        "\n\nNow complete the following example -\nInput: .\nOutput: "
    )
    with pytest.raises(ConfigError, match=r"max_prompt_tokens: expected room for the prompt's own \d+ tokens, got 20"):
        make_prompt(task, "blood", 2, len, 20)
