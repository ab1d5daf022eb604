"""Servers that draw samples or judge by prompts: they die, answer by half, leave probabilities out or garble them; and
a model on this machine that is killed as it draws.
"""

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perf.faults.base import SECRET, Bench, Ended, Trial, files_of, wait_for, write_rows
from perf.faults.servers import changed
from tests.inference.http_server import OK, LoopbackServer, Plan

SAMPLERS, LOCAL, JUDGES = "samplers behind a server", "samplers on this machine", "prompted judges"
DIRECT = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
ROWS = 6
Reply = dict[str, Any]


def _number(prompt: str) -> int:
    """Which question a prompt is about."""
    return int(prompt.partition("Question ")[2].split()[0].strip("."))


def _counted(bench: Bench, told: Reply, **counts: int) -> None:
    found = {name: told.get(name) for name in counts}
    bench.expect(found == counts, "silent", f"{found} in place of {counts}")


class Samples:
    """One collection of answers from a server, ranked by their length."""

    def __init__(self, bench: Bench, server: LoopbackServer, *words: str) -> None:
        self.bench, self.server, self.words = bench, server, words
        write_rows(bench.folder / "in.jsonl", [{"instruction": f"Question {n}", "output": "A."} for n in range(ROWS)])

    def run(self, *words: str, output: str = "out", **expected: Any) -> Reply:
        """The command; its report."""
        report = self.bench.folder / f"{output}.report.json"
        report.unlink(missing_ok=True)
        fixed = ["input=in.jsonl", f"output={output}.jsonl", "judge=baseline", "judge.by=longest", "ranker.n=3",
                 "sampler=openai", "sampler.model=m", f"sampler.base_url={self.server.url}", "sampler.retries=1",
                 "sampler.concurrency=1", "sampler.timeout=3", "sampler.max_tokens=20"]  # fmt: skip
        self.bench.run("rank", *fixed, *self.words, *words, env=DIRECT, **expected)
        told: Reply = json.loads(report.read_text()) if report.exists() else {}
        if told:
            counted = told["lists"] + told["unusable"] + told["missing"]
            self.bench.expect(counted == ROWS, "silent", f"{counted} of {ROWS} rows are counted")
        return told

    def asked(self) -> int:
        """How many requests came, in all runs."""
        return sum(self.server.asked.values())


def _dies(action: Reply, at: int) -> Plan:
    return lambda prompt, nth: action if _number(prompt) >= at else OK


DYING: dict[str, Reply] = {
    "closes connections": {"kind": "close"}, "503": {"kind": "status", "status": 503, "body": None},
    "cuts replies": {"kind": "cut"}, "breaks JSON": {"kind": "bad_json"}, "is silent": {"kind": "slow", "seconds": 1.5},
    "429": {"kind": "status", "status": 429}, "says that it loads": {
        "kind": "status", "status": 503, "body": {"error": {"message": f"Loading model {SECRET}"}}
    },
}  # fmt: skip


def _server_dies(bench: Bench, action: Reply, at: int) -> None:
    """What it answered before is kept; the same command asks for the rest alone, once it is there again."""
    with LoopbackServer(_dies(action, at)) as server:
        samples = Samples(bench, server, "sampler.tau=null", "sampler.retries=0", "sampler.timeout=1")
        told = samples.run(code=1)
        _counted(bench, told, lists=at, unusable=0, missing=ROWS - at)
        before = dict(server.answered)
        server.plan = lambda prompt, nth: OK
        _counted(bench, samples.run(), lists=ROWS, unusable=0, missing=0)
        again = [prompt for prompt in before if before[prompt] and server.answered[prompt] > before[prompt]]
        bench.expect(not again, "lost", f"asked again: {again}")


# Something is wrong with the answers to one question; what comes of it: lists, unusable, missing.
def _choices(change: Callable[[list[Reply]], list[Any]]) -> Callable[[Reply], Reply]:
    return lambda reply: {**reply, "choices": change(reply["choices"])}


def _texts(text: str | None, first: int = 0) -> Callable[[Reply], Reply]:
    return _choices(lambda all_: [{**c, "text": text} if k >= first else c for k, c in enumerate(all_)])


