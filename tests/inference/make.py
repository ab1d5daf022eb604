"""Instructions, configs and collections for the tests of this folder; no model is loaded here."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuna.config import checks
from tuna.config.compose import compose
from tuna.errors import RunError
from tuna.ranking.run import run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_instructions(path: Path, count: int = 6) -> Path:
    return write_rows(path, [{"instruction": f"Question {n}", "output": f"Answer {n}"} for n in range(count)])


def write_answers(path: Path, count: int = 6, answers: int = 4) -> Path:
    """Instructions with answers to be ranked; answer k of question n is "word<n> ... k words"."""
    return write_rows(
        path,
        [
            {
                "id": f"q{n}",
                "instruction": f"Question {n}",
                "output": f"first second third {n}",
                "responses": [
                    {"text": f"{'first second third'[: 6 * k]} {n} {k}", "source": "m"} for k in range(answers)
                ],
            }
            for n in range(count)
        ],
    )


def collect(folder: Path, source: Path, *words: str, **changes: object) -> dict[str, float]:
    """What ``python rank.py input=SOURCE output=FOLDER/out.jsonl ...`` does, in this process."""
    overrides = [f"input={source}", f"output={folder / 'out.jsonl'}", *words]
    overrides += [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    cfg = compose(overrides, config_name="rank")
    checks.check(cfg)
    return run(cfg)


def collect_nothing(folder: Path, source: Path, *words: str, **changes: object) -> dict[str, Any]:
    """The same where no list comes of it, which is no success; gives the report."""
    with pytest.raises(RunError, match="no list came of"):
        collect(folder, source, *words, **changes)
    report: dict[str, Any] = json.loads((folder / "out.report.json").read_text())
    assert report["lists"] == report["missing"] == 0
    return report


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
