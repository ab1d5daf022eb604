"""Blocks: the same file whatever was interrupted; a second run loads no model; scores of given answers."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.inference.make import collect, collect_nothing, read_rows, write_rows
from tests.training.make import write_model
from tuna.errors import RunError
from tuna.inference import generate
from tuna.inference.answers import NOT_THE_TEXTS, Answer
from tuna.judges.checker import rouge_l


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return write_model(tmp_path_factory.mktemp("m") / "llama")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "in.jsonl", [{"instruction": f"w{n + 5} w{n + 6}", "output": f"w{n + 7} w8"} for n in range(10)]
    )


def sample(folder: Path, source: Path, llama: Path, *words: str, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {
        "model__path": llama, "model__template": "none", "sampler__max_tokens": 10, "sampler__block": 4,
    }  # fmt: skip
    return collect(folder, source, *words, **(settings | changes))


def test_samples_differ_and_are_ranked(tmp_path: Path, source: Path, llama: Path) -> None:
    assert sample(tmp_path, source, llama)["lists"] == 10
    for row in read_rows(tmp_path / "out.jsonl"):
        texts = [r["text"] for r in row["responses"]]
        passing = [r["text"] for r in row["responses"] if r["similarity"] < 0.8]
        assert len(texts) == 4
        assert all(rouge_l(a, b) < 0.8 for k, a in enumerate(passing) for b in passing[k + 1 :])
        scores = [rouge_l(text, row["output"]) for text in texts]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.once
def test_an_interrupted_run_writes_the_same_file(
    tmp_path: Path, source: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calm").mkdir()
    sample(tmp_path / "calm", source, llama)
    whole = (tmp_path / "calm" / "out.store" / "answers.jsonl").read_bytes()
    for cut in (1, len(whole) // 3, len(whole) // 2, len(whole) - 5):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "out.store").mkdir()
        (folder / "out.store" / "answers.jsonl").write_bytes(whole[:cut])
        sample(folder, source, llama)
        assert (folder / "out.jsonl").read_bytes() == (tmp_path / "calm" / "out.jsonl").read_bytes()
    monkeypatch.setattr(generate, "Generator", lambda *a, **k: pytest.fail("a model was loaded"))
    sample(tmp_path / "calm", source, llama)


@pytest.mark.campaign
def test_twenty_five_kills_leave_the_same_file(tmp_path: Path, llama: Path) -> None:
    """Each run is killed within a block that it has begun, or just after one that it stored."""
    rows = [{"instruction": f"w{n % 30 + 5} w{n % 17 + 6}", "output": f"w{n % 30 + 7} w8"} for n in range(80)]
    source, rng, kills = write_rows(tmp_path / "in.jsonl", rows), random.Random(0), 0
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    sample(tmp_path / "calm", source, llama, sampler__block=2)
    stored = tmp_path / "killed" / "out.store" / "answers.jsonl"

    def lines() -> int:
        return stored.read_bytes().count(b"\n") if stored.exists() else 0

    while kills < 25:
        goal = lines() + rng.choice((0, 1, 2))
        child = os.fork()
        if not child:
            try:
                sample(tmp_path / "killed", source, llama, sampler__block=2)
            finally:
                os._exit(0)
        while lines() < goal and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it was faster than the kill"
        kills += 1
        print(f"kill {kills}: {lines()} of {len(rows)} stored")
    sample(tmp_path / "killed", source, llama, sampler__block=2)
    assert (tmp_path / "killed" / "out.jsonl").read_bytes() == (tmp_path / "calm" / "out.jsonl").read_bytes()
    assert stored.read_bytes() == (tmp_path / "calm" / "out.store" / "answers.jsonl").read_bytes()


def test_a_thought_stays_out_of_a_local_answer(
    tmp_path: Path, source: Path, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(self: object, prompts: object, draws: list[generate.Draw], tell: object) -> list[Answer]:
        return [Answer(f"<think>hm</think>word{d.prompt} {d.key[1]}", -9.0, 7, "stop") for d in draws]

    monkeypatch.setattr(generate.Generator, "draw", draw)
    collect_nothing(tmp_path, source, "ranker=probabilistic", "teacher=local", teacher__path=llama)
    # their log-probabilities are of thought and text together
    row = read_rows(tmp_path / "out.unusable.jsonl")[0]
    assert {entry["reason"] for entry in row["raw"]} == {NOT_THE_TEXTS}
    assert all(entry["text"].startswith("word") for entry in row["raw"])


def test_seed_and_model_shape_the_file(tmp_path: Path, source: Path, llama: Path) -> None:
    sample(tmp_path, source, llama)
    with pytest.raises(RunError, match=r"source\.seed"):
        sample(tmp_path, source, llama, seed=1)
    with pytest.raises(RunError, match=r"source\.tau"):
        sample(tmp_path, source, llama, sampler__tau="null")


def test_a_local_teacher_and_its_own_scores(tmp_path: Path, source: Path, llama: Path) -> None:
    teacher: dict[str, object] = {
        "teacher__path": llama, "teacher__template": "none", "teacher__max_tokens": 10, "teacher__block": 5,
    }  # fmt: skip
    assert collect(tmp_path, source, "ranker=probabilistic", **teacher)["lists"] == 10
    drawn = read_rows(tmp_path / "out.jsonl")
    (tmp_path / "again").mkdir()
    collect(tmp_path / "again", tmp_path / "out.jsonl", "ranker=probabilistic", score_only="true", **teacher)
    compared = 0
    for one, other in zip(drawn, read_rows(tmp_path / "again" / "out.jsonl"), strict=True):
        scored = {r["text"]: r for r in other["responses"]}
        for r in one["responses"]:
            if scored[r["text"]]["num_tokens"] == r["num_tokens"]:  # no special token inside
                assert scored[r["text"]]["logprob"] == pytest.approx(r["logprob"], abs=1e-3)
                compared += 1
    assert compared > 15


def test_a_local_judge_sets_aside_what_it_cannot_say(tmp_path: Path, llama: Path) -> None:
    rows = [{"id": "a", "instruction": "w5", "responses": [{"text": "w6"}, {"text": "w7"}]}]
    report = collect_nothing(
        tmp_path, write_rows(tmp_path / "in.jsonl", rows), "judge=local", score_only="true", judge__path=llama,
        judge__max_tokens=8, judge__template="none",
    )  # fmt: skip
    assert report["unusable"] == 1
    row = json.loads((tmp_path / "out.unusable.jsonl").read_text())
    assert "token" in row["reason"] or "rank" in row["reason"]
