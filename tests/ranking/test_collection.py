"""What a ranker gives back: lists, what is set aside with its reason, what was not asked."""

from tuna.data.record import Record
from tuna.ranking.collection import Collected


def test_a_reason_sets_aside_and_none_means_not_asked() -> None:
    record = Record("q1", "Say hi.")
    collected = Collected()
    collected.set_aside(record, "")
    assert collected.missing == 1 and not collected.unusable
    collected.set_aside(record, "content filter")
    collected.set_aside(record, "no rank: [...] found", ["I cannot."])
    assert collected.missing == 1 and [row["reason"] for row in collected.unusable] == [
        "content filter", "no rank: [...] found",
    ]  # fmt: skip
    assert collected.unusable[1] == {
        "id": "q1", "instruction": "Say hi.", "reason": "no rank: [...] found", "raw": ["I cannot."],
    }  # fmt: skip


def test_each_has_lists_of_its_own() -> None:
    one, other = Collected(), Collected()
    one.rows.append({"id": "a"})
    assert one.rows == [{"id": "a"}] and other.rows == []


def test_answers_left_out_are_counted_by_reason() -> None:
    collected = Collected()
    collected.rows.append({"id": "0", "dropped": [{"text": "", "reason": "empty answer"}]})
    collected.set_aside(Record("1", "Q"), "fewer than two usable answers", [{"text": " ", "reason": "empty answer"}])
    collected.set_aside(Record("2", "Q"), "no rank", ["I cannot."])
    assert collected.dropped == {"empty answer": 2}
