"""Generated input of every kind gives a value or one message for the user, and nothing else."""

import math
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from perf.faults.base import ROOT
from tests.perf.generated import CASES, perform

CAMPAIGN = 200_000  # examples in all
SAMPLE = 400

HEAD = """# Generated inputs

Hypothesis writes inputs that nobody would: any value in any place of a row of each format, damaged files, journals,
replies, headers and templates. Each has to give a value ("read") or one message for the user ("told"); anything else
ends the campaign with the smallest such input. `make test` tries some hundred of them, `make campaign` all, the same
ones each time; tests/perf/generated.py says which.
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
    """Writes docs/campaigns/generated.md. Run by ``make campaign``."""
    rows, start = [], time.monotonic()
    for name, case in CASES.items():
        counts = run(name, round(CAMPAIGN * case.share), tmp_path)
        rows.append((name, counts["read"], counts["told"]))
        print(*rows[-1], f"{time.monotonic() - start:.0f} s", flush=True)
    total = ("**all**", sum(row[1] for row in rows), sum(row[2] for row in rows))
    table = [f"| {name} | {read + told} | {read} | {told} |" for name, read, told in [*rows, total]]
    minutes = (time.monotonic() - start) / 60
    lines = [HEAD, f"{datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes; no input gave anything else.\n"]
    lines += ["| kind | inputs | read | told |", "| :--- | ---: | ---: | ---: |", *table]
    (ROOT / "docs" / "campaigns" / "generated.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert total[1] + total[2] >= 0.9 * CAMPAIGN
