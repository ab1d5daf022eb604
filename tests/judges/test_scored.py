"""Judges that mark each answer: the baselines by hand, log-probabilities by Eq. 3, rewards as ranker=proxy has them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.test_loading import other_reward_model
from tuna.data.ranking import eq3
from tuna.data.record import Record
from tuna.errors import ConfigError, NoModelError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.score import score_answers
from tuna.inference.store import Store
from tuna.judges.base import Case, Comparison, NoRuling, Pair, Ruling
from tuna.judges.scored import Baseline, Likelihood, Reward
from tuna.models.source import ModelConfig
from tuna.ranking.rankers.proxy import Proxy

RECORD = Record("q", "Name a colour.", output="a deep red")
CASE = Case(RECORD, [Answer(text) for text in ("red", "a deep red", "a deep blue", "red")])


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with Store(tmp_path / "store") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def test_baselines_by_hand(context: Context) -> None:
    longest, shortest, rouge, random = (
        Baseline(by).judge([CASE], context)[0] for by in ("longest", "shortest", "rouge", "random")
    )
    assert isinstance(longest, Ruling) and longest.levels == [2, 1, 0, 2] and longest.marks == [3, 10, 11, 3]
    assert isinstance(shortest, Ruling) and shortest.levels == [0, 1, 2, 0]
    assert isinstance(rouge, Ruling) and rouge.levels == [2, 0, 1, 2]  # 2/4, 1, 4/6, 2/4
    assert isinstance(random, Ruling) and random.levels[0] == random.levels[3]  # equal answers, equal marks
    assert Baseline("longest").compare([Pair(RECORD, "red", "blue"), Pair(RECORD, "a", "b")], context) == [
        Comparison((-1, -1)),
        Comparison((0, 0)),
    ]
    bare = Record("q", "Name a colour.")
    assert not Baseline("rouge").can_judge(bare) and Baseline("longest").can_judge(bare)
    assert Baseline("rouge").judge([Case(bare, CASE.answers)], context) == [NoRuling("no original response (output)")]
    assert Baseline("rouge").compare([Pair(bare, "a", "b")], context)[0].outcome == "error"


def test_log_probabilities_by_the_length_exponent(context: Context) -> None:
    answers = [Answer("red", finish_reason="stop"), Answer("a deep red", finish_reason="length"), Answer(" ")]
    scored = score_answers(ModelConfig("tiny"), [RECORD], [answers], context, row_tokens=64)[0]
    for beta in (0.0, 1.0, 1.3):
        (ruling,) = Likelihood("tiny", beta=beta, row_tokens=64).judge([Case(RECORD, answers)], context)
        assert isinstance(ruling, Ruling)
        expected = [eq3(a.logprob or 0.0, a.num_tokens or 1, beta) for a in scored[:2]]
        assert ruling.marks == [*expected, None] and ruling.levels[2] is None
    (alone,) = Likelihood("tiny").judge([Case(RECORD, answers[1:])], context)
    assert alone == NoRuling("empty answer")
    assert Likelihood("tiny").identity() != Likelihood("tiny", beta=1.3).identity()
    with pytest.raises(ConfigError, match=r"path: missing; give judge\.path="):
        Likelihood()


def test_rewards_are_those_of_the_proxy_ranker(tmp_path: Path, context: Context) -> None:
    path = str(other_reward_model(tmp_path / "reward"))
    record, answers = Record("q", "w4 w9"), [Answer(text) for text in ("w20 w10", "w27 w11", "w34 w12 w3")]
    (ruling,) = Reward(path, template="none").judge([Case(record, answers)], context)
    (rewarded,) = Proxy(path=path, template="none").reward([record], [answers], context)
    assert isinstance(ruling, Ruling) and ruling.marks == [answer.reward for answer in rewarded]
    assert ruling.levels[max(range(3), key=lambda k: ruling.marks[k] or 0.0)] == 0
    with pytest.raises(NoModelError, match=r"judge\.path=runs/prm"):
        Reward(str(tmp_path / "nowhere")).identity()
