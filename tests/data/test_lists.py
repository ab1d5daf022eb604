"""What is dropped, what is merged, where the original stands."""

import math
from collections import Counter
from typing import Any

from tuna.data.lists import Answer, ranked_list, shortened, target_list
from tuna.data.record import Candidate, Record


def _record(*texts: tuple[str, float], output: str | None = "r", **more: Any) -> Record:
    return Record("0", "Do.", output=output, responses=tuple(Candidate(t, s) for t, s in texts), **more)


def _ranked(record: Record, **more: Any) -> tuple[list[tuple[str, float, bool]] | None, dict[str, int]]:
    dropped: Counter[str] = Counter()
    found = ranked_list(record, dropped, **more)
    answers = None if found is None else [(a.text, a.score, a.target) for a in found.answers]
    return answers, dict(dropped)


def test_the_original_is_one_more_response_that_is_not_ranked() -> None:
    answers, dropped = _ranked(_record(("a", 1), ("b", 0)))
    assert answers is not None and answers[:2] == [("a", 1.0, False), ("b", 0.0, False)]
    text, score, target = answers[2]
    assert (text, math.isnan(score), target, dropped) == ("r", True, True, {})


def test_an_original_that_is_a_candidate_is_one_response() -> None:
    assert _ranked(_record(("a", 1), ("r", 0)))[0] == [("a", 1.0, False), ("r", 0.0, True)]
    cut = Record("0", "Do.", output="r", responses=(Candidate("a", 1), Candidate("r", 0, finish_reason="length")))
    found = ranked_list(cut, Counter())
    assert found is not None and [(a.text, a.complete, a.target) for a in found.answers] == [
        ("a", True, False),
        ("r", False, False),
        ("r", True, True),
    ]


def test_empty_and_duplicate_responses_leave_and_are_counted() -> None:
    answers, dropped = _ranked(_record(("a", 1), (" \n", 5), ("b", 0), ("a", 3), ("b", -1)))
    assert answers is not None and answers[:2] == [("a", 3.0, False), ("b", 0.0, False)]
    assert dropped == {"empty response": 1, "duplicate response": 2}


def test_a_list_of_one_that_is_left_keeps_its_original() -> None:
    """Eq. 6 has the original's cross-entropy for every instruction; on a list without a pair it is all there is."""
    answers, dropped = _ranked(_record(("a", 1), ("a", 0)))
    assert answers is not None and answers[0] == ("a", 1.0, False) and answers[1][::2] == ("r", True)
    assert dropped == {"duplicate response": 1}
    left_out = _record(("a", 0), extra={"dropped": ["b", "c"]})
    assert _ranked(left_out)[1] == {"response left out of the rank": 2}


def test_a_list_of_one_without_an_original_goes() -> None:
    alone = Record("0", "Do.", responses=(Candidate("a", 1), Candidate("a", 0)))
    assert _ranked(alone) == (None, {"duplicate response": 1, "list with fewer than two responses": 1})
    assert _ranked(alone, original_best=True)[0] == [("a", 1.0, True)]
    empty = Record("0", "Do.", output="r", responses=(Candidate("", 1), Candidate(" ", 0)))
    assert _ranked(empty) == (None, {"empty response": 2, "list with fewer than two responses": 1})


def test_an_empty_original_costs_the_target_only() -> None:
    answers, dropped = _ranked(_record(("a", 1), ("b", 0), output=" "))
    assert answers == [("a", 1.0, False), ("b", 0.0, False)]
    assert dropped == {"empty original response": 1}


def test_rank_original() -> None:
    record = _record(("a", 2), ("b", -1))
    assert _ranked(record, rank_original="best")[0] == [("a", 2.0, False), ("b", -1.0, False), ("r", 3.0, True)]
    assert _ranked(record, rank_original="worst")[0] == [("a", 2.0, False), ("b", -1.0, False), ("r", -2.0, True)]


