"""Generated input of every kind gives a value or one message for the user, and nothing else."""

import math
import os
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from perf.faults.__main__ import read_table
from perf.faults.base import ROOT
from tests.perf import generated, generated_lists, generated_own
from tests.perf.generated import perform

CASES = {**generated.CASES, **generated_own.CASES, **generated_lists.CASES}
CAMPAIGN = 200_000  # examples; a class has a share of it, and those of the further files come on top
SAMPLE = 400
PAGE = ROOT / "docs" / "campaigns" / "generated.md"

HEAD = """# Generated inputs

Hypothesis writes inputs that nobody would: any value in any place of a row of each format and of every JSON file of our
own, damaged files, journals, replies, headers and templates, what functions and judges give, and what is typed. Each
has to give a value ("read") or one message for the user ("told"); anything else
ends the campaign with the smallest such input. `make test` tries some hundred of them, `make campaign` all, the same
ones each time; tests/perf/generated.py, generated_own.py and generated_lists.py say which. One class or several:
`KINDS="results,job.json" python -m pytest -m campaign tests/perf/test_generated.py`, which replaces their rows.
No input gave anything else.
"""


def run(name: str, examples: int, folder: Path) -> Counter[str]:
    """What came of the first so many examples of a class."""
    counts: Counter[str] = Counter()

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(CASES[name].strategy)
    def one(drawn: object) -> None:
        counts[perform(CASES[name], drawn, folder)] += 1

    one()
    return counts


@pytest.mark.once
@pytest.mark.parametrize("name", CASES)
def test_sample(name: str, tmp_path: Path) -> None:
    counts = run(name, math.ceil(SAMPLE * CASES[name].share), tmp_path)
    assert set(counts) <= {"read", "told"} and counts.total() > 0


@pytest.mark.campaign
def test_campaign_of_generated_input(tmp_path: Path) -> None:
    """Writes docs/campaigns/generated.md: the rows of KINDS in the environment, or of all. Run by ``make campaign``."""
    chosen = os.environ.get("KINDS", "").split(",") if os.environ.get("KINDS") else list(CASES)
    assert set(chosen) <= CASES.keys()
    for name in chosen:
        start = time.monotonic()
        counts = run(name, round(CAMPAIGN * CASES[name].share), tmp_path)
        minutes = (time.monotonic() - start) / 60
        print(name, dict(counts), f"{minutes:.1f} min", flush=True)
        assert counts.total() >= 0.5 * CAMPAIGN * CASES[name].share  # a small class has no more
        _write(name, counts, minutes)


def _write(name: str, counts: Counter[str], minutes: float) -> None:
    """Put the row of a class into the page, as soon as it is known."""
    rows = read_table(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    numbers = map(str, (counts.total(), counts["read"], counts["told"]))
    rows[name] = [*numbers, f"{datetime.now(UTC):%Y-%m-%d}", f"{minutes:.1f}"]
    known = {each: rows[each] for each in CASES if each in rows}
    total = [str(sum(int(row[column]) for row in known.values())) for column in range(3)]
    lines = [HEAD, "| kind | inputs | read | told | run on | minutes |", "| :--- | ---: | ---: | ---: | :--- | ---: |"]
    lines += [f"| {each} | {' | '.join(row)} |" for each, row in known.items()]
    lines.append(f"| **all** | {' | '.join(total)} | | |")
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
