"""Vicuna QA as it is run: offline, through a server that misbehaves, killed and resumed; wrong files in one message."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer, chaos
from tests.inference.make import read_rows, write_rows
from tuna.config import checks
from tuna.config.compose import compose
from tuna.entry import main
from tuna.errors import ConfigError, DataError, RunError
from tuna.evaluation.run import run
from tuna.evaluation.vicuna_qa import VicunaQA
from tuna.programs import EVALUATE

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
CATEGORIES = ("generic", "maths", "writing")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "none")


def write_study(folder: Path, count: int = 6) -> list[str]:
    """Questions, our answers (longer at even numbers) and the baseline's; the words that name them."""
    asked = [f"Question {n}?" for n in range(count)]
    turns = [{"question_id": n + 1, "category": CATEGORIES[n % 3], "turns": [text]} for n, text in enumerate(asked)]
    write_rows(folder / "questions.jsonl", turns)
    write_rows(
        folder / "ours.jsonl",
        [{"instruction": q, "output": f"ours {'word ' * (2 - n % 2)}"} for n, q in enumerate(asked)],
    )
    write_rows(folder / "base.jsonl", [{"instruction": q, "output": "the baseline"} for q in asked])
    return [
        "benchmark=vicuna_qa", f"benchmark.questions={folder / 'questions.jsonl'}", f"answers={folder / 'ours.jsonl'}",
        f"benchmark.baseline={folder / 'base.jsonl'}", f"folder={folder / 'results'}",
    ]  # fmt: skip


def served(server: LoopbackServer) -> list[str]:
    return ["judge=openai", f"judge.base_url={server.url}", "judge.model=j", "judge.concurrency=8"]


