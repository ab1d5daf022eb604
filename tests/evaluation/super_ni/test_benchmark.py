"""Super-NaturalInstructions as it is measured: figures by hand, missing predictions, prompts in the results, errors."""

import copy
import json
import logging
from pathlib import Path

import pytest

from tests.evaluation.make import measure, results_of, write_rows
from tests.evaluation.super_ni.make import TASKS, write_clone
from tuna.errors import ConfigError, DataError
from tuna.evaluation.super_ni.benchmark import SuperNI

PREDICTIONS = {
    "task1-a": "red",  # exact but for case and a full stop
    "task1-b": "a yellow lemon",  # 1 of 3 words: F1 of 1/3 and 1 is 1/2
    "task1-c": "",
    "task2-a": "3",
    "task2-b": "three dogs",  # 2 of 2 and 2 of 3: 4/5
    "task3-a": "",  # equal once punctuation is gone; no words, so ROUGE is 0
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clone(tmp_path_factory.mktemp("clone") / "ni")


def words(clone: Path, predictions: dict[str, str], folder: Path) -> list[str]:
    rows = [{"id": name, "prediction": text} for name, text in predictions.items()]
    return ["benchmark=super_ni", f"benchmark.root={clone}", f"answers={write_rows(folder / 'a.jsonl', rows)}"]


def test_by_hand(clone: Path, tmp_path: Path) -> None:
    handlers = list(logging.root.handlers)
    scores = measure(tmp_path / "r", *words(clone, PREDICTIONS, tmp_path))
    assert logging.root.handlers == handlers  # rouge-score would set up logging for the whole process
    assert scores["exact_match"] == 50.0
    assert scores["rougeL"] == 55.0  # (1 + 1/2 + 0 + 1 + 4/5 + 0) / 6
    assert scores["rougeL_over_tasks"] == 46.6667  # (1/2 + 9/10 + 0) / 3
    assert scores["rougeL_over_tasks_full"] == pytest.approx(100 * (0.5 + 0.9) / 3, abs=1e-12)
    assert scores["exact_match_over_tasks"] == 61.1111  # (1/3 + 1/2 + 1) / 3
    results, examples, _ = results_of(tmp_path / "r", "super_ni")
    assert results["primary"] == "rougeL"
    assert results["coverage"] == {"n": 6, "N": 6, "missing": [], "empty": ["task1-c", "task3-a"]}
    by_category = {row["category"]: row for row in results["tables"]["by_category"]}
    assert by_category["textual_entailment"]["score"] == by_category["textual_entailment"]["exact_match"] == 33.3333
    assert by_category["title_generation"]["score"] == by_category["title_generation"]["rougeL"] == 90.0
    odd = by_category["question_answering"]
    assert odd["metric"] is None and odd["score"] is None and odd["exact_match"] == 100.0 and odd["rougeL"] == 0.0
    assert [row["task"] for row in results["tables"]["by_task"]] == list(TASKS)
    assert by_category["textual_entailment"]["exact_match_full"] == 100 / 3
    assert results["intervals"]["rougeL"][0] < 55 < results["intervals"]["rougeL"][1]
    found = {example["id"]: example for example in examples}
    assert found["task2-a"]["references"] == ["3"]  # a number is read as a text
    assert found["task1-b"]["scores"]["rougeL"] == 0.5 and found["task1-a"]["prediction"] == "red"
    assert found["task1-a"]["instruction"].startswith("Definition: Name the colour of the thing.\n\nNow complete")


def test_missing_predictions_are_left_out_and_said(clone: Path, tmp_path: Path) -> None:
    there = {name: text for name, text in PREDICTIONS.items() if name in ("task1-a", "task1-b", "task2-b")}
    scores = measure(tmp_path / "r", *words(clone, there, tmp_path))
    results, _, _ = results_of(tmp_path / "r", "super_ni")
    assert scores["rougeL"] == 76.6667 and scores["rougeL_over_tasks"] == 77.5  # (3/4 + 4/5) / 2
    assert results["coverage"] == {"n": 3, "N": 6, "missing": ["task1-c", "task2-a", "task3-a"]}
    assert results["notes"] == [
        "3 predictions are missing; as in the official code the means are over those that are there (rougeL would be "
        "38.3333 with 0 for each missing one)"
    ]
    assert results["tables"]["by_task"][2] | {"metric": None} == {
        "task": "task3_odd", "n": 0, "N": 1, "metric": None, "score": None, "exact_match": None, "rougeL": None,
        "exact_match_full": None, "rougeL_full": None,
    }  # fmt: skip


def test_the_first_instances_of_each_task(clone: Path, tmp_path: Path) -> None:
    measure(tmp_path / "r", *words(clone, PREDICTIONS, tmp_path), "benchmark.instances=2")
    results, examples, _ = results_of(tmp_path / "r", "super_ni")
    assert [e["id"] for e in examples] == ["task1-a", "task1-b", "task2-a", "task2-b", "task3-a"]
    assert results["notes"][:1] == [f"1 rows of {tmp_path / 'a.jsonl'} answer no question of this benchmark"]
    measure(tmp_path / "q", *words(clone, PREDICTIONS, tmp_path), "limit=3")
    assert [e["task"] for e in results_of(tmp_path / "q", "super_ni")[1]] == list(TASKS)


def test_a_model_answers_within_its_positions(clone: Path, tmp_path: Path) -> None:
    tasks = {"task1_colour": {**TASKS["task1_colour"], "Instances": [
        {"id": "long", "input": "word " * 900, "output": ["x"]}, {"id": "short", "input": "blood", "output": ["red"]},
    ]}}  # fmt: skip
    long = write_clone(tmp_path / "long", tasks)
    measure(
        tmp_path / "r", "benchmark=super_ni", f"benchmark.root={long}", "benchmark.shots=2", "benchmark.max_tokens=4"
    )
    results, examples, _ = results_of(tmp_path / "r", "super_ni")
    assert results["coverage"]["n"] == 2
    from transformers import AutoConfig, AutoTokenizer

    from tuna import assets

    positions = AutoConfig.from_pretrained(assets.path("tiny")).max_position_embeddings
    cut, whole = (example["instruction"] for example in examples)
    assert cut.endswith("\nOutput: ") and "Positive Example" not in cut and cut.count("word") < 900
    assert whole.count("Positive Example") == 2
    length = len(AutoTokenizer.from_pretrained(assets.path("tiny"))(cut)["input_ids"])
    assert length < min(1024, positions - 4) and length > min(1024, positions - 4) - 60
    assert results["notes"][0].startswith("1 prompts had no room for all positive examples in ")
    assert results["notes"][1].startswith("1 prompts were longer than ")


def test_strip_ends_at_the_colon(clone: Path, tmp_path: Path) -> None:
    measure(tmp_path / "r", *words(clone, PREDICTIONS, tmp_path), "benchmark.strip=true")
    assert all(example["instruction"].endswith("\nOutput:") for example in results_of(tmp_path / "r", "super_ni")[1])


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_a_clone_that_is_missing(root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^benchmark.root.*next: git clone .*natural-instructions.git"):
        SuperNI(root=root).prepare(None)


def test_tasks_that_are_missing(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "ni")
    (clone / "tasks" / "task2_count.json").unlink()
    with pytest.raises(ConfigError, match=r"names 3 tasks, 1 of which are not in \S+: task2_count; next: git clone"):
        SuperNI(root=str(clone)).prepare(None)


def test_files_that_are_wrong_are_all_named(tmp_path: Path) -> None:
    tasks = copy.deepcopy(TASKS)
    tasks["task1_colour"]["Definition"] = []
    tasks["task1_colour"]["Instances"][1]["output"] = []
    tasks["task1_colour"]["Instances"][2] = {"input": "x", "output": ["y"]}
    tasks["task2_count"]["Positive Examples"] = [{"input": "x"}]
    tasks["task3_odd"]["Instances"] = "none"
    clone = write_clone(tmp_path / "ni", tasks)
    (clone / "splits" / "default" / "test_tasks.txt").write_text("\n".join([*TASKS, "broken", "listed"]))
    (clone / "tasks" / "broken.json").write_text("{")
    (clone / "tasks" / "listed.json").write_text("[]")
    with pytest.raises(DataError) as error:
        SuperNI(root=str(clone)).prepare(None)
    said = str(error.value).splitlines()
    assert len(said) == 7 and all(line.startswith(str(clone / "tasks")) for line in said)
    parts = [
        "task1_colour.json: Instances[1]: output: expected a list of one text or more, got []",
        "Instances[2]: expected an object",
        "Definition: expected a text",
        "Positive Examples[0]: expected an object",
        "Instances: expected a list of objects, got 'none'",
        "broken.json: expected a JSON object, got broken JSON",
        "listed.json: expected a JSON object, got a list of 0",
    ]
    assert all(part in line for line, part in zip(said, parts, strict=True))


def test_an_id_twice(tmp_path: Path) -> None:
    tasks = copy.deepcopy(TASKS)
    tasks["task3_odd"]["Instances"][0]["id"] = "task1-a"
    with pytest.raises(DataError, match="task3_odd: id task1-a: expected ids that differ, task1_colour has it too"):
        SuperNI(root=str(write_clone(tmp_path / "ni", tasks))).prepare(None)


def test_values_out_of_range() -> None:
    with pytest.raises(ConfigError) as error:
        SuperNI(shots=-1, instances=0, max_tokens=0, max_prompt_tokens=0)
    assert len(str(error.value).splitlines()) == 4
    with pytest.raises(ConfigError, match="bert_layers: expected bert_score=FOLDER"):
        SuperNI(bert_layers=3)


def test_identity_follows_the_data(clone: Path, tmp_path: Path) -> None:
    tasks = json.loads(json.dumps(TASKS))
    one = SuperNI(root=str(clone))
    one.prepare(None)
    tasks["task2_count"]["Instances"][0]["input"] = "other"
    other = SuperNI(root=str(write_clone(tmp_path / "ni", tasks)))
    other.prepare(None)
    assert one.identity()["data"] != other.identity()["data"]
    assert one.identity() | {"data": ""} == other.identity() | {"data": ""}
