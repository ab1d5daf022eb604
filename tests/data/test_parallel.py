"""Tokenizing in several processes gives what one gives: groups, their order, counts, cache, faults."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.data.make import tokenizer
from tuna.data import parallel
from tuna.data.batch import Group
from tuna.data.cache import TokenCache
from tuna.data.lists import Answer, AnswerList
from tuna.data.parallel import Job, tokenize_all
from tuna.data.record import Record
from tuna.errors import ConfigError


def lists(count: int = 23) -> list[AnswerList]:
    return [
        AnswerList(
            Record(str(n), f"Do {n % 7} " * (1 + n % 9), "</s>" if n == 4 else ""),
            (Answer(f"so {n}", score=1.0), Answer("words " * (n % 30), score=0.0), Answer(f"</s> {n % 3}", score=2.0)),
        )
        for n in range(count)
    ]


def job(max_length: int = 100, template: str = "chat") -> Job:
    return Job(tokenizer(chat=True), template, None, max_length, ranked=True, turns=False)


def threads(job: Job, path: Path | None) -> Any:
    """A worker that is a thread of this process."""
    ours, theirs = os.pipe(), os.pipe()
    files = [os.fdopen(ours[0], "rb"), os.fdopen(theirs[1], "wb")]
    worker = SimpleNamespace(stdin=os.fdopen(ours[1], "wb"), stdout=os.fdopen(theirs[0], "rb"), kill=lambda: None)
    thread = threading.Thread(target=parallel.serve, args=files, daemon=True)
    thread.start()

    def end() -> None:
        worker.stdin.close()
        thread.join(10)
        worker.stdout.close()
        for file in files:
            file.close()

    worker.communicate = end
    parallel._send((job, path), worker.stdin)
    return worker


def plain(groups: list[tuple[int, Group]]) -> list[Any]:
    return [
        (at, g.id, g.prompt.tolist(), [r.tolist() for r in g.responses], g.scores, g.targets,
         [m.tolist() for m in g.scored])
        for at, g in groups
    ]  # fmt: skip


@pytest.mark.parametrize(("workers", "piece"), [(1, 5), (3, 4), (2, 100)])
def test_equal_to_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, piece: int) -> None:
    monkeypatch.setattr(parallel, "_start", threads)
    monkeypatch.setattr(parallel, "PIECE", piece)
    one, many = TokenCache(None), TokenCache(tmp_path / "cache.npz")
    given = lists()
    wanted, counts = tokenize_all(given, job(), job().encoder(one), workers=0)
    got, counted = tokenize_all(given, job(), job().encoder(many), workers)
    assert plain(got) == plain(wanted) and len(wanted) > 15
    assert (counted.cut, counted.shortened, counted.dropped) == (counts.cut, counts.shortened, counts.dropped)
    assert counted.notes == counts.notes and counted.problems == counts.problems and counts.cut and counts.notes
    assert many.keys() == one.keys() and all(np.array_equal(many[key], one[key]) for key in one)
    many.save()
    again, counted = tokenize_all(given, job(), job().encoder(TokenCache(many.path)), workers)
    assert plain(again) == plain(wanted) and counted.new_texts == 0


def test_a_fault_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_start", threads)
    for workers in (0, 2):
        with pytest.raises(ConfigError, match=r"datamodule\.max_length"):
            tokenize_all(lists(), job(8), job(8).encoder(TokenCache(None)), workers)


def test_a_worker_that_ends_costs_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(parallel, "_WORKER", "import sys; sys.stdin.buffer.read(1)")
    got, _ = tokenize_all(lists(3), job(), job().encoder(TokenCache(None)), workers=1)
    assert len(got) == 3 and "one does it all" in caplog.text


def test_a_real_worker_and_few_lists_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = tokenize_all(lists(3), job(), job().encoder(TokenCache(None)), workers=0)
    got, _ = tokenize_all(lists(3), job(), job().encoder(TokenCache(None)), workers=1)
    assert plain(got) == plain(wanted)
    monkeypatch.setattr(parallel, "_start", lambda *_: pytest.fail("a worker for three lists"))
    tokenize_all(lists(3), job(), job().encoder(TokenCache(None)))
