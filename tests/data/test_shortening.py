"""What goes first of a question that is too long."""

from tuna.data.record import Record
from tuna.data.shortening import kept, size

TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Uno."},
    {"role": "user", "content": "Two?"},
)


def test_kept_takes_from_the_input_first() -> None:
    record = Record("0", "abc", "def")
    assert size(record) == 6
    assert [kept(record, n).user_turn for n in (6, 4, 3, 1, 0)] == ["abc\ndef", "abc\nd", "abc", "a", ""]


def test_kept_drops_the_oldest_exchange_first_and_never_the_system_prompt() -> None:
    record = Record("0", "Two?", messages=TURNS)
    assert size(record) == 12
    assert kept(record, 12) == record
    for characters, last in ((11, "Two?"), (4, "Two?"), (2, "Tw")):
        assert kept(record, characters).messages == (TURNS[0], {"role": "user", "content": last})
