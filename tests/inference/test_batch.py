"""The Batch API against a server on loopback: half the price, what is lost asked again, restarts at each moment."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer
from tests.inference.make import collect, read_rows, write_answers, write_instructions
from tests.judges.test_asked import fair
from tuna.errors import RunError
from tuna.inference import batch
from tuna.inference.store import Journal

pytestmark = pytest.mark.once


def ask(folder: Path, source: Path, server: LoopbackServer, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {
        "teacher__model": "m", "teacher__batch": "true", "teacher__poll_seconds": 0.01, "teacher__price": "[1000,2000]",
        "teacher__retries": 2,
    }  # fmt: skip
    fixed = ["ranker=probabilistic", "teacher=openai", f"teacher.base_url={server.url}"]
    return collect(folder, source, *fixed, **(settings | changes))


def test_a_batch_gives_what_requests_give_for_half_the_price(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    figures = {}
    for name in ("true", "false"):
        (tmp_path / name).mkdir()
        with LoopbackServer() as server:
            figures[name] = ask(tmp_path / name, source, server, teacher__batch=name)
            assert len(server.batches.made) == (name == "true") and set(server.asked.values()) == {1}
    assert (tmp_path / "true" / "out.jsonl").read_bytes() == (tmp_path / "false" / "out.jsonl").read_bytes()
    assert figures["true"]["spent"] == pytest.approx(figures["false"]["spent"] / 2) and figures["true"]["spent"] > 0


def test_what_fails_or_expires_is_in_the_next_batch(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        server.batches.faults = {"Question 1": 500, "Question 2": 429}
        server.batches.loses = {"Question 3"}
        assert ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server)["lists"] == 6
        assert len(server.batches.made) == 2 and sum(server.asked.values()) == 9


def test_what_is_refused_is_set_aside(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        server.batches.faults = {"Question 1": 400}
        figures = ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server)
        assert (figures["lists"], figures["unusable"]) == (5, 1)


@pytest.mark.parametrize(("status", "counts"), [(400, (5, 1, 0)), (500, (5, 0, 1))])
def test_what_fails_each_time_is_counted_by_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, counts: tuple[int, int, int]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-secret-value")
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        result = server.batches._result

        def failing(line: bytes) -> dict[str, Any] | None:
            made = result(line)
            if made and b"Question 1" in line:
                made["response"] = {"status_code": status, "body": {"error": "bad key plain-secret-value"}}
            return made

        server.batches._result = failing  # type: ignore[method-assign]
        with pytest.raises(RunError, match=r"no answer after 3 tries; the last: 500") if counts[2] else nullcontext():
            ask(tmp_path, source, server)
        report = json.loads((tmp_path / "out.report.json").read_text())
        assert (report["lists"], report["unusable"], report["missing"]) == counts
        server.batches._result = result  # type: ignore[method-assign]
        assert ask(tmp_path, source, server)["lists"] == 6
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"plain-secret-value" not in written


def test_results_that_are_none_of_ours(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        reply, strange = server.batches.reply, b'garbage\n7\n{"custom_id": "x", "response": [1]}\n\xff\n'
        server.batches.reply = lambda method, path, data: (  # type: ignore[method-assign]
            (strange if path.endswith("/content") else b"") + reply(method, path, data)
        )
        assert ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server)["lists"] == 6
        assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"id": null}', b"<html>"])
def test_a_server_without_a_batch_api(tmp_path: Path, answer: bytes) -> None:
    with LoopbackServer() as server:
        server.batches.reply = lambda *_: answer  # type: ignore[method-assign]
        with pytest.raises(RunError, match=r"Batch API.*(batch=false|later)"):
            ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server, teacher__retries=0)


def test_useless_results_are_bounded_over_restarts(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        value = server._value
        server._value = lambda body, prompt, *rest: (  # type: ignore[method-assign]
            value(body, prompt, *rest) | ({"choices": []} if prompt == "Question 2" else {})
        )
        for _ in range(2):
            assert ask(tmp_path, source, server, teacher__retries=1)["lists"] == 5
            assert server.asked["Question 2"] == 2 and sum(server.asked.values()) == 7
    assert "2 replies could not be used" in read_rows(tmp_path / "out.unusable.jsonl")[0]["reason"]


def test_a_failed_batch_stops_and_costs_nothing(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        server.batches.ends = "failed"
        with pytest.raises(RunError, match="batch0 failed"):
            ask(tmp_path, source, server)
        server.batches.ends = "completed"
        figures = ask(tmp_path, source, server)
        assert figures["lists"] == 6 and set(server.asked.values()) == {1}


def test_a_budget_makes_the_batch_smaller(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        with pytest.raises(RunError, match="max_requests=4 reached"):
            ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server, max_requests=4)
        assert sum(server.asked.values()) == 4
    assert len(read_rows(tmp_path / "out.jsonl")) == 4


class Killed(BaseException):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, count: int) -> Callable[[], None]:
    """Die at the ``count``-th thing that is written down about batches, or result that is read."""
    seen = [0]
    append, read = Journal.append, batch.BatchEngine._read

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any) -> Any:
            seen[0] += 1
            if seen[0] == count:
                raise Killed
            return function(*arguments)

        return inner

    def write(self: Journal, entry: dict[str, Any]) -> None:
        (counted(append) if self.path.name == "batches.jsonl" else append)(self, entry)

    monkeypatch.setattr(Journal, "append", write)
    monkeypatch.setattr(batch.BatchEngine, "_read", counted(read))
    return monkeypatch.undo


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_restart_takes_the_batch_up_whenever_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        undo = kill_at(monkeypatch, moment)
        with pytest.raises(Killed):
            ask(tmp_path, source, server)
        undo()
        figures = ask(tmp_path, source, server)
        assert figures["lists"] == 6 and set(server.asked.values()) == {1}
        # Before the batch was written down (1) the tickets are lost, and stay counted at their worst.
        assert figures["requests"] == (12 if moment == 1 else 6)


def test_the_judge_in_batches(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    with LoopbackServer(say=lambda p, k: fair(p) if k == 0 else "") as server:
        figures = collect(
            tmp_path, source, "judge=openai", f"judge.base_url={server.url}", judge__model="j", judge__batch="true",
            judge__poll_seconds=0.01, score_only="true",
        )  # fmt: skip
        assert figures["lists"] == 6 and len(server.batches.made) == 1
