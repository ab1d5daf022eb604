"""No key is in anything that a run writes or says, in whole or in part: how a text is masked, and whole commands."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer
from tests.inference.make import write_instructions
from tests.training.make import overrides, write_lists, write_model
from tuna import secrets
from tuna.entry import main
from tuna.programs import PROGRAMS

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
    program = PROGRAMS[name]
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
    with LoopbackServer(say=lambda prompt, k: "rank: [1, 0]") as server:
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


SECRET = "hunter2hunter2hunter2"
FILES = {
    "judge": "_target_: tuna.judges.asked.OpenAIJudge\nmodel: m\nbase_url: http://127.0.0.1:9/v1\n{}",
    "logger": "_target_: tuna.tracking.loggers.Loggers\n{}",
}


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("judge", "extra_body: {api_key: SECRET}"),
        ("judge", "extra_body: {headers: {Authorization: Bearer SECRET}}"),
        ("judge", "extra_body: {headers: ['Authorization: Bearer SECRET']}"),
        ("judge", "extra_body: {password: 12345678}"),
        ("judge", "extra_body: {note: '${oc.env:JUDGE_KEY}'}"),
        ("judge", "extra_body: {note: '${ oc.env : JUDGE_KEY}'}"),
        ("judge", "extra_body: {note: '${oc.decode:${oc.env:JUDGE_KEY}}'}"),
        ("judge", "extra_body: {way: oc.env, note: '${${judge.extra_body.way}:JUDGE_KEY}'}"),
        ("judge", "extra_body: {way: env, note: '${oc.${judge.extra_body.way}:JUDGE_KEY}'}"),
        ("judge", "extra_body: {note: '${oc.decode:\\${oc.env:JUDGE_KEY}}'}"),
        ("judge", "extra_body: {a: SECRET, api_key: '${judge.extra_body.a}'}"),
        ("judge", f"extra_body: {{note: {KEYS['WANDB_API_KEY'][5:15]}}}"),
        ("judge", f"api_key_env: {KEYS['WANDB_API_KEY']}"),
        ("judge", "api_key_env: SECRET"),
        ("judge", "api_key_env: Zq81vT0mXc7LrYw2NbKd5GhJ"),
        ("logger", "tags: [a, 'https://me:SECRET@host']"),
    ],
)
def test_a_config_file_that_holds_or_fetches_a_secret_is_refused(
    home: Path, group: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "conf" / group).mkdir(parents=True)
    text = FILES[group].format(line.replace("SECRET", SECRET))
    (home / "conf" / group / "mine.yaml").write_text(text + "\n", encoding="utf-8")
    for more in ([], ["--cfg", "job", "--resolve"]):
        code, said = typed_here(home, capsys, "rank.py", f"{group}=mine", "--config-dir", str(home / "conf"), *more)
        assert code == 1 and "error:" in said, said
        assert_none(home / "home", said, SECRET, "12345678", "Zq81vT0mXc7LrYw2")
        assert sorted(path.name for path in home.iterdir()) == ["conf", "home"]


@pytest.mark.parametrize(
    "words",
    [
        ["name=${oc.${zz}:JUDGE_KEY}", "+zz=env"],
        ["name=${${zz}:JUDGE_KEY}", "+zz=oc.env"],
        ["hydra.job.env_copy=[JUDGE_KEY]"],
        [f"judge.api_key_env={KEYS['WANDB_API_KEY']}"],
        [f"name={KEYS['WANDB_API_KEY'][7:17]}"],
        ["judge.api_key_env=Zq81vT0mXc7LrYw2NbKd5GhJ"],
    ],
    ids=" ".join,
)
def test_overrides_that_fetch_a_secret_are_refused(
    home: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["judge=openai", "judge.model=m", "judge.base_url=http://127.0.0.1:9/v1", *words]
    code, said = typed_here(home, capsys, "rank.py", *given)
    assert code == 1 and "error:" in said and "[A-Za-z_]" not in said
    assert_none(home, said, "Zq81vT0mXc7LrYw2", KEYS["WANDB_API_KEY"][7:17])
    assert [path.name for path in home.iterdir()] == ["home"]


KEY = "Zq8Vt3LmX0pW7bRnK2dY5cHe"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A secret of the environment, which is looked at anew."""
    monkeypatch.setenv("SOME_API_KEY", KEY)
    secrets.refresh()
    yield KEY
    monkeypatch.undo()
    secrets.refresh()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"It is {KEY}.", "It is <hidden>."),
        (f"{KEY}{KEY}", "<hidden><hidden>"),
        (f"Zq8Vt3Lm and {KEY[5:14]}, {KEY[-8:]}", "<hidden> and <hidden>, <hidden>"),
        (f"x{KEY[3:11]}y\n\U0001f600{KEY[2:10]}\u00e9", "x<hidden>y\n\U0001f600<hidden>\u00e9"),
        ("Zq8Vt3L, seven of its characters", "Zq8Vt3L, seven of its characters"),
        ("\udcff" + KEY, "\udcff<hidden>"),
        ("sk-0123456789 is an example", "sk-0123456789 is an example"),
        ("", ""),
    ],
)
def test_a_key_and_its_parts_are_hidden_and_nothing_else(text: str, masked: str, key: str) -> None:
    assert secrets.mask(text) == masked


