"""``python -m perf.faults [KIND ...] [--jobs N] [--table FILE] [--keep FOLDER]``: run trials, say what is broken.

Exit code 1 where anything is broken. --table writes the page of docs/, as ``make campaign`` does with all kinds; what
the page has of kinds that were not run stays, with the day on which they were.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from perf.faults.base import Result
from perf.faults.trials import every_trial, performed

HEAD = """# Faults: what was broken on purpose, and what came of it

Each trial breaks one thing (a file, a folder, a server, a process, a number), runs the real command, and looks at its
exit code, its words and the files that it leaves. Broken means: a traceback, code of a hostile file that ran, a part of
a key in any file, a result that differs in silence, something paid for or trained that is lost, a wrong exit code, a
message that does not name the fault. `tests/perf/test_faults.py` runs a sample in `make test`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trials; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perf.faults")
    parser.add_argument("kinds", nargs="*", help="rows of the table; all, if none is named")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once")
    parser.add_argument("--table", type=Path, help="write a table of the kinds to this file")
    parser.add_argument("--keep", type=Path, help="leave each trial's folder below this one, which must not exist")
    options = parser.parse_args(argv)
    trials = [trial for trial in every_trial() if not options.kinds or trial.kind in options.kinds]
    if not trials:
        parser.error(f"no such kind; there are: {', '.join(dict.fromkeys(t.kind for t in every_trial()))}")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="tuna-faults-"))
    start, results = time.monotonic(), []
    try:
        for number, result in enumerate(performed(trials, folder, options.jobs), start=1):
            results.append(result)
            told = f"{result.trial.kind}: {result.trial.name}"
            print(f"{number}/{len(trials)} {result.seconds:5.1f} s  {told}", flush=True)
            for how, what in result.broken:
                print(f"    BROKEN ({how}): {what}", flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    broken = [result for result in results if result.broken]
    print(f"{len(results)} trials, {len(broken)} broken, {time.monotonic() - start:.0f} s")
    if options.table:
        before = options.table.read_text(encoding="utf-8") if options.kinds and options.table.exists() else ""
        options.table.write_text(table(results, time.monotonic() - start, before), encoding="utf-8")
    return 1 if broken else 0


def table(results: Sequence[Result], seconds: float, before: str = "") -> str:
    """The page: a row per kind with the day of its last run, and what was broken in words. before: the page so far."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    kinds = read_table(before)
    names = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+)\.$", before, re.MULTILINE))
    broken = re.findall(r"^- (?!\*\*)(.+?), (.+)$", before, re.MULTILINE)
    ran = list(dict.fromkeys(result.trial.kind for result in results))
    for kind in ran:
        of_kind = [result for result in results if result.trial.kind == kind]
        kinds[kind] = [str(len(of_kind)), str(sum(bool(result.broken) for result in of_kind)), today]
        names[kind] = "; ".join(result.trial.name for result in of_kind)
    known = {trial.kind for trial in every_trial()}
    rows = [[kind, *kinds[kind]] for kind in dict.fromkeys([*(t.kind for t in every_trial()), *kinds]) if kind in kinds]
    totals = [str(sum(int(row[column]) for row in rows)) for column in (1, 2)]
    lines = [
        HEAD,
        "`make campaign`, or this page alone by `python -m perf.faults --table docs/campaigns/faults.md`; with kinds",
        "named in it, these are run, and their rows are replaced.",
        f"The last run: {today}, {len(results)} trials ({', '.join(ran) if before else 'all kinds'}) in "
        f"{seconds / 60:.0f} minutes.\n",
        "| what is broken | trials | broken | run on |",
        "| :--- | ---: | ---: | :--- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        f"| **all** | **{totals[0]}** | **{totals[1]}** | |",
    ]
    if missing := [kind for kind in dict.fromkeys(t.kind for t in every_trial()) if kind not in kinds]:
        lines.append(f"\nNot run as a whole yet: {', '.join(missing)}.")
    for kind in (row[0] for row in rows):
        if new := [t.name for t in every_trial() if t.kind == kind and t.name not in names[kind].split("; ")]:
            lines.append(f"\nNot run yet, since they are newer: {kind}: {'; '.join(new)}.")
    lines += [f"\n- {kind}, {rest}" for kind, rest in broken if kind in known and kind not in ran]
    for result in results:
        lines += [f"\n- {result.trial.kind}, {result.trial.name}: {how}" for how, _ in result.broken]
    lines.append("\n## The trials\n")
    lines += [f"- **{row[0]}**: {names[row[0]]}." for row in rows]
    return "\n".join(lines) + "\n"


def read_table(page: str) -> dict[str, list[str]]:
    """The cells of a page's table by the first one, without heading and totals.

    >>> read_table("run on 2026-01-02,\\n| a | b |\\n| :--- | ---: |\\n| x | 3 |\\n| **all** | 3 |\\n")
    {'x': ['3']}
    """
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in page.split("\n") if line.startswith("| ")]
    return {name: cells for name, *cells in rows[2:] if not name.startswith("**")}


if __name__ == "__main__":
    sys.exit(main())
