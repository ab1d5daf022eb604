"""A stand-in for a clone of LMentry: the package's interface with scorers of our own, and the 41 files in small."""

import json
from pathlib import Path
from typing import Any

from tuna.evaluation.lmentry.figures import ANSWER_ORDER, CORE, SCORER

CANARY = "STAND-IN DATA, no canary of anybody's"

# Right where the prediction holds the answer; certain where it is nothing else. "boom" makes it fail.
_SCORERS = """
import logging

logging.basicConfig(level=logging.INFO)
print("a scorer's chatter")


class Scorer:
    def score_prediction(self, prediction, example, truncate_prediction=False):
        if "boom" in prediction:
            raise KeyError("boom")
        if "odd" in prediction:
            return None, None
        text = prediction.strip().lower()
        if truncate_prediction:
            text = text.split(".")[0]
        answer = example["metadata"]["answer"]
        return int(answer in text), int(text == answer)


task_name_to_scorer = {name: Scorer for name in NAMES}
"""


def write_clone(folder: Path, *, examples: int = 2, names: tuple[str, ...] = CORE, before: str = "") -> Path:
    """The clone; ``examples`` for each of three templates. ``before`` is put before the scorers' code."""
    scorers = folder / "lmentry" / "scorers"
    scorers.mkdir(parents=True)
    (folder / "lmentry" / "__init__.py").touch()
    (scorers / "__init__.py").touch()
    (scorers / "scorer_mapping.py").write_text(f"{before}\nNAMES = {names!r}\n{_SCORERS}")
    (folder / "data").mkdir()
    for name in SCORER:
        (folder / "data" / f"{name}.json").write_text(json.dumps(task_file(name, examples)))
    return folder


def task_file(name: str, examples: int) -> dict[str, Any]:
    entries = {}
    for number in range(3 * examples):
        answer = f"w{number}"
        metadata: dict[str, Any] = {"answer": answer, "template_id": number // examples}
        if SCORER[name] in ANSWER_ORDER:
            metadata["answer_index"] = number % 2
        entries[str(number + 1)] = {"input": f"{name}: say {answer}:\n", "metadata": metadata}
    templates = ["a {x}\n", "b {x}\n", "c {x}\n"]
    settings = {"canary": CANARY, "name": name, "num_examples_per_template": examples, "input_templates": templates}
    return {"settings": settings, "examples": entries}


def right_answers(examples: int = 2) -> list[dict[str, Any]]:
    """A row for each question, all right and certain."""
    return [
        {"task": name, "id": str(number + 1), "prediction": f"w{number}"}
        for name in SCORER
        for number in range(3 * examples)
    ]
