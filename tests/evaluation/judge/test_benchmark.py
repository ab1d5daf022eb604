"""The judge card as it is measured: offline, through a server, stopped and resumed, repeated; wrong input at once."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.make import measure, results_of, write_rows
from tests.inference.http_server import LoopbackServer
from tests.inference.make import read_rows
from tuna.errors import ConfigError, DataError, RunError
from tuna.inference.store import Journal

TEXTS = ("three words here", "two words", "one")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def write_lists(path: Path, count: int = 3) -> list[str]:
    """Lists of three answers, the longest the best; and the words that measure them."""
    responses = [{"text": text, "score": score} for text, score in zip(TEXTS, (3, 2, 1), strict=True)]
    rows = [{"id": f"q{n}", "instruction": f"Question {n}?", "responses": responses} for n in range(count)]
    return ["benchmark=judge", f"benchmark.path={write_rows(path, rows)}"]


def served(server: LoopbackServer, *words: str) -> list[str]:
    fixed = ["judge=openai", f"judge.base_url={server.url}", "judge.model=j", "judge.attempts=1", "judge.price=[1,1]"]
    return [*fixed, *words]


def shown(prompt: str) -> tuple[int, str, str]:
    """The number of the question, and both answers."""
    found = re.search(
        r"Question (\d)\?.*===== Answer A =====\n(.*)\n===== Answer B =====\n(.*)\n===== End", prompt, re.S
    )
    assert found is not None
    return int(found[1]), found[2], found[3]


def say(prompt: str, k: int) -> str:
    """Question 0: stone, paper, scissors; 1: whatever stands first; 2: the longer, unreadable for the two longest."""
    number, a, b = shown(prompt)
    places = TEXTS.index(a), TEXTS.index(b)
    if number == 1:
        return "[[A]]"
    if number == 0:
        return "[[A]]" if (places[1] - places[0]) % 3 == 1 else "[[B]]"
    return "Both are good." if set(places) == {0, 1} else "[[A]]" if places[0] < places[1] else "[[B]]"


def card_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """results.json, and the judge's own column of its table."""
    results, _, _ = results_of(folder, "judge")
    own = next(key for key in results["tables"]["judges"][0] if key != "measure")
    return results, {row["measure"]: row[own] for row in results["tables"]["judges"]}


def test_a_judge_that_compares_pairs(tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "lists.jsonl")
    with LoopbackServer(say=say) as server:
        scores = measure(tmp_path / "r", *lists, *served(server), "benchmark.ask=pairs")
    results, card = card_of(tmp_path / "r")
    assert results["status"] == "finished" and results["coverage"] == {"n": 3, "N": 3, "missing": []}
    assert scores["agreement"] == card["agreement"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert card["ties"] == pytest.approx(3 / 8) and card["no_verdict"] == pytest.approx(1 / 9)
    assert card["flip_rate"] == pytest.approx(3 / 8) and card["cycles"] == pytest.approx(1 / 2)
    assert card["longer_wins"] == pytest.approx((2 + 1.5 + 2) / 8) and card["longer_wins_reference"] == 1
    (ledger,) = (tmp_path / "r").glob("judge/*/store/requests.jsonl")
    spent = sum(row.get("cost", 0) for row in read_rows(ledger))
    assert card["dollars_per_1000"] == pytest.approx(spent / 3 * 1000) and spent > 0
    assert card["seconds_per_1000"] > 0 and card["consistency"] is None
    assert any("no [[A]], [[B]] or [[C]] found" in note for note in results["notes"])
    assert {"openai-j", "random", "longest", "shortest"} == results["tables"]["judges"][0].keys() - {"measure"}


def test_what_was_asked_is_not_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*write_lists(tmp_path / "lists.jsonl"), "benchmark.ask=pairs"]
    with LoopbackServer(say=lambda prompt, k: "[[A]]") as server:
        dry = measure(tmp_path / "r", *words, *served(server), "dry_run=true")
        assert dry["requests"] == 18 and not server.asked
        with pytest.raises(RunError, match="max_requests=8 reached"):
            measure(tmp_path / "r", *words, *served(server, "max_requests=8", "judge.concurrency=1"))
        results, _ = card_of(tmp_path / "r")
        assert results["status"] == "incomplete" and results["coverage"]["missing"] == ["q1", "q2"]
        (place,) = (tmp_path / "r").glob("judge/*/store/seconds.jsonl")
        killed = json.loads(place.read_text().splitlines()[0])["key"]
        Journal(place).append({"key": killed, "began": True})  # and nothing after it
        measure(tmp_path / "r", *words, *served(server))
        assert sum(server.asked.values()) == 18
        measure(tmp_path / "r", *words, *served(server))
    assert sum(server.asked.values()) == 18 and "measured already" in capsys.readouterr().out
    results, card = card_of(tmp_path / "r")
    assert card["seconds_per_1000"] is None and any("a process that was killed" in note for note in results["notes"])


def test_repeats_ask_anew_and_lists_are_ranked_as_lists(tmp_path: Path) -> None:
    """A judge that always ranks by the place in which an answer is shown ties them all when asked both ways round."""
    lists = write_lists(tmp_path / "lists.jsonl", 4)
    with LoopbackServer(say=lambda prompt, k: "###Response 3: mine\nrank: [0, 1, 2, 3]") as server:
        measure(tmp_path / "r", *lists, *served(server), "judge.orders=2", "benchmark.repeats=2")
    _, card = card_of(tmp_path / "r")
    assert sum(server.asked.values()) == 4 * 2 * 2
    assert card["flip_rate"] == 1 and card["ties"] == 1 and card["consistency"] == 1 and card["cycles"] is None


def test_pairs_and_baselines_offline(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {n}?", "chosen": "a long answer" if n else "no", "rejected": "brief"} for n in range(4)
    ]
    words = ["benchmark=judge", "judge=baseline", f"benchmark.path={write_rows(tmp_path / 'pairs.jsonl', rows)}"]
    scores = measure(tmp_path / "r", *words, "benchmark.repeats=3")
    assert scores["agreement"] == 0.75 and scores["length_controlled"] == 0.5
    results, card = card_of(tmp_path / "r")
    table = {row["measure"]: row for row in results["tables"]["judges"]}
    assert card["flip_rate"] == 0 and table["consistency"]["shortest"] == 1 and table["consistency"]["random"] < 1
    assert "rouge" not in table["agreement"]  # nothing to compare with
    assert results["model"]["name"] == "longest" and results["model"]["kind"] == "none"


def test_wrong_input_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    words = write_lists(tmp_path / "lists.jsonl")
    with pytest.raises(ConfigError, match=r"answers: expected none, since a judge is measured on .*benchmark\.path"):
        measure(tmp_path / "r", *words, f"answers={write_rows(tmp_path / 'a.jsonl', [{'id': 'q0', 'output': 'x'}])}")
    with pytest.raises(ConfigError, match="judge=baseline cannot judge 3 of 3 questions"):
        measure(tmp_path / "r", *words, "judge=baseline", "judge.by=rouge")
    tied = [{"instruction": "Hi.", "responses": [{"text": "a", "score": 1}, {"text": "b", "score": 1}]}]
    with pytest.raises(DataError, match=r"no list has two answers with different scores \(.*different scores: 1\)"):
        measure(tmp_path / "r", "benchmark=judge", f"benchmark.path={write_rows(tmp_path / 'b.jsonl', tied)}")
    assert not (tmp_path / "r").exists()
