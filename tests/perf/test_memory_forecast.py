"""The forecast of memory beside what a process that trains takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perf.loading_memory import write_model

pytestmark = pytest.mark.once


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_a_process_takes_what_was_forecast(tmp_path: Path) -> None:
    write_model(tmp_path, width=256, layers=4, vocabulary=8000)
    code = f"from perf.memory_forecast import measure; measure({str(tmp_path)!r}, 'full', 3, 1, False)"
    ran = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(ran.stdout.strip().split("\n")[-1])
    assert found["forecast"] == pytest.approx(found["measured"], rel=0.15)
