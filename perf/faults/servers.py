"""Servers that answer oddly, die, or fail at whole batches.

Six questions to a teacher on loopback, which runs in this process. After every trial the same command runs again: what
was answered is not asked a second time, and lists, unusable and missing rows add up.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perf.faults.base import SECRET, Bench, Trial, write_rows
from tests.inference.http_server import OK, Action, LoopbackServer, Plan

Reply = dict[str, Any]
ROWS = 6
ODD = "Question 2"  # the prompt that the fault befalls
KEY_ECHO = f"bad key {SECRET}"


class Teacher:
    """One collection from one server; ``words`` are added to each command."""

    def __init__(self, bench: Bench, server: LoopbackServer, *words: str, rows: int = ROWS) -> None:
        self.bench, self.server, self.words, self.rows = bench, server, words, rows
        write_rows(bench.folder / "in.jsonl", [{"instruction": f"Question {n}", "output": "A."} for n in range(rows)])

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.bench.folder / "out.store"

    def run(self, *words: str, **expected: Any) -> dict[str, Any]:
        """The command; its report, empty where it ended before one was written."""
        report = self.bench.folder / "out.report.json"
        report.unlink(missing_ok=True)
        fixed = ["ranker=probabilistic", "teacher=openai", f"teacher.base_url={self.server.url}", "teacher.model=m"]
        fixed += [
            "input=in.jsonl",
            "output=out.jsonl",
            "teacher.retries=1",
            "teacher.concurrency=1",
            "teacher.timeout=3",
        ]
        self.bench.run("rank", *fixed, "teacher.price=[1000,2000]", *self.words, *words, **expected)
        if not report.exists():
            return {}
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        counted = told["lists"] + told["unusable"] + told["missing"]
        self.bench.expect(counted == self.rows, "silent", f"{counted} of {self.rows} rows are counted")
        self.bench.expect(told["spent"] >= 0, "lost", f"spent is {told['spent']}")
        return told

    def asked(self) -> int:
        """How many requests came, in all runs."""
        return sum(self.server.asked.values())

    def again(self, code: int, asked: int, **counts: int) -> None:
        """The same command once more: it asks ``asked`` times in all, and comes to these counts."""
        told = self.run(code=code)
        self.bench.expect(self.asked() == asked, "lost", f"asked {self.asked()} times in place of {asked}")
        self.counts(told, **counts)

    def counts(self, told: dict[str, Any], **counts: int) -> None:
        """Hold a report to its counts."""
        found = {name: told.get(name) for name in counts}
        self.bench.expect(found == counts, "silent", f"{found} in place of {counts}")


@contextmanager
def teacher(bench: Bench, *words: str, plan: Plan | None = None, rows: int = ROWS) -> Iterator[Teacher]:
    """A server at work, and the collection from it."""
    with LoopbackServer(plan) as server:
        yield Teacher(bench, server, *words, rows=rows)


def changed(
    server: LoopbackServer, change: Callable[[Reply], Any], about: Callable[[str], bool] | None = ODD.__eq__
) -> None:
    """Have the server answer the prompts that it is ``about`` (None: all) with what ``change`` makes of its reply."""
    value = server._value

    def reply(body: Reply, asked: str, *rest: Any) -> Any:
        good = value(body, asked, *rest)
        return change(good) if about is None or about(asked) else good

    server._value = reply  # type: ignore[method-assign, assignment]


# --- odd replies -----------------------------------------------------------------------------------------------------


def with_fields(**fields: Any) -> Callable[[Reply], Reply]:
    """The reply with these fields in place of its own."""
    return lambda reply: {**reply, **fields}


def _choice(number: int | None, **fields: Any) -> Callable[[Reply], Reply]:
    """Other fields in one choice, or in all."""
    return lambda reply: {
        **reply,
        "choices": [c | fields if number in (None, k) else c for k, c in enumerate(reply["choices"])],
    }


def _content(number: int | None, content: Any) -> Callable[[Reply], Reply]:
    return _choice(number, message={"role": "assistant", "content": content})


def _token(value: Any) -> Callable[[Reply], Reply]:
    """The first answer's second token has this log-probability."""

    def change(reply: Reply) -> Reply:
        reply["choices"][0]["logprobs"]["content"][1]["logprob"] = value
        return reply

    return change


