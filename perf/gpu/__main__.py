"""Check and measure on a GPU all that the tests cannot see without one, in under nine minutes on one 80 GB card.

    python -m perf.gpu                         writes docs/gpu.json and docs/gpu.md
    python -m perf.gpu --parts exact steps     those parts alone; the others' figures stay as they were
    python -m perf.gpu --device cpu --tiny     the same code at tiny shapes, on any machine; writes build/gpu.md

Each part is a process of its own with a time limit; what fails or takes too long is reported, and the next begins.
The exit status is 1 where a part failed or a target was missed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from perf.gpu import exact, large, runs, speed
from perf.gpu.base import Row, Setting
from perf.gpu.report import page
from tuna.files import write_text

ROOT = Path(__file__).parents[2]
ALL = 530.0  # seconds of all parts together
GRACE = 1.2  # a part is stopped after so many times its seconds
# What each is given in seconds; those that are left over pass on.
PARTS: dict[str, tuple[Callable[[Setting], Iterator[Row]], float]] = {
    "card": (speed.card, 20.0),
    "exact": (exact.exact, 140.0),
    "kinds": (exact.kinds, 50.0),
    "steps": (speed.steps, 120.0),
    "recompiles": (speed.lengths, 60.0),
    "training": (runs.training, 60.0),
    "lora 7B": (large.lora, 50.0),
    "shards 7B": (large.shards, 60.0),
}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m perf.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="shapes for a test")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, help="files, without .json and .md; docs/gpu, build/gpu for the CPU")
    parser.add_argument("--inside", action="store_true", help="parts in this process, without limits")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    asked.out = asked.out or ROOT / ("docs" if asked.device == "cuda" else "build") / "gpu"
    return asked


def one_part(name: str, setting: Setting, rows: Path) -> int:
    """Run a part here, each row written as it comes; 1 where it fails, whose reason is the last row."""
    with rows.open("a") as file:

        def tell(row: Row) -> None:
            print(json.dumps(row), file=file, flush=True)
            print(f"  {row}", flush=True)

        try:
            for row in PARTS[name][0](setting):
                tell(row)
        except Exception as error:
            traceback.print_exc()
            tell({"what": name, "status": "failed", "error": f"{type(error).__name__}: {str(error)[:500]}"})
            return 1
    return 0


def run_part(name: str, asked: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """A part with what came of it: rows, the time it took, its status."""
    rows = asked.out.with_suffix(".rows.jsonl")
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text("")
    start, status = time.monotonic(), "done"
    print(f"{name} ({seconds:.0f} s at most)", flush=True)
    if asked.inside:
        status = ("done", "failed")[one_part(name, Setting(asked.device, asked.tiny, seconds), rows)]
    else:
        flags = ["--device", asked.device, "--part", name, "--rows", str(rows), "--seconds", str(seconds)]
        command = [sys.executable, "-m", "perf.gpu", *flags, *(["--tiny"] if asked.tiny else [])]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(seconds * GRACE)
            status = "done" if code == 0 else f"failed (exit status {code})"
        except subprocess.TimeoutExpired:
            status = "stopped, its time was over"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
                process.wait()
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.unlink()
    return {"status": status, "seconds": time.monotonic() - start, "rows": found}


def main(arguments: Sequence[str] | None = None) -> int:
    """All parts asked for; the files are written after each, so that nothing is lost by a stop."""
    asked = options(arguments)
    if asked.shard:
        large.shard_worker(Setting(asked.device, asked.tiny), asked.shard)
        return 0
    if asked.part:
        return one_part(asked.part, Setting(asked.device, asked.tiny, asked.seconds), asked.rows)
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; next: python -m perf.gpu --device cpu --tiny", file=sys.stderr)
        return 2
    path = asked.out.with_suffix(".json")
    how = {"device": asked.device, "tiny": asked.tiny}
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if not how.items() <= found.items():  # another device's figures are not mixed with these
        found = {"parts": {}}
    found |= {"made": f"{datetime.now(UTC):%Y-%m-%d}"} | how
    began = time.monotonic()
    for name in asked.parts:
        left = ALL - (time.monotonic() - began)
        later = sum(PARTS[other][1] for other in asked.parts[asked.parts.index(name) + 1 :])
        seconds = min(left / GRACE, max(PARTS[name][1], left - later))
        found["parts"][name] = run_part(name, asked, seconds) if seconds > 1 else {"status": "no time was left"}
        write_text(path, json.dumps(found, indent=1) + "\n")
        write_text(path.with_suffix(".md"), page(found))
    parts = [found["parts"][name] for name in asked.parts]
    missed = [row for part in parts for row in part.get("rows", []) if row.get("reached") is False]
    print(f"{path.with_suffix('.md')}: {len(missed)} targets missed; {time.monotonic() - began:.0f} s")
    return int(bool(missed) or any(part["status"] != "done" for part in parts))


if __name__ == "__main__":
    sys.exit(main())