HALF: dict[str, tuple[Callable[[Reply], Any], tuple[int, int] | None]] = {
    "one choice of three": (_choices(lambda all_: all_[:1]), None),
    "no choice": (_choices(lambda all_: []), (5, 1)),
    "empty texts": (_texts(""), (5, 1)),
    "null texts": (_texts(None), (5, 1)),
    "one text, the others empty": (_texts("", 1), None),
    "three equal texts": (_texts("the same"), None),
    "answers that were cut": (_choices(lambda all_: [{**c, "finish_reason": "length"} for c in all_]), None),
    "answers of a filter": (_choices(lambda all_: [{**c, "finish_reason": "content_filter"} for c in all_]), (5, 1)),
    "lone surrogates": (_texts("a \ud800 b"), None),
    "a thought and no answer": (_texts("<think>hm</think>"), None),
    "an endless thought": (_texts("<think>hm"), None),
    "choices in reverse": (_choices(lambda all_: all_[::-1]), (6, 0)),
    "a key in a text": (_texts(f"the key is {SECRET}", 1), None),
    "choices of the chat form": (_choices(lambda all_: [{"index": 0, "message": {"content": "x"}}]), None),
}


def _half(bench: Bench, change: Callable[[Reply], Any], counts: tuple[int, int] | None) -> None:
    """Five sound lists in any case; whatever comes of the sixth is counted, and stays so for the same requests."""
    with LoopbackServer() as server:
        samples = Samples(bench, server)
        changed(server, change, lambda prompt: _number(prompt) == 2)
        told = samples.run(code=[0, 1])
        bench.expect(told.get("lists", 0) >= ROWS - 1, "lost", f"{told.get('lists')} lists")
        if counts:
            _counted(bench, told, lists=counts[0], unusable=counts[1])
        others = {prompt: n for prompt, n in server.asked.items() if _number(prompt) != 2}
        most = sum(server.asked.values())
        again = samples.run(code=[0, 1])
        bench.expect(again.get("lists") == told.get("lists"), "silent", "other lists by the same command")
        asked = {prompt: n for prompt, n in server.asked.items() if _number(prompt) != 2}
        bench.expect(asked == others, "lost", "asked again for what was answered")
        spent = samples.asked() - most
        bench.expect(spent <= most or told.get("missing"), "lost", f"{spent} more requests for one question")


def _killed_served(bench: Bench, number: int, at: int) -> None:
    """The command is killed as the server answers; no answer that came is asked for again, but what was on its way."""
    with LoopbackServer(latency=0.05) as server:
        samples = Samples(bench, server)
        samples.run(output="whole")
        whole = samples.asked()
        server.asked.clear()

        def during(process: int, output: Path) -> None:
            wait_for(lambda: samples.asked() >= at)
            os.kill(process, number)

        samples.run(code=[-9, 130, 143, 0], during=during)
        samples.run()
        bench.expect(samples.asked() <= whole + 1, "lost", f"{samples.asked()} requests in place of {whole}")
        same = [*files_of(bench.folder, "out.jsonl").values()] == [*files_of(bench.folder, "whole.jsonl").values()]
        bench.expect(same, "silent", "other lists than those of a run that was never killed")


def _model_changes(bench: Bench) -> None:
    """Another model behind the address than the one that began: no file of two models."""
    with LoopbackServer(_dies({"kind": "close"}, 3)) as server:
        samples = Samples(bench, server)
        samples.run(code=1)
        server.plan = lambda prompt, nth: OK
        changed(server, lambda reply: {**reply, "model": "m-tuned"}, None)
        told = samples.run(code=1, says=["now answers as 'm-tuned'", "sampler.mixed_models=true"])
        _counted(bench, told, lists=3, missing=3)


# Samplers on this machine


def _local(bench: Bench, output: str, *words: str, **expected: Any) -> Ended:
    rows = [{"id": str(n), "instruction": f"Name {n} animals.", "output": "a cat"} for n in range(8)]
    write_rows(bench.folder / "in.jsonl", rows)
    fixed = ["input=in.jsonl", f"output={output}.jsonl", "judge=baseline", "judge.by=longest", "ranker.n=3",
             "model=tiny"]  # fmt: skip
    return bench.run("rank", *fixed, "sampler.max_tokens=12", "sampler.block=2", *words, **expected)


def _killed_local(bench: Bench, number: int, lines: int) -> None:
    """Killed once so many instructions are stored; they stay as they are, and the lists become the same."""
    _local(bench, "whole")
    store = bench.folder / "out.store" / "answers.jsonl"

    def during(process: int, output: Path) -> None:
        wait_for(lambda: store.exists() and store.read_bytes().count(b"\n") >= lines)
        os.kill(process, number)

    _local(bench, "out", code=[-9, 130, 143, 0], during=during)
    before = store.read_bytes()
    _local(bench, "out")
    bench.expect(store.read_bytes().startswith(before[: before.rfind(b"\n") + 1]), "lost", "stored lines changed")
    bench.expect(store.read_bytes().count(b"\n") == 8, "lost", "answers were drawn twice")
    same = [*files_of(bench.folder, "out.jsonl").values()] == [*files_of(bench.folder, "whole.jsonl").values()]
    bench.expect(same, "silent", "other lists than those of a run that was never killed")


