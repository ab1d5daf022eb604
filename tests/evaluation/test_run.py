"""One measurement: folders, limits, what is measured already, answers from files, kills."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests import warm
from tests.evaluation.make import measure, results_of, write_rows
from tuna import assets
from tuna.errors import TunaError
from tuna.inference.answers import Answer
from tuna.inference.elementary import held_out_records
from tuna.inference.generate import Generator
from tuna.reproduce.rounds import figure_in, results_in
from tuna.runs import latest_of

ROOT = Path(__file__).parents[2]


def test_the_embedded_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = measure(tmp_path, "limit=60")
    results, examples, place = results_of(tmp_path, "elementary")
    assert place.name.startswith(f"tiny-{results['model']['fingerprint'][:8]}-")
    assert results["scores"] == scores and results["status"] == "finished" and len(examples) == 60
    assert len({example["task"] for example in examples}) == 26  # spread over all tasks
    for name, value in scores.items():
        marks = [example["scores"][name] for example in examples if name in example["scores"]]
        assert value == pytest.approx(sum(marks) / len(marks))
    assert results["notes"] == ["a quick look: limit=60"]
    said = capsys.readouterr().out
    assert "* accuracy" in said and f"written: {place}/results.json" in said


def test_a_dry_run_says_what_a_local_model_would_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        capsys.readouterr()
        measure(tmp_path, *words, "dry_run=true")
        return capsys.readouterr().out

    first = said("limit=3")
    assert (
        "to compute here: 3 answers of tiny, at most 48 tokens each, 144 in all; memory: weights 0.00 GB, keys" in first
    )
    assert "time: not known; limit=20" in first and "requests" not in first and not list(tmp_path.iterdir())
    measure(tmp_path, "limit=2")
    assert "time: about " in said("limit=3") and "0 answers of tiny" in (done := said("limit=2"))
    assert "0 in all (2 more are stored)" in done
    lists = said("benchmark=agreement", "limit=2")
    assert "to compute here: log-probabilities of " in lists and " answers in 2 lists\n" in lists


def test_the_latest_is_what_was_asked_for_last_though_it_was_measured_before(tmp_path: Path) -> None:
    (row,) = [r for r in held_out_records() if r["check"] == "one_of"][:1]
    questions = write_rows(tmp_path / "mine.jsonl", [row])
    for name, text in (("right", row["answers"][0]), ("wrong", "no")):
        write_rows(tmp_path / f"{name}.jsonl", [{"id": row["id"], "prediction": text}])
    figures = []
    for name in ("right", "wrong", "right"):  # within one second
        measure(tmp_path / "r", f"benchmark.questions={questions}", f"answers={tmp_path / name}.jsonl")
        latest = latest_of(results_in(tmp_path / "r"), tmp_path / "r")
        assert latest is not None and latest.parent.name.startswith(f"{name}-")
        figures.append(figure_in(tmp_path / "r"))
    assert figures == [1, 0, 1]


def test_questions_of_a_file(tmp_path: Path) -> None:
    rows = [r for r in held_out_records() if r["check"] == "one_of"][:3]
    questions = write_rows(tmp_path / "mine.jsonl", rows)
    answers = write_rows(tmp_path / "a.jsonl", [{"id": r["id"], "prediction": r["answers"][0]} for r in rows[:2]])
    named = "label=Alpaca + PPO-sim"  # as the paper's table has it
    scores = measure(tmp_path / "r", f"benchmark.questions={questions}", f"answers={answers}", named)
    assert scores == {"accuracy": pytest.approx(2 / 3), "open_ended": None}
    results, _, place = results_of(tmp_path / "r", "elementary")
    assert results["model"]["name"] == "Alpaca + PPO-sim" and place.name.startswith("Alpaca_+_PPO-sim-")


def test_balanced_is_half_of_each_sort(tmp_path: Path) -> None:
    rows = [r for r in held_out_records() if r["check"] == "one_of"][:3]
    rows += [r for r in held_out_records() if r["check"] == "facts"][:1]
    questions = write_rows(tmp_path / "mine.jsonl", rows)
    described = f"It {rows[3]['answers'][0]}."  # one true detail: a sixth
    told = [rows[0]["answers"][0], rows[1]["answers"][0], "no", described]
    answers = write_rows(
        tmp_path / "a.jsonl", [{"id": r["id"], "prediction": t} for r, t in zip(rows, told, strict=True)]
    )
    given = (f"benchmark.questions={questions}", "benchmark.primary=balanced", f"answers={answers}")
    assert measure(tmp_path / "r", *given)["balanced"] == pytest.approx((2 / 3 + 1 / 6) / 2)
    results, examples, _ = results_of(tmp_path / "r", "elementary")
    assert results["primary"] == "balanced"
    assert sum(e["scores"]["balanced"] for e in examples) / 4 == pytest.approx((2 / 3 + 1 / 6) / 2)


def test_accuracy_by_grade_where_questions_have_one(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(n),
            "instruction": f"Say {n}.",
            "check": "number",
            "answers": [str(n)],
            "task": "say",
            "grade": grade,
        }
        for n, grade in ((1, 1), (2, 1), (3, 3))
    ]
    questions = write_rows(tmp_path / "mine.jsonl", rows)
    answers = write_rows(
        tmp_path / "a.jsonl", [{"id": "1", "prediction": "It is one."}, {"id": "2", "prediction": "3"}]
    )
    measure(tmp_path / "r", f"benchmark.questions={questions}", f"answers={answers}")
    tables = results_of(tmp_path / "r", "elementary")[0]["tables"]
    assert tables["by_grade"] == [{"grade": "1", "n": 2, "accuracy": 0.5}, {"grade": "3", "n": 1, "accuracy": 0.0}]
    assert tables["by_task"] == [{"task": "say", "n": 3, "accuracy": pytest.approx(1 / 3)}]


def test_questions_that_the_checker_cannot_mark_are_named(tmp_path: Path) -> None:
    row = next(r for r in held_out_records() if r["check"] == "facts")
    wrong: list[tuple[dict[str, object], str]] = [
        ({"check": "regex"}, "1: check: expected one of facts, one_of, all_of, in_order"),
        ({"answers": "red"}, "2: answers: expected a list of strings"),
        ({"answers": []}, "3: answers: expected a list of one text or more"),
        ({"about": None}, "4: about: expected a string"),
        ({"check": "number", "answers": ["few"]}, "5: answers: expected numbers"),
        ({"check": "items", "count": 99}, "6: count: expected a whole number from 1 to"),
    ]
    rows = [{**row, "id": str(n), "instruction": str(n), **bad} for n, (bad, _) in enumerate(wrong)]
    questions = write_rows(tmp_path / "mine.jsonl", rows)
    with pytest.raises(TunaError) as told:
        measure(tmp_path, f"benchmark.questions={questions}", "model=tiny")
    for line, (_, expected) in zip(str(told.value).splitlines(), wrong, strict=True):
        assert expected in line


def test_what_is_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = measure(tmp_path, "limit=4")
    before = results_of(tmp_path, "elementary")[2].joinpath("results.json").read_bytes()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it loads the model again")

    monkeypatch.setattr(Generator, "__init__", never)
    assert measure(tmp_path, "limit=4") == first
    assert "measured already" in capsys.readouterr().out
    assert results_of(tmp_path, "elementary")[2].joinpath("results.json").read_bytes() == before
    with pytest.raises(AssertionError):
        measure(tmp_path, "limit=5")


def test_the_same_figures_whatever_was_stored(tmp_path: Path) -> None:
    measure(tmp_path / "a", "limit=40", "generation.batch_size=16")
    _, calm, place = results_of(tmp_path / "a", "elementary")
    journal = (place / "store" / "answers.jsonl").read_text().splitlines(keepends=True)
    assert len(journal) == 40
    (place / "store" / "answers.jsonl").write_text(
        "".join(journal[:21]) + journal[21][:9]
    )  # killed in the second batch
    (place / "results.json").write_text('{"status": "running"}')
    measure(tmp_path / "a", "limit=40", "generation.batch_size=16")
    assert results_of(tmp_path / "a", "elementary")[1] == calm
    assert len((place / "store" / "answers.jsonl").read_text().splitlines()) == 40


def test_answers_of_a_file(tmp_path: Path) -> None:
    records = held_out_records()
    rows = [{"id": r["id"], "prediction": r["answers"][0]} for r in records if r["check"] == "one_of"][:50]
    answers = write_rows(tmp_path / "mine.jsonl", rows)
    measure(tmp_path / "r", f"answers={answers}")
    results, _, place = results_of(tmp_path / "r", "elementary")
    assert place.name.startswith("mine-") and results["model"]["kind"] == "answers"
    assert results["coverage"]["n"] == 50 and len(results["coverage"]["missing"]) == len(records) - 50
    checkable = sum(row["n"] for row in results["tables"]["by_task"])
    assert results["scores"]["accuracy"] == pytest.approx(50 / checkable)  # no answer is a wrong answer


def test_thoughts_in_a_file_of_answers_are_taken_off(tmp_path: Path) -> None:
    record = next(r for r in held_out_records() if r["check"] == "one_of")
    row = {"id": record["id"], "prediction": f"<think>hm</think>{record['answers'][0]}"}
    answers = write_rows(tmp_path / "mine.jsonl", [row])
    for name, more in (("strip", ()), ("keep", ("generation.reasoning=keep",))):
        measure(tmp_path / name, f"answers={answers}", *more)
    _, examples, _ = results_of(tmp_path / "strip", "elementary")
    (told,) = [e for e in examples if e["id"] == record["id"]]
    assert told["prediction"] == record["answers"][0] and told["raw"] == row["prediction"]
    _, examples, _ = results_of(tmp_path / "keep", "elementary")
    assert [e["prediction"] for e in examples if e["id"] == record["id"]] == [row["prediction"]]


def test_a_local_models_thoughts_and_cut_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [Answer("<think>hm</think>word", -1.0, 5, "stop"), Answer("<think>hm, or", -1.0, 48, "length")]
    monkeypatch.setattr(Generator, "draw", lambda self, prompts, draws, tell: (drawn * len(draws))[: len(draws)])
    measure(tmp_path, "limit=4", "generation.batch_size=4")
    results, examples, _ = results_of(tmp_path, "elementary")
    assert sorted(e["prediction"] for e in examples) == ["", "", "word", "word"]
    assert results["coverage"]["n"] == 2 and results["coverage"]["empty"] == results["coverage"]["cut"]


def test_shortened_questions_are_told_whatever_was_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [r for r in held_out_records() if r["check"] == "one_of"][:3]
    rows[1]["instruction"] += " a color" * 400  # the embedded model has 512 positions
    measured = (f"benchmark.questions={write_rows(tmp_path / 'mine.jsonl', rows)}", "label=tiny")
    for _ in "ab":
        measure(tmp_path / "r", *measured)
        results, _, place = results_of(tmp_path / "r", "elementary")
        assert results["coverage"]["shortened"] == [rows[1]["id"]] and results["coverage"]["n"] == 3
        told = "1 of 3 answers are to questions that were shortened, to fit the model's positions"
        assert told in results["notes"] and f"shortened: {rows[1]['id']}" in capsys.readouterr().out
        (place / "results.json").write_text('{"status": "running"}')  # killed before the results were written


def test_a_sibling_of_a_run(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "sweep" / "3"
    run.mkdir(parents=True)
    (run / "model").symlink_to(assets.path("tiny"))
    (run / "run.json").write_text(json.dumps({"name": "sweep/3"}))
    measure(tmp_path / "r", "limit=2", f"model.path={run}")
    results, _, place = results_of(tmp_path / "r", "elementary")
    assert place.name.startswith("sweep-3-") and results["model"]["run"] == str(run)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["limit=0"], "limit: expected 1 or more"),
        (["label=a/b"], "label: expected letters, digits, single spaces and"),
        (["answers=nothing.jsonl"], "answers: no such file: nothing.jsonl"),
        (["benchmark.max_tokens=0"], "benchmark.max_tokens: expected 1 or more"),
        (["model.path=nowhere"], "model.path=nowhere: no such folder"),
        (["generation=openai"], "generation.model: missing"),
        (["generation=openai", "generation.model=m"], "generation.api_key_env: the environment variable"),
        (["benchmark=nll", "generation=openai", "generation.model=m", "generation.base_url=http://127.0.0.1:9/v1"],
         "needs the model's log-probabilities"),
        (["benchmark=agreement", "answers=ANSWERS"], "needs the model's log-probabilities"),
        (["answers=ANSWERS"], "answers none of the"),
        (["benchmark=vicuna_qa", "answers=ANSWERS"], "1 answers to no question"),
        (["benchmark=vicuna_qa", "generation=openai", "generation.model=m", "generation.base_url=http://127.0.0.1:9/v1"],
         "tiny: no such file; expected a file of answers"),
    ],
)  # fmt: skip
def test_wrong_input(words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    answers = write_rows(tmp_path / "mine.jsonl", [{"id": "nobody's", "prediction": "text"}])
    with pytest.raises(TunaError, match=told):
        measure(tmp_path / "results", *(word.replace("ANSWERS", str(answers)) for word in words))
    assert not (tmp_path / "results").exists()


def test_faults_of_the_models_and_of_the_questions_come_together(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"instruction": "Say a."}\n{"instruct')
    words = ["model.path=nowhere", "judge=local", "judge.path=nothing", f"benchmark.questions={tmp_path}/mine.jsonl"]
    words += ["benchmark.baseline=tiny"]
    with pytest.raises(TunaError, match=r"(?s)^model\.path=nowhere: .*judge\.path=nothing: .*mine\.jsonl:2: "):
        measure(tmp_path / "results", "benchmark=vicuna_qa", *words)


def test_a_reward_model_is_refused_before_its_weights_load(tmp_path: Path) -> None:
    for file in Path(assets.path("tiny")).iterdir():
        (tmp_path / "reward").mkdir(exist_ok=True)
        (tmp_path / "reward" / file.name).symlink_to(file)
    config = tmp_path / "reward" / "config.json"
    kept = json.loads(config.read_text())
    config.unlink()
    config.write_text(json.dumps(kept | {"architectures": ["LlamaForSequenceClassification"]}))
    for words in ([], ["benchmark=agreement"]):
        with pytest.raises(TunaError, match="a reward model"):
            measure(tmp_path / "results", f"model.path={tmp_path / 'reward'}", *words)
    assert not (tmp_path / "results").exists()


@pytest.mark.once
def test_killed_and_run_again(tmp_path: Path) -> None:
    def start(folder: str) -> warm.Warm:
        words = ["generation.batch_size=8", "limit=120", f"folder={tmp_path / folder}"]
        return warm.start(ROOT / "evaluate.py", words, env={"OMP_NUM_THREADS": "1"})

    killed = start("killed")
    end = time.monotonic() + 60
    while not sum(path.stat().st_size for path in tmp_path.glob("killed/*/*/store/answers.jsonl")):
        assert time.monotonic() < end and killed.poll() is None, "it never answered"
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    again, calm = start("killed"), start("calm")
    for process in (again, calm):
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert results_of(tmp_path / "killed", "elementary")[1] == results_of(tmp_path / "calm", "elementary")[1]
