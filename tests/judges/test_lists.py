"""The prompt is the paper's Table 9, word for word."""

import pytest

from tuna.data.record import Record
from tuna.judges.lists import judge_prompt

pytestmark = pytest.mark.once  # computes nothing that kernels could round

HEAD = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n"
    "###Response 0:\na\n###Response 1:\nb\n###Response 2:\nc\n###Response 3:\nd\n"
    "We would like you to rate Response 0/1/2/3 in reply to the given instruction displayed above.\n"
    "First, identify if the instruction requires open-ended or close-ended responses.\n"
    "Second, you need to generate one high quality <###Response 4> in answer to the instruction."
)
TAIL = (
    "The ratings should have the format: <Response k: [sum of the 3 individual scores you give to response k]>.\n"
    "Last, rank the responses in decreasing order of their overall scores. The ranking should have the format: "
    "<rank: [i, j ,k, l, m]>. If there are duplicate responses, keep only one of them in the rank, that is, the "
    "ranking may become: <rank: [i, j, k, l]>, "
    "<rank: [i, j, k]> <rank: [i, j]> or even <rank: [i]>."
)


def _plain(prompt: str) -> str:
    """With < and > for the curly quotes."""
    return prompt.replace("\u2018", "<").replace("\u2019", ">")


def test_the_papers_words() -> None:
    prompt = _plain(judge_prompt(Record("0", "Add.", "1 2"), list("abcd")))
    assert prompt.startswith(HEAD) and prompt.endswith(TAIL)
    assert "compare Response 4 with Response 0/1/2/3/4 and assign" in prompt


@pytest.mark.parametrize("count", [2, 3, 8])
def test_other_numbers(count: int) -> None:
    prompt = _plain(judge_prompt(Record("0", "Say hi."), ["x"] * count))
    assert f"###Response {count}>" in prompt and f"###Response {count - 1}:\nx\n" in prompt and "{" not in prompt


def test_a_conversation_stands_in_the_instructions_place() -> None:
    turns = (
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Why?"},
    )
    prompt = judge_prompt(Record("0", "Why?", messages=turns), ["a", "b"])
    assert "### Instruction:\nUser: Hi.\n\nAssistant: Yes?\n\nUser: Why?\n\n### Response:\n###Response 0:\na" in prompt