def shown(prompt: str) -> tuple[str, str]:
    found = re.search(r"===== Answer A =====\n(.*)\n===== Answer B =====\n(.*)\n===== End", prompt, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def say(prompt: str, k: int) -> str:
    """Ours wins where it has two words, loses at one; question 3 is decided by the place, question 5 unreadable."""
    a, b = shown(prompt)
    if "Question 3?" in prompt:
        return "[[A]]"
    if "Question 5?" in prompt:
        return "Both are good."
    ours_first = a.startswith("ours")
    good = "word word" in (a if ours_first else b)
    return "So:\n[[A]]" if good == ours_first else "So:\n[[B]]"


def measure(*words: str) -> dict[str, Any]:
    """What ``python evaluate.py ...`` does, in this process; gives results.json."""
    cfg = compose(list(words), config_name="evaluate")
    checks.check(cfg)
    run(cfg)
    return read_results(Path(str(cfg.folder)))


def read_results(folder: Path) -> dict[str, Any]:
    (place,) = folder.glob("vicuna_qa/*/results.json")
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def examples(folder: Path) -> Iterator[dict[str, Any]]:
    (place,) = folder.glob("vicuna_qa/*/examples.jsonl")
    yield from read_rows(place)


def test_every_question_is_counted_once(tmp_path: Path) -> None:
    with LoopbackServer(say=say) as server:
        found = measure(*write_study(tmp_path), *served(server))
    scores = found["scores"]
    assert [scores[name] for name in ("win", "lose", "tie", "error")] == [3, 1, 1, 1]
    assert scores["adjusted_win_rate"] == pytest.approx(3.5 / 5) and scores["flip_rate"] == pytest.approx(1 / 5)
    assert found["coverage"] == {"n": 5, "N": 6, "missing": ["6"]} and found["status"] == "incomplete"
    assert any("no [[A]]" in note and "question 6" in note for note in found["notes"])
    assert [row["category"] for row in found["tables"]["by_category"]] == [*CATEGORIES, "total"]
    assert found["tables"]["by_category"][2]["error"] == 1
    rows = {row["id"]: row for row in examples(tmp_path / "results")}
    assert rows["4"]["verdicts"] == [1, -1] and rows["4"]["outcome"] == "tie"
    assert rows["6"]["unreadable"] == ["Both are good."] * 6 and rows["6"]["scores"] == {"preference": None}


def test_a_prompt_of_ones_own_is_asked_in_both_orders(tmp_path: Path) -> None:
    """As FastChat words it, with our names in the places of its fields."""
    told = "[User Question]\n{{ request }}\n\n[Assistant A]\n{{ a }}\n[End]\n\n[Assistant B]\n{{ b }}\n[End]"
    (tmp_path / "fastchat.jinja").write_text(told)

    def prefer_ours(prompt: str, k: int) -> str:
        assert prompt.startswith("[User Question]\nQuestion ") and "===" not in prompt
        return "Because.\n[[A]]" if "[Assistant A]\nours" in prompt else "Because.\n[[B]]"

    with LoopbackServer(say=prefer_ours) as server:
        found = measure(*write_study(tmp_path), *served(server), f"judge.prompt={tmp_path / 'fastchat.jinja'}")
    assert found["scores"]["win"] == 6 and found["settings"]["judge"]["prompt"].startswith(
        f"{tmp_path}/fastchat.jinja:"
    )


def test_a_judge_that_cannot_judge_the_questions_is_refused_before(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot judge 6 of 6 questions \(.*questions\.jsonl:1.*next: judge=openai"):
        measure(*study)
    assert not (tmp_path / "results" / "vicuna_qa").exists()


def test_nothing_but_errors_is_no_result(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    with LoopbackServer(say=lambda prompt, k: "Both are good.") as server:
        with pytest.raises(RunError, match=r"none of 6 questions has an answer and a verdict that count"):
            measure(*study, *served(server))
        (path,) = tmp_path.glob("results/vicuna_qa/*/results.json")
        assert json.loads(path.read_text())["status"] == "incomplete"


def test_an_embedded_model_is_measured_on_a_users_questions_only_if_typed(tmp_path: Path) -> None:
    study = [word for word in write_study(tmp_path) if not word.startswith("answers=")]
    with pytest.raises(ConfigError, match=r"model\.path: missing beside benchmark\.questions="):
        measure(*study, "judge=openai", "judge.base_url=http://127.0.0.1:1/v1")


def test_the_next_run_asks_about_the_unreadable_alone(tmp_path: Path) -> None:
    words = write_study(tmp_path)
    with LoopbackServer(say=say) as server:
        measure(*words, *served(server))
    with LoopbackServer(say=lambda prompt, k: "[[C]]") as server:
        found = measure(*words, "judge=openai", f"judge.base_url={server.url}", "judge.model=j", "judge.concurrency=8")
        assert all("Question 5?" in prompt for prompt in server.asked) and sum(server.asked.values()) == 2
    assert found["scores"]["error"] == 0 and found["scores"]["tie"] == 2 and found["status"] == "finished"


def test_missing_answers_are_errors_with_a_name(tmp_path: Path) -> None:
    words = write_study(tmp_path)
    write_rows(tmp_path / "ours.jsonl", read_rows(tmp_path / "ours.jsonl")[1:])
    with LoopbackServer(say=lambda prompt, k: "[[C]]") as server:
        found = measure(*words, *served(server))
    assert found["coverage"] == {"n": 5, "N": 6, "missing": ["1"]} and found["status"] == "finished"
    assert any("no answer of the system" in note and "question 1" in note for note in found["notes"])
    assert found["scores"]["error"] == 1 and found["scores"]["tie"] == 5


def test_offline_with_the_embedded_questions(tmp_path: Path) -> None:
    found = measure("benchmark=vicuna_qa", "model.path=tiny_base", "limit=4", f"folder={tmp_path}")
    rows = list(examples(tmp_path))
    assert found["coverage"] == {"n": 4, "N": 4, "missing": []} and len(rows) == 4
    assert all(row["baseline"] and row["prediction"] for row in rows)
    assert found["scores"]["lose"] >= 3  # it has not been taught


@pytest.mark.parametrize(
    ("file", "row", "told"),
    [
        (
            "questions.jsonl",
            {"question_id": 9, "category": "x", "turns": ["Question 0?"]},
            ":7: turns: expected another",
        ),
        ("questions.jsonl", {"question_id": 1, "category": "x", "turns": ["Q?"]}, ":7: id: expected another"),
        (
            "questions.jsonl",
            {"question_id": 9, "turns": ["Q?", "And?"]},
            ":7: turns: expected one turn, got a list of 2",
        ),
        ("questions.jsonl", {"question_id": 9, "turns": []}, ":7: turns: expected one turn"),
        ("questions.jsonl", {"category": "x"}, ":7: instruction: expected a string"),
        ("base.jsonl", {"instruction": "Who?", "output": "Me."}, ": 1 answers to no question"),
        ("base.jsonl", {"instruction": "Who?"}, ":7: output: expected"),
        ("base.jsonl", {"instruction": "Question 0?", "output": "twice"}, ":7: answers the same question"),
    ],
)
def test_wrong_files_are_named_with_the_line(file: str, row: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    write_rows(tmp_path / file, [*read_rows(tmp_path / file), row])
    with pytest.raises(DataError) as error:
        VicunaQA(str(tmp_path / "questions.jsonl"), str(tmp_path / "base.jsonl")).prepare(None)
    assert f"{tmp_path / file}{told}" in str(error.value)


def test_answers_to_no_question_are_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_study(tmp_path)
    write_rows(tmp_path / "ours.jsonl", [*read_rows(tmp_path / "ours.jsonl"), {"instruction": "Who?", "output": "Me."}])
    wrong(words, "ours.jsonl: 1 answers to no question", monkeypatch, capsys)


def test_questions_need_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in write_study(tmp_path) if not word.startswith("benchmark.baseline=")]
    wrong(words, "benchmark.baseline: missing", monkeypatch, capsys)


def wrong(words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py"])
    with pytest.raises(SystemExit) as stopped:
        main(EVALUATE, words)
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and told in said and "Traceback" not in said


def test_a_dry_run_tells_the_cost_and_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer(say=say) as server:
        cfg = compose(
            [*write_study(tmp_path), *served(server), "judge.price=[1,2]", "dry_run=true"], config_name="evaluate"
        )
        assert run(cfg)["requests"] == 12 and not server.asked
    assert "judge, at most about: 12 requests" in capsys.readouterr().out


def test_a_kill_repeats_no_more_than_was_in_flight(tmp_path: Path) -> None:
    count, together = 80, 8
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with LoopbackServer(chaos(0.2), latency=0.03, say=say) as server:
        command = [sys.executable, str(ROOT / "evaluate.py"), *write_study(tmp_path, count), *served(server)]
        first = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while sum(server.answered.values()) < 60 and first.poll() is None:
            time.sleep(0.002)
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        first.communicate()
        found = measure(*command[2:])
        twice = sum(times - 1 for prompt, times in server.answered.items() if "Question 5?" not in prompt)
        assert len(server.answered) == 2 * count and 0 <= twice <= together
    scores = found["scores"]
    assert sum(scores[name] for name in ("win", "lose", "tie", "error")) == count and scores["error"] == 1
    assert found["coverage"] == {"n": 79, "N": count, "missing": ["6"]}
