"""Where a thought ends and an answer begins."""

import pytest

from tuna.inference.thought import outside_thought, split_thought


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Maple.", None, "Maple."),
        ("<think>\nTwo leaves.\n</think>\n\nMaple.", "Two leaves.", "Maple."),
        ("Two leaves.\n</think>\nMaple.", "Two leaves.", "Maple."),  # the prompt opened it
        ("<think></think>Maple.", "", "Maple."),
        (" <thinking>a</thinking> b </think> Maple.", "a</thinking> b", "Maple."),
        ("[THINK]Two leaves.[/THINK]Maple.", "Two leaves.", "Maple."),
        ("<think>Two leaves, or", "Two leaves, or", ""),
        ("<think>Two leaves.</think>", "Two leaves.", ""),
        ("To open a thought, write <think> first.", None, "To open a thought, write <think> first."),
    ],
)
def test_thought_and_answer(text: str, thought: str | None, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


def test_what_is_outside_keeps_what_stands_before_a_block() -> None:
    assert outside_thought("One <think>two</think> three") == "One  three"
    assert outside_thought("no marks") == "no marks" and outside_thought("<think>all</think>") == ""