def test_best_as_original_by_the_rule_in_use() -> None:
    candidates = (Candidate("long", 0.0, -4.0, 8), Candidate("short", 1.0, -3.0, 2))
    record = Record("0", "Do.", responses=candidates)
    assert _ranked(record, original_best=True)[0] == [("long", 0.0, False), ("short", 1.0, True)]
    answers = _ranked(record, original_best=True, rank_by="eq3", beta=1.0)[0]
    assert answers == [("long", -0.5, True), ("short", -1.5, False)]
    assert _ranked(record, original_best=False)[0] == [("long", 0.0, False), ("short", 1.0, False)]


def test_min_gap_ties() -> None:
    answers = _ranked(_record(("a", 1), ("b", 0.75), ("c", 0)), min_gap=0.5)[0]
    assert answers is not None and [score for _, score, _ in answers[:3]] == [1.0, 1.0, 0.0]


def test_targets_of_sft_and_alpaca_mul() -> None:
    dropped: Counter[str] = Counter()
    record = _record(("a", 1), ("r", 0), (" ", 0))
    one = target_list(record, dropped, False)
    every = target_list(record, dropped, True)
    assert one is not None and [(a.text, a.target) for a in one.answers] == [("r", True)]
    assert every is not None and [(a.text, a.target) for a in every.answers] == [("r", True), ("a", True)]
    assert all(math.isnan(a.score) for a in every.answers)
    assert dropped == {"duplicate response": 1, "empty response": 1}
    assert target_list(_record(output=" "), dropped, False) is None
    assert dropped["list without a response"] == 1
    assert Answer("a").target is False


def _short(record: Record, count: int, beside: bool = False, **more: Any) -> tuple[list[tuple[str, float]], int]:
    whole, dropped = ranked_list(record, Counter(), **more), Counter[str]()
    assert whole is not None
    answers = shortened(whole, count, dropped, beside=beside).answers
    return [(a.text, a.score) for a in answers], dropped["response beyond num_candidates"]


def test_num_candidates_chooses_by_content_and_never_by_place_or_score() -> None:
    pairs = [(letter, float(score)) for score, letter in enumerate("abcdef")]
    chosen = {n: {text for text, _ in _short(_record(*pairs, output=None), n)[0]} for n in (2, 3, 5, 6)}
    assert [len(texts) for texts in chosen.values()] == [2, 3, 5, 6]
    assert chosen[2] < chosen[3] < chosen[5] < chosen[6] == set("abcdef")
    turned = [(letter, -score) for letter, score in reversed(pairs)]
    assert {text for text, _ in _short(_record(*turned, output=None), 3)[0]} == chosen[3]
    assert _short(_record(*pairs), 4)[1] == 2
    # Over many questions, each place is chosen about as often as the others.
    places = Counter[str]()
    for n in range(300):
        record = Record("0", f"Do {n}.", responses=tuple(Candidate(text, score) for score, text in enumerate("xyz")))
        places.update(text for text, _ in _short(record, 2)[0])
    assert sum(places.values()) == 600 and all(170 <= places[text] <= 230 for text in "xyz")


def test_what_num_candidates_leaves_out_stays_a_target() -> None:
    pairs = [(letter, float(score)) for score, letter in enumerate("abcd")]
    (without,) = [t for t, _ in pairs if t not in {text for text, _ in _short(_record(*pairs, output=None), 3)[0]}]
    answers = dict(_short(_record(*pairs, output=without), 3)[0])
    assert set(answers) == set("abcd") and math.isnan(answers[without])
    ranked = dict(_short(_record(*pairs, output="r"), 2, beside=True, rank_original="best")[0])
    assert len(ranked) == 3 and ranked["r"] == 4.0


def test_the_best_candidate_is_the_target_where_there_is_no_original() -> None:
    dropped: Counter[str] = Counter()
    candidates = (Candidate("low", 1.0), Candidate(" ", 9.0), Candidate("high", 3.0, finish_reason="length"))
    found = target_list(Record("0", "Q", responses=candidates), dropped, False, original_best=True)
    assert found is not None and found.answers == (Answer("high", complete=False, target=True),)
    with_output = target_list(Record("0", "Q", output="o", responses=candidates), dropped, False, original_best=True)
    assert with_output is not None and [a.text for a in with_output.answers] == ["o"]
