"""LMentry as it is measured: the clone's scorers over answers, missing ones, partial data, the canary, errors."""

import json
import logging
from pathlib import Path

import pytest

from tests.evaluation.lmentry.make import CANARY, right_answers, write_clone
from tests.evaluation.make import measure, results_of, write_rows
from tuna.errors import ConfigError, DataError, RunError
from tuna.evaluation.lmentry.benchmark import LMentry
from tuna.evaluation.lmentry.figures import CORE, SCORER


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clone(tmp_path_factory.mktemp("clone") / "lmentry")


def words(clone: Path, answers: Path, *more: str) -> list[str]:
    return ["benchmark=lmentry", f"benchmark.root={clone}", f"answers={answers}", "benchmark.processes=2", *more]


def test_by_hand(clone: Path, tmp_path: Path) -> None:
    rows = right_answers()
    wrong = {("first_word", "1"), ("more_letters", "2"), ("rhyming_word_orthographically_similar", "6")}
    for row in rows:
        if (row["task"], row["id"]) in wrong:
            row["prediction"] = "nonsense"
    handlers = list(logging.root.handlers)
    scores = measure(tmp_path / "r", *words(clone, write_rows(tmp_path / "a.jsonl", rows)))
    assert logging.root.handlers == handlers  # what the clone sets up stays in its process
    # Two of 25 tasks at 5 of 6 questions, 83.33 when rounded; the file beside the core tasks does not count here.
    assert scores["accuracy"] == pytest.approx((23 * 100 + 2 * 83.33) / 25, abs=1e-12)
    assert scores["accuracy_full"] == pytest.approx((23 * 100 + 2 * 100 * 5 / 6) / 25, abs=1e-12)
    # more_letters: the answer that comes second is right in 2 of 3 (id 2 is number 1, an odd one).
    assert scores["argument_order"] == pytest.approx(100 - 33.33 / 7, abs=1e-12)
    assert scores["argument_content"] == pytest.approx(100 - 16.67 / 6, abs=1e-12)
    assert scores["template"] == pytest.approx(100 - 2 * 50 / 25, abs=1e-12)
    # first_word stands in two pairs, more_letters in one.
    assert scores["adjacent_tasks"] == pytest.approx(100 - 3 * 16.67 / 17, abs=1e-12)
    mean = (100 - 33.33 / 7 + 100 - 16.67 / 6 + 96 + 100 - 3 * 16.67 / 17) / 4
    assert scores["robustness"] == round(mean, 1) != scores["robustness_full"]
    assert scores["lmentry_score"] == pytest.approx((23 * 100 + 2 * 83.33) / 25 * round(mean, 1) / 100, abs=1e-12)
    results, examples, _ = results_of(tmp_path / "r", "lmentry")
    assert results["primary"] == "lmentry_score" and results["coverage"] == {"n": 246, "N": 246, "missing": []}
    assert {example["canary"] for example in examples} == {CANARY} and len(examples) == 246
    row = next(row for row in results["tables"]["by_task"] if row["task"] == "first_word")
    assert (row["n"], row["accuracy"], row["template0"], row["template1"]) == (6, 83.33, 50.0, 100.0)
    assert [row["task"] for row in results["tables"]["by_task"]] == list(CORE)
    assert len(results["tables"]["by_content"]) == 16 and len(results["tables"]["robustness"]) == 7 + 6 + 25 + 17
    assert results["notes"] == []


def test_a_missing_answer_is_wrong_and_shown(clone: Path, tmp_path: Path) -> None:
    rows = [r for r in right_answers() if (r["task"], r["id"]) not in {("last_word", "1"), ("last_word", "2")}]
    rows.append({"task": "last_word", "id": "1", "prediction": ""})  # an empty answer is an answer, and wrong
    scores = measure(tmp_path / "r", *words(clone, write_rows(tmp_path / "a.jsonl", rows)))
    results, _, _ = results_of(tmp_path / "r", "lmentry")
    assert results["coverage"] == {
        "n": 245, "N": 246, "missing": ["last_word/2"], "empty": ["last_word/1"],
    }  # fmt: skip
    row = next(row for row in results["tables"]["by_task"] if row["task"] == "last_word")
    assert (row["n"], row["N"], row["accuracy"]) == (5, 6, 66.67)
    assert scores["accuracy"] == pytest.approx((24 * 100 + 66.67) / 25, abs=1e-12)


def test_a_task_without_answers(clone: Path, tmp_path: Path) -> None:
    answers = write_rows(tmp_path / "a.jsonl", [row for row in right_answers() if row["task"] != "homophones"])
    scores = measure(tmp_path / "r", *words(clone, answers))
    assert scores["accuracy"] is scores["lmentry_score"] is scores["argument_order"] is None
    assert scores["adjacent_tasks"] == 100.0  # homophones is in no pair
    assert "1 tasks have no answer (homophones)" in results_of(tmp_path / "r", "lmentry")[0]["notes"][0]
    partial = measure(tmp_path / "p", *words(clone, answers, "benchmark.partial=true"))
    assert partial["lmentry_score"] == partial["accuracy"] == 100.0
    assert "not LMentry's figures" in results_of(tmp_path / "p", "lmentry")[0]["notes"][0]


