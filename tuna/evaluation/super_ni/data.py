"""Super-NaturalInstructions as it lies in a clone, and the prompts that its tasks make.

The wording of prompts is that of Tk-Instruct's evaluation (Wang et al. 2022), to the space: its models and everybody's
figures depend on it. One thing differs: where definition and question alone are too long, its code cuts the end off,
"Output:" with it; here the question's input is cut, then the definition.
"""

import string
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tuna.data import fields
from tuna.data.fields import FieldError, RowError
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.questions import Faults, Question, find_clone, read_files

REPOSITORY = "allenai/natural-instructions"
CLONE = f"git clone --depth 1 https://github.com/{REPOSITORY}.git"
SPLIT = "splits/default/test_tasks.txt"
Count = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(Question):
    """One question of a task, its record the input alone, with the answers that are right."""

    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One task. category: its first one, in lower case with underscores. positive: (input, output) of its examples."""

    name: str
    category: str
    definition: str
    positive: tuple[tuple[str, str], ...]
    instances: tuple[Instance, ...]


def read_clone(root: str | None, instances: int) -> tuple[list[Task], str]:
    """The test tasks with their first ``instances`` instances each, in the split's order; a hash of what was read.

    Raises: ConfigError without a clone, or with files missing in it; DataError with all that is wrong inside them.
    """
    folder = find_clone(root, REPOSITORY, CLONE, SPLIT)
    names = list(dict.fromkeys((folder / SPLIT).read_text(encoding="utf-8").split()))
    missing = [name for name in names if not (folder / "tasks" / f"{name}.json").is_file()]
    if missing or not names:
        raise ConfigError(
            f"{folder / SPLIT}: names {len(names)} tasks, {len(missing)} of which are not in {folder / 'tasks'}: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; next: {CLONE}"
        )
    tasks, sha256 = read_files(folder / "tasks", names, partial(_task, instances))
    seen: dict[str, str] = {}
    faults = Faults()
    for task in tasks:
        for instance in task.instances:
            with faults.at(f"{folder}: {task.name}"):
                if instance.id in seen:
                    raise RowError(f"id {instance.id}: expected ids that differ, {seen[instance.id]} has it too")
                seen[instance.id] = task.name
    faults.check()
    return tasks, sha256


def _task(instances: int, name: str, value: Mapping[str, Any], path: str, faults: Faults) -> Task:
    positive: list[tuple[str, str]] = []
    for i, item in enumerate(fields.items(value, "Positive Examples", "objects")):
        with faults.at(path):
            positive.append(_texts(item, "input", "output", f"Positive Examples[{i}]"))
    found: list[Instance] = []
    for i, item in enumerate(fields.items(value, "Instances", "objects")[:instances]):
        with faults.at(path):
            key, text = _texts(item, "id", "input", where := f"Instances[{i}]")
            references = item.get("output")
            if not isinstance(references, list) or not references or not all(map(_is_text, references)):
                raise RowError(f"{where}: output: expected a list of one text or more, got {references!r:.60}")
            found.append(Instance(key, Record(key, text), name, references=tuple(map(str, references))))
    category = "_".join(_first(value, "Categories").lower().split())
    return Task(name, category, _first(value, "Definition"), tuple(positive), tuple(found))


def _first(value: Mapping[str, Any], key: str) -> str:
    """A text, or the first of a list of them."""
    given = value.get(key)
    text = given[0] if isinstance(given, list) and given else given
    if not isinstance(text, str):
        raise FieldError(key, "a text or a list of texts", given)
    return text


def _texts(value: object, one: str, other: str, where: str) -> tuple[str, str]:
    if not isinstance(value, dict) or not (_is_text(value.get(one)) and _is_text(value.get(other))):
        raise FieldError(where, f"an object with the texts {one} and {other}", value)
    return str(value[one]), str(value[other])


def _is_text(value: object) -> bool:
    """Whether it is a text, or a number, which the official loader reads as a text too."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's text, how many positive examples it shows, and whether something was cut."""

    text: str
    shown: int
    cut: bool = False


def make_prompt(task: Task, given: str, shots: int, count: Count | None, limit: int) -> Prompt:
    """The prompt that asks ``task`` of the input ``given``, with up to ``shots`` positive examples.

    count: tokens of a text; None puts no limit on the prompt. limit: of tokens; a ConfigError where it has no room for
    the words around definition and input.

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

    def longest(text: str, prompt: Callable[[str], str]) -> str | None:
        """The prompt with the longest beginning of ``text`` that fits; None where not even the empty one does."""
        ends = range(len(text) + 1)
        fitting = bisect_right(ends, False, key=lambda end: count(prompt(text[:end])) > limit)
        return prompt(text[: fitting - 1]) if fitting else None

    found = longest(given.strip(), lambda text: _head(definition) + _tail(text))
    if found is None:
        found = longest(definition.strip(), lambda text: _head(text) + _tail(""))
    if found is None:
        raise ConfigError(
            f"benchmark.max_prompt_tokens: expected room for the prompt's own {count(_head('') + _tail(''))} tokens, "
            f"got {limit} (of a model with few positions, less its template and benchmark.max_tokens)"
        )
    return found
