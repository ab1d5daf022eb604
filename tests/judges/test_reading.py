"""What replies are read as: scores, choices, JSON; and the probabilities where they stand."""

import json
import math
import re
from typing import Any

import pytest

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.judges.marks import Mark, chances_at, places_in
from tuna.judges.prompt import Prompt
from tuna.judges.reading import Form
from tuna.judges.replies import Place, Reply, VerdictError
from tuna.judges.structured import misfit, read_schema, verdict_schema

pytestmark = pytest.mark.once

SCORE = Form("pointwise", "score")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}}}


@pytest.mark.parametrize(
    "text",
    [
        "It errs once.\nScore: 4", "**Score:** 4/5", "Final score: **4** out of 5.", "Overall Rating = 4", "4",
        " 4/5. ",
        "Feedback: fine. [RESULT] 4", "Good.\n[[4]]", "# Score: [4]", "<think>Score: 2</think>Score: 4", "Score: 4.0",
        'It says "Score: 1" itself.\nScore: 4', "Score: 4\n\nIt errs once.", "Clarity score: 3\nScore: 4", "- Score: 4",
    ],
)  # fmt: skip
def test_scores(text: str) -> None:
    assert SCORE.mark(Reply(text)).value == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Score: 2\nScore: 4", "scores that differ: 2 and 4"),
        ("Score: 9", "a score from 1 to 5, got 9"),
        ("Score: 0", "from 1 to 5, got 0"),
        ("Score: 4/10", "out of 5, got 4 out of 10"),
        ("Score: 4 or 5", "more than one number"),
        ("Score: -4", "no line with Score: N"),
        ("It gets 4 points.", "no line with Score: N"),
        ("3 answers are worse.", "no line with Score: N"),
        ('"Score: 4" is what it asks for, no more.', "but in a quote"),
        ("<think>Score: 4", "no line with Score: N"),
        ("Score: N", "no line with Score: N"),
        ("", "no line with Score: N"),
    ],
)
def test_what_is_no_score(text: str, reason: str) -> None:
    with pytest.raises(VerdictError, match=reason):
        SCORE.mark(Reply(text))
    with pytest.raises(VerdictError, match="cut by its token limit"):
        SCORE.mark(Reply(text, finished=False))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("pointwise", "4", 4), ("pointwise", '{"score": 4}', 4), ("pointwise", "Score: 4/5, since", 4),
        ("pairwise", "A", 1), ("pairwise", '{"choice": "B"}', -1), ("pairwise", "[[A]]", 1),
        ("pairwise", "Answer B.", -1),
        ("pairwise", "Better answer: A\nIt is", 1), ("pairwise", "A good answer is", None), ("pointwise", "None", None),
        ("pointwise", "7", None), ("pointwise", "<think>4</think>", None), ("pointwise", "-4", None),
    ],
)  # fmt: skip
def test_a_mark_alone_cut_or_not(kind: Any, text: str, value: float | None) -> None:
    form = Form(kind, "score" if kind == "pointwise" else "choice", direct=True)
    if value is not None:
        assert form.mark(Reply(text, finished=False)).value == value
    else:
        with pytest.raises(VerdictError):
            form.mark(Reply(text, finished=False))


def given(*tokens: tuple[str, dict[str, float]]) -> dict[str, Any]:
    """Log-probabilities as a chat server gives them, from probabilities."""
    content = []
    for token, chances in tokens:
        top = [{"token": other, "logprob": math.log(p)} for other, p in chances.items()]
        own = chances.get(token, 1.0)
        content.append({"token": token, "logprob": math.log(own), "bytes": None, "top_logprobs": top})
    return {"content": content}


def test_the_mean_is_taken_where_the_mark_stands() -> None:
    tokens = given(
        ("4", {"4": 1.0}), (" faults", {" faults": 0.9}), ("\nScore", {}), (":", {}), (" ", {}),
        ("2", {"2": 0.5, " 2": 0.1, "4": 0.2, "good": 0.2}), ("/", {"/": 1.0}), ("5", {"5": 0.9}),
    )  # fmt: skip
    text = "4 faults\nScore: 2/5"
    places = places_in(tokens, text)
    assert [(p.at, p.token) for p in places] == [(0, "4"), (16, "2"), (18, "5")]
    form = Form("pointwise", "score", chances=True)
    mark = form.mark(Reply(text, places=places))
    assert mark.chances == pytest.approx({2: 0.75, 4: 0.25}) and mark.value == pytest.approx(2.5)
    with pytest.raises(VerdictError, match=r"the marks have 0\.8 of the probability at their place, less than 0\.9"):
        Form("pointwise", "score", chances=True, least=0.9).mark(Reply(text, places=places))
    assert Form("pointwise", "score", chances=None, least=0.9).mark(Reply(text, places=places)).chances is None
    assert Form("pointwise", "score", chances=False).mark(Reply(text, places=places)).value == 2