def test_a_quick_look_spreads_over_files_and_templates(clone: Path, tmp_path: Path) -> None:
    answers = write_rows(tmp_path / "a.jsonl", right_answers())
    scores = measure(tmp_path / "r", *words(clone, answers, "limit=123"))
    results, examples, _ = results_of(tmp_path / "r", "lmentry")
    assert len({(example["task"], example["template"]) for example in examples}) == 123
    assert scores["accuracy"] == scores["lmentry_score"] == 100.0
    assert scores["argument_order"] is None  # one answer order was asked, so there is nothing to compare
    assert results["notes"] == [
        "123 rows of " + str(answers) + " answer no question of this benchmark",
        "a quick look: limit=123",
    ]


def test_truncate_reaches_the_scorers(clone: Path, tmp_path: Path) -> None:
    rows = [{**row, "prediction": f"well. {row['prediction']}"} for row in right_answers()]
    answers = write_rows(tmp_path / "a.jsonl", rows)
    assert measure(tmp_path / "r", *words(clone, answers))["accuracy"] == 100.0
    assert measure(tmp_path / "t", *words(clone, answers, "benchmark.truncate=true"))["accuracy"] == 0.0


def test_a_model_answers(clone: Path, tmp_path: Path) -> None:
    measure(tmp_path, "benchmark=lmentry", f"benchmark.root={clone}", "benchmark.max_tokens=2", "limit=5")
    results, examples, place = results_of(tmp_path, "lmentry")
    assert results["coverage"]["n"] == 5 and [example["id"] for example in examples] == ["1", "3", "5", "1", "3"]
    assert examples[0]["instruction"] == "sentence_containing: say w0:\n"
    assert len((place / "store" / "answers.jsonl").read_text().splitlines()) == 5


def test_other_data_and_partial_data(clone: Path, tmp_path: Path) -> None:
    other = write_clone(tmp_path / "other", examples=1) / "data"
    benchmark = LMentry(root=str(clone), data=str(other))
    benchmark.prepare(None)
    assert benchmark.identity() != {}
    first = benchmark.identity()["data"]
    (other / "first_word.json").unlink()
    with pytest.raises(ConfigError, match=r"41 files, 1 are missing: first_word.json; next: git clone \S+lmentry.git"):
        LMentry(root=str(clone), data=str(other)).prepare(None)
    partial = LMentry(root=str(clone), data=str(other), partial=True)
    partial.prepare(None)
    assert partial.identity()["data"] != first
    answers = write_rows(tmp_path / "a.jsonl", [row for row in right_answers(1) if row["task"] != "first_word"])
    scores = measure(tmp_path / "r", *words(clone, answers, f"benchmark.data={other}", "benchmark.partial=true"))
    assert scores["accuracy"] == 100.0
    assert "1 of 41 files are missing (first_word)" in results_of(tmp_path / "r", "lmentry")[0]["notes"][0]


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_a_clone_that_is_missing(root: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^benchmark.root.*next: git clone https://\S+/lmentry.git"):
        LMentry(root=root).prepare(None)


def test_values_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"(?s)max_tokens: expected 1.*processes: expected 1"):
        LMentry(max_tokens=0, processes=0)


def test_files_that_are_wrong_are_all_named(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry")
    data = clone / "data"
    (data / "first_word.json").write_text("{")
    value = json.loads((data / "homophones.json").read_text())
    value["examples"]["2"]["metadata"]["answer_index"] = 2
    value["examples"]["3"]["metadata"]["template_id"] = "0"
    value["examples"]["4"] = []
    (data / "homophones.json").write_text(json.dumps(value))
    value = json.loads((data / "last_word.json").read_text())
    value["settings"] = {"num_examples_per_template": 0}
    (data / "last_word.json").write_text(json.dumps(value))
    with pytest.raises(DataError) as error:
        LMentry(root=str(clone)).prepare(None)
    said = str(error.value)
    for part in (
        "first_word.json: expected a JSON object", "examples.2.metadata.answer_index: expected 0 or 1, got 2",
        "examples.3.metadata.template_id: expected 0 to 2, got '0'", "examples.4: expected an object",
        "last_word.json: settings: expected num_examples_per_template (1 or more), input_templates",
    ):  # fmt: skip
        assert part in said
    assert len(said.splitlines()) == 5


def test_a_settings_number_that_is_not_the_files(tmp_path: Path) -> None:
    clone = write_clone(tmp_path / "lmentry")
    path = clone / "data" / "last_word.json"
    value = json.loads(path.read_text())
    del value["examples"]["6"]
    path.write_text(json.dumps(value))
    measure(tmp_path / "r", *words(clone, write_rows(tmp_path / "a.jsonl", right_answers())))
    results, _, _ = results_of(tmp_path / "r", "lmentry")
    assert results["notes"][0].endswith("by which its owners divide: last_word")
    assert next(row for row in results["tables"]["by_task"] if row["task"] == "last_word")["accuracy"] == 83.33


def test_a_scorer_that_fails(clone: Path, tmp_path: Path) -> None:
    rows = right_answers()
    rows[7]["prediction"] = "boom"
    with pytest.raises(RunError, match=r"sentence_not_containing/2: LMentry's scorer gave .*KeyError: 'boom'"):
        measure(tmp_path / "r", *words(clone, write_rows(tmp_path / "a.jsonl", rows)))
    assert rows[7]["task"] == "sentence_not_containing" and len(SCORER) == 41