def _parts(*parts: Callable[[str], Any]) -> Callable[[Reply], Reply]:
    """Every content as a list of parts, made from its text."""

    def change(reply: Reply) -> Reply:
        for choice in reply["choices"]:
            choice["message"]["content"] = [part(choice["message"]["content"]) for part in parts]
        return reply

    return change


def _deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _text(text: str) -> Any:
    return {"type": "text", "text": text}


# One answer is left out, or nothing at all: six lists, asked once each.
HARMLESS: dict[str, Callable[[Reply], Any]] = {
    "a null log-probability": _token(None),
    "a log-probability of -inf": _token(float("-inf")),
    "a log-probability of NaN": _token(float("nan")),
    "a log-probability of 1e999": _token(float("inf")),
    "a positive log-probability": _token(5.0),
    "a log-probability that is a text": _token("x"),
    "one answer without log-probabilities": _choice(0, logprobs=None),
    "one answer with an empty list of them": _choice(0, logprobs={"content": []}),
    "log-probabilities that are a text": _choice(0, logprobs="none"),
    "content as a list of text parts": _parts(_text),
    "content as a list of texts": _parts(lambda text: text),
    "content with a thinking part": _parts(lambda text: {"type": "thinking", "thinking": [_text("hm")]}, _text),
    "one content that is an object": _content(0, {"text": "x"}),
    "one content that is a number": _content(0, 7),
    "one content that is null": _content(0, None),
    "one choice that is null": lambda reply: {**reply, "choices": [None, *reply["choices"][1:]]},
    "more choices than asked": lambda reply: {**reply, "choices": reply["choices"] * 2},
    "a finish reason that is a number": _choice(None, finish_reason=7),
    "a finish reason that is an object": _choice(None, finish_reason={"a": [1]}),
    "no finish reason": _choice(None, finish_reason=None),
    "one finish reason error": _choice(0, finish_reason="error"),
    "no usage": with_fields(usage=None),
    "usage as a list": with_fields(usage=[1, 2]),
    "usage as texts": with_fields(usage={"prompt_tokens": "7", "completion_tokens": "9"}),
    "usage below 0": with_fields(usage={"prompt_tokens": -(10**9), "completion_tokens": -(10**9)}),
    "usage of NaN": with_fields(usage={"prompt_tokens": float("nan"), "completion_tokens": float("inf")}),
    "usage of 10**400": with_fields(usage={"prompt_tokens": 10**400, "completion_tokens": 1}),
    "usage of true": with_fields(usage={"prompt_tokens": True, "completion_tokens": True}),
    "usage nested deeply": with_fields(usage={"prompt_tokens": _deep(300), "completion_tokens": 1}),
    "no model's name": with_fields(model=None),
    "a model's name that is a list": with_fields(model=["m"]),
    "a field nested deeply": with_fields(x=_deep(300)),
    "the key in an unknown field": with_fields(x=KEY_ECHO),
}
# Nothing in it can be used: five lists; asked retries + 1 times in all, then given up for good.
USELESS: dict[str, Callable[[Reply], Any]] = {
    "no choices": with_fields(choices=[]),
    "choices that are null": with_fields(choices=None),
    "choices that are a text": with_fields(choices="x"),
    "choices of nothing": with_fields(choices=[None, {}, 7, "x"]),
    "all contents numbers": _content(None, 7),
    "an error that was billed": with_fields(error={"message": KEY_ECHO}),
    "an empty usage and no choices": with_fields(choices=[], usage={}),
}
# It says no to the row: five lists, asked once.
REFUSED: dict[str, Callable[[Reply], Any]] = {
    "content filter": _choice(None, finish_reason="content_filter"),
    "a refusal": _choice(None, message={"role": "assistant", "content": None, "refusal": "No."}),
    "a refusal as a part": _content(None, [{"type": "refusal", "refusal": "No."}]),
    "all contents null": _content(None, None),
}
# Not even a reply: five lists and one missing row, which the next run asks for again.
BROKEN: dict[str, Callable[[Reply], Any]] = {
    "a list": lambda reply: [1],
    "null": lambda reply: None,
    "a number": lambda reply: 7,
    "a text": lambda reply: "x",
    "an error with status 200": lambda reply: {"error": {"message": KEY_ECHO}},
    "a long error": lambda reply: {"error": "x" * 100_000},
}