def test_a_thought_before_the_text_and_tokens_that_do_not_spell_it() -> None:
    tokens = given(("<think>", {}), ("5", {"5": 1.0}), ("</think>", {}), ("é", {}), ("4", {"4": 0.5, "5": 0.5}))
    assert [(p.at, p.token) for p in places_in(tokens, "é4")] == [(0, "é"), (1, "4")]
    assert places_in(tokens, "other") == places_in(None, "4") == places_in({"content": [None]}, "4") == []


def spelled(*tokens: tuple[object, object]) -> dict[str, Any]:
    """Tokens with the bytes that a server gives for each."""
    return {"content": [{"token": token, "bytes": given} for token, given in tokens]}


@pytest.mark.parametrize(
    ("tokens", "text", "places"),
    [
        (spelled(("\\xc3", [195]), ("\\xa9", [169]), ("4", [52])), "é4", [(0, "\ufffd"), (1, "4")]),
        (spelled(("nul", [0]), ("4", [52])), "\x004", [(0, "\x00"), (1, "4")]),
        (spelled(("4", [256]), ("5", ["5"]), ("6", None)), "456", [(0, "4"), (1, "5"), (2, "6")]),
        (spelled(("\ud800", None), (None, None), ("4", None)), "?4", [(0, "?"), (1, "4")]),
        (spelled(("4", None), (" ", None), ("5", None)), "4", [(0, "4")]),  # what follows is none of the text's
        (spelled(("2", None), (".", None), ("2", None), (".", None)), "2.", [(0, "2")]),  # the last, after a thought
        (spelled(("4", None)), "other", []),
        (spelled(("4", None)), "", []),
        (spelled(*[("1", None)] * 20), "1" * 20, [(at, "1") for at in (0, *range(4, 20))]),  # the first and 16
    ],
)
def test_places_are_counted_in_the_text(tokens: Any, text: str, places: list[tuple[int, str]]) -> None:
    assert [(p.at, p.token) for p in places_in(tokens, text)] == places


@pytest.mark.parametrize(
    ("given", "top"),
    [
        ([("5", -1.1234567), ("6", -9999), ("7", 0.5), ("8", None)], {"5": -1.123457}),
        ([("good", -1), ("9", -9998)], {"9": -9998}),
        ([], None), ("x", None), (None, None),
    ],
)  # fmt: skip
def test_alternatives_that_may_be_marks(given: Any, top: dict[str, float] | None) -> None:
    rows = [{"token": t, "logprob": p} for t, p in given] if isinstance(given, list) else given
    (place,) = places_in({"content": [{"token": "4", "logprob": -0.5, "top_logprobs": rows}]}, "4")
    assert place.top == ({} if top is None else {"4": -0.5} | top)


def test_chances_are_of_the_token_at_the_place() -> None:
    values = {str(k): float(k) for k in range(1, 11)}
    places = [Place(0, "4", {"4": 0.0}), Place(1, "5", {"5": math.log(0.9)})]
    of_two = chances_at([Place(0, "A", {"A": math.log(0.5), "4": math.log(0.25)})], 0, None, {"A": 4, "4": 4}, 0.5)
    assert of_two == {4: pytest.approx(1)}  # two spellings of one value
    assert chances_at(places, 1, None, values, 0.5) == {5: 1} == chances_at(places, 1, "5", values, 0.5)
    for at, wanted in ((1, "4"), (2, None)):
        with pytest.raises(VerdictError, match=r"^no log-probabilities of the marks where the mark stands$"):
            chances_at(places, at, wanted, values, 0.5)
    unsure = Place(0, "9", {"9": math.log(0.59), "1": math.log(0.01)})  # 1 of 60 that are seen
    with pytest.raises(VerdictError, match="10 is spelled by several tokens"):
        chances_at([unsure], 0, "9", values, 0.5)


def test_a_mark_that_the_text_spells_otherwise_has_no_place() -> None:
    reply = Reply("\uff3b\uff3bA\uff3d\uff3d", places=[Place(0, "\uff3b\uff3bA", {"A": 0.0})])
    with pytest.raises(VerdictError, match="no log-probabilities"):
        Form("pairwise", "choice", chances=True).mark(reply)
    assert Form("pairwise", "choice", chances=None).mark(reply) == Mark(1.0)


def test_a_choice_is_its_probability_either_way_round() -> None:
    text = "Because.\n[[B]]"
    places = places_in(given(("Because.\n", {}), ("[[", {}), ("B", {"B": 0.6, "A": 0.3, "C": 0.1}), ("]]", {})), text)
    mark = Form("pairwise", "choice", chances=True).mark(Reply(text, places=places))
    assert mark.value == pytest.approx(-0.3) and mark.turned(-1).value == pytest.approx(0.3) and mark.sign == -1
    assert mark.turned(-1).chances == pytest.approx({1: 0.6, -1: 0.3, 0: 0.1})
    assert Mark(1.0).turned(-1) == Mark(-1.0)


