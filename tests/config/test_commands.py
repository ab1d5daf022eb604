"""Printed commands: what shell and Hydra make of them is what was meant, from whatever folder."""

import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna.config.commands import Unsayable, assignment, command
from tuna.config.compose import compose


def read_back(text: str) -> dict[str, Any]:
    """What Hydra gets of a command that a shell has split."""
    return {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(shlex.split(text)[2:])}


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=12)
    | st.sampled_from(["null", "1e5", "a b", "it's", "a,b", "{x: 1}", "~/x", "a=b", '\\"', "[", "$"])
)
def test_a_text_comes_back_or_is_not_said(value: str) -> None:
    try:
        found = command("train.py", {"model.path": value})
    except Unsayable:
        return
    assert read_back(found) == {"model.path": value}


@pytest.mark.parametrize("value", [1, 0.5, True, None, ["a", 1], {"enable_thinking": False, "tone": "very dry"}])
def test_other_values_come_back_too(value: Any) -> None:
    assert read_back(command("train.py", {"model.template_args": value})) == {"model.template_args": value}


@pytest.mark.parametrize("value", ["my runs/a", "a,b.jsonl", "d{1}.jsonl", "it's", "x=1.jsonl"])
def test_hydra_composes_what_was_meant(value: str) -> None:
    assert compose([assignment("model.path", value)]).model.path == value


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "sk-abcdef0123456789", "http://me:secret@host/m"])
def test_what_the_program_would_refuse_is_not_said(value: str) -> None:
    with pytest.raises(Unsayable):
        assignment("model.path", value)
