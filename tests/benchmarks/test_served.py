"""Answers of a server: asked once each, faults and refusals as in rank.py, the budget kept."""

from pathlib import Path

import pytest

from tests.benchmarks.make import measure, results_of
from tests.ranking.http_server import LoopbackServer, chaos
from tuna.errors import TunaError

pytestmark = pytest.mark.once


def words(server: LoopbackServer) -> list[str]:
    return ["generation=openai", f"generation.base_url={server.url}", "generation.model=owner/m-7b", "limit=20"]


def test_a_server_that_misbehaves(tmp_path: Path) -> None:
    with LoopbackServer(chaos(0.4)) as server:
        measure(tmp_path, *words(server), "generation.template=none")
        results, examples, place = results_of(tmp_path, "elementary")
        assert results["settings"]["generation"]["template"] == "none"
        assert place.name.startswith("m-7b-") and results["model"]["kind"] == "server"
        assert results["coverage"]["n"] == 20 and all(e["prediction"].startswith("answer") for e in examples)
        assert set(server.answered.values()) == {1}
        body = server.bodies[0]
        assert body["temperature"] == 0 and body["max_tokens"] == 48 and "n" not in body
        assert [e["instruction"] in body["messages"][0]["content"] for e in examples].count(True) >= 1


def test_a_refusal_is_missing_and_the_budget_holds(tmp_path: Path) -> None:
    def plan(prompt: str, nth: int) -> dict[str, object]:
        return {"kind": "status", "status": 400} if nth == 0 and "opposite" in prompt else {"kind": "ok"}

    with LoopbackServer(plan) as server:
        measure(tmp_path, *words(server))
        results, _, _ = results_of(tmp_path, "elementary")
        assert 0 < len(results["coverage"]["missing"]) < 20 and results["status"] == "incomplete"
        before = sum(server.asked.values())
        measure(tmp_path, *words(server))  # asks for what is missing alone
        assert sum(server.asked.values()) - before == len(results["coverage"]["missing"])
        results, _, _ = results_of(tmp_path, "elementary")
        assert results["coverage"]["n"] == 20 and results["status"] == "finished"
    with LoopbackServer() as server, pytest.raises(TunaError, match="max_requests"):
        measure(tmp_path / "c", *words(server), "max_requests=5", "generation.concurrency=2")
    assert sum(server.asked.values()) == 5
    results, _, _ = results_of(tmp_path / "c", "elementary")
    assert results["status"] == "incomplete" and results["coverage"]["n"] == 5


def test_the_price_is_said_and_nothing_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer() as server:
        measure(tmp_path, *words(server), "dry_run=true", "generation.price=[1,2]")
        assert not server.asked
    said = capsys.readouterr().out
    assert "to ask, answers, at most about: 20 requests" in said and "$" in said and not list(tmp_path.iterdir())
