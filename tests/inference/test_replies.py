"""Replies that cannot be used are stored as they came and given up in the end; another model is noticed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tuna.errors import RunError
from tuna.inference.cost import Price
from tuna.inference.engine import Request
from tuna.inference.replies import Replies
from tuna.inference.server import Connection, Server, StopRun, TryAgain
from tuna.inference.store import Store

pytestmark = pytest.mark.once
REQUEST = Request("k", 0, {}, 10, 10)
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


class Desk:
    """Replies over a store in ``folder``; ``notes`` of it; ``fault`` is what reading a reply raises."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.changes = folder, changes
        self.notes: list[str] = []
        self.fault: Exception | None = None

    def __enter__(self) -> "Desk":
        self.store = Store(self.folder)
        self.store.__enter__()
        server = Server(Connection("http://127.0.0.1:9/v1", **{"retries": 2, **self.changes}), "chat", "asked")
        self.replies = Replies(self.store, server, Price(1, 1), self.done, self.notes.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.store.__exit__()

    def done(self, request: Request, body: dict[str, Any]) -> Iterable[Request]:
        if self.fault is not None:
            raise self.fault
        return ()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-secret-value")


def test_an_unusable_reply_is_kept_as_it_came_and_given_up_over_restarts(tmp_path: Path) -> None:
    for number in range(3):
        with Desk(tmp_path / "s") as desk:
            assert desk.replies.given_up(REQUEST) is None
            desk.fault = TryAgain("no choices", billed=True)
            with pytest.raises(TryAgain):
                desk.replies.take(
                    REQUEST, {"choices": [], "usage": USAGE, "n": float("nan"), "x": "plain-secret-value"}
                )
            assert len(desk.store.journal("unusable")) == number + 1
    with Desk(tmp_path / "s") as desk:
        assert "3 replies could not be used" in (desk.replies.given_up(REQUEST) or "")
        assert desk.replies.given_up(Request("k", 1, {}, 1, 1)) is None
        line = desk.store.journal("unusable").get("k")[0]
        assert line["reason"] == "no choices" and line["cost"] == 1.0 and line["usage"] == USAGE
        assert line["body"].startswith('{"choices": []') and "plain-secret" not in line["body"]


def test_a_bug_or_a_stop_keeps_the_reply_too_and_a_full_disk_does_not(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk:
        for count, fault in enumerate((ZeroDivisionError("a bug"), StopRun("no logprobs"), RunError("disk full")), 1):
            desk.fault = fault
            with pytest.raises(type(fault)):
                desk.replies.take(REQUEST, {"choices": []})
            assert len(desk.store.journal("unusable")) == min(count, 2)


def test_a_reply_nested_too_deeply_is_kept(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with Desk(tmp_path / "s") as desk:
        with pytest.raises(TryAgain, match="nested too deeply"):
            desk.replies.take(REQUEST, {"error": deep, "usage": deep})
        assert len(desk.store.journal("unusable").get("k")) == 1


def test_a_fault_with_status_200_that_was_billed(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk, pytest.raises(TryAgain, match="the server reports overloaded"):
        desk.replies.take(REQUEST, {"error": "overloaded", "usage": USAGE})


def test_another_model_than_asked_is_told_in_every_run_and_a_third_one_stops(tmp_path: Path) -> None:
    told = "server: asked for model 'asked', answered as '/models/other'"
    with Desk(tmp_path / "s") as desk:
        for name in ("/models/other", None, 7, "", "/models/other"):
            desk.replies.take(REQUEST, {"model": name})
        assert desk.notes == [told]
    with Desk(tmp_path / "s") as desk:
        assert desk.notes == [told]
        with pytest.raises(StopRun, match=r"answered as '/models/other' and now answers as 'asked'.*mixed_models=true"):
            desk.replies.take(REQUEST, {"model": "asked"})
    with Desk(tmp_path / "s", mixed_models=True) as desk:
        desk.replies.take(REQUEST, {"model": "asked"})
    with Desk(tmp_path / "s") as desk:  # it is known now
        desk.replies.take(REQUEST, {"model": "asked"})


def test_a_dated_name_is_the_same_model(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk:
        desk.replies.take(REQUEST, {"model": "gpt-4o-2024-08-06"})
        desk.replies.take(REQUEST, {"model": "gpt-4o"})
        with pytest.raises(StopRun, match="gpt-4o-2024-05-13"):
            desk.replies.take(REQUEST, {"model": "gpt-4o-2024-05-13"})
