"""No API key is in anything that a run writes or says: one in its environment, one on its command line."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ranking.http_server import LoopbackServer
from tests.ranking.make import write_instructions
from tests.training.make import overrides, write_lists, write_model
from tuna.entry import main

ROOT = Path(__file__).parents[1]
KEYS = {  # shaped as the real ones are, and one that has no shape
    "OPENAI_API_KEY": "sk-proj-Zq81vT0mXc7LrYw2NbKd5GhJ",
    "WANDB_API_KEY": "f3a9c1e87b604d52a1f8c39e0b7d46e2a95c18f0",
    "JUDGE_KEY": "correct horse battery staple",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a command runs, with its home folder and everything that it writes below it."""
    (tmp_path / "home").mkdir()
    return tmp_path


def typed(home: Path, script: str, *words: str, **environment: str) -> tuple[int, str]:
    """Run an entry point with all keys in its environment; the exit code and all that it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    names = {"HOME": str(home / "home"), "TMPDIR": str(home / "home"), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *words],
        cwd=home,
        env=kept | names | KEYS | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def typed_here(home: Path, capsys: pytest.CaptureFixture[str], script: str, *words: str) -> tuple[int, str]:
    """The same in this process."""
    name, code = script.removesuffix(".py"), 0
    program = getattr(importlib.import_module(name), name.upper())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "argv", [script])
        for variable, value in KEYS.items():
            patch.setenv(variable, value)
        try:
            main(program, words)
        except SystemExit as stopped:
            code = int(str(stopped.code))
    out = capsys.readouterr()
    return code, out.out + out.err


def holders(folder: Path, keys: list[str]) -> Iterator[str]:
    """Files below ``folder`` whose content or path holds a key."""
    for path in folder.rglob("*"):
        data = str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        if any(key.encode() in data or key[:20].encode() in data for key in keys):
            yield str(path.relative_to(folder))


def assert_none(home: Path, said: str, *more: str) -> None:
    keys = [*KEYS.values(), *more]
    assert not any(key in said for key in keys), "a key was printed"
    assert list(holders(home, keys)) == []


def test_the_search_finds_what_is_there(home: Path) -> None:
    (home / "a.wandb").write_bytes(b"\x00" + KEYS["OPENAI_API_KEY"].encode() + b"\xff")
    assert list(holders(home, list(KEYS.values()))) == ["a.wandb"]


def test_training(home: Path) -> None:
    """Logged in to W&B, whose server is down: it is tried, then everything is kept offline."""
    model, lists = write_model(home / "llama"), write_lists(home / "lists.jsonl")
    words = overrides(model, lists, home / "runs", name="a", logger="both", trainer__max_steps=2, logger__samples=2)
    code, said = typed(home, "train.py", *words, WANDB_MODE="online", WANDB_BASE_URL="http://127.0.0.1:9")
    assert code == 0, said
    assert "logging offline" in said
    assert list((home / "runs" / "a").glob("wandb/offline-run-*/*.wandb"))
    assert_none(home, said)


def ranked(home: Path, server: LoopbackServer) -> list[str]:
    write_instructions(home / "in.jsonl", 3)
    words = ["input=in.jsonl", "judge=openai", f"judge.base_url={server.url}", "judge.api_key_env=JUDGE_KEY"]
    return [*words, "model=tiny", "judge.model=m", "judge.retries=0", "name=r", "ranker.n=2", "logger=wandb"]


def test_ranking_by_a_server_that_refuses_the_key_and_repeats_it(home: Path) -> None:
    error = {"message": f"Incorrect API key provided: {KEYS['JUDGE_KEY']}", "code": "invalid_api_key"}
    with LoopbackServer(lambda prompt, nth: {"kind": "status", "status": 401, "body": {"error": error}}) as server:
        code, said = typed(home, "rank.py", *ranked(home, server))
        assert server.bodies
    assert code == 1 and "JUDGE_KEY is refused" in said
    assert list((home / "rankings").glob("r.store/wandb/offline-run-*/*.wandb"))
    assert_none(home, said)


def test_ranking(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer() as server:
        code, said = typed_here(home, capsys, "rank.py", *ranked(home, server))
        assert server.bodies
    assert code == 0, said
    assert list((home / "rankings").glob("r.*"))
    assert_none(home, said)


def test_measuring(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = typed_here(home, capsys, "evaluate.py", "limit=2")
    assert code == 0, said
    assert list((home / "results").glob("*/*/results.json"))
    assert_none(home, said)


@pytest.mark.parametrize(
    "words",
    [
        ["logger.project=KEY"],
        ["+judge={api_key: KEY}"],
        ["logger.tags=[a,KEY]"],
        ["+a={b: {c: {password: KEY}}}", "-m"],
        ["model.path=https://me:KEY@host/model"],
        ["--api-key", "KEY"],
        ["+a='judge=openai judge.api_key=KEY'"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("script", ["train.py", "rank.py", "evaluate.py", "report.py", "reproduce.py"])
def test_a_key_on_the_command_line(
    home: Path, script: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    key = KEYS["OPENAI_API_KEY"]
    code, said = typed_here(home, capsys, script, *(word.replace("KEY", key) for word in words))
    assert code == 1 and "error:" in said and "<hidden>" in said
    assert_none(home, said)
    assert [path.name for path in home.iterdir()] == ["home"]


def test_what_a_config_file_holds_is_not_written_down(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Overrides are refused; a file of the user's own, read from --config-dir, is not."""
    secret = "hunter2hunter2hunter2"
    model, lists = write_model(home / "llama"), write_lists(home / "lists.jsonl")
    conf = home / "conf" / "logger"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text(
        f"_target_: tuna.training.loggers.Loggers\ntags: [a, 'https://me:{secret}@host']\n", encoding="utf-8"
    )
    words = overrides(model, lists, home / "runs", name="a", logger="mine", trainer__max_steps=1, logger__samples=0)
    code, said = typed_here(home, capsys, "train.py", *words, "--config-dir", str(home / "conf"))
    assert code == 0, said
    (conf / "mine.yaml").unlink()
    assert json.loads((home / "runs" / "a" / "run.json").read_text())["config"]["logger"]["tags"] == ["a", "<hidden>"]
    assert_none(home, said, secret)
