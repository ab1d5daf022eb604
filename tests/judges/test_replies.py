"""What the store has of a prompt, what is a reply's own, and how a piece of it is shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.judges.base import NoRuling
from tuna.judges.replies import Place, Query, Reply, VerdictError, outside_quotes, said, shortened, verdicts_of

pytestmark = pytest.mark.once  # computes nothing that kernels could round


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with Store(tmp_path / "s") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def number(reply: Reply) -> int:
    """The reply as a number; the places that it came with, as so many tens."""
    if not reply.finished or not reply.text.isdigit():
        raise VerdictError(f"no number: {reply.text}{'' if reply.finished else ', cut'}")
    return int(reply.text) + 10 * len(reply.places)


def query(key: str) -> Query[int]:
    return Query(key, "How many?", number)


def stored(context: Context, key: str, text: str, **more: object) -> None:
    context.store.journal("verdicts").append({"key": key, "text": text, **more})


def test_the_first_reply_that_is_a_verdict_counts_and_those_before_it_are_kept(context: Context) -> None:
    stored(context, "a", "many")
    stored(context, "a", "", refused="content filter")
    stored(context, "a", "7", finish_reason="length")
    stored(context, "a", "4", finish_reason="stop", places=[[0, "4", {"4": -0.5}]])
    stored(context, "a", "5")
    found = said(query("a"), context)
    assert (found.verdict, found.raw) == (14, ["many", "", "7"])
    assert found.reasons == ["no number: many", "content filter", "no number: 7, cut"]
    assert said(query("b"), context).verdict is None


def test_places_are_read_as_they_were_stored(context: Context) -> None:
    stored(context, "a", "4", places=[[3, "4", {"4": -0.5}]])
    seen: list[Reply] = []
    said(Query("a", "", seen.append), context)
    assert seen == [Reply("4", True, [Place(3, "4", {"4": -0.5})])]


def test_all_verdicts_or_why_one_is_none(context: Context) -> None:
    for key, text in (("a", "1"), ("b", "2"), ("c", "x"), ("c", "y")):
        stored(context, key, text)
    a, b, c, d = map(query, "abcd")
    assert verdicts_of([a, b], context) == [1, 2]
    assert verdicts_of([a, c, d], context) == NoRuling("no number: y", ["x", "y"], True)
    assert verdicts_of([d, c], context) == NoRuling("not asked yet", [], False)
    context.aside["c"] = "set aside"
    assert verdicts_of([c], context) == NoRuling("set aside", ["x", "y"], True)
    context.failed["d"] = "no answer in this run"
    assert verdicts_of([d], context) == NoRuling("no answer in this run", [], False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(" a\n\tb ", "a b"), ("x" * 60, "x" * 60), ("x" * 61, "x" * 57 + "...")],
)
def test_a_piece_for_a_message(text: str, shown: str) -> None:
    assert shortened(text) == shown


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("", ""),
        ("a\n> X\nb", "a\nb"),
        (" > X\nb", "b"),
        ('says "X", b', "says , b"),
        ('says "y" and "X" and "z", b', 'says "y" and  and "z", b'),
        ('says "y", b', 'says "y", b'),  # nothing that is looked for
        ("isn't X, isn't it", "isn't X, isn't it"),
        ('5" of X', '5" of X'),
        ('5" of "X" and y', '5" of  and y'),
        ("says 'it isn't X' itself", "says  itself"),
        ("says \u201eX\u201c and \u00abX\u00bb", "says  and "),
        ("says ``X ` X`` itself", "says  itself"),
        ('"X\n\nX" b', '"X\n\nX" b'),  # no quote goes on after an empty line
        ('a\n_"X"_', 'a\n_"X"_'),  # alone on the last line: its own
        ('"X"\nb', "\nb"),
        ("```\nX\n```\nb", "b"),
        ("```\ny\n```\nb", "y\nb"),
        ("b\n```\nX\n```", "b\nX"),
        ("~~~ text\nX\n```\nX\n~~~\nb", "b"),
        ("````\nX\n```\nX\n````\nb", "b"),
        ("```\nX\n``` more\nX\n```\nb", "b"),
        ("b\n```\nX", "b"),  # a block that is never closed
        ("```a`b\nX", "```a`b\nX"),  # none begins with a backtick behind the fence
    ],
)
def test_what_a_reply_says_itself(text: str, own: str) -> None:
    assert outside_quotes(text, lambda quote: "X" in quote) == own
