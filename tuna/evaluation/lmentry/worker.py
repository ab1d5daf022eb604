"""Runs the scorers of an LMentry clone in a process of their own: ``python -P -B worker.py CLONE``.

It imports the standard library and the clone alone. In: lines of ``{"scorer", "prediction", "example", "truncate"}``.
Out: ``{"scorers": [names]}``, then ``[score, certainty]`` each; at a fault last ``{"error", "missing": a package}``.
"""

import json
import sys
from typing import Any, TextIO


def main(clone: str, lines: TextIO, out: TextIO) -> int:
    """Score until the input ends; the exit status."""

    def say(value: object) -> None:
        out.write(json.dumps(value) + "\n")
        out.flush()

    sys.path.insert(0, clone)
    try:
        from lmentry.scorers.scorer_mapping import task_name_to_scorer  # type: ignore[import-not-found,unused-ignore]
    except Exception as error:  # whatever the clone's code raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        say({"error": f"{type(error).__name__}: {error}", "missing": missing})
        return 1
    say({"scorers": sorted(task_name_to_scorer)})
    made: dict[str, Any] = {}
    for line in lines:
        asked = json.loads(line)
        name = asked["scorer"]
        try:
            if name not in made:
                made[name] = task_name_to_scorer[name]()
            score, certainty = made[name].score_prediction(asked["prediction"], asked["example"], asked["truncate"])
        except Exception as error:
            say({"error": f"{name}: {type(error).__name__}: {error}"})
            return 1
        say([score, certainty])
    return 0


if __name__ == "__main__":
    out = sys.stdout
    sys.stdout = sys.stderr  # what the clone prints is no answer
    sys.exit(main(sys.argv[1], sys.stdin, out))
