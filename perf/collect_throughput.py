"""Collection speed: requests a second against a server of fixed latency, and answers a second of the sampler.

``python perf/collect_throughput.py server`` should reach 0.9 of concurrency / latency, and tells the CPU time
of a request on our side; ``python perf/collect_throughput.py sampler [MODEL]`` at least 3 times generate() at
batch size 1. The run checks itself: the sampler's greedy answers are generate()'s, and each set keeps the rule.
"""

import argparse
import asyncio
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna.console import Progress
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Price, Prices
from tuna.inference.engine import Engine, Request
from tuna.inference.server import Connection, Server
from tuna.inference.store import Journal, Store
from tuna.judges.checker import rouge_l

if TYPE_CHECKING:
    from tuna.data.record import Record
    from tuna.inference.generate import Generator

ROOT = Path(__file__).parents[1]


def server_speed(concurrency: int, latency: float, count: int) -> tuple[float, float]:
    """Requests a second and CPU seconds a request, store and ledger written as in a real run; the server is a process
    of its own.
    """
    command = [sys.executable, "-m", "tests.inference.http_server", "--latency", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with tempfile.TemporaryDirectory() as folder:
                return _ask(url, concurrency, count, Path(folder))
        finally:
            process.kill()


def _ask(url: str, concurrency: int, count: int, folder: Path) -> tuple[float, float]:
    answers, ledger = Journal(folder / "answers.jsonl"), Journal(folder / "requests.jsonl")

    def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
        answers.append({"key": request.key, "text": body["choices"][0]["message"]["content"]})
        return ()

    def payload(n: int) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": f"Question {n} " * 20}], "max_tokens": 64}

    def engine(many: int) -> Engine:
        return Engine(
            server=Server(Connection(url, concurrency=concurrency), "chat", "m"),
            budget=Budget(ledger, max_cost=1000.0), price=Price(1, 2), done=done, aside=lambda *_: None,
            progress=Progress("answers", many, stream=io.StringIO()),
        )  # fmt: skip

    requests = [Request(str(n), 0, payload(n), 400, 64) for n in range(count)]
    asyncio.run(engine(concurrency).run(requests[:concurrency]))  # imports and connections
    start, worked = time.perf_counter(), time.process_time()
    asyncio.run(engine(count).run(requests))
    return count / (time.perf_counter() - start), (time.process_time() - worked) / count


def sampler_speed(path: str, count: int, max_tokens: int, block: int) -> tuple[float, float]:
    """Answers a second: of the sampler under the diversity rule (4 an instruction), and of generate() one by one."""
    import torch

    from tuna.inference.generate import Generator
    from tuna.inference.local import draw
    from tuna.models.source import ModelConfig
    from tuna.ranking.sampler import Sampler
    from tuna.ranking.settings import Settings

    records = Settings(first=count).instructions().records
    checked = records[:8]
    sampler = Sampler(max_tokens=max_tokens, block=block)
    sampler.model = ModelConfig(path)
    generator = Generator(sampler.model, max_tokens=max_tokens)
    check_greedy(generator, checked, max_tokens)
    start = time.perf_counter()
    sets = []
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        stored = sampler.stored(Context(store, Budget(store.journal("requests")), Prices()))
        for part in (records[at : at + block] for at in range(0, count, block)):
            sets += draw(
                generator, sampler.asks(part, 4, seed=0), [generator.prompt(record) for record in part], stored,
                Progress("answers", count),
            )  # fmt: skip
    fast = sum(map(len, sets)) / (time.perf_counter() - start)
    check_sets(sets, sampler.tau or 1.0)
    start, made = time.perf_counter(), 0
    torch.manual_seed(0)
    for record in records[: max(4, count // 8)]:
        for _ in range(4):
            _generate(generator, record, max_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
            made += 1
    return fast, made / (time.perf_counter() - start)


def _generate(generator: "Generator", record: "Record", max_tokens: int, **how: Any) -> list[int]:
    """One answer by generate() at batch size 1, with the sampler's stopping rule."""
    import torch

    ids = torch.tensor([generator.prompt(record)])
    out = generator.model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens,
        eos_token_id=sorted(generator.ends), pad_token_id=generator.encoder.eos, **how,
    )  # fmt: skip
    return [int(i) for i in out[0, ids.shape[1] :]]


def check_greedy(generator: "Generator", records: "Sequence[Record]", max_tokens: int) -> None:
    """Batched greedy answers have the text and the length of generate()'s.

    Raises:
        AssertionError: one has not.
    """
    from tuna.inference.generate import Draw

    draws = [Draw(i, (0, 0), 0.0) for i in range(len(records))]
    for record, answer in zip(records, generator.draw([generator.prompt(r) for r in records], draws), strict=True):
        ids = _generate(generator, record, max_tokens, do_sample=False)
        text = str(generator.tokenizer.decode(ids, skip_special_tokens=True)).strip()
        assert (answer.text, answer.num_tokens) == (text, len(ids)), (answer, text)
    print(f"greedy answers equal to generate()'s: {len(records)} of {len(records)}")


def check_sets(sets: Sequence[Sequence[Answer]], tau: float) -> None:
    """Four answers a set; those that passed the rule differ pair by pair.

    Raises:
        AssertionError: one set breaks the rule.
    """
    passed = [[a for a in answers if a.similarity is not None and a.similarity < tau] for answers in sets]
    assert all(len(answers) == 4 for answers in sets)
    assert all(rouge_l(a.text, b.text) < tau for answers in passed for a, b in combinations(answers, 2))
    drawn_again = sum(a.temperature is not None for answers in sets for a in answers)
    whole = sum(len(answers) == 4 for answers in passed)
    print(f"sets that pass the rule: {whole} of {len(sets)}; answers kept from a resample: {drawn_again}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("server", "sampler"))
    parser.add_argument("model", nargs="?", default="tiny")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--block", type=int, default=32)
    options = parser.parse_args()
    if options.what == "server":
        count = options.count or 20 * options.concurrency
        speed, worked = server_speed(options.concurrency, options.latency, count)
        ideal = options.concurrency / options.latency
        print(f"{count} requests, concurrency {options.concurrency}, latency {options.latency} s")
        print(
            f"{speed:.1f} requests/s of {ideal:.1f} possible: {speed / ideal:.3f}; {1000 * worked:.2f} ms CPU a request"
        )
        return
    fast, plain = sampler_speed(options.model, options.count or 64, options.max_tokens, options.block)
    print(f"sampler: {fast:.1f} answers/s, generate() at batch size 1: {plain:.1f} answers/s: {fast / plain:.2f} times")


if __name__ == "__main__":
    main()
