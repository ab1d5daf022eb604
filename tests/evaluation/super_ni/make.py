"""A stand-in for a clone of Natural Instructions: two small tasks in the official layout."""

import json
from pathlib import Path
from typing import Any

TASKS: dict[str, dict[str, Any]] = {
    "task1_colour": {
        "Categories": ["Textual Entailment"],
        "Definition": ["Name the colour of the thing. "],
        "Positive Examples": [
            {"input": "grass", "output": "green", "explanation": "it is"},
            {"input": " snow! ", "output": "white", "explanation": "it is"},
            {"input": "coal", "output": "black", "explanation": "it is"},
        ],
        "Negative Examples": [{"input": "sky", "output": "loud", "explanation": "no"}],
        "Instances": [
            {"id": "task1-a", "input": "blood", "output": ["Red.", "dark red"]},
            {"id": "task1-b", "input": "a lemon?", "output": ["yellow"]},
            {"id": "task1-c", "input": "the sky", "output": ["blue"]},
        ],
    },
    "task2_count": {
        "Categories": ["Title  Generation", "Other"],
        "Definition": "Count the words",
        "Positive Examples": [{"input": "a b", "output": "2 words"}],
        "Negative Examples": [],
        "Instances": [
            {"id": "task2-a", "input": "one two three", "output": [3]},
            {"id": "task2-b", "input": "running dogs run", "output": ["three running dogs"]},
        ],
    },
    "task3_odd": {
        "Categories": ["Question Answering"],
        "Definition": ["Answer:"],
        "Positive Examples": [],
        "Negative Examples": [],
        "Instances": [{"id": "task3-a", "input": "", "output": ["!"]}],
    },
}


def write_clone(folder: Path, tasks: dict[str, Any] | None = None) -> Path:
    (folder / "tasks").mkdir(parents=True)
    (folder / "splits" / "default").mkdir(parents=True)
    tasks = TASKS if tasks is None else tasks
    (folder / "splits" / "default" / "test_tasks.txt").write_text("".join(f"{name}\n" for name in tasks) + "\n")
    for name, task in tasks.items():
        (folder / "tasks" / f"{name}.json").write_text(json.dumps(task))
    return folder
