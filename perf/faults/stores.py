"""Stores and ledgers that are damaged; budgets at their edges. Six questions, as in perf/faults/servers.py."""

from collections.abc import Callable
from typing import Any

from perf.faults.base import Bench, Trial
from perf.faults.servers import CLOSE, ROWS, changed, teacher, with_fields
from tests.inference.http_server import OK

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
                changed(asked.server, with_fields(usage=usage), None)
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
