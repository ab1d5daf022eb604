"""Further classes of inputs that nobody would write: files of our own that hold anything, what functions and judges
give, questions and answers of a user's, and what is typed.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.perf.generated import Any_, Case, _writable, changed, damaged, said, scalars, texts, values
from tuna.config.arguments import read_command_line
from tuna.config.compose import CONF
from tuna.config.overrides import check_command_line
from tuna.errors import DataError, TunaError
from tuna.evaluation import run as evaluation
from tuna.evaluation.questions import read_answers, read_questions
from tuna.inference.store import Journal, Store
from tuna.judges import worker
from tuna.judges.marks import chances_at, places_in
from tuna.judges.replies import VerdictError, _stored
from tuna.reporting.losses import read_losses
from tuna.reporting.read import Found, measured_in, read_examples
from tuna.reporting.rounds import read_rounds
from tuna.reproduce import rounds
from tuna.reproduce.run import _state
from tuna.runs import choose, differences, read_json, read_run, settings_of
from tuna.sweeps.jobs import job_in, jobs_in, table


def written(whole: Any) -> Any_:
    """The bytes of a JSON file of ours: with other values in it, damaged, or anything."""
    text = json.dumps(whole).encode()
    as_bytes = st.one_of(changed(whole), changed(whole).flatmap(changed)).map(lambda value: json.dumps(value).encode())
    return st.one_of(as_bytes, as_bytes, damaged(text), values.map(lambda value: json.dumps(value).encode()))


def each(*calls: Callable[[], object]) -> str:
    """ "read" where one of the calls gives something, "told" where all of them tell why not."""
    kinds = set()
    for call in calls:
        try:
            call()
            kinds.add("read")
        except TunaError as error:
            assert str(error)
            _writable(str(error))
            kinds.add("told")
    return "read" if "read" in kinds else "told"


# What functions give

given = st.one_of(
    values, st.lists(scalars, min_size=2, max_size=2), st.tuples(scalars, scalars), st.binary(max_size=4),
    st.complex_numbers(), st.decimals(), st.fractions(), st.sets(scalars.filter(lambda v: v == v), max_size=2),
    st.sampled_from([print, worker.Refused, object(), range(2), {1: 2}, iter([1.0, 2.0]), memoryview(b"ab")]),
)  # fmt: skip


def check_given(drawn: Any, folder: Path) -> str:
    """Anything as a function's value for one answer, and for two: finite numbers that JSON holds, or why not."""
    kinds = set()
    reads: tuple[Callable[[], list[float | None]], ...] = (
        lambda: [worker._number(drawn)],
        lambda: worker._numbers(drawn, 2),
    )
    for read in reads:
        try:
            found = read()
            assert all(value is None or math.isfinite(value) for value in found)
            json.dumps(found, allow_nan=False)
            kinds.add("read")
        except worker.Refused as error:
            assert str(error)
            json.dumps({"fault": str(error)}).encode()
            kinds.add("told")
    return "read" if "read" in kinds else "told"


# Probabilities of a judge's marks

_TOP = [{"token": "4", "logprob": -0.5, "bytes": [52]}, {"token": "A", "logprob": -1.5}, {"token": "10", "logprob": -3}]
_PLACES = {"content": [
    {"token": "Score", "logprob": -0.1, "bytes": None, "top_logprobs": []},
    {"token": ": ", "logprob": -0.1}, {"token": "4", "logprob": -0.5, "bytes": [52], "top_logprobs": _TOP},
]}  # fmt: skip
weighed = st.tuples(
    st.one_of(changed(_PLACES), changed(_PLACES).flatmap(changed), values),
    st.one_of(st.sampled_from(["Score: 4", "4", "", "A", "Score: 10"]), said, texts),
)


def check_weighed(drawn: tuple[Any, str], folder: Path) -> str:
    """Any log-probabilities beside any text: probabilities that sum to 1, or why there are none; a store holds them."""
    logprobs, text = drawn
    places = places_in(logprobs, text)
    line = json.loads(json.dumps({"text": text, "places": places}, allow_nan=False))
    answer, again = _stored(line)
    assert answer.text == text and [list(place) for place in again] == [list(place) for place in places]
    kind = "told"
    for at in {place.at for place in places} | {0, 7}:
        for spelled in (None, "4"):
            try:
                chances = chances_at(places, at, spelled, {"1": 1, "4": 4, "10": 10, "A": 1}, 0.2)
                assert abs(math.fsum(chances.values()) - 1) < 1e-6 and all(0 <= c <= 1 + 1e-9 for c in chances.values())
                kind = "read"
            except VerdictError as error:
                assert str(error)
    return kind


