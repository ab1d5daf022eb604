"""A server on 127.0.0.1 that speaks the OpenAI protocol and misbehaves on command.

What it answers follows from the prompt alone (and the seed, where one is sent), so that a run that was killed and one
that was not must end alike.
``python -m tests.inference.http_server`` runs it by itself, with faults drawn from (prompt, how often it came).
"""

import argparse
import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

Action = dict[str, Any]  # kind: ok, status, slow, cut, close, bad_json, empty, refusal, filter; and what it needs
Plan = Callable[[str, int], Action]
OK: Action = {"kind": "ok"}


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def chaos(share: float) -> Plan:
    """Faults in ``share`` of the requests, never the third time a prompt comes."""
    kinds: list[Action] = [
        {"kind": "status", "status": 429, "headers": {"retry-after": "0.05"}}, {"kind": "status", "status": 500},
        {"kind": "status", "status": 503}, {"kind": "cut"}, {"kind": "close"}, {"kind": "bad_json"}, {"kind": "empty"},
    ]  # fmt: skip

    def plan(prompt: str, nth: int) -> Action:
        draw = _hash(prompt, nth)
        return kinds[draw % len(kinds)] if nth < 2 and draw % 1000 < share * 1000 else OK

    return plan


class LoopbackServer:
    """Runs in a thread of its own. say: a text, or a choice. ``asked`` counts prompts, ``most`` is the most at once."""

    def __init__(
        self, plan: Plan | None = None, *, latency: float = 0.0, ignores_n: bool = False, logprobs: bool = True,
        say: Callable[[str, int], str | dict[str, Any]] | None = None, port: int = 0,
    ) -> None:  # fmt: skip
        self.plan = plan or (lambda prompt, nth: OK)
        self.latency, self.ignores_n, self.logprobs, self.port = latency, ignores_n, logprobs, port
        self.say = say or (lambda prompt, k: f"answer {_hash(prompt, k) % 10_000} of {len(prompt)}")
        self.batches = Batches(self)
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()  # without a fault
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.now = self.most = 0
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                data = await reader.readexactly(sum(int(x[15:]) for x in lines if x.startswith("content-length:")))
                path = head.split(b" ")[1].decode()
                if "/files" in path or "/batches" in path:
                    self._send(writer, self.batches.reply(head.split(b" ")[0].decode(), path, data))
                    continue
                body = json.loads(data)
                self.now += 1
                self.most = max(self.most, self.now)
                try:
                    if not await self._reply(body, path, writer):
                        break
                finally:
                    self.now -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        head = f"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    async def _reply(self, body: dict[str, Any], path: str, writer: asyncio.StreamWriter) -> bool:
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        nth = self.asked[prompt]
        action = self.plan(prompt, nth)
        self.asked[prompt] += 1
        self.bodies.append(body)
        self.times.append(self._loop.time())
        await asyncio.sleep(action.get("seconds", self.latency))
        kind = action["kind"]
        self.answered[prompt] += kind == "ok"
        if kind == "close":
            return False
        status, headers = action.get("status", 200), action.get("headers", {})
        value: Any = action.get("body", {"error": {"message": "as told", "code": None}})
        if kind != "status":
            value = self._value(body, prompt, path, kind, nth)
        data = b'{"choices": [' if kind == "bad_json" else json.dumps(value).encode()
        lines = [
            f"HTTP/1.1 {status} X",
            "content-type: application/json",
            f"content-length: {len(data) + (kind == 'cut') * 50}",
        ]
        lines += [f"{name}: {text}" for name, text in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await writer.drain()
        return bool(kind != "cut")

    def _value(self, body: dict[str, Any], prompt: str, path: str, kind: str, nth: int) -> dict[str, Any]:
        count = 1 if self.ignores_n else body.get("n", 1)
        first = body.get("seed", nth if self.ignores_n else 0)
        texts = [self.say(prompt, first + k) for k in range(count)]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": sum(len(str(t).split()) for t in texts)}
        choices = [self._choice(text, k, path, kind) for k, text in enumerate(texts)]
        if "chat" in path and "top_logprobs" not in body:  # llama-cpp-python gives none then, whatever logprobs says
            choices = [{**choice, "logprobs": None} for choice in choices]
        return {"id": "x", "model": body["model"], "choices": [] if kind == "empty" else choices, "usage": usage}

    def _choice(self, text: str | dict[str, Any], index: int, path: str, kind: str) -> dict[str, Any]:
        if isinstance(text, dict):
            return {"index": index, "finish_reason": "stop", **text}
        words = text.split()
        logprobs = [-0.5 - _hash(text, n) % 100 / 100 for n in range(len(words))]
        choice: dict[str, Any] = {"index": index, "finish_reason": "content_filter" if kind == "filter" else "stop"}
        if "chat" in path:
            refused = kind == "refusal"
            choice["message"] = {
                "role": "assistant",
                "content": None if refused else text,
                "refusal": "No." if refused else None,
            }
            choice["logprobs"] = (
                {"content": [{"token": f"{w} ", "logprob": p} for w, p in zip(words, logprobs, strict=True)]}
                if self.logprobs
                else None
            )
        else:
            choice["text"] = text
            choice["logprobs"] = {"tokens": words, "token_logprobs": logprobs} if self.logprobs else None
        return choice


class Batches:
    """The Batch API: files and batches in memory. ``looks`` is how often a batch is asked for before it is over."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server = server
        self.files: dict[str, bytes] = {}
        self.made: list[dict[str, Any]] = []
        self.looks = 2
        self.ends = "completed"
        self.faults: dict[str, int] = {}  # prompt -> status, once
        self.loses: set[str] = set()  # prompts that get no result, once

    def reply(self, method: str, path: str, data: bytes) -> bytes:
        if path.endswith("/files"):
            part = data.split(b'filename="batch.jsonl"')[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0]
            self.files[f"file{len(self.files)}"] = part
            return json.dumps({"id": f"file{len(self.files) - 1}", "object": "file"}).encode()
        if path.endswith("/content"):
            return self.files[path.split("/")[-2]]
        if method == "POST":
            self.made.append({"id": f"batch{len(self.made)}", "status": "validating", "looks": 0, **json.loads(data)})
            return json.dumps(self.made[-1]).encode()
        if "/batches/" in path:
            return json.dumps(self._look(self.made[int(path.split("/batch")[-1])])).encode()
        return json.dumps({"object": "list", "data": self.made}).encode()

    def _look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] += 1
        if batch["looks"] >= self.looks and "output_file_id" not in batch:
            batch |= {"status": self.ends, "output_file_id": None}
            if self.ends != "failed":
                results = [r for line in self.files[batch["input_file_id"]].splitlines() if (r := self._result(line))]
                batch["output_file_id"] = name = f"file{len(self.files)}"
                self.files[name] = b"\n".join(json.dumps(result).encode() for result in results)
        return batch

    def _result(self, line: bytes) -> dict[str, Any] | None:
        asked = json.loads(line)
        prompt = asked["body"]["messages"][-1]["content"]
        self.server.asked[prompt] += 1
        if prompt in self.loses:
            self.loses.remove(prompt)
            return None
        status = self.faults.pop(prompt, 200)
        body = (
            self.server._value(asked["body"], prompt, asked["url"], "ok", 0) if status == 200 else {"error": "as told"}
        )
        return {"custom_id": asked["custom_id"], "response": {"status_code": status, "body": body}, "error": None}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--log", default=None)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = LoopbackServer(chaos(options.faults), latency=options.latency, port=options.port)
    if options.log:
        file, plan = open(options.log, "a"), server.plan  # noqa: SIM115

        def logged(prompt: str, nth: int) -> Action:
            action = plan(prompt, nth)
            print(json.dumps([prompt, action["kind"]]), file=file, flush=True)
            return action

        server.plan = logged
    with server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