def odd_reply(
    change: Callable[[Reply], Any], lists: int, unusable: int, missing: int, tries: int
) -> Callable[..., Any]:
    """One prompt of six is answered oddly. tries: requests for it in the first run."""

    def trial(bench: Bench) -> None:
        with teacher(bench) as asked:
            changed(asked.server, change)
            told = asked.run(code=1 if missing else 0)
            asked.counts(told, lists=lists, unusable=unusable, missing=missing)
            first = ROWS - 1 + tries
            bench.expect(asked.asked() == first, "lost", f"asked {asked.asked()} times in place of {first}")
            second = first + (tries if missing else 0)
            asked.again(1 if missing else 0, second, lists=lists, unusable=unusable, missing=missing)

    return trial


def another_model(bench: Bench) -> None:
    """All answers come from another model: a note, also in the report and when nothing is asked any more."""
    with teacher(bench) as asked:
        changed(asked.server, with_fields(model="/models/other"), None)
        for _ in range(2):
            told = asked.run(says=["note: teacher: asked for model 'm', answered as '/models/other'"])
            bench.expect(told["notes"], "silent", "the report has no note")
        bench.expect(asked.asked() == ROWS, "lost", "asked twice")


def two_models(bench: Bench) -> None:
    """The model changes on the way: the run stops; the answers of the first stay."""
    with teacher(bench) as asked:
        changed(asked.server, with_fields(model="other"))
        told = asked.run(code=1, says=["answered as 'm' and now answers as 'other'", "teacher.mixed_models=true"])
        asked.counts(told, lists=2, unusable=0, missing=4)
        told = asked.run("teacher.mixed_models=true")
        asked.counts(told, lists=ROWS, unusable=0, missing=0)


# --- dying servers ---------------------------------------------------------------------------------------------------


def _from(first: int, action: Action) -> Plan:
    """Everything from the ``first``-th question on."""
    return lambda prompt, nth: action if int(prompt.split()[-1]) >= first else OK


CLOSE: Action = {"kind": "close"}
PASSING: dict[str, Action] = {
    "closed connections": CLOSE,
    "500": {"kind": "status", "status": 500, "body": {"error": {"message": KEY_ECHO}}},
    "503 without a body": {"kind": "status", "status": 503, "body": None},
    "cut replies": {"kind": "cut"},
    "broken JSON": {"kind": "bad_json"},
    "silence": {"kind": "slow", "seconds": 1.0},
    "429 without a time": {"kind": "status", "status": 429},
}
STOPPING: dict[str, tuple[Action, str]] = {
    "401": ({"kind": "status", "status": 401, "body": {"error": {"message": KEY_ECHO}}}, "is refused (401)"),
    "404": ({"kind": "status", "status": 404}, "no such address"),
    "an account without money": (
        {"kind": "status", "status": 429, "body": {"error": {"code": "insufficient_quota", "message": KEY_ECHO}}},
        "no money left",
    ),
    "a wait of an hour": ({"kind": "status", "status": 429, "headers": {"retry-after": "3600"}}, "max_wait"),
    "a redirect loop": (
        {"kind": "status", "status": 307, "headers": {"location": "/v1/chat/completions"}},
        "which is not followed",
    ),
    "a redirect elsewhere": (
        {"kind": "status", "status": 302, "headers": {"location": f"https://me:{SECRET}@example.org/v1?key={SECRET}"}},
        "redirects to https://example.org/v1",
    ),
}


def dies(action: Action, at: int, rows: int = ROWS) -> Callable[[Bench], None]:
    """The server fails from question ``at`` on, and is well when the same command comes again."""

    def trial(bench: Bench) -> None:
        with teacher(bench, "teacher.timeout=0.5", plan=_from(at, action), rows=rows) as asked:
            told = asked.run(code=1, never=["next: python train.py"])
            asked.counts(told, lists=at, unusable=0, missing=rows - at)
            asked.server.plan = lambda prompt, nth: OK
            before = asked.asked()
            asked.again(0, before + rows - at, lists=rows, unusable=0, missing=0)

    return trial


