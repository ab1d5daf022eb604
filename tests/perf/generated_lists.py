"""Further classes of inputs that nobody would write: what rank.py wrote and reads again, what a user gives beside data,
and what people filled in.
"""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.perf.generated import Case, changed, damaged, records, texts, values
from tests.perf.generated_own import RESULT, each, rows_of, written
from tuna.data.columns import WORDS, check_columns
from tuna.data.load import Source, load_questions, load_source
from tuna.evaluation.human_study.benchmark import by_pair
from tuna.evaluation.human_study.pages import read_sheets
from tuna.evaluation.super_ni.data import SPLIT, read_clone
from tuna.inference.cost import Usage
from tuna.judges.replies import VerdictError
from tuna.judges.structured import read_object, read_schema
from tuna.ranking.outputs import OutputPaths, check_places, note_written
from tuna.ranking.run import first_usage
from tuna.ranking.tools import best, clear, compare, merge
from tuna.reporting import shapes
from tuna.reporting.lengths import longer_first
from tuna.reporting.own import own_runs
from tuna.reporting.parents import Parents
from tuna.reporting.read import Found
from tuna.reproduce import rounds

# What rank.py wrote

_LIST = {
    "id": "q1", "instruction": "Do.", "input": "", "output": "z", "dropped": ["v"], "responses": [
        {"text": "a b", "score": 1.0, "source": "sampler", "sample": 0, "judge_score": 4},
        {"text": "z", "score": 0.5, "source": "original"},
        {"text": "c", "score": 0, "logprob": -1.5, "num_tokens": 2},
    ],
}  # fmt: skip
_LISTS = (_LIST, {**_LIST, "id": "q2"})
IDENTITY = {"source": {"ranker": "contextual", "model": "m"}, "ranking": {"judge": "checker"}}
REPORT: dict[str, Any] = {
    "schema_version": 1, "identity": IDENTITY, "output_sha256": "0" * 64, "lists": 2, "unusable": 0, "missing": 0,
    "usage": {"requests": 4, "prompt_tokens": 60, "completion_tokens": 5, "cost": 2.0},
    "ranking": {"lists": 2, "answers": 6, "size": 3, "lengths": [2, 1.5, 1], "length_correlation": 0.4},
    "shard": {"index": 1, "count": 1, "ids": ["q1", "q2"]},
    "config": {"name": "a", "seed": 0, "ranker": {"n": 4, "path": "runs/p"}, "prices": {"human_comparison": 0.25}},
}  # fmt: skip


def check_lists(drawn: tuple[bytes, bytes], folder: Path) -> str:
    """Anything as ranked lists, and as the report beside them: the tools of rank.py take them, or tell why not."""
    lists, whole, out = folder / "a.jsonl", folder / "b.jsonl", folder / "out.jsonl"
    lists.write_bytes(drawn[0])
    lists.with_suffix(".report.json").write_bytes(drawn[1])
    whole.write_text("".join(json.dumps(row) + "\n" for row in _LISTS))

    def made(tool: Any, *words: Any) -> None:
        out.unlink(missing_ok=True)
        tool(*words)
        load_source(Source(str(out)), preview=True)

    return each(
        lambda: compare(str(lists), str(whole)),
        lambda: made(best, str(lists), str(out)),
        lambda: made(clear, str(lists), str(out)),
        lambda: made(merge, str(out), [str(lists)]),
    )


def check_rankings(drawn: tuple[bytes, bytes], folder: Path) -> str:
    """Anything as the report of a ranking, and as its lists: what report.py says of them."""
    (folder / "a.jsonl").write_bytes(drawn[1])
    (folder / "a.report.json").write_bytes(drawn[0])

    def reported() -> None:
        found = Found.read([folder / "none"], [folder], [folder / "none"])
        for table in (shapes.length_table(found.rankings), shapes.cost_table(found.rankings)):
            table.markdown()
            table.latex()
        for ranking in found.rankings:
            Parents(found).signature(ranking)
            assert all(isinstance(key, str) for key in ranking.ranker)
        longer_first(found, "contextual")

    return each(reported)


def check_notes(drawn: tuple[bytes, bytes, bytes, bytes], folder: Path) -> str:
    """Anything as the small files by which we know what we did: the latest measurement, the outputs written, what was
    expected of a collection, a run's answers."""
    place = folder / "step" / "elementary" / "a-1"
    store, run = folder / "r.store", folder / "runs" / "a"
    for path in (place, store, run):
        path.mkdir(parents=True, exist_ok=True)
    (place / "results.json").write_text(json.dumps(RESULT))
    (folder / "step" / "latest.json").write_bytes(drawn[0])
    (store / "identity.json").write_text(json.dumps(IDENTITY))
    (folder / "r.jsonl").write_text("{}\n")
    (store / "written.json").write_bytes(drawn[1])
    (store / "estimate.json").write_bytes(drawn[2])
    (run / "run.json").write_text(json.dumps({"status": "finished", "config": {}, "stage": "sft"}))
    (run / "samples.jsonl").write_bytes(drawn[3])

    def again() -> None:
        places = OutputPaths(folder / "r.jsonl")
        note_written(places, "0" * 64)
        check_places(places, None)

    def answered() -> None:
        found = Found.read([folder / "runs"], [folder / "none"], [folder / "none"])
        group = own_runs(found.runs, folder, found.problems)
        assert group is not None
        for table in group.tables:
            table.markdown()

    return each(
        lambda: rounds.figure_in(folder / "step"),
        again,
        lambda: sum(first_usage(store / "estimate.json").values(), Usage()),
        answered,
    )