def test_a_reply_that_is_no_mark_still_has_its_probabilities_at_the_start() -> None:
    places = places_in(given(("The", {"The": 0.2, "3": 0.3, "4": 0.3}), (" ", {})), "The ")
    form = Form("pointwise", "score", direct=True, chances=None)
    assert form.mark(Reply("The ", finished=False, places=places)).value == pytest.approx(3.5)
    with pytest.raises(VerdictError, match="less than"):
        Form("pointwise", "score", direct=True, chances=None, least=0.7).mark(Reply("The ", places=places))


def test_a_mark_of_two_tokens_is_read_as_text() -> None:
    values = {str(k): float(k) for k in range(1, 11)}
    at = Place(0, "1", {"1": math.log(0.6), "9": math.log(0.4)})
    with pytest.raises(VerdictError, match="10 is spelled by several tokens"):
        chances_at([at], 0, "1", values, 0.5)
    whole = Place(0, "10", {"10": math.log(0.6), "1": math.log(0.1), "9": math.log(0.3)})
    assert chances_at([whole], 0, "10", values, 0.5) == pytest.approx({10: 0.6, 1: 0.1, 9: 0.3})
    sure = Place(0, "9", {"9": math.log(0.99), "1": math.log(0.005)})
    assert chances_at([sure], 0, "9", values, 0.5)[9] > 0.99


def as_json(field: str = "score", kind: Any = "pointwise", **more: Any) -> Form:
    return Form(kind, "json", schema=SCHEMA if field == "score" else {"type": "object"}, field=field, **more)


@pytest.mark.parametrize(
    "text", ['{"why": "4 {", "score": 3}', 'So:\n```json\n{"score": 3}\n```', '<think>{"score": 1}</think>{"score": 3}',
             '{"score": 3} and again {"score": 3}', '{"score": 9} no, {"score": 3}', "{'a': 1} {\"score\": 3.0}"],
)  # fmt: skip
def test_json(text: str) -> None:
    assert as_json().mark(Reply(text)).value == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"score": 3} {"score": 4}', "JSON objects that differ"),
        ('{"score": 9}', "score: expected at most 5, got 9"),
        ('{"score": "3"}', "score: expected integer"),
        ('{"score": true}', "score: expected integer"),
        ('{"mark": 3}', "expected the field 'score'"),
        ('{"score": 3', "no JSON object"),
        ("[3]", "no JSON object"),
        ("{" * 5000, "no JSON object"),
    ],
)
def test_what_is_no_json(text: str, reason: str) -> None:
    with pytest.raises(VerdictError, match=reason):
        as_json().mark(Reply(text))


def test_a_whole_number_with_a_fraction_of_zero_is_a_mark() -> None:
    form = Form("pointwise", "json", schema=verdict_schema("pointwise", (1, 5)), field="score")
    assert form.mark(Reply('{"score": 3.0}')).value == 3
    with pytest.raises(VerdictError, match="score: expected integer, got true"):
        form.mark(Reply('{"score": true}'))


def test_json_choices_and_ranks() -> None:
    assert as_json("choice", "pairwise").mark(Reply('{"choice": "B"}')).value == -1
    with pytest.raises(VerdictError, match="expected A, B or C, got D"):
        as_json("choice", "pairwise").mark(Reply('{"choice": "D"}'))
    listwise = as_json("rank", "listwise")
    assert listwise.rank(Reply('{"rank": [2, 0, 1]}'), 3).order == (2, 0, 1)
    for text, reason in (
        ("[0, 0]", "twice"),
        ("[3, 0]", r"unknown responses \[3\] \(known: 0 to 2\)"),
        ('"x"', "a list"),
    ):
        with pytest.raises(VerdictError, match=reason):
            listwise.rank(Reply(json.dumps({"rank": json.loads(text)})), 3)


def test_ranks_in_words_and_the_judges_own_answer() -> None:
    reply = Reply("rank: [1, 2, 0]")
    assert Form("listwise", "rank").rank(reply, 3).order == (1, 2, 0)
    with pytest.raises(VerdictError, match="unknown"):
        Form("listwise", "rank").rank(reply, 2)
    own = Form("listwise", "rank", own=True)
    assert (own.rank(reply, 2).order, own.rank(reply, 2).reference) == ((1, 0), 1)
    with pytest.raises(VerdictError, match="cut"):
        own.rank(Reply("rank: [1, 0]", finished=False), 2)
    assert as_json("rank", "listwise", own=True).rank(Reply('{"rank": [2, 0]}'), 2).order == (0,)
    for text in ('["0"]', "[true]"):
        with pytest.raises(VerdictError, match=r"rank: expected a list of numbers, got \[('0'|True)\]"):
            as_json("rank", "listwise").rank(Reply(f'{{"rank": {text}}}'), 2)


