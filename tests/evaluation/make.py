"""A measurement in this process, and small files to measure."""

import json
from pathlib import Path
from typing import Any

from tuna.config import checks
from tuna.config.compose import compose
from tuna.evaluation.run import run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def measure(folder: Path, *words: str) -> dict[str, float | None]:
    """What ``python evaluate.py folder=FOLDER ...`` does, in this process."""
    model = [] if any(word.startswith("model") for word in words) else ["model=tiny"]
    cfg = compose([f"folder={folder}", *model, *words], config_name="evaluate")
    checks.check(cfg)
    return run(cfg)


def results_of(folder: Path, benchmark: str) -> tuple[dict[str, Any], list[dict[str, Any]], Path]:
    """The one results.json of a benchmark below ``folder``, its examples and its folder."""
    (place,) = (folder / benchmark).iterdir()
    examples = [json.loads(line) for line in (place / "examples.jsonl").read_text().splitlines()]
    return json.loads((place / "results.json").read_text()), examples, place