# Results

RESULT: dict[str, Any] = {
    "schema_version": 1, "benchmark": "elementary", "model": {
        "name": "a", "source": "a", "fingerprint": "0" * 16, "kind": "local", "run": None,
    },
    "settings": {"benchmark": {"name": "elementary"}}, "started": "2026-01-01T00:00:00", "status": "finished",
    "scores": {"accuracy": 0.5, "open_ended": None}, "primary": "accuracy", "lower_is_better": [],
    "intervals": {"accuracy": [0.4, 0.6]}, "baselines": {"accuracy": {"random": 0.1}},
    "tables": {"by task": [{"task": "add", "n": 3, "accuracy": 0.5}]},
    "coverage": {"N": 3, "n": 3, "missing": [], "empty": [], "cut": []}, "notes": ["a"], "versions": {"python": "3"},
    "ended": "2026-01-01T00:00:01", "config": {"seed": 0},
}  # fmt: skip


def check_results(drawn: bytes, folder: Path) -> str:
    """Anything as a results.json: shown, compared and reported, or why not."""
    place = folder / "step" / "elementary" / "a-1"
    place.mkdir(parents=True, exist_ok=True)
    path = place / "results.json"
    path.write_bytes(drawn)
    shape = {"status": str, "started": str, "scores": dict, "coverage": dict}

    def shown() -> None:
        content = read_json(path, shape)
        evaluation._is_nothing(content)
        evaluation._show(path, content)

    return each(
        shown,
        lambda: rounds.figure_in(folder / "step"),
        lambda: [(m.interval(m.primary), m.finished) for m in measured_in(folder / "step")],
        lambda: Found.read([folder / "none"], [folder / "none"], [folder / "step"]),
    )


_EXAMPLE = {"id": "q1", "task": "add", "instruction": "1 + 1", "prediction": "2", "scores": {"accuracy": 1.0}}
examples = st.lists(st.one_of(changed(_EXAMPLE), values), max_size=3).map(
    lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode()
)


def check_examples(drawn: bytes, folder: Path) -> str:
    """Anything as the examples.jsonl beside results."""
    (folder / "examples.jsonl").write_bytes(drawn)
    return each(lambda: read_examples(folder / "results.json"))


_ANSWER = {"key": "k", "text": "an answer", "finish_reason": "stop", "model": "m", "usage": {"prompt_tokens": 3}}
stored = st.lists(st.one_of(changed(_ANSWER), changed(_ANSWER).flatmap(changed)), min_size=1, max_size=3)


def check_stored(drawn: list[Any], folder: Path) -> str:
    """Lines of a store of answers, sound by their checksums, with other values in them."""
    from tuna.inference.answers import stored_answer

    path = folder / "answers.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    try:
        for row in drawn:
            journal.append({**row, "key": "k"} if isinstance(row, dict) else {"key": "k"})
        return each(lambda: [answer.to_dict() for answer in journal.read("k", stored_answer)])
    finally:
        journal.close()


_IDENTITY = {"source": {"sampler": "openai", "model": "m"}, "ranking": {"judge": "function", "functions": ["a b"]}}


