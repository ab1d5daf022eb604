"""push_to_hub against a stand-in of the hub on this machine: the real calls of huggingface_hub, over HTTP."""

import base64
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants
from omegaconf import DictConfig, OmegaConf

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.runs import RunFolder, read_run
from tuna.training import hub
from tuna.training.run import run

TOKEN = "hf_" + "A1b2C3d4E5f6" * 3


class Hub(ThreadingHTTPServer):
    """Keeps what it is sent, as repositories of files by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.stored: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.refuses = 0  # with this status, whatever is asked

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.answer({}, 404)

    def do_PUT(self) -> None:
        content = self.body()
        self.server.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer({})

    def do_POST(self) -> None:
        body, path = self.body(), self.path.partition("?")[0]
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.refuses:
            return self.answer({"error": f"no write access with {self.headers['Authorization']}"}, self.server.refuses)
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            return self.answer({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        if "/preupload/" in path:
            files = [
                {"path": f["path"], "shouldIgnore": False, "uploadMode": "lfs" if f["size"] > 20_000 else "regular"}
                for f in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.address}/lfs/{each['oid']}", "header": {}}}}
                for each in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if "/commit/" in path:
            owner_and_name = "/".join(path.split("/")[3:5])
            sent = self.server.repositories.setdefault(owner_and_name, {})
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    sent[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    sent[value["path"]] = self.server.stored[value["oid"]]
            return self.answer(
                {"commitUrl": f"{self.server.address}/{owner_and_name}/commit/abc", "commitOid": "abc" * 13}
            )
        return self.answer({})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def config(name: str | None, private: bool = True) -> DictConfig:
    return OmegaConf.create({"push_to_hub": name, "push_private": private})


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    target = RunFolder(tmp_path / "a run", "a run")
    target.model.mkdir(parents=True)
    (target.model / "config.json").write_text("{}")
    (target.model / ".hidden").write_text("no")
    (target.model / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    target.update(status="finished", name="a run")
    return target


def test_a_whole_run_is_sent(server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, lists = write_model(tmp_path / "llama"), write_lists(tmp_path / "lists.jsonl")
    words = overrides(model, lists, tmp_path / "runs", name="a", push_to_hub="me/tuned", trainer__max_steps=1)
    run(compose(words))
    folder = tmp_path / "runs" / "a"
    sent = server.repositories["me/tuned"]
    assert sent == {p.name: p.read_bytes() for p in (folder / "model").iterdir()} and "README.md" in sent
    assert server.created[0]["visibility"] == "private" and server.tokens == {f"Bearer {TOKEN}"}
    assert read_run(folder)["pushed"] == {"repository": "me/tuned", "commit": "abc" * 13}
    assert "pushed   me/tuned (private, if it is new), commit abcabcab" in capsys.readouterr().out
    assert "pushed   me/tuned" in (folder / "log.txt").read_text()
    assert [p for p in folder.rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()] == []


def test_a_finished_run_that_was_not_sent_is_sent_by_the_same_command(
    server: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, lists = write_model(tmp_path / "llama"), write_lists(tmp_path / "lists.jsonl")

    def train(**changes: object) -> list[str]:
        """What is said, and the names that were sent to since the last time."""
        server.repositories.clear()
        run(compose(overrides(model, lists, tmp_path / "runs", trainer__max_steps=1, **changes)))
        assert [f.parent.name for f in tmp_path.glob("runs/*/run.json")] == ["a"]
        return [*server.repositories]

    assert train(name="a") == []
    capsys.readouterr()
    again = {"name": "a", "resume": "auto"}
    assert train(push_to_hub="me/tuned", dry_run="true", **again) == []
    assert train(push_to_hub="me/tuned", **again) == ["me/tuned"]
    assert "is finished already" in (said := capsys.readouterr().out) and "pushed   me/tuned" in said
    assert train(push_to_hub="me/tuned", **again) == [] == train(**again)
    assert train(push_to_hub="me/other", **again) == ["me/other"]
    assert train(push_to_hub="me/third", name="null", resume=tmp_path / "runs" / "a") == ["me/third"]

    # A run without a name of its own that was killed while it was sent: the newest of its settings.
    target = RunFolder(tmp_path / "runs" / "a", "a")
    target.update(pushed=None, config=target.read()["config"] | {"push_to_hub": "me/tuned"})
    assert train(push_to_hub="me/tuned", name="null", resume="auto") == ["me/tuned"]
    assert read_run(target.path)["pushed"]["repository"] == "me/tuned"


def test_large_files_go_another_way_and_hidden_ones_stay(server: Hub, finished: RunFolder) -> None:
    (line,) = hub.push(config("me/tuned", private=False), finished)
    assert line == "pushed   me/tuned, commit abcabcab" and server.created[0]["visibility"] == "public"
    assert set(server.repositories["me/tuned"]) == {"config.json", "model.safetensors"}
    assert list(server.stored.values()) == [(finished.model / "model.safetensors").read_bytes()]


@pytest.mark.parametrize("status", [403, 0])
def test_a_failed_push_harms_no_run(status: int, server: Hub, finished: RunFolder) -> None:
    server.refuses = status
    if not status:
        server.shutdown()
        server.server_close()
    fault, command = hub.push(config("me/tuned"), finished)
    assert "not sent to the hub" in fault and "the run is not harmed" in fault and TOKEN not in fault
    assert command == f"next     hf upload me/tuned '{finished.model}' . --private"
    assert read_run(finished.path)["status"] == "finished"


@pytest.mark.parametrize(
    ("name", "says"),
    [("tuned", "expected OWNER/NAME"), ("me/my model", "expected OWNER/NAME"), ("a/b/c", "expected OWNER/NAME")],
)
def test_what_cannot_work_is_refused_first(name: str, says: str, server: Hub) -> None:
    with pytest.raises(ConfigError, match=f"push_to_hub: {says}, got"):
        hub.check(config(name))
    hub.check(config("me/tuned"))
    hub.check(config(None))


def test_no_token_and_offline(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no token of the hub is there; next: hf auth login"):
        hub.check(config("me/tuned"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        hub.check(config("me/tuned"))
