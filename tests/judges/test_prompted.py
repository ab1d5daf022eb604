"""Judges with prompts of their own: pointwise, pairwise and listwise, by text and by probabilities."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import OK, LoopbackServer
from tests.inference.make import collect, read_rows, write_answers, write_rows
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.judges.asked import LocalJudge, OpenAIJudge
from tuna.judges.base import Case, NoRuling, Pair, Ruling

pytestmark = pytest.mark.once

Body = dict[str, Any]
RECORD = Record("q", "Why?", extra={"rubric": "Be brief."})


class Picky(LoopbackServer):
    """A server that refuses some requests by their fields."""

    def __init__(self, refuses: Callable[[Body], bool], status: int = 400, **more: Any) -> None:
        super().__init__(**more)
        self.refuses, self.status = refuses, status

    async def _reply(self, body: Body, path: str, writer: asyncio.StreamWriter) -> bool:
        no = {"kind": "status", "status": self.status, "body": {"error": {"message": "unknown field"}}}
        self.plan = lambda prompt, nth: no if self.refuses(body) else OK
        return await super()._reply(body, path, writer)


def answer_in(prompt: str) -> str:
    found = re.search(r"===== Answer =====\n(.*)\n===== End", prompt, re.DOTALL)
    assert found is not None
    return found[1]


def words(prompt: str, k: int = 0) -> str:
    """Marks an answer by its words, up to 5."""
    return f"It has words.\nScore: {min(5, len(answer_in(prompt).split()))}"


def weighed(text: str, mark: str, **chances: float) -> Body:
    """A choice whose token ``mark`` has these alternatives (``_4`` is 4)."""
    top = [{"token": name.strip("_"), "logprob": math.log(p)} for name, p in chances.items()]
    pieces = [text[: text.rindex(mark)], mark, text[text.rindex(mark) + len(mark) :]]
    content = [{"token": piece, "logprob": -0.1, "top_logprobs": top if piece == mark else []} for piece in pieces]
    return {"message": {"content": text}, "logprobs": {"content": content}}


def half_above(prompt: str, k: int = 0) -> Body:
    """A number alone, in JSON, half of its probability on the next higher one."""
    mark = min(4, len(answer_in(prompt).split()))
    return weighed(f'{{"score": {mark}}}', str(mark), **{f"_{mark}": 0.4, f"_{mark + 1}": 0.4, "good": 0.2})


@contextmanager
def at_work(folder: Path) -> Iterator[Context]:
    with Store(folder) as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def openai(server: LoopbackServer, **changes: Any) -> OpenAIJudge:
    settings: dict[str, Any] = {"base_url": server.url, "model": "j", "concurrency": 2, "prompt_": "rubric"} | changes
    return OpenAIJudge(**settings)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def case(*texts: str, record: Record = RECORD) -> Case:
    return Case(record, [Answer(text) for text in texts])


def levels(rulings: Sequence[Ruling | NoRuling]) -> list[Any]:
    return [each.levels if isinstance(each, Ruling) else each.reason for each in rulings]


def test_the_rubric_by_rank_py(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 2)
    asked = ["judge=prompted", "judge.model=j", "score_only=true", "judge.concurrency=2"]
    with LoopbackServer(say=words, logprobs=False) as server:
        assert collect(tmp_path, source, *asked, f"judge.base_url={server.url}")["lists"] == 2
        collect(tmp_path, source, *asked, f"judge.base_url={server.url}")
        assert sum(server.asked.values()) == 2 * 4  # a prompt per answer, nothing twice
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert [(r["judge_score"], r["score"]) for r in row["responses"]] == [(5.0, 0), (4.0, -1), (3.0, -2), (2.0, -3)]
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert "takes no logprobs; marks are read as text" in report["notes"][0]
    assert report["identity"]["ranking"]["read"] == "score" and report["estimate"]["judge"]["requests"] == 8


def test_means_decide_and_are_read_anew_from_the_store(tmp_path: Path) -> None:
    pairs = [Pair(RECORD, "one two", "one"), Pair(RECORD, "one", "two"), Pair(RECORD, "x", "x ")]
    with LoopbackServer(say=half_above) as server, at_work(tmp_path) as context:
        judge = openai(server, direct=True)
        (ruling,) = judge.judge([case("one two", "one", "one two three", "two")], context)
        assert isinstance(ruling, Ruling)
        assert ruling.levels == [1, 2, 0, 2] and list(ruling.marks) == [2.5, 1.5, 3.5, 1.5]
        found = judge.compare(pairs, context)
        assert [(c.verdicts, c.preference) for c in found] == [((1, 1), 0.875), ((0, 0), 0.5), ((0, 0), None)]
        assert sum(server.asked.values()) == 4 and server.bodies[0]["max_tokens"] == 16
        body = server.bodies[-1]
        assert body["top_logprobs"] == 20 and body["response_format"]["json_schema"]["schema"]["required"] == ["score"]
        text = openai(server, direct=True, probabilities=False).judge([case("one two", "one")], context)
        assert isinstance(text[0], Ruling) and list(text[0].marks) == [2, 1]  # of the same replies
        assert sum(server.asked.values()) == 4 and context.notes == []
        line = next(iter(context.store.journal("verdicts")))
        assert line["text"] == '{"score": 2}' and line["places"][-1][:2] == [10, "2"]
        assert set(line["places"][-1][2]) == {"2", "3"}  # what may be a mark


@pytest.mark.parametrize("status", [400, 500])
def test_what_a_server_refuses_is_tried_once_and_remembered(tmp_path: Path, status: int) -> None:
    def refuses(body: Body) -> bool:
        return bool(body.get("response_format", {}).get("type") == "json_schema")

    with Picky(refuses, status, say=half_above) as server, at_work(tmp_path) as context:
        judge = openai(server, direct=True, retries=3)
        assert levels(judge.judge([case("one two", "one")], context)) == [[0, 1]]
        first = len(server.bodies)
        assert first == (3 if status == 400 else 4) and not context.aside and not context.failed
        openai(server, direct=True).judge([case("one two", "a b c")], context)
        assert len(server.bodies) == first + 1
        assert {b["response_format"]["type"] for b in server.bodies[-2:]} == {"json_object"} and context.notes == []


def test_a_server_that_takes_nothing_is_asked_plainly(tmp_path: Path) -> None:
    refuses = lambda body: "response_format" in body or "logprobs" in body  # noqa: E731
    with Picky(refuses, say=lambda p, k: words(p)[-1]) as server, at_work(tmp_path) as context:
        assert levels(openai(server, direct=True).judge([case("one two", "one")], context)) == [[0, 1]]
        assert [note.partition(" takes ")[2] for note in context.notes] == [
            "no response_format; replies are read as they come", "no logprobs; marks are read as text",
        ]  # fmt: skip
        openai(server, direct=True).judge([case("three four five", "one")], context)
        assert len(server.bodies) == 9 + 1 + 1 and len(context.notes) == 2


def test_probabilities_that_are_needed_and_not_given_stop_the_run(tmp_path: Path) -> None:
    with LoopbackServer(say=words, logprobs=False) as server:
        for requests in (1, 2):  # the same command says the same
            with at_work(tmp_path) as context:
                (ruling,) = openai(server, probabilities=True).judge([case("one two", "one", "three")], context)
                assert isinstance(ruling, NoRuling) and "gives no top_logprobs" in str(context.stopped)
                assert len(server.bodies) == requests


def test_too_little_on_the_marks_is_no_verdict_of_a_direct_judge(tmp_path: Path) -> None:
    say = lambda prompt, k: weighed("The", "The", The=0.7, _4=0.2)  # noqa: E731
    with LoopbackServer(say=say) as server, at_work(tmp_path) as context:
        (ruling,) = openai(server, direct=True, attempts=1).judge([case("one", "two")], context)
        assert isinstance(ruling, NoRuling) and "the marks have 0.2 of the probability" in ruling.reason
        assert levels(openai(server, direct=True, least_mass=0.1).judge([case("one", "two")], context)) == [[0, 0]]


def test_malformed_log_probabilities_are_none(tmp_path: Path) -> None:
    odd = [None, 1, {}, {"content": 1}, {"content": [1, {"token": 1, "top_logprobs": [1, {"logprob": "x"}]}]}]
    for number, given in enumerate(odd):
        say = lambda p, k, given=given: {"message": {"content": "Score: 4"}, "logprobs": given}  # noqa: E731
        with LoopbackServer(say=say) as server, at_work(tmp_path / str(number)) as context:
            (ruling,) = openai(server).judge([case("one", "two")], context)
            assert isinstance(ruling, Ruling) and list(ruling.marks) == [4, 4]
    with LoopbackServer(say=words) as server, at_work(tmp_path / "none") as context:
        server._choice = lambda *given: "no choice"  # type: ignore[method-assign,assignment]
        (none,) = openai(server, retries=0).judge([case("one", "two")], context)
        assert isinstance(none, NoRuling)


def longer(prompt: str, k: int = 0) -> Body:
    """Prefers the longer of two answers, and a little the one that stands first."""
    a, b = re.findall(r"===== Answer [AB] =====\n(.*)\n", prompt)
    chance = 0.8 if len(a) > len(b) else 0.4 if len(a) == len(b) + 0 else 0.3
    return weighed('{"choice": "A"}', "A", A=chance, B=1 - chance)


def test_pairs_by_probabilities_and_lists_of_them(tmp_path: Path) -> None:
    with LoopbackServer(say=longer) as server, at_work(tmp_path) as context:
        judge = openai(server, prompt_="pairwise", direct=True)
        better, equal = judge.compare([Pair(RECORD, "longer", "x"), Pair(RECORD, "a", "b")], context)
        assert better.verdicts == (1, 1) and better.preference == pytest.approx(0.75) and better.outcome == "win"
        assert equal.flipped and equal.preference == pytest.approx(0.5) and equal.outcome == "tie"
        assert levels(judge.judge([case("aa", "a", "aaaa", "aaa")], context)) == [[2, 3, 0, 1]]
        assert len(server.asked) == 4 + 4 * 3


def test_a_listwise_prompt_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(
        "{{ record.rubric }}\n{% for r in responses %}\n{{ loop.index0 }}: {{ r }}\n{% endfor %}\nEnd: rank: [best]"
    )

    def say(prompt: str, k: int) -> str:
        texts = re.findall(r"^\d: (.*)$", prompt, re.MULTILINE)
        return f"rank: {sorted(range(len(texts)), key=lambda i: -len(texts[i]))}"

    with LoopbackServer(say=say) as server, at_work(tmp_path) as context:
        judge = openai(server, prompt_=str(tmp_path / "mine.jinja"), orders=2)
        found = judge.judge([case("a", "aaa", "aa"), case("a", "b", record=Record("r", "No rubric"))], context)
        assert (
            levels(found)[0] == [2, 0, 1]
            and "mine.jinja:1: 'dict object' has no attribute 'rubric'" in levels(found)[1]
        )
        assert [c.outcome for c in judge.compare([Pair(RECORD, "aa", "a"), Pair(RECORD, "b", "bb")], context)] == [
            "win", "lose",
        ]  # fmt: skip
        assert not any("logprobs" in body for body in server.bodies)
        server.say = lambda prompt, k: "rank: [0, 1, 2]"
        (ruling,) = openai(server, prompt_=str(tmp_path / "mine.jinja"), attempts=1).judge([case("x", "y")], context)
        assert isinstance(ruling, NoRuling) and "unknown responses [2]" in ruling.reason  # it has no answer of its own


def test_no_row_that_the_prompt_could_show(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ output }}\n{{ response }}")
    rows = [{"id": "a", "instruction": "Q", "responses": [{"text": "x"}, {"text": "y"}]}]
    words = ["judge=prompted", f"judge.prompt={tmp_path / 'mine.jinja'}", "score_only=true"]
    with pytest.raises(ConfigError, match=r"cannot judge 1 of 1 questions .*lack what the prompt mentions"):
        collect(tmp_path, write_rows(tmp_path / "in.jsonl", rows), *words)


def test_json_with_a_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"why": {"type": "string"}, "points": {"type": "integer", "maximum": 9}}}
    say = lambda p, k: f'{{"why": "so", "points": {len(answer_in(p))}}}'  # noqa: E731
    with LoopbackServer(say=say) as server, at_work(tmp_path) as context:
        judge = openai(server, read_="json", schema=schema, field="points", scale=(0, 8), attempts=1)
        found = judge.judge([case("a", "aa"), case("a", "a" * 9), case("a", "a" * 10)], context)
        assert levels(found) == [[1, 0], "expected a score from 0 to 8, got 9", "points: expected at most 9, got 10"]
        assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_": None, "direct": True}, "direct: of use with a pointwise or pairwise prompt"),
        ({"prompt_": None, "probabilities": True}, "probabilities: expected a prompt whose reply ends in one mark"),
        ({"pairs": "sorted"}, "pairs, comparisons: of use with a pairwise prompt"),
        ({"read_": "rank"}, "read: expected score or json with a pointwise prompt, got rank"),
        ({"read_": "prose"}, "read: expected rank or choice or score or json or null, got 'prose'"),
        ({"orders": 2}, "orders, keep_reference: of use where a list is ranked at once"),
        ({"scale": (5, 1)}, r"scale: expected two whole numbers from 0 to 999, the lower first, got \[5, 1\]"),
        ({"schema": {}, "field": "x"}, "schema, field: of use with read=json only"),
        ({"read_": "json", "field": "x", "schema": {"properties": {"y": {}}}}, "expected a property 'x'"),
        ({"prompt_": "rubrik"}, "prompt: expected pairwise, rubric, table9 or a Jinja file"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIJudge(**{"model": "j", "prompt_": "rubric", **changes})


def test_a_judge_without_a_prompt_is_known_by_what_it_was_known_by() -> None:
    assert OpenAIJudge(model="j").identity() == {
        "judge": "openai", "model": "j", "temperature": 0.0, "max_tokens": 2048, "extra_body": None, "orders": 1,
        "keep_reference": False,
    }  # fmt: skip
    assert set(LocalJudge(path="tiny").reply_identity()) == {"judge", "model", "template", "max_tokens"}


def test_a_local_judge_reads_its_logits_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuna.inference.generate import Generator
    from tuna.judges import logits

    kept: list[Any] = []
    monkeypatch.setattr(Generator, "draw", None)
    weigh = logits._chances

    def noted(*given: Any) -> Any:
        kept.append(given)
        return weigh(*given)

    monkeypatch.setattr(logits, "_chances", noted)
    with at_work(tmp_path) as context:
        judge = LocalJudge(path="tiny", prompt_="rubric", scale=(1, 10), least_mass=0.0)
        (ruling, too_long) = judge.judge([case("red", "a blue", "red"), case("x " * 600, "y")], context)
        assert isinstance(ruling, Ruling) and ruling.levels[0] == ruling.levels[2] != ruling.levels[1]
        assert all(1 < mark < 10 for mark in ruling.marks if mark is not None)
        assert isinstance(too_long, NoRuling) and "does not fit" in too_long.reason
        lines = list(context.store.journal("verdicts"))
        generator, prompts, endings = kept[-1]
        first = generator.next_logprobs(prompts).exp()
        found = weigh(generator, prompts, endings)
        for row, chances in enumerate(found):  # a mark that begins another shares its first token's probability
            start = {ids[0] for mark, ids in endings.items() if len(ids) == 1}
            assert math.fsum(chances.values()) == pytest.approx(float(sum(first[row, i] for i in start)), abs=1e-6)
        calls = len(kept)
        assert judge.judge([case("red", "a blue", "red")], context)[0] == ruling and len(kept) == calls
        assert len(list(context.store.journal("verdicts"))) == len(lines) == 3