def test_the_place_of_a_mark_in_json() -> None:
    text = '{"score": 3}'
    tokens = given(('{"', {}), ("score", {}), ('":', {}), (" ", {}), ("3", {"3": 0.5, "5": 0.5}), ("}", {}))
    assert as_json(chances=True).mark(Reply(text, places=places_in(tokens, text))).value == pytest.approx(4)


def test_what_is_asked_names_the_scale_and_the_form_of_the_reply() -> None:
    record, prompt = Record("1", "Name a color."), Prompt.load("rubric")
    told = Form("pointwise", "score", (2, 9)).show(prompt, record, "Teal.")
    assert "a whole number from 2 (the worst) to 9 (the best)" in told and told.rstrip().endswith("Score: N")
    assert "===== Request =====\nName a color.\n===== Answer =====\nTeal.\n" in told
    direct = Form("pointwise", "score", (2, 9), direct=True).show(prompt, record, "Teal.")
    assert direct.rstrip().endswith("Reply with the number alone.") and "Score: N" not in direct


def test_schemas() -> None:
    assert misfit([1, "x"], {"type": "array", "items": {"type": "integer"}}) == '[1]: expected integer, got "x"'
    assert misfit({"a": {"b": 1}}, {"properties": {"a": {"required": ["c"]}}}) == (
        "a: expected the field 'c', got {\"b\": 1}"
    )
    closed = {"properties": {"a": {}}, "additionalProperties": False}
    assert misfit({"a": 1, "x": 2}, closed) == "the reply: expected no field 'x'"
    assert misfit([1], {"minItems": 2}) and misfit(2, {"enum": [1]}) and misfit(0, {"minimum": 1})
    for schema, reason in (({"type": "array"}, "of an object"), ({"properties": {"mark": {}}}, "'score'.*got mark")):
        with pytest.raises(ConfigError, match=f"schema.*{reason}"):
            read_schema(schema, "score")
    assert misfit({"a": 1}, {"properties": {"a": True}}) is None


@pytest.mark.parametrize(
    ("schema", "fit", "unfit"),  # by json-schema.org, draft 2020-12
    [
        ({"const": 3}, [3, 3.0], [2, "3", True, None]),
        ({"enum": [1, "a", None]}, [1, 1.0, "a", None], [True, "b", [], 0]),
        ({"enum": [True, 0]}, [True, 0], [1, False]),
        ({"type": "boolean"}, [True, False], [1, 0, "true", None]),
        ({"type": "integer"}, [1, 1.0, -7], [1.5, True, "1"]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"type": "null"}, [None], [0, False, ""]),
        ({"type": ["string", "null"]}, ["", None], [0, []]),
        ({}, [0, "a", [], {}, None, True], []),
        ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "any", 5], [[], [1, 2, 3]]),
        ({"maxItems": 0}, [[]], [[1]]),
        ({"minimum": 1, "maximum": 2}, [1, 2, 1.5, "5"], [0.9, 2.1]),
        ({"items": {"type": "string"}}, [[], ["a"], 5], [["a", 5]]),
        ({"properties": {"a": False}}, [{}, {"b": 1}], [{"a": 1}]),
    ],
)
def test_what_fits_a_schema(schema: dict[str, Any], fit: list[Any], unfit: list[Any]) -> None:
    assert [value for value in fit if misfit(value, schema) is not None] == []
    assert [value for value in unfit if misfit(value, schema) is None] == []


@pytest.mark.parametrize(
    ("keyword", "told"),
    [({"type": "integre"}, "score.type: expected one or several of object"), ({"type": [["x"]]}, "score.type"),
     ({"enum": 5}, "score.enum: expected a list, got 5"), ({"minimum": "1"}, "score.minimum: expected a number, got 1"),
     ({"maxItems": True}, "score.maxItems: expected a number"), ({"items": {"required": [{}]}}, "score.items.required"),
     ({"items": 3}, "score.items: expected an object, got 3"), ({"properties": []}, "score.properties: expected")],
)  # fmt: skip
def test_keywords_that_are_none(keyword: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"schema: properties.{told}")):
        read_schema({"properties": {"score": keyword}}, "score")


def test_schema_files(tmp_path: Any) -> None:
    (tmp_path / "s.json").write_text('{"properties": {\n  "score": }}')
    with pytest.raises(ConfigError, match=r"s\.json:2: expected a JSON schema"):
        read_schema(str(tmp_path / "s.json"), "score")
    with pytest.raises(ConfigError, match="No such file"):
        read_schema(str(tmp_path / "t.json"), "score")
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    assert read_schema(str(tmp_path / "s.json"), "score") == SCHEMA