def check_identities(drawn: bytes, folder: Path) -> str:
    """Anything as a store's identity.json."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    with Store(folder / "store") as store:
        (folder / "store" / "identity.json").write_bytes(drawn)
        return each(
            lambda: store.identify({"sampler": "openai", "model": "m"}, {"judge": "function", "functions": ["a b"]})
        )


# Runs, sweeps, pipelines

RUN: dict[str, Any] = {
    "schema_version": 2, "name": "a", "status": "failed", "stage": "sft", "started": "2026-01-01T00:00:00.0",
    "resumed": 0, "config": {"runs_dir": "runs", "name": "a", "resume": "auto", "stage": {"name": "sft"}, "seed": 1},
    "parents": {"model": "m", "model_fingerprint": "f", "model_run": None, "data_sha256": "d", "data": {}},
    "metrics": {"val/loss": 1.0}, "before": {"loss": 2.0}, "versions": {}, "memory": None, "after": {"loss": 1.0},
}  # fmt: skip


def check_runs(drawn: bytes, folder: Path) -> str:
    """Anything as a run.json: read, compared with a config, taken up or passed by, and reported."""
    run = folder / "runs" / "a"
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_bytes(drawn)
    config = {**RUN["config"], "runs_dir": str(folder / "runs"), "name": None}
    return each(
        lambda: differences(read_run(run), config, "d", "f"),
        lambda: choose(config, "d", "f").run_id(),
        lambda: settings_of(read_run(run).get("config", {})),
        lambda: Found.read([folder / "runs"], [], []),
    )


JOB = {
    "schema_version": 1, "job": 0, "swept": ["seed=1"], "identity": "i", "status": "finished", "files": "f",
    "started": "2026-01-01T00:00:00.0", "ended": "2026-01-01T00:00:01.0", "error": None, "exit_code": None,
    "metrics": {"val/loss": 0.5}, "dry": False,
}  # fmt: skip


def check_jobs(drawn: bytes, folder: Path) -> str:
    """Anything as a job.json: whether it is done, the table of its sweep, and the report."""
    job = folder / "s" / "0"
    job.mkdir(parents=True, exist_ok=True)
    (job / "job.json").write_bytes(drawn)

    def done() -> None:
        found = job_in(job)
        assert found is not None
        found.is_done({"path": str(folder)})

    return each(
        done,
        lambda: table([each.read() for each in jobs_in(folder / "s")], "val/loss"),
        lambda: Found.read([folder / "s"], [], []),
    )


STEPS = {
    "s0-a": {
        "command": "python train.py",
        "needs": [],
        "status": "finished",
        "seconds": 1.0,
        "ended": 1.7e9,
        "bytes": None,
        "whole": True,
    }
}


def check_steps(drawn: bytes, folder: Path) -> str:
    """Anything as a pipeline's steps.json: what of it is done, or what is wrong."""
    from tuna.reproduce.clock import Clock
    from tuna.reproduce.plan import Step
    from tuna.reproduce.run import _Run

    (folder / "steps.json").write_bytes(drawn)
    (folder / "made").mkdir(exist_ok=True)
    step = Step("s0-a", "a", ("train.py",), (), folder / "made")

    def done() -> None:
        steps = [step, Step("s0-b", "b", ("train.py",), (), folder / "none")]
        run = _Run(steps, folder, 1, _state(folder), Clock(steps, {"a": 1.0}))
        run._forecast(run._done())

    return each(done)


ROUNDS = {"patience": 1, "rows": [
    {"name": "Start", "round": 0, "seed": 0, "model": None, "measured": ["step", None]},
    {"name": "Round 1", "round": 1, "seed": 0, "model": "runs/a", "measured": ["step"]},
]}  # fmt: skip
LOSSES = {
    "baseline": "tuna", "start": "step", "sizes": {"tuna": {"4": "tuna"}}, "losses": {"tuna": "step", "dpo": "step"},
    "contrasts": [["dpo", "tuna"]],
}  # fmt: skip


