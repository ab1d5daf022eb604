"""Servers that answer oddly, die, or bill wrongly; stores and ledgers that are damaged; budgets at their edges.

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


def _with(**fields: Any) -> Callable[[Reply], Reply]:
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
    "no usage": _with(usage=None),
    "usage as a list": _with(usage=[1, 2]),
    "usage as texts": _with(usage={"prompt_tokens": "7", "completion_tokens": "9"}),
    "usage below 0": _with(usage={"prompt_tokens": -(10**9), "completion_tokens": -(10**9)}),
    "usage of NaN": _with(usage={"prompt_tokens": float("nan"), "completion_tokens": float("inf")}),
    "usage of 10**400": _with(usage={"prompt_tokens": 10**400, "completion_tokens": 1}),
    "usage of true": _with(usage={"prompt_tokens": True, "completion_tokens": True}),
    "usage nested deeply": _with(usage={"prompt_tokens": _deep(300), "completion_tokens": 1}),
    "no model's name": _with(model=None),
    "a model's name that is a list": _with(model=["m"]),
    "a field nested deeply": _with(x=_deep(300)),
    "the key in an unknown field": _with(x=KEY_ECHO),
}
# Nothing in it can be used: five lists; asked retries + 1 times in all, then given up for good.
USELESS: dict[str, Callable[[Reply], Any]] = {
    "no choices": _with(choices=[]),
    "choices that are null": _with(choices=None),
    "choices that are a text": _with(choices="x"),
    "choices of nothing": _with(choices=[None, {}, 7, "x"]),
    "all contents numbers": _content(None, 7),
    "an error that was billed": _with(error={"message": KEY_ECHO}),
    "an empty usage and no choices": _with(choices=[], usage={}),
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
        changed(asked.server, _with(model="/models/other"), None)
        for _ in range(2):
            told = asked.run(says=["note: teacher: asked for model 'm', answered as '/models/other'"])
            bench.expect(told["notes"], "silent", "the report has no note")
        bench.expect(asked.asked() == ROWS, "lost", "asked twice")


def two_models(bench: Bench) -> None:
    """The model changes on the way: the run stops; the answers of the first stay."""
    with teacher(bench) as asked:
        changed(asked.server, _with(model="other"))
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


# --- damaged stores --------------------------------------------------------------------------------------------------

Damage = Callable[[bytes], bytes]


def _line(number: int, change: Damage) -> Damage:
    def damage(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return damage


def _unsealed(data: bytes) -> bytes:
    """A store as commit a0be378 wrote it: no checksums."""
    return b"".join(b"{" + line.partition(b'", ')[2] + b"\n" for line in data.split(b"\n")[:-1])


def _without_fields(data: bytes) -> bytes:
    """An old version's line before the others, with the first one's key and nothing that a reader looks for."""
    key = data.partition(b'"key": "')[2].partition(b'"')[0]
    return b'{"key": "' + key + b'", "x": 1}\n' + data


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


REFUSED_DAMAGE: dict[str, Damage] = {
    "a flipped bit in the middle": _flipped,
    "a line of garbage": lambda data: b"garbage\n" + data,
    "a line that is a number": lambda data: b"7\n" + data,
    "a line that is a list": _line(1, lambda line: b"[" + line + b"]"),
    "a line cut in the middle": _line(1, lambda line: line[:-30]),
    "two lines in one": lambda data: data.replace(b"\n", b"", 1),
    "an empty line": lambda data: data.replace(b"\n", b"\n\n", 1),
    "bytes that are no UTF-8": _line(1, lambda line: line[:40] + b"\xff" + line[41:]),
    "an old line without its fields": _without_fields,
}  # fmt: skip
HARMLESS_DAMAGE: dict[str, tuple[Damage, int]] = {  # and how many are asked again
    "a half-written last line": (lambda data: data + b'{"key": "abc', 0),
    "a cut last line": (lambda data: data[:-40], 1),
    "a doubled line": (lambda data: data + data.split(b"\n")[0] + b"\n", 0),
    "a line less": (lambda data: data.split(b"\n", 1)[1], 1),
    "an old store": (_unsealed, 0),
    "an empty file": (lambda data: b"", ROWS),
}


def damaged(file: str, damage: Damage, *, asked_again: int | None) -> Callable[[Bench], None]:
    """One file of the store is damaged after a whole run. asked_again: None where the command has to stop."""

    def trial(bench: Bench) -> None:
        with teacher(bench) as asked:
            asked.run()
            out, path = (bench.folder / "out.jsonl").read_bytes(), asked.store / file
            path.write_bytes(damage(path.read_bytes()))
            if asked_again is None:
                asked.run(code=1, says=[f"{file}"])
                bench.expect(asked.asked() == ROWS, "lost", "something was asked")
                return
            told = asked.run()
            asked.counts(told, lists=ROWS, unusable=0, missing=0)
            bench.expect(asked.asked() == ROWS + asked_again, "lost", f"{asked.asked()} requests")
            bench.expect((bench.folder / "out.jsonl").read_bytes() == out, "silent", "other lists")

    return trial


def identity(text: str) -> Callable[[Bench], None]:
    """identity.json holds something else."""

    def trial(bench: Bench) -> None:
        with teacher(bench) as asked:
            asked.run()
            (asked.store / "identity.json").write_text(text)
            asked.run(code=1, says=["identity.json"])
            bench.expect(asked.asked() == ROWS, "lost", "something was asked")

    return trial


# --- budgets ---------------------------------------------------------------------------------------------------------

WORST = (26 * 1000 + 4 * 512 * 2000) / 1e6  # of one request: "Question 2" and 16 bytes, 4 answers of 512 tokens


def requests_kept(most: int) -> Callable[[Bench], None]:
    """max_requests over three runs, the second of them with a server that fails half of the time."""

    def trial(bench: Bench) -> None:
        with teacher(bench, f"max_requests={most}") as asked:
            for plan in (lambda prompt, nth: OK, lambda prompt, nth: OK if nth % 2 else CLOSE, lambda prompt, nth: OK):
                asked.server.plan = plan
                asked.run(code=0 if most >= ROWS else 1)
                bench.expect(asked.asked() <= most, "lost", f"{asked.asked()} requests of {most}")
            bench.expect(asked.asked() == min(most, ROWS), "lost", f"{asked.asked()} requests of {most}")

    return trial


def cost_kept(most: float, usage: Any, concurrency: int) -> Callable[[Bench], None]:
    """max_cost, whatever the replies say of their usage."""

    def trial(bench: Bench) -> None:
        with teacher(bench, f"max_cost={most}", f"teacher.concurrency={concurrency}") as asked:
            if usage is not None:
                changed(asked.server, _with(usage=usage), None)
            for _ in range(2):
                told = asked.run(code=[0, 1])
                bench.expect(told["spent"] <= most, "lost", f"${told['spent']} of ${most}")
                bench.expect((told["missing"] == 0) == (told["lists"] == ROWS), "silent", "rows are lost")
            if usage is not None:  # each counts at its worst
                bench.expect(asked.asked() == int(most / WORST), "lost", f"{asked.asked()} requests for ${most}")

    return trial


def ledger_lost(damage: Damage) -> Callable[[Bench], None]:
    """The ledger is gone or shorter: it is said once, and the budget counts what the answers prove."""

    def trial(bench: Bench) -> None:
        with teacher(bench) as asked:
            before = asked.run()
            path = asked.store / "requests.jsonl"
            left = damage(path.read_bytes())
            path.unlink() if not left else path.write_bytes(left)
            told = asked.run(says=["the ledger was deleted or cut", "unknown"])
            bench.expect(
                abs(told["spent"] - before["spent"]) < 1e-9, "silent", f"{told['spent']}, was {before['spent']}"
            )
            bench.expect(told["requests_sent"] == ROWS, "silent", f"{told['requests_sent']} requests")
            again = asked.run(never=["the ledger was deleted or cut"])
            bench.expect(again["spent"] == told["spent"], "silent", "counted twice")

    return trial


ODD_USAGE: dict[str, Any] = {
    "none": {},
    "below 0": {"prompt_tokens": -5, "completion_tokens": -(10**6)},
    "texts": {"a": "b"},
}

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
    Trial("batch API", "no choices", batch_reply(_with(choices=[]), 5, 1, 2)),
    Trial("batch API", "a refusal", batch_reply(REFUSED["a refusal"], 5, 1, 1)),
    *(Trial("batch API", f"a line of results: {line[:30]!r}", batch_lines(line)) for line in
      (b"garbage\n", b"7\n", b"{}\n", b'{"custom_id": "x", "response": [1]}\n', b"\n\xff\n")),
    *(Trial("batch API", f"none, with the answer {answer[:20]!r}", batch_answers(answer))
      for answer in (b"{}", b"[]", b'{"id": null}', b"<html>", b'"x"')),
    Trial("batch API", "a batch that fails", batch_ends("failed")),
    *(Trial("damaged stores", f"answers: {name}", damaged("answers.jsonl", damage, asked_again=None), "flipped" in name)
      for name, damage in REFUSED_DAMAGE.items()),
    *(Trial("damaged stores", f"answers: {name}", damaged("answers.jsonl", damage, asked_again=again))
      for name, (damage, again) in HARMLESS_DAMAGE.items()),
    *(Trial("damaged stores", f"ledger: {name}", damaged("requests.jsonl", damage, asked_again=None))
      for name, damage in REFUSED_DAMAGE.items() if "old line" not in name),
    *(Trial("damaged stores", f"models: {name}", damaged("models.jsonl", damage, asked_again=None))
      for name, damage in REFUSED_DAMAGE.items() if "line of garbage" in name or "flipped" in name),
    *(Trial("damaged stores", f"identity.json holds {text!r}", identity(text))
      for text in ("[]", "null", "{", '{"source": 1}', "7")),
    *(Trial("budgets", f"max_requests={most}", requests_kept(most), sample=most == 5) for most in (0, 1, 5, 6, 7)),
    *(Trial("budgets", f"max_cost={most}, usage {name}, {concurrency} at once", cost_kept(most, usage, concurrency))
      for most in (WORST, 3.5 * WORST) for name, usage in ODD_USAGE.items() for concurrency in (1, 8)),
    *(Trial("budgets", f"max_cost={most}, true usage", cost_kept(most, None, 8)) for most in (0.0, WORST, 4 * WORST)),
    Trial("budgets", "a ledger that was deleted", ledger_lost(lambda data: b"")),
    Trial("budgets", "a ledger without its second half", ledger_lost(lambda data: b"".join(data.splitlines(True)[:6]))),
]  # fmt: skip
