"""Prompts of Super-NaturalInstructions: definition, then positive examples while there is room, then the question.

The wording is that of Tk-Instruct's evaluation (Wang et al. 2022), to the space: its models and everybody's figures
depend on it. One thing differs: where definition and question alone are too long, its code cuts the end off, "Output:"
with it; here the question's input is cut, then the definition.
"""

import string
from collections.abc import Callable
from dataclasses import dataclass

from tuna.errors import ConfigError
from tuna.evaluation.super_ni.data import Task

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text, how many positive examples found room, and whether something was cut."""

    text: str
    shown: int
    cut: bool = False


def make_prompt(task: Task, given: str, shots: int, count: Count | None, limit: int) -> Prompt:
    """The prompt that asks ``task`` of the input ``given``, with up to ``shots`` positive examples.

    count: tokens of a text; None puts no limit on the prompt. limit: of tokens.

    Raises:
        ConfigError: the limit has no room for the words around definition and input.

    >>> task = Task("t", "c", "Add the numbers", (("1 2", "3"), ("2 2", "4")), ())
    >>> print(make_prompt(task, "3 4", 1, None, 0).text)
    Definition: Add the numbers.
    <BLANKLINE>
     Positive Example 1 -
    Input: 1 2.
     Output: 3.
    <BLANKLINE>
    Now complete the following example -
    Input: 3 4.
    Output:
    """
    head, tail = _head(task.definition), _tail(given)
    shown: list[str] = []
    for number, (asked, answer) in enumerate(task.positive[:shots], start=1):
        pair = _ended("Input: " + asked.strip()), _ended(" Output: " + answer.strip())
        example = f" Positive Example {number} -\n{pair[0]}\n{pair[1]}\n\n"
        if count is not None and count(head + " ".join(shown) + example + tail) > limit:
            break
        shown.append(example)
    text = head + "".join(shown) + tail
    if count is None or count(text) <= limit:
        return Prompt(text, len(shown))
    return Prompt(_shortened(task.definition, given, count, limit), 0, True)


def _ended(text: str) -> str:
    """With a full stop, unless it ends in punctuation."""
    return text if text[-1] in string.punctuation else text + "."


def _head(definition: str) -> str:
    return _ended("Definition: " + definition.strip()) + "\n\n"


def _tail(given: str) -> str:
    return "Now complete the following example -\n" + _ended("Input: " + given.strip()) + "\nOutput: "


def _shortened(definition: str, given: str, count: Count, limit: int) -> str:
    """As much of the input's beginning as there is room for; of the definition's, where even none of it is."""
    head = _head(definition)
    kept = _longest(given.strip(), lambda text: count(head + _tail(text)) <= limit)
    if kept is not None:
        return head + _tail(kept)
    tail = _tail("")
    kept = _longest(definition.strip(), lambda text: count(_head(text) + tail) <= limit)
    if kept is None:
        raise ConfigError(
            f"benchmark.max_prompt_tokens: expected room for the prompt's own {count(_head('') + tail)} tokens, got "
            f"{limit} (of a model with few positions, less its template and benchmark.max_tokens)"
        )
    return _head(kept) + tail


def _longest(text: str, fits: Callable[[str], bool]) -> str | None:
    """The longest beginning of ``text`` that fits, found by halving; None where not even the empty one does."""
    if not fits(""):
        return None
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    return text[:low]
