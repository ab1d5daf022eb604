"""Panels: what members are worth, what they rule together, repeats, costs, runs that were stopped."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer
from tests.inference.make import collect, read_rows, write_answers
from tests.judges.test_asked import biased, fair
from tuna.config import checks
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.data.record import Record
from tuna.errors import ConfigError, RunError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Price, Prices
from tuna.inference.server import check_keys
from tuna.inference.store import Store
from tuna.judges.asked import OpenAIJudge
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling
from tuna.judges.checker import Checker
from tuna.judges.panel import Panel, reliabilities

Told = Ruling | NoRuling


@dataclass
class Says(Judge):
    """Rules as it was told, or by the numbers that the answers are: right with a probability."""

    rulings: Sequence[Told] = ()
    comparisons: Sequence[Comparison] = ()
    right: float = 1.0
    keep_reference: bool = False
    seed: int = 0
    asked: list[Case] = field(default_factory=list)

    def identity(self) -> dict[str, Any]:
        return {"judge": "says", "right": self.right}

    def judge(self, cases: Sequence[Case], context: Context) -> list[Told]:
        self.asked += cases
        return list(self.rulings) or [self._rule(case) for case in cases]

    def _rule(self, case: Case) -> Ruling:
        rng = random.Random(f"{self.seed} {self.right} {case.record.id}")
        values = [float(answer.text) for answer in case.answers]
        if rng.random() > self.right:
            rng.shuffle(values)
        return Ruling([sorted(values, reverse=True).index(value) for value in values])

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        return list(self.comparisons)


@pytest.fixture
def context(tmp_path: Path) -> Any:
    with Store(tmp_path / "s") as store:
        yield Context(store, Budget(store.journal("requests")), Prices({"cheap": [1, 1], "dear": [10, 10]}))


def case_of(count: int, name: str = "0") -> Case:
    return Case(Record(name, "Q"), [Answer(str(k)) for k in range(count)])


def one(panel: Panel, context: Context, count: int = 3) -> Told:
    [found] = panel.judge([case_of(count)], context)
    return found


def test_reliabilities_by_hand() -> None:
    """Two members that always agree outvote a third; one step of the EM, then its fixed point, worked out here."""
    rows = [[1.0, 1, 1]] * 30 + [[1.0, 1, -1]] * 10
    a, b, c = reliabilities(rows)
    assert a == b and a > 0.93 and 0.6 < c < 0.8
    odds = [math.log(p / (1 - p)) for p in (a, b, c)]
    q = [1 / (1 + math.exp(-sum(v * w for v, w in zip(row, odds, strict=True)))) for row in rows]
    assert a == pytest.approx((sum(q) + 7) / 50, abs=1e-6)
    assert c == pytest.approx((sum(q[:30]) + sum(1 - x for x in q[30:]) + 7) / 50, abs=1e-6)


def test_reliabilities_where_there_is_little_to_go_by() -> None:
    assert reliabilities([[math.nan, 0, 0]] * 50) == [0.7] * 3  # ties and silence say nothing
    same = reliabilities([[1, 1, 1], [-1, -1, -1]])
    assert same[0] == same[1] == same[2] and 0.7 < same[0] < 0.8
    assert reliabilities([[1, -1, math.nan]] * 3)[2] == 0.7


def test_known_reliabilities_are_recovered() -> None:
    rng, true = random.Random(3), [0.95, 0.8, 0.65, 0.5]
    rows = []
    for _ in range(4000):
        better = rng.choice((1, -1))
        rows.append([float(better if rng.random() < p else -better) for p in true])
    assert reliabilities(rows) == pytest.approx(true, abs=0.03)


def test_a_member_that_guesses_hardly_counts(context: Context) -> None:
    members = {"good": Says(right=0.95), "fair": Says(right=0.8), "coin": Says(right=0.0), "also": Says(right=0.9)}
    found = Panel(members).judge([case_of(4, str(n)) for n in range(60)], context)
    rulings = [each for each in found if isinstance(each, Ruling)]
    weights = rulings[0].notes["weights"]
    assert weights["coin"] < 0.3 * weights["fair"] < weights["good"] and len(rulings) == 60
    assert sum(each.levels == [3, 2, 1, 0] for each in rulings) >= 55
    [note] = context.notes
    assert note.startswith("judge=panel, 60 lists: good reliability 0.9") and "coin reliability 0.5" in note
    assert " of 360 pairs of answers" in note


def test_the_heavier_side_wins_and_what_they_differ_on_is_kept(context: Context) -> None:
    up, down = Ruling([0, 1, 2], notes={"by": "x"}, flips=1, pairs=3), Ruling([2, 1, 0], flips=2, pairs=3)
    members = {"a": Says([up]), "b": Says([down]), "c": Says([Ruling([2, 0, 1])])}
    ruling = one(Panel(dict(members), {"a": 3, "b": 1, "c": 1}), context)
    assert isinstance(ruling, Ruling) and (ruling.flips, ruling.pairs) == (3, 6)
    assert ruling.levels == [0, 0, 1]  # 6, 6 and 3 points of weighted wins
    assert ruling.notes["members"] == {
        "a": {"levels": [0, 1, 2], "by": "x"}, "b": {"levels": [2, 1, 0]}, "c": {"levels": [2, 0, 1]},
    }  # fmt: skip
    assert ruling.notes["pairs_that_differ"] == [3, 3] and ruling.notes["weights"] == {"a": 3, "b": 1, "c": 1}
    ruling = one(Panel(dict(members), {"a": 0, "b": 1, "c": 1}), context)
    assert isinstance(ruling, Ruling) and ruling.levels == [1, 0, 0]  # 0 loses twice to each; 1 and 2 are at one all
    ruling = one(Panel({"a": Says([up]), "b": Says([down])}), context)
    assert isinstance(ruling, Ruling) and ruling.levels == [0, 0, 0]  # two cannot be told apart: opposite rulings tie


def test_a_member_without_a_ruling_is_left_out_of_that_list(context: Context) -> None:
    members: dict[str, Any] = {"a": Says([Ruling([0, 1, None])]), "b": Says([NoRuling("no rank", ["Hm."])])}
    ruling = one(Panel(dict(members)), context)
    assert isinstance(ruling, Ruling) and ruling.levels == [0, 1, None] and ruling.marks[2] is None
    assert ruling.notes["left_out"] == {"b": "no rank"} and list(ruling.notes["members"]) == ["a"]
    assert "b has no verdict on 1" in context.notes[0]
    assert one(Panel(dict(members), {"a": 0, "b": 1}), context) == NoRuling(
        "no ruling of the panel's members connects the answers (b: no rank)", ["Hm."]
    )
    assert one(Panel({"b": members["b"]}), context) == NoRuling(
        "no ruling of the panel's members connects the answers (b: no rank)", ["Hm."]
    )
    members["c"] = Says([NoRuling("not asked yet", asked=False)])
    assert one(Panel(members), context) == NoRuling("not asked yet", ["Hm."], asked=False)


def test_one_member_alone_is_itself(context: Context) -> None:
    ruling = one(Panel({"a": Says([Ruling([1, 0, 1, 2])])}), context, 4)
    assert isinstance(ruling, Ruling) and ruling.levels == [1, 0, 1, 2]


def test_comparisons_are_a_weighted_majority(context: Context) -> None:
    def both(*panels: Comparison, weights: dict[str, Any] | None = None) -> Comparison:
        members = {name: Says(comparisons=[each]) for name, each in zip("abc", panels, strict=False)}
        [found] = Panel(dict(members), weights).compare([Pair(Record("0", "Q"), "x", "y")], context)
        return found

    win, lose, tie = Comparison((1, 1)), Comparison((-1, -1)), Comparison((0, 0))
    none = Comparison((None, 1), "no mark", ["Well."])
    assert both(win, lose, win, weights={"a": 1, "b": 1.5, "c": 1}).outcome == "win"
    assert both(win, lose, win, weights={"a": 1, "b": 2.5, "c": 1}).outcome == "lose"
    assert both(win, lose).outcome == "tie" and both(tie, win).outcome == "win"
    assert both(Comparison((1, -1)), Comparison((1, -1)), tie).flipped
    found = both(win, none)
    assert found.outcome == "win" and found.reason == "b: no mark" and found.raw == ("Well.",)
    assert both(none).outcome == "error" and both(none).asked
    waiting = Comparison((None, None), "not asked yet", asked=False)
    assert both(win, waiting) == Comparison((None, None), "b: not asked yet", (), asked=False)
    likely = [Comparison((1, 1), preference=p) for p in (0.9, 0.6)]
    assert both(*likely, weights={"a": 2, "b": 1}).preference == pytest.approx(0.8)
    assert both(*likely, win).preference is None


@pytest.mark.parametrize(
    ("members", "changes", "message"),
    [
        ({}, {}, "members: missing; next: .judge@judge.members.NAME=openai"),
        ({"a": {"path": "x"}}, {}, "members.a._target_: expected a judge, got {'path': 'x'}"),
        ({"a": {"_target_": "tuna.inference.cost.Prices"}}, {}, "members.a._target_: expected a judge, got Prices"),
        ({"a": {"_target_": "tuna.judges.asked.OpenAIJudge", "model": ""}}, {}, "members.a.model: missing"),
        ({"a": {"_target_": "tuna.judges.asked.OpenAIJudge", "modl": ""}}, {}, "takes no argument modl"),
        ({"a": Says(keep_reference=True)}, {}, "members.a.keep_reference: a panel does not rank"),
        ({"a": Checker()}, {"repeats": 2}, "repeats: members.a would reply the same again, whatever its settings"),
        ({"a": OpenAIJudge()}, {"repeats": 2}, "repeats: members.a .* at a temperature of 0"),
        ({"a": Checker()}, {"weights": {"b": 1}}, "weights: expected one for each of a, got b"),
        ({"a": Checker()}, {"weights": {"a": -1}}, "weights.a: expected 0 or more, got -1"),
        ({"a": Checker()}, {"weights": {"a": 0}}, "weights: expected one above 0, got only 0"),
        ({"a": Checker()}, {"repeats": 0}, "repeats: expected 1 or more, got 0"),
    ],
)
def test_what_is_no_panel(members: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Panel(members, **changes)


def test_prices_and_estimates_are_the_members(context: Context) -> None:
    def judge(model: str, temperature: float = 0.0) -> OpenAIJudge:
        return OpenAIJudge(model=model, base_url="http://h/v1", temperature=temperature)

    cheap, dear = judge("cheap"), judge("dear")
    records = [Record("0", "Q")]
    panel = Panel({"a": cheap, "b": dear})
    alone = [each.estimate(records, 4, 80, context).cost or 0 for each in (cheap, dear)]
    assert panel.estimate(records, 4, 80, context).cost == pytest.approx(sum(alone)) and alone[1] > 5 * alone[0]
    pairs = [Pair(records[0], "x", "y")]
    assert panel.estimate_pairs(pairs, context).requests == 4
    assert panel.price_in(context.prices) is None
    assert Panel({"a": cheap, "b": judge("cheap")}).price_in(context.prices) == Price(1, 1)
    warm = Panel({"a": judge("cheap", 0.7)}, repeats=3)
    assert warm.estimate(records, 4, 80, context).cost == pytest.approx(3 * alone[0])
    assert warm.asks_again and not Panel({"a": Checker()}).asks_again
    assert not Panel({"a": Checker()}).can_judge(records[0]) and Panel({"a": Checker(), "b": cheap}).can_judge(
        records[0]
    )


def test_a_members_key_is_looked_for_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match=r"^judge\.members\.b\.api_key_env: the environment variable OPENAI_API_KEY"):
        check_keys({"judge": Panel({"a": Checker(), "b": OpenAIJudge()})})


MEMBERS = [
    "judge=panel", "score_only=true", "+judge@judge.members.long=openai", "+judge@judge.members.first=openai",
    "+judge@judge.members.rouge=checker", "judge.members.long.model=long", "judge.members.first.model=first",
    "judge.members.long.price=[1,1]", "judge.members.first.price=[10,10]",
]  # fmt: skip


def test_two_members_that_are_one_are_refused() -> None:
    panel = Panel({name: OpenAIJudge(base_url=f"http://{name}/v1") for name in "ab"})
    with pytest.raises(ConfigError, match=r"judge.members.b: asks what judge.members.a asks"):
        panel.identity()


@pytest.mark.once
def test_a_panel_in_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "two.yaml").write_text(
        "defaults: [panel, openai@members.large, checker@members.overlap, _self_]\nmembers: {large: {model: big}}\n"
    )
    words = [f"hydra.searchpath=[file://{tmp_path}]", "judge=two", "judge.members.large.timeout=5"]
    cfg = compose(words, config_name="rank")
    checks.check(cfg)
    panel = build_all(cfg, "judge")["judge"]
    assert isinstance(panel, Panel) and [*panel._judges] == ["large", "overlap"]
    large = panel._judges["large"]
    assert isinstance(large, OpenAIJudge) and (large.model, large.timeout) == ("big", 5)


def served(server: LoopbackServer) -> list[str]:
    return [*MEMBERS, *(f"judge.members.{name}.base_url={server.url}" for name in ("long", "first"))]


def by_model(server: LoopbackServer) -> None:
    """The model "long" puts longer answers first, "first" keeps the order shown."""
    server.say = lambda prompt, k: fair(prompt) if server.bodies[-1]["model"] == "long" else biased(prompt)


@pytest.mark.once
def test_a_panel_over_a_server_is_cut_goes_on_and_knows_its_costs(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    folders = [tmp_path / "whole", tmp_path / "cut"]
    for folder in folders:
        folder.mkdir()
    with LoopbackServer() as server:
        by_model(server)
        words = [*served(server), "judge.members.long.concurrency=1", "judge.members.first.concurrency=1"]
        assert collect(folders[0], source, *words)["requests"] == 6
        with pytest.raises(RunError, match="1 of 3 instructions are missing"):
            collect(folders[1], source, *words, max_requests=5)
        assert collect(folders[1], source, *words, max_requests=6)["requests"] == 6
        assert sum(server.asked.values()) == 12
    rows, report = read_rows(folders[1] / "out.jsonl"), json.loads((folders[1] / "out.report.json").read_text())
    assert rows == read_rows(folders[0] / "out.jsonl") and len(rows) == 3
    assert set(rows[0]["judge"]["members"]) == {"long", "first", "rouge"} and rows[0]["judge"]["judge"] == "panel"
    assert report["usage"]["cost"] == pytest.approx(report["spent"]) and report["spent"] > 0
    assert any(note.startswith("judge=panel, 3 lists: long reliability") for note in report["notes"])


@pytest.mark.once
def test_repeats_are_new_questions_to_the_same_judge(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    one = {"model": "j", "temperature": 0.7}
    words = ["judge=panel", "judge.repeats=3", "+judge@judge.members.j=openai", "rerank=true", "score_only=true"]
    with LoopbackServer(say=fair) as server:
        alone = [f"judge.{key}={value}" for key, value in {**one, "base_url": server.url}.items()]
        collect(tmp_path, source, "judge=openai", "score_only=true", *alone)
        assert len(server.bodies) == 3
        collect(tmp_path, source, *words, *(each.replace("judge.", "judge.members.j.") for each in alone))
        seeds = [body.get("seed") for body in server.bodies]  # the first replies are there already, from judge=openai
        assert len(seeds) == 9 and seeds[:3] == [None] * 3 and len(set(seeds[3:])) == 6
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert list(row["judge"]["members"]) == ["j", "j#2", "j#3"]
    assert [r["text"][-1] for r in row["responses"]] == ["3", "2", "1", "0"]


def test_a_message_names_the_members_key(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 1)
    plan = {"kind": "status", "status": 307, "headers": {"location": "http://127.0.0.1:9/v1/chat/completions"}}
    with LoopbackServer(lambda p, n: plan) as server:
        wanted = r"Next: judge\.members\.long\.base_url=http://127\.0\.0\.1:9/v1"
        with pytest.raises(RunError, match=wanted):
            collect(tmp_path, source, *served(server))