def dead(bench: Bench) -> None:
    """Nobody listens, and there is one row."""
    with teacher(bench, rows=1) as asked:
        pass
    asked.run(code=1, says=["connection failed"], never=["next: python train.py"])


def stops(action: Action, words: str) -> Callable[[Bench], None]:
    """What nothing can be sent after: at most one more request, and the answers of before are kept."""

    def trial(bench: Bench) -> None:
        with teacher(bench, plan=_from(3, action)) as asked:
            told = asked.run(code=1, says=[words], never=[SECRET[:12]])
            asked.counts(told, lists=3, unusable=0, missing=3)
            bench.expect(asked.asked() == 4, "lost", f"{asked.asked()} requests")
            bench.expect(told.get("requests_sent") == 4, "silent", f"{told.get('requests_sent')} are counted")

    return trial


def refuses(status: int, every: bool) -> Callable[[Bench], None]:
    """A status of refusal for one row, or for all: unusable with its reason, and no list where there is none."""

    def trial(bench: Bench) -> None:
        said = {"kind": "status", "status": status, "body": {"error": {"message": f"too long; {KEY_ECHO}"}}}
        with teacher(bench, plan=lambda prompt, nth: said if every or prompt == ODD else OK) as asked:
            told = asked.run(code=1 if every else 0, never=["next: python train.py"] if every else [])
            lost = (ROWS - told.get("missing", 0)) if every else 1
            asked.counts(told, unusable=lost, lists=0 if every else ROWS - 1)
            bench.expect("too long" in (bench.folder / "out.unusable.jsonl").read_text(), "silent", "no reason is kept")

    return trial


def address(url: str) -> Callable[[Bench], None]:
    """An address that is none: one message, nothing is made."""

    def trial(bench: Bench) -> None:
        write_rows(bench.folder / "in.jsonl", [{"instruction": "Q", "output": "A."}])
        words = ["ranker=probabilistic", "teacher=openai", "teacher.model=m", "input=in.jsonl", "output=out.jsonl"]
        bench.run("rank", *words, f"teacher.base_url='{url}'", code=1, says=["teacher.base_url: expected"])
        bench.expect(not (bench.folder / "out.store").exists(), "message", "a store was made")

    return trial


ADDRESSES = [
    "http://localhost:80a/v1", "http://localhost:99999/v1", "localhost/v1", "http://", "http://a b/v1", "http://[::1/v1",
    "http://localhost/v1/chat/completions",
]  # fmt: skip


# --- batch API -------------------------------------------------------------------------------------------------------

BATCH = ("teacher.batch=true", "teacher.poll_seconds=0.01")


def batch_faults(status: int, every: bool, lists: int, unusable: int, missing: int) -> Callable[[Bench], None]:
    """Results with this status, for one row or all, as often as they are asked for."""

    def trial(bench: Bench) -> None:
        with teacher(bench, *BATCH) as asked:
            result = asked.server.batches._result

            def failing(line: bytes) -> Any:
                made = result(line)
                if made and (every or ODD in line.decode()):
                    made["response"] = {"status_code": status, "body": {"error": {"message": KEY_ECHO}}}
                return made

            asked.server.batches._result = failing  # type: ignore[method-assign]
            told = asked.run(code=0 if lists and not missing else 1, never=[] if lists else ["next: python train.py"])
            asked.counts(told, lists=lists, unusable=unusable, missing=missing)
            asked.server.batches._result = result  # type: ignore[method-assign]
            asked.counts(asked.run(), lists=ROWS, unusable=0, missing=0)

    return trial


def batch_reply(change: Callable[[Reply], Any], lists: int, unusable: int, batches: int) -> Callable[[Bench], None]:
    """One result is odd. batches: made in both runs together."""

    def trial(bench: Bench) -> None:
        with teacher(bench, *BATCH) as asked:
            changed(asked.server, change)
            for _ in range(2):
                asked.counts(asked.run(), lists=lists, unusable=unusable, missing=0)
            made = len(asked.server.batches.made)
            bench.expect(made == batches, "lost", f"{made} batches in place of {batches}")

    return trial


