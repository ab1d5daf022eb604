"""rank.py as it is typed: help, wrong input, kills at any moment, tools."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import warm
from tests.inference.http_server import LoopbackServer, chaos
from tests.inference.make import read_rows, write_answers, write_instructions
from tuna.entry import main
from tuna.programs import RANK

ROOT = Path(__file__).parents[1]
CONCURRENCY = 8
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "rank.py"), *words]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def typed(folder: Path, *words: str) -> tuple[int, str, str]:
    process = start(folder, *words)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_it_is_short() -> None:
    assert len((ROOT / "rank.py").read_text().splitlines()) <= 60


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    main(RANK, ["--help"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("probabilistic", "contextual", "checker", "rank.py compare"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ranker=contextul"], "expected one of contextual, probabilistic, proxy; did you mean contextual?"),
        (["judge.ordres=2"], "judge.ordres: no such key"),
        (["max_cost=cheap"], "max_cost: expected a finite number of 0 or more, or null"),
        (["shard=5/4"], "shard: expected i/n"),
        (["output=lists.json"], "output: expected a path that ends with .jsonl"),
        (["first=0"], "first: expected 1 or more"),
        (["score_only=true", "judge=checker"], "input: missing"),
        (["ranker=probabilistic", "teacher=openai"], "input: missing"),
        (["input=nothing.jsonl", "score_only=true"], "nothing.jsonl: no such file"),
        (["input=in.jsonl", "score_only=true"], "expected two answers or more to rank"),
        (["judge=openai", "judge.api_key=sk-abcdef0123456789"], "<hidden>"),
        (["judge=local"], "judge.path: missing"),
        (["ranker=proxy"], "ranker.path: missing"),
    ],
)
def test_wrong_input_is_one_message(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instructions(tmp_path / "in.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    with pytest.raises(SystemExit) as stopped:
        main(RANK, words)
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and told in said and "sk-abc" not in said and "Traceback" not in said
    assert not list(tmp_path.glob("rankings/*.jsonl"))


def test_tools(tmp_path: Path) -> None:
    write_answers(tmp_path / "in.jsonl")
    code, out, err = typed(tmp_path, "input=in.jsonl", "score_only=true", "output=a.jsonl", "judge.use_rouge=true")
    assert code == 0, err
    assert "train.py stage=tuna_c datamodule.path=a.jsonl, with model.path= of the model to be tuned" in out
    code, out, _ = typed(tmp_path, "compare", "a.jsonl", "a.jsonl", "agreement.json")
    assert code == 0 and "Spearman, mean over 6 lists: 1.000" in out
    assert json.loads((tmp_path / "agreement.json").read_text())["spearman"]["mean"] == 1
    code, _, err = typed(tmp_path, "compare", "a.jsonl")
    assert code == 1 and "rank.py compare A.jsonl B.jsonl" in err
    code, _, err = typed(tmp_path, "merge", "b.jsonl", "a.jsonl")
    assert code == 1 and "shard=i/n" in err


def command(server: LoopbackServer, output: str) -> list[str]:
    return [
        "ranker=probabilistic", "teacher=openai", f"teacher.base_url={server.url}", "teacher.model=m", "input=in.jsonl",
        f"output={output}", f"teacher.concurrency={CONCURRENCY}", "teacher.price=[1,2]", "max_cost=10",
    ]  # fmt: skip


class Campaign(NamedTuple):
    """kills: of each, (requests sent by the killed process, answers in the store after it)."""

    kills: list[tuple[int, int]]
    repeated: int
    sent: int


def finish(folder: Path, *words: str) -> None:
    """Run rank.py to its end; the exit code has to be 0."""
    process = warm.start(ROOT / "rank.py", words, cwd=folder, env=ENVIRONMENT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def kill_and_resume(folder: Path, count: int, kills: int, seed: int, most: int) -> Campaign:
    """Kill a run at random moments (after at most ``most`` requests), run it to its end, and compare it with one that
    nothing disturbed.
    """
    write_instructions(folder / "in.jsonl", count)
    rng = random.Random(seed)
    with LoopbackServer(chaos(0.2), latency=0.05) as server:
        finish(folder, *command(server, "calm.jsonl"))
    with LoopbackServer(chaos(0.2), latency=0.05) as server:
        killed: list[tuple[int, int]] = []
        stored = folder / "killed.store" / "answers.jsonl"
        while len(killed) < kills:
            process = warm.start(ROOT / "rank.py", command(server, "killed.jsonl"), cwd=folder, env=ENVIRONMENT)
            asked = sum(server.asked.values())
            goal = asked + rng.randint(1, most)
            while sum(server.asked.values()) < goal and process.poll() is None:
                time.sleep(0.002)
            if process.poll() is not None:
                process.communicate()
                break  # it was faster than the kill
            process.send_signal(signal.SIGKILL)
            process.communicate()
            answers = stored.read_bytes().count(b"\n") if stored.exists() else 0
            killed.append((sum(server.asked.values()) - asked, answers))
        finish(folder, *command(server, "killed.jsonl"))
        repeated = sum(server.answered.values()) - count
        sent = sum(server.asked.values())
    assert (folder / "killed.jsonl").read_bytes() == (folder / "calm.jsonl").read_bytes()
    assert len(read_rows(folder / "killed.jsonl")) == count
    report = json.loads((folder / "killed.report.json").read_text())
    assert sent <= report["requests_sent"] <= sent + CONCURRENCY * len(killed)  # none is sent that is not counted
    assert 0 <= repeated <= CONCURRENCY * len(killed)
    return Campaign(killed, repeated, sent)


def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    assert len(kill_and_resume(tmp_path, count=60, kills=3, seed=0, most=15).kills) == 3


@pytest.mark.campaign
def test_twenty_five_kills_lose_nothing(tmp_path: Path) -> None:
    """Writes docs/campaigns/rank_kills.md. Run by ``make campaign``."""
    count, kills = 500, 25
    found = kill_and_resume(tmp_path, count=count, kills=kills, seed=1, most=40)
    commit = os.popen(f"git -C {ROOT} rev-parse --short HEAD").read().strip()
    rows = "\n".join(f"| {k} | {sent} | {stored} |" for k, (sent, stored) in enumerate(found.kills, start=1))
    (ROOT / "docs" / "campaigns" / "rank_kills.md").write_text(
        f"# rank.py: {len(found.kills)} kills at random moments\n\n"
        f"`make campaign`, commit {commit}, {datetime.now(UTC):%Y-%m-%d}.\n\n"
        f"{count} instructions to a teacher (4 answers a request, concurrency {CONCURRENCY}) behind a loopback server "
        "that fails a fifth of\nthe requests (429 with Retry-After, 500, 503, cut and closed connections, bad JSON, no "
        "choices); killed by SIGKILL, then\nthe same command again.\n\n"
        "- output equals that of an undisturbed run, byte for byte: True\n"
        f"- answered requests that were repeated: {found.repeated} over {len(found.kills)} kills, at most "
        f"{CONCURRENCY} (the concurrency) allowed a kill\n"
        f"- requests in all, with those that the server failed on purpose: {found.sent}\n\n"
        f"| kill | requests sent by the killed process | answers in the store |\n|---|---|---|\n{rows}\n"
    )
    assert len(found.kills) == kills