def check_books(drawn: tuple[bytes, bytes], folder: Path) -> str:
    """Anything as the book of rounds, and of losses, beside a sound result."""
    place = folder / "step" / "elementary" / "a-1"
    if not place.exists():
        place.mkdir(parents=True)
        (place / "results.json").write_text(json.dumps(RESULT))
        rows = [_EXAMPLE | {"id": f"q{n}"} for n in range(3)]
        (place / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rounds.json").write_bytes(drawn[0])
    (folder / "losses.json").write_bytes(drawn[1])
    return each(lambda: read_rounds(folder / "rounds.json"), lambda: read_losses(folder / "losses.json"))


# A user's questions and answers

_QUESTIONS: tuple[Mapping[str, Any], ...] = (
    {"question_id": 1, "category": "generic", "turns": ["Why?"]},
    {"id": "a", "instruction": "Add.", "input": "1, 2", "category": "math", "output": "3", "extra": [1]},
    {"id": "b", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
     "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"instruction": "Name it.", "task": "name", "check": "one_of", "answers": ["a"]},
)  # fmt: skip
_ANSWERS: tuple[Mapping[str, Any], ...] = (
    {"task": "add", "id": "q1", "prediction": "2"}, {"instruction": "Add.", "input": "1, 2", "output": "3"},
    {"messages": [{"role": "user", "content": "Why?"}], "output": "So."}, {"id": 7, "output": ""},
)  # fmt: skip


def rows_of(wholes: tuple[Mapping[str, Any], ...]) -> Any_:
    """One or two rows, with other values in them, as a file of JSON lines."""
    row = st.sampled_from(range(len(wholes))).flatmap(lambda k: changed(wholes[k]))
    return st.lists(row, min_size=1, max_size=2).map(lambda r: "".join(json.dumps(x) + "\n" for x in r).encode())


def check_questions(drawn: bytes, folder: Path) -> str:
    """Any rows as the questions of a benchmark."""
    (folder / "q.jsonl").write_bytes(drawn)

    def read() -> None:
        found = read_questions(str(folder / "q.jsonl"))
        if not found.questions:
            raise DataError("none")
        _writable(*(text for question in found.questions for name in question.names for text in name))

    return each(read)


@cache
def _asked() -> Any:
    path = CONF.parent / "tuna" / "assets" / "instructions" / "held_out.jsonl"
    return read_questions(str(path)).questions[:3]


def check_answers(drawn: bytes, folder: Path) -> str:
    """Any rows as answers that were given already."""
    (folder / "a.jsonl").write_bytes(drawn)
    return each(
        lambda: read_answers(str(folder / "a.jsonl")), lambda: read_answers(str(folder / "a.jsonl")).match(_asked())
    )


# What is typed

_KEYS = ("loss.lambda", "loss.margin", "module.lr", "trainer.max_steps", "seed", "name", "stage", "loss", "model.path",
         "datamodule.path", "datamodule.held_out", "loss.lamda", "model", "logger.group", "x", "+x.y", "~loss.margin",
         "trainer.precision", "hydra.run.dir", "--seed", "loss.lambda_", "datamodule.sources")  # fmt: skip
_TYPED = (
    "1", "0.1", "1e-5", "-1", "nan", "inf", "null", "true", "tuna_c", "a,b", "1,2", "[1,2]", "{a: 1}", "range(1,3)",
    "choice(1,2)", "${seed}", "${oc.env:HOME}", "${now:%Y}", "''", '"a b"', "glob(*)", "0x10", "1_000", "'", "[", "\\",
    "interval(0,1)", "tiny", "1e400", "9" * 30, "/", "..", "~", "=", "tag(a, choice(1, 2))",
)  # fmt: skip
keys = st.sampled_from(_KEYS)
typed = st.lists(
    st.one_of(
        st.builds(lambda key, value: f"{key}={value}", keys, st.one_of(st.sampled_from(_TYPED), texts)),
        st.builds(lambda key, value: f"{key}={value!r}", keys, st.one_of(st.floats(), st.integers())),
        texts,
    ),
    min_size=1,
    max_size=3,
)


def check_words(drawn: list[str], folder: Path) -> str:
    """Any words of a command line, as a user or an agent of W&B's types them: they are read, or it is said why not."""

    def read() -> None:
        line = read_command_line([word for word in drawn if "\0" not in word])
        if line.wrong:
            raise DataError("\n".join(line.wrong))

    return each(read)


def check_commands(drawn: list[str], folder: Path) -> str:
    """The same, composed and checked against the keys that there are."""

    def read() -> None:
        line = read_command_line([word for word in drawn if "\0" not in word])
        if not (line.shows_help or line.shows_version or line.only_hydra):
            check_command_line(line, config_dir=CONF, config_name="train")

    return each(read)


CASES = {
    "values of functions": Case(given, check_given, 0.20),
    "probabilities of marks": Case(weighed, check_weighed, 0.20),
    "results": Case(written(RESULT), check_results, 0.02),
    "examples of results": Case(examples, check_examples, 0.01),
    "stored answers": Case(stored, check_stored, 0.01),
    "identities of stores": Case(written(_IDENTITY), check_identities, 0.005),
    "run.json": Case(written(RUN), check_runs, 0.015),
    "job.json": Case(written(JOB), check_jobs, 0.015),
    "steps.json": Case(written(STEPS), check_steps, 0.015),
    "books of rounds and losses": Case(st.tuples(written(ROUNDS), written(LOSSES)), check_books, 0.01),
    "questions": Case(rows_of(_QUESTIONS), check_questions, 0.015),
    "given answers": Case(rows_of(_ANSWERS), check_answers, 0.01),
    "words of a command": Case(typed, check_words, 0.01),
    "commands": Case(typed, check_commands, 0.0005),
}
