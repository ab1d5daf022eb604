"""What a restart costs: open a store of a million answered requests and its ledger, time and peak memory.

    python perf/store_restart.py [--lines 1000000] [--old] [--folder FOLDER]

Each line of answers.jsonl holds two answers of some 90 characters; the ledger has two lines per request. The store is
opened in a process of its own, which looks at every line, sums the ledger and reads one answer in a thousand. --old:
lines as they were written before checksums.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuna.inference.cost import Budget
from tuna.inference.store import Journal, Store, key_of

TEXT = "An oak is a tree that grows slowly, bears acorns and may stand for a thousand years. "


def entries(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(journal, line), in the order of a collection."""
    for n in range(count):
        yield "requests", {"key": f"r{n}", "reserved": 0.0042}
        answers = [{"text": f"{TEXT}{n} {k}", "logprob": -12.345678, "num_tokens": 23} for k in range(2)]
        usage = {"prompt_tokens": 50, "completion_tokens": 46}
        yield "answers", {"key": key_of(n=n), "part": 0, "choices": answers, "usage": usage, "model": "m"}
        yield "requests", {"key": f"r{n}", "cost": 0.0002}


def make(folder: Path, count: int, old: bool) -> None:
    """Write the store."""
    with Store(folder) as store:
        if not old:
            for journal, entry in entries(count):
                store.journal(journal).append(entry)
            return
        with (folder / "requests.jsonl").open("w") as ledger, (folder / "answers.jsonl").open("w") as answers:
            files = {"requests": ledger, "answers": answers}
            for journal, entry in entries(count):
                files[journal].write(json.dumps(entry, ensure_ascii=False) + "\n")


def restart(folder: Path, count: int) -> None:
    """Open it, and print what that took."""
    imported, start, worked = _peak(), time.perf_counter(), time.process_time()
    with Store(folder) as store:
        budget = Budget(store.journal("requests"), max_cost=1e9)
        ledger = time.perf_counter()
        answers: Journal = store.journal("answers")
        assert len(answers) == budget.requests == count
        whole = time.perf_counter()
        assert all(len(answers.get(key_of(n=n))[0]["choices"]) == 2 for n in range(0, count, 1000))
        size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
        cpu = time.process_time() - worked
        print(
            f"{count:,} requests, {size / 1e6:,.0f} MB: ledger {ledger - start:.1f} s, answers {whole - ledger:.1f} s, "
            f"{whole - start:.1f} s in all ({cpu:.1f} s of CPU); peak memory {_peak():,.0f} MB, {imported:,.0f} MB of "
            "it before"
        )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make the store, then open it in another process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--old", action="store_true")
    parser.add_argument("--folder", type=Path, help="of the store, which is made unless it is there")
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        restart(options.folder, options.lines)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "store"
        if not folder.exists():
            make(folder, options.lines, options.old)
        command = [sys.executable, __file__, "--open", "--folder", str(folder), "--lines", str(options.lines)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
