"""``python -m tools.english --out DIR``: the train part and the held-out part as JSON lines."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from tools.english import forms, lists, logic, numbers, texts, words  # noqa: F401 - they register their tasks
from tools.english.questions import GRADES, TASKS, make_part


def main() -> None:
    """Writes both files and says what is in them."""
    parser = argparse.ArgumentParser(prog="python -m tools.english", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder of train.jsonl and held_out.jsonl"
    )
    parser.add_argument("--train", type=int, default=4000, help="questions of the train part (default: %(default)s)")
    parser.add_argument(
        "--held-out", type=int, default=1200, help="questions of the held-out part (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other questions of the same parts")
    parser.add_argument("--grades", type=int, nargs="+", choices=GRADES, default=GRADES, help="these alone, 1 is easy")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", arguments.train), ("held_out", arguments.held_out)):
        rows = make_part(arguments.seed, name == "held_out", count, arguments.grades)
        path = arguments.out / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        grades = Counter(row["grade"] for row in rows)
        said = ", ".join(f"{grades[grade]} of grade {grade}" for grade in sorted(grades))
        print(f"{path}: {len(rows)} questions of {len({row['task'] for row in rows})} tasks ({said})")
    print(f"{len(TASKS)} tasks; next: python evaluate.py benchmark=elementary "
          f"benchmark.questions={arguments.out / 'held_out.jsonl'} model.path=FOLDER")  # fmt: skip


if __name__ == "__main__":
    main()
