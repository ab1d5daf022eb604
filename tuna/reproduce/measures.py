"""A pipeline's parts of commands and its measures, written out as steps; steps that the sizes leave out."""

from collections.abc import Mapping, Sequence
from typing import Any

from tuna.reproduce.plan import fields_of


def write_out(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """The pipeline's steps with ``words`` filled in, and a step per measure, and per measure and one of ``others``.

    >>> write_out({"words": {"w": "a={x}"}, "steps": {"made": "train.py {w}"}, "measured": "model.path={made}",
    ...     "measures": {"m": "benchmark=m"}, "others": {"o": "answers={o}/{measure}.jsonl"}})["m_o"]
    'evaluate.py benchmark=m answers={o}/m.jsonl {evaluate}'
    """
    steps = dict(pipeline["steps"])
    for name, words in pipeline.get("measures", {}).items():
        steps[name] = f"evaluate.py -m {words} {pipeline['measured']} {{evaluate}}"
        for other, more in pipeline.get("others", {}).items():
            steps[f"{name}_{other}"] = f"evaluate.py {words} {more.replace('{measure}', name)} {{evaluate}}"
    for word, text in pipeline.get("words", {}).items():
        steps = {name: command.replace(f"{{{word}}}", text) for name, command in steps.items()}
    return steps


def left_out(steps: Mapping[str, str], values: Mapping[str, object]) -> dict[str, str]:
    """The steps that name a value that is null, or need a step that does: by name, the value.

    >>> left_out({"a": "train.py {b}", "c": "train.py {a}", "d": "train.py"}, {"b": None})
    {'a': 'b', 'c': 'b'}
    """
    found: dict[str, str] = {}
    while True:
        more = {}
        for name, command in steps.items():
            named = fields_of(command)
            why = [found[field] for field in named if field in found and field in steps]
            why += [field for field in named if field in values and values[field] is None]
            if why and name not in found:
                more[name] = why[0]
        if not more:
            return found
        found |= more


def kept_systems(systems: Sequence[str], out: Mapping[str, str]) -> list[str]:
    """Those whose step is not left out."""
    return [name for name in systems if name not in out]