_ESTIMATE = {"sampler": {"requests": 2, "prompt_tokens": 9, "completion_tokens": 4, "cost": 0.5}}
_SAMPLE = {"id": "q1", "instruction": "1 + 1", "input": "", "before": "3", "after": "2"}
notes = st.tuples(
    written({"results": "elementary/a-1"}), written({"sha256": ["0" * 64]}), written(_ESTIMATE), rows_of((_SAMPLE,))
)

# What a user gives beside data

_CELL = {"table": "1", "system": "Tuna", "column": "LMentry", "value": 1.5}


def check_cells(drawn: bytes, folder: Path) -> str:
    """Anything as the numbers of a paper that report.py shows beside ours (paper=FILE)."""
    (folder / "paper.json").write_bytes(drawn)

    def shown() -> None:
        for table in shapes.read_paper_tables(folder / "paper.json"):
            table.markdown()
            table.latex()

    return each(shown)


_SCHEMA: dict[str, Any] = {
    "type": "object", "required": ["score"], "additionalProperties": False, "properties": {
        "score": {"type": "integer", "minimum": 1, "maximum": 5}, "why": {"type": ["string", "null"]},
        "marks": {"type": "array", "items": {"enum": [1, "a", None]}, "minItems": 1, "maxItems": 3},
    },
}  # fmt: skip
_REPLY = {"score": 4, "why": "short", "marks": [1, "a"]}
replied = st.one_of(changed(_REPLY), st.just(_REPLY), values).map(json.dumps)


def check_schemas(drawn: tuple[bytes, str], folder: Path) -> str:
    """Anything as a judge's JSON schema, and any JSON as its reply: a value, or why there is none."""
    (folder / "schema.json").write_bytes(drawn[0])
    schema = read_schema(str(folder / "schema.json"), "score")
    try:
        read_object(drawn[1], True, schema, "score")
    except VerdictError as error:
        assert str(error)
    return "read"


mappings = st.dictionaries(
    st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), texts),
    st.one_of(st.sampled_from(["instruction", "output", "responses", "text", "score", "a.b"]), values),
    min_size=1,
    max_size=4,
)


def check_rows_to_rank(drawn: tuple[list[Any], Any], folder: Path) -> str:
    """Rows of any format with other values in them as rank.py's input, under any mapping of columns."""
    rows, columns = drawn
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if columns is not None:
        check_columns(columns, "input_columns")
    found = load_questions(Source(str(folder / "a.jsonl"), None, columns=columns, key="input"))
    for record in found.records:
        json.dumps([record.question, record.extra], allow_nan=False, ensure_ascii=False)
    return "read" if found.records else "told"


_TASK = {
    "Definition": ["Add the numbers."], "Categories": ["Math"], "Positive Examples": [{"input": "1 2", "output": "3"}],
    "Instances": [{"id": "t-1", "input": "2 2", "output": ["4", "four"]}, {"id": "t-2", "input": 3, "output": ["3"]}],
}  # fmt: skip


def check_tasks(drawn: bytes, folder: Path) -> str:
    """Anything as a task of Super-NaturalInstructions."""
    for path in (folder / SPLIT, folder / "tasks" / "t.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / SPLIT).write_text("t\n")
    (folder / "tasks" / "t.json").write_bytes(drawn)
    return each(lambda: read_clone(str(folder), 2))


# What people filled in

_KEY: dict[str, Any] = {
    "schema_version": 1, "study": "s", "systems": ["x", "y"], "annotators": {"1": {"q1": {"A": ["x"], "B": ["y"]}}},
    "questions": [{"id": "q1", "category": "c", "instruction": "Why?", "input": ""}],
}  # fmt: skip
_SHEET = {"schema_version": 1, "study": "s", "annotator": "1", "places": {"q1": {"A": 2, "B": 1}}}
sheets = st.one_of(
    st.tuples(written(_SHEET), st.just(json.dumps(_KEY).encode())),
    st.tuples(st.just(json.dumps(_SHEET).encode()), written(_KEY)),
)


def check_sheets(drawn: tuple[bytes, bytes], folder: Path) -> str:
    """Anything as a sheet of the human study, or as what unblinds it."""
    (folder / "sheet.json").write_bytes(drawn[0])
    (folder / "unblinding.json").write_bytes(drawn[1])

    def scored() -> None:
        found = read_sheets([str(folder / "sheet.json")], str(folder / "unblinding.json"))
        by_pair(found.points, found.systems, 0.01)

    return each(scored)


lists = rows_of(_LISTS)
CASES = {
    "ranked lists": Case(st.tuples(st.one_of(lists, damaged(json.dumps(_LIST).encode())), written(REPORT)),
                         check_lists, 0.02),
    "reports of rankings": Case(st.tuples(written(REPORT), lists), check_rankings, 0.02),
    "notes of ours": Case(notes, check_notes, 0.01),
    "rows to rank": Case(st.tuples(st.lists(records, min_size=1, max_size=2), st.one_of(st.none(), mappings)),
                         check_rows_to_rank, 0.03),
    "numbers of a paper": Case(st.one_of(written([_CELL]), written([_CELL, _CELL])), check_cells, 0.02),
    "schemas of judges": Case(st.tuples(written(_SCHEMA), replied), check_schemas, 0.03),
    "tasks of a clone": Case(written(_TASK), check_tasks, 0.02),
    "sheets of a study": Case(sheets, check_sheets, 0.02),
}  # fmt: skip