def _two_at_once(bench: Bench) -> None:
    """A second command into the same output is refused while the first draws, which ends well."""

    def during(process: int, output: Path) -> None:
        wait_for(lambda: (bench.folder / "out.store" / ".lock").exists())
        other = Bench(bench.folder)
        os.kill(process, signal.SIGSTOP)
        _local(other, "out", code=1, says=["another process is collecting into it"])
        os.kill(process, signal.SIGCONT)
        bench.found += other.found

    _local(bench, "out", during=during)
    bench.expect((bench.folder / "out.store" / "answers.jsonl").read_bytes().count(b"\n") == 8, "lost", "drawn twice")


# Judges with a prompt


def _marked(text: str, mark: str, top: Any) -> Reply:
    """A choice with the alternatives ``top`` at the token ``mark``."""
    at = text.rindex(mark)
    pieces = [text[:at], mark, text[at + len(mark) :]]
    content = [{"token": piece, "logprob": -0.1, "top_logprobs": top if piece == mark else []} for piece in pieces]
    return {"message": {"content": text}, "logprobs": {"content": content}}


TOP = [{"token": "4", "logprob": math.log(0.5)}, {"token": "2", "logprob": math.log(0.3)}]


def _with_top(top: Any) -> Callable[[Reply], Any]:
    return lambda choice: _marked("Brief.\nScore: 4", "4", top)


def _logprobs(value: Any) -> Callable[[Reply], Any]:
    return lambda choice: {**choice, "logprobs": value}


def _token(**fields: Any) -> Callable[[Reply], Any]:
    """The mark's token, with other fields."""

    def change(choice: Reply) -> Reply:
        content = [dict(item) for item in choice["logprobs"]["content"]]
        content[1] |= fields
        return {**choice, "logprobs": {"content": content}}

    return change


def _said(text: Any) -> Callable[[Reply], Any]:
    return lambda choice: {**choice, "message": {"content": text}}


ODD_MARKS: dict[str, Callable[[Reply], Any]] = {
    "no logprobs": _logprobs(None),
    "logprobs that are a text": _logprobs("none"),
    "content that is null": _logprobs({"content": None}),
    "content of numbers": _logprobs({"content": [1, None, "x"]}),
    "tokens that spell another text": _logprobs({"content": [{"token": "other", "logprob": -1, "top_logprobs": TOP}]}),
    "no alternatives": _with_top([]),
    "alternatives that are a text": _with_top("4"),
    "alternatives that are numbers": _with_top([1, 2]),
    "a log-probability of NaN": _with_top([{"token": "4", "logprob": math.nan}]),
    "a log-probability of -infinity": _with_top([{"token": "4", "logprob": -math.inf}, *TOP[1:]]),
    "a log-probability that is null": _with_top([{"token": "4", "logprob": None}, *TOP[1:]]),
    "a log-probability that is a text": _with_top([{"token": "4", "logprob": "-1"}, *TOP[1:]]),
    "log-probabilities of -9999": _with_top([{"token": "4", "logprob": -9999.0}, {"token": "5", "logprob": -9999.0}]),
    "an alternative without a token": _with_top([{"logprob": -1.0}, *TOP]),
    "marks with little probability": _with_top([{"token": "4", "logprob": -9.0}, {"token": "x", "logprob": -0.01}]),
    "a token that is a number": _token(token=4),
    "bytes that are no bytes": _token(bytes=[300, -1]),
    "a mark beyond the scale": _said("Score: 9"),
    "no mark": _said("It is good."),
    "a mark in words": _said("Score: four"),
    "a mark that is quoted": _said('It says "Score: 5".'),
    "a reply that is null": _said(None),
    "a reply that is a number": _said(4),
    "JSON where none was asked for": _said('{"score": 4}'),
}


