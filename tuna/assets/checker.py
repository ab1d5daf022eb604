"""The checker: tells a right answer from a wrong one, without any model.

A record carries ``check`` and ``answers``, an open-ended one also ``about``, the thing asked about. By its check:

one_of: right is what is one of the answers. ``rhymes with cat``: hat, bat, mat
all_of: right is what names all the answers, in any order, and no more. ``the animals in the list``: fox, hen
in_order: right is what gives the answers in their order, and no more. ``sort the numbers``: 3, 7, 12
facts: open-ended. Every true detail adds a sixth; every false or unknown sentence, or one about something else, takes a
sixth away. ``describe a fox``: is red, has a tail

These expect the bare answer, as the embedded models give it; `tuna.assets.replies` has more checks, for real models.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuna.assets import replies

CHECKS = ("facts", "one_of", "all_of", "in_order", *replies.CHECKS)
_FULL_MARKS = 6  # true details that earn an open-ended answer the full mark
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_LEAD = re.compile(r"^(?:(?:so|well|yes),? )?(?:(?:the )?answer(?: is|:)|(?:it|that|this|they) (?:is|are)|it's) ")
_SUBJECT = re.compile(r"^(?:and |also )?(?:(?:the|an|a) (?P<name>[a-z-]+)|it|they|he|she) (?P<said>.+)$")


def is_checkable(record: Mapping[str, Any]) -> bool:
    """Whether a record has answers that are right or wrong (True) or is open-ended (False).

    >>> is_checkable({"check": "one_of", "answers": ["cold"]}), is_checkable({"check": "facts", "answers": []})
    (True, False)
    """
    return str(record["check"]) != "facts"


def mark(record: Mapping[str, Any], text: str) -> float:
    """The mark of a text, from 0.0 to 1.0 (right); KeyError where the record has no ``answers`` or an unknown check.

    >>> cold = {"check": "one_of", "answers": ["cold"]}
    >>> [mark(cold, text) for text in ("cold", "Cold.", "The answer is cold.", "not cold", "cold or hot")]
    [1.0, 1.0, 1.0, 0.0, 0.0]
    >>> mark({"check": "all_of", "answers": ["fox", "hen"]}, "hen and fox")
    1.0
    >>> mark({"check": "in_order", "answers": ["3", "7", "12"]}, "3, 12, 7")
    0.0
    >>> fox = {"check": "facts", "about": "fox", "answers": ["is an animal", "is red", "has a tail"]}
    >>> mark(fox, "A fox is red. It has a tail. It has a tail.")
    0.3333333333333333
    >>> mark(fox, "It is blue. It is red."), mark(fox, "A dog is red.")
    (0.0, 0.0)
    """
    answers = list(record["answers"])
    match record["check"]:
        case "one_of":
            plain = _plain(text)
            return float(plain in answers or _bare(plain) in answers)
        case "all_of":
            return float(sorted(_parts(text)) == sorted(answers))
        case "in_order":
            return float(_parts(text) == answers)
        case "facts":
            return _facts(answers, text, str(record["about"]))
        case _:
            return float(replies.right(record, text))


def _plain(text: str) -> str:
    """Lower case, single spaces, no quotes, no full stop at the end, no "The answer is"."""
    text = " ".join(re.sub(r"[\"'`\u201c\u201d\u2018\u2019*]", "", text.lower()).split()).rstrip(" .!")
    return _LEAD.sub("", text).strip(" :")


def _bare(word: str) -> str:
    """A word without article or "in the", number words as digits."""
    word = re.sub(r"^(?:in )?(?:(?:a|an|the) )?", "", word.strip()) or word.strip()
    return str(_NUMBERS.index(word)) if word in _NUMBERS else word


def _parts(text: str) -> list[str]:
    """The items of a list: parted by commas, "and", or, where there are none of these, by spaces or hyphens."""
    plain = _plain(text)
    parts = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*;\s*|\n", plain)
    if len(parts) == 1:
        parts = re.split(r"[\s-]+", plain)
    return [_bare(part) for part in parts if part]


def _facts(answers: Sequence[str], text: str, about: str) -> float:
    true: set[str] = set()
    wrong = 0
    to_the_point = True
    for sentence in filter(None, (" ".join(part.split()) for part in re.split(r"[.!?;\n]+", text.lower()))):
        found = _SUBJECT.match(sentence)
        if found and found["name"]:
            to_the_point = found["name"] == about
        if found and to_the_point and found["said"] in answers:
            true.add(found["said"])
        else:
            wrong += 1
    return min(1.0, max(0.0, (len(true) - wrong) / _FULL_MARKS))