@pytest.mark.parametrize("user", ["", "a:", "me:", "you:", "u\u00e9:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["plain", "for URLs"])
def test_base64_is_hidden_wherever_the_key_begins_in_it(user: str, encode: Callable[[bytes], bytes], key: str) -> None:
    coded = encode((user + key + ":more").encode()).decode()
    masked = secrets.mask(f"Basic {coded}, and {coded[12:24]}")
    assert "<hidden>" in masked and not any(coded[i : i + 8] in masked for i in range(4, 4 * len(key) // 3))


def test_a_key_quoted_for_a_url_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "a/b+c=d e&f/g")
    secrets.refresh()
    assert secrets.mask("?p=a%2Fb%2Bc%3Dd%20e%26f%2Fg&q") == "?p=<hidden>&q"
    assert secrets.mask("?p=a%2Fb%2Bc%3Dd+e%26f%2Fg") == "?p=<hidden>"


def test_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    value = 'q"w\\e\n7/r"t\u00e9y8'
    monkeypatch.setenv("SOME_PASSWORD", value)
    secrets.refresh()
    row = {"text": f"<{value}>", value: [1, {"a": value}], "n": 0.5}
    expected = {"text": "<<hidden>>", "<hidden>": [1, {"a": "<hidden>"}], "n": 0.5}
    assert json.loads(secrets.dumps(row)) == expected
    assert json.loads(secrets.dumps(row, ensure_ascii=False, indent=2)) == expected


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("DB_PASSWORD", "postgres", "the postgres image"),
        ("PARTITION_KEY", "customer_id", "by customer_id"),
        ("MAX_TOKENS", "max-tokens-4096", "max-tokens-4096"),
        ("TOKENIZERS_PARALLELISM", "false-or-true", "false-or-true"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-XYZ12345/agent.1", "/tmp/ssh-XYZ12345/agent.1"),
        ("SOME_SECRET", "12345678.5", "12345678.5"),
        ("SOME_SECRET", "short7c", "short7c"),
        ("SOME_SECRET", str(ROOT), f"{ROOT}/docs"),
        ("SOME_SECRET", "correct horse battery staple", "a battery of horses; correctly"),
        ("KEY_FILE", "keys/of/mine-77", "keys/of/mine-77"),
    ],
)
def test_what_no_secret_can_be_told_from_stays(
    name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    secrets.refresh()
    assert secrets.mask(text) == text


def test_variables_that_a_config_names_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODDLY_CALLED", KEY)
    secrets.refresh()
    assert secrets.mask(KEY) == KEY
    secrets.learn({"judges": [{"api_key_env": "ODDLY_CALLED", "n": 1}]})
    assert secrets.mask(KEY) == "<hidden>"


def test_a_fault_that_ends_the_process_is_printed_masked(home: Path) -> None:
    code = "from tuna.secrets import masked_output\nwith masked_output():\n    raise ValueError(KEY)\n"
    code = f"import os\nKEY = os.environ['OPENAI_API_KEY']\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | KEYS, cwd=ROOT, check=False
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ValueError: <hidden>"


def echo(text: str) -> Callable[[str, int], str]:
    return lambda prompt, k: f"answer {k}: {text}"


@pytest.mark.parametrize("batch", ["false", "true"])
def test_a_key_in_an_answer_is_stored_and_written_masked(
    home: Path, batch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    part, coded = KEYS["WANDB_API_KEY"][4:16], base64.b64encode(f"me:{KEYS['JUDGE_KEY']}".encode()).decode()
    with LoopbackServer(say=echo(f"{part} {coded} [[C]]")) as server:
        words = [word for word in ranked(home, server) if not word.startswith("logger")]
        code, said = typed_here(home, capsys, "rank.py", *words, f"judge.batch={batch}", "judge.poll_seconds=0.01")
        assert server.asked
    assert code in (0, 1) and "Traceback" not in said
    assert_none(home, said, part, coded, coded[8:20])
    assert "<hidden>" in (home / "rankings" / "r.store" / "verdicts.jsonl").read_text(encoding="utf-8")


def test_failed_batch_results_that_echo_the_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Echoing(LoopbackServer):
        def _value(self, *_: Any) -> dict[str, Any]:
            return {"error": {"message": f"bad key {KEYS['JUDGE_KEY']}"}}

    with Echoing() as server:
        words = [word for word in ranked(home, server) if not word.startswith("logger")]
        code, said = typed_here(home, capsys, "rank.py", *words, "judge.batch=true", "judge.poll_seconds=0.01")
        assert server.asked
    assert code in (0, 1) and "Traceback" not in said
    assert_none(home, said, KEYS["JUDGE_KEY"][:16])