def _judged(bench: Bench, change: Callable[[Reply], Any], probabilities: str, form: str) -> None:
    """One answer's reply is odd: every list has finite scores or a reason, and what was answered is asked once."""
    answers = [{"text": f"an answer {k}", "source": "m"} for k in range(2)]
    rows = [{"id": f"q{n}", "instruction": f"Question {n}", "output": "x", "responses": answers} for n in range(ROWS)]
    write_rows(bench.folder / "in.jsonl", rows)
    good = _marked("Brief.\nScore: 4", "4", TOP)
    if form == "pairwise":
        good = _marked("Brief.\n[[A]]", "A", [{"token": "A", "logprob": -0.5}, {"token": "B", "logprob": -1.5}])

    def say(prompt: str, k: int) -> Reply:
        return dict(change(good)) if "Question 2" in prompt and "answer 1" in prompt else good

    with LoopbackServer(say=say) as server:
        words = ["input=in.jsonl", "output=out.jsonl", "score_only=true", "judge=prompted", f"judge.prompt={form}",
                 f"judge.base_url={server.url}", "judge.model=j", f"judge.probabilities={probabilities}",
                 "judge.concurrency=1", "judge.retries=1"]  # fmt: skip
        asked: list[int] = []
        for _ in range(2):
            bench.run("rank", *words, code=[0, 1], env=DIRECT)
            told = json.loads((bench.folder / "out.report.json").read_text())
            counted = told["lists"] + told["unusable"] + told["missing"]
            bench.expect(counted == ROWS, "silent", f"{counted} of {ROWS} rows are counted")
            bench.expect(told["lists"] >= ROWS - 1, "lost", f"{told['lists']} lists")
            asked.append(sum(server.asked.values()))
        bench.expect(asked[1] - asked[0] <= 3, "lost", f"requests after each of two runs: {asked}")
        for line in (bench.folder / "out.jsonl").read_text().splitlines():
            values = [each["judge_score"] for each in json.loads(line)["responses"] if "judge_score" in each]
            bench.expect(all(value is None or math.isfinite(value) for value in values), "silent", f"{values}")


def _no_probabilities(bench: Bench, probabilities: str) -> None:
    """A server that gives none at all: auto says so and goes on, true stops and says why."""
    answers = [{"text": f"an answer {k}", "source": "m"} for k in range(2)]
    rows = [{"id": f"q{n}", "instruction": f"Question {n}", "output": "x", "responses": answers} for n in range(ROWS)]
    write_rows(bench.folder / "in.jsonl", rows)
    says = {"auto": ["marks are read as text"], "true": ["gives no top_logprobs", "judge.probabilities=auto"]}
    with LoopbackServer(say=lambda prompt, k: f"Score: {1 + len(prompt) % 4}", logprobs=False) as server:
        words = ["input=in.jsonl", "output=out.jsonl", "score_only=true", "judge=prompted",
                 f"judge.base_url={server.url}", "judge.model=j", f"judge.probabilities={probabilities}",
                 "judge.concurrency=1"]  # fmt: skip
        for _ in range(2):
            bench.run("rank", *words, code=int(probabilities == "true"), says=says[probabilities], env=DIRECT)


def _trials() -> Iterator[Trial]:
    for name, action in DYING.items():
        for at in (1, 4) if name in ("503", "closes connections") else (4,):
            run = partial(_server_dies, action=action, at=at)
            yield Trial(SAMPLERS, f"{name} behind {at} of {ROWS} questions", run, (name, at) == ("cuts replies", 4))
    for name, (change, counts) in HALF.items():
        yield Trial(SAMPLERS, f"one question: {name}", partial(_half, change=change, counts=counts))
    for number, at in ((signal.SIGKILL, 2), (signal.SIGKILL, 7), (signal.SIGINT, 4), (signal.SIGTERM, 4)):
        run = partial(_killed_served, number=number, at=at)
        yield Trial(SAMPLERS, f"{number.name} behind {at} requests", run)
    yield Trial(SAMPLERS, "another model after a death", _model_changes)
    for number, lines in (
        (signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGKILL, 6), (signal.SIGINT, 2), (signal.SIGTERM, 2),
        (signal.SIGTERM, 6),
    ):  # fmt: skip
        run = partial(_killed_local, number=number, lines=lines)
        yield Trial(LOCAL, f"{number.name} behind {lines} of 8 instructions", run)
    yield Trial(LOCAL, "two at once", _two_at_once, True)
    for name, change in ODD_MARKS.items():
        sample = name == "a log-probability of NaN"
        run = partial(_judged, change=change, probabilities="auto", form="rubric")
        yield Trial(JUDGES, f"one mark: {name}", run, sample)
    for name in (
        "no logprobs",
        "no alternatives",
        "a log-probability of NaN",
        "no mark",
        "marks with little probability",
    ):
        run = partial(_judged, change=ODD_MARKS[name], probabilities="true", form="rubric")
        yield Trial(JUDGES, f"one mark, probabilities=true: {name}", run)
    for name in ("no logprobs", "content of numbers", "a reply that is null", "a reply that is a number"):
        run = partial(_judged, change=ODD_MARKS[name], probabilities="auto", form="pairwise")
        yield Trial(JUDGES, f"one pair: {name}", run)
    for probabilities in ("auto", "true"):
        run = partial(_no_probabilities, probabilities=probabilities)
        yield Trial(JUDGES, f"no probabilities from any reply, probabilities={probabilities}", run)


TRIALS = [*_trials()]
