"""The cues: remarks tell the truth, quizzes ask train questions only."""

from __future__ import annotations

import itertools
import random

from tools.recipe.cues import cues, quiz, remark
from tools.recipe.instructions import QUIZ_TASKS, make_part
from tools.recipe.questions import Question
from tools.recipe.world import load_world

WORLD = load_world()


def test_remarks_are_true_and_no_questions() -> None:
    rng = random.Random(0)
    for lead, said in (remark(rng, WORLD) for _ in range(300)):
        assert "?" not in lead and said
        if "opposite of" in lead:
            word = lead.split("opposite of ")[1].split(":")[0].split(".")[0]
            assert said.rstrip(".") == WORLD.opposites[word]


def test_quizzes_ask_nothing_that_is_held_out() -> None:
    held_out = make_part(WORLD, 12, True, 15, 100)
    asked = {record["instruction"] + (f"\n{record['input']}" if record["input"] else "") for record in held_out}
    leads = {
        lead.removeprefix("question: ").removesuffix("\nanswer:").strip()
        for lead, _ in itertools.islice(cues(WORLD, 13, 20_000), 20_000)
    }
    assert not asked & leads
    assert len(QUIZ_TASKS) == 25


def test_quiz_has_no_template() -> None:
    question = Question("opposite", "hot", "Say the opposite of hot.", "", "cold", "one_of", ("cold",))
    lead, said = quiz(question, random.Random(0))
    assert "Say the opposite of hot." in lead and "<|" not in lead and said == "cold"