def batch_lines(extra: bytes) -> Callable[[Bench], None]:
    """A line in the results that is none of ours."""

    def trial(bench: Bench) -> None:
        with teacher(bench, *BATCH) as asked:
            reply = asked.server.batches.reply
            asked.server.batches.reply = lambda method, path, data: (  # type: ignore[method-assign]
                extra + reply(method, path, data) if path.endswith("/content") else reply(method, path, data)
            )
            asked.counts(asked.run(), lists=ROWS, unusable=0, missing=0)
            asked.again(0, ROWS, lists=ROWS, unusable=0, missing=0)

    return trial


def batch_answers(answer: bytes) -> Callable[[Bench], None]:
    """A server that has no Batch API, and says so in its own way."""

    def trial(bench: Bench) -> None:
        with teacher(bench, *BATCH) as asked:
            asked.server.batches.reply = lambda *_: answer  # type: ignore[method-assign]
            asked.run(code=1, says=["Batch API"])

    return trial


def batch_ends(end: str) -> Callable[[Bench], None]:
    """The batch fails as a whole; the next run asks anew."""

    def trial(bench: Bench) -> None:
        with teacher(bench, *BATCH) as asked:
            asked.server.batches.ends = end
            asked.run(code=1, says=["batch0 failed"])
            asked.server.batches.ends = "completed"
            asked.counts(asked.run(), lists=ROWS, unusable=0, missing=0)

    return trial


TRIALS = [
    *(Trial("odd replies", name, odd_reply(change, 6, 0, 0, 1), sample=name == "a null log-probability")
      for name, change in HARMLESS.items()),
    *(Trial("odd replies", name, odd_reply(change, 5, 1, 0, 2), sample=name == "no choices")
      for name, change in USELESS.items()),
    *(Trial("odd replies", name, odd_reply(change, 5, 1, 0, 1)) for name, change in REFUSED.items()),
    *(Trial("odd replies", f"no reply but {name}", odd_reply(change, 5, 0, 1, 2)) for name, change in BROKEN.items()),
    Trial("odd replies", "another model than asked", another_model),
    Trial("odd replies", "two models in turn", two_models),
    *(Trial("dying servers", f"{name} with {ROWS - at} of {ROWS} rows left", dies(action, at), (name, at) == ("500", 3))
      for name, action in PASSING.items() for at in (3, 5)),
    *(Trial("dying servers", f"{name}, one row", dies(PASSING[name], 0, 1)) for name in ("500", "silence")),
    Trial("dying servers", "nobody listens, one row", dead),
    *(Trial("dying servers", name, stops(*fault)) for name, fault in STOPPING.items()),
    *(Trial("dying servers", f"{status} for {'all rows' if every else 'one row'}", refuses(status, every))
      for status in (400, 413, 422) for every in (False, True)),
    *(Trial("dying servers", f"the address {url}", address(url)) for url in ADDRESSES),
    *(Trial("batch API", f"{status} for one row", batch_faults(status, False, 5, *counts), sample=status == 500)
      for status, counts in ((400, (1, 0)), (500, (0, 1)), (429, (0, 1)))),
    *(Trial("batch API", f"{status} for all rows", batch_faults(status, True, 0, *counts))
      for status, counts in ((400, (6, 0)), (500, (0, 6)))),
    Trial("batch API", "usage as texts", batch_reply(HARMLESS["usage as texts"], 6, 0, 1)),
    Trial("batch API", "a null log-probability", batch_reply(_token(None), 6, 0, 1)),
    Trial("batch API", "no choices", batch_reply(with_fields(choices=[]), 5, 1, 2)),
    Trial("batch API", "a refusal", batch_reply(REFUSED["a refusal"], 5, 1, 1)),
    *(Trial("batch API", f"a line of results: {line[:30]!r}", batch_lines(line)) for line in
      (b"garbage\n", b"7\n", b"{}\n", b'{"custom_id": "x", "response": [1]}\n', b"\n\xff\n")),
    *(Trial("batch API", f"none, with the answer {answer[:20]!r}", batch_answers(answer))
      for answer in (b"{}", b"[]", b'{"id": null}', b"<html>", b'"x"')),
    Trial("batch API", "a batch that fails", batch_ends("failed")),
]  # fmt: skip
