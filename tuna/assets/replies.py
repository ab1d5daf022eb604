"""Checks of what real models reply: an answer within a sentence, a number, a list, a JSON object, a form to keep.

A reply may have markdown, quotes, a first word such as "Sure!", the question said again and an explanation behind the
answer. By its check, with ``answers`` and, for items, ``count``:

says: the sentence that follows "the answer is", else the first one, gives one of the answers: at its start and without
"or" or "and" behind it, or behind "is", "are", ":" and the like, up to a comma, a bracket or "because". Wrong where
"not" stands before such a cut, and where three things or more are listed. ``cold``
number: the number behind "the answer is"; else behind the last "="; else of the last sentence that begins with "so",
"therefore" and the like, or of the first one with a number: what follows "is", "are", "has" and the like, or the only
number there. ``12``
items: exactly these items in any order or, with ``count``, so many different ones of them. ``fox``, ``hen``
sequence: exactly these items in this order. ``3``, ``7``, ``12``
json: the first JSON object in the reply has the same keys and, as text in lower case, the same values as one of the
answers. ``{"name": "Ann", "age": 7}``
obeys: the reply keeps every rule; `RULES` has them. ``at_most_words 8``, ``mentions cat``
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

CHECKS = ("says", "number", "items", "sequence", "json", "obeys")

_FILLER = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|well|so|great question)\b[!.,:]?\s*(?=\S))+", re.IGNORECASE
)
_ANSWER = re.compile(r"\banswer(?: to [^.:\n]*?)?(?: is|:)[\s:]*(?=\S)", re.IGNORECASE)
_BULLET = re.compile(r"^(?:[-\u2022+]|\(?\d{1,2}[.)])\s+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|;\s+|\n")
_VERB = (
    r"(?:is|are|was|were|be|becomes?|equals?|means|uses?|called|named|speaks?|rhymes with|go to|find|at|=|->|\u2192)"
)
_MARKER = re.compile(rf"\s{_VERB}\s+|:\s+")
_CUT = re.compile(r",|\s[(\u2013-]|\(|\s(?:because|since|as|which|who|to|in (?:the|this|colou?r)|of the)\b")
_BEFORE = re.compile(
    r"^(?:(?:in|at|on|with|by|from|to|an?|the|your|some|letter|word|number|colou?r|pair of|called|also)\s+(?=\S))+"
)
_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDED = re.compile(rf"\b(?:({'|'.join(_TENS)})(?:[- ]({'|'.join(_UNITS[1:10])}))?|({'|'.join(_UNITS)}))\b")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\d)")
_FOUND = re.compile(r"\b(?:is|are|was|were|has|have|be|equals?|costs?|needs?|gets?|left|pays?|paid)\b")


def right(record: Mapping[str, Any], text: str) -> bool:
    """Whether a text is right by the record's check, one of `CHECKS`; KeyError for another.

    >>> cold = {"check": "says", "answers": ["cold"]}
    >>> [right(cold, text) for text in ("The opposite of *hot* is cold.", "Cold, since it is not hot.", "cold or warm")]
    [True, True, False]
    >>> right({"check": "number", "answers": ["7"]}, "Tom has 3 apples. 3 + 4 = 7 apples")
    True
    >>> right({"check": "items", "answers": ["fox", "hen", "cow"], "count": 2}, "1. Hen\\n2. Fox")
    True
    >>> right({"check": "json", "answers": ['{"age": 7}']}, 'Here it is: {"age": "7"}')
    True
    >>> right({"check": "obeys", "answers": ["at_most_words 4", "mentions cat"]}, "The cat sat down.")
    True
    """
    answers = [str(answer) for answer in record["answers"]]
    match record["check"]:
        case "says":
            return _says(text, {answer.lower() for answer in answers})
        case "number":
            return (found := _number(text)) is not None and found in [float(answer) for answer in answers]
        case "items":
            found_items, wanted = items(text), int(record.get("count") or len(answers))
            return len(found_items) == len(set(found_items)) == wanted and {*found_items} <= _lower(answers)
        case "sequence":
            return items(text) == [answer.lower() for answer in answers]
        case "json":
            return any(_same(_json(text), json.loads(answer)) for answer in answers)
        case "obeys":
            reply = _reply(text)
            return bool(reply) and all(_obeys(reply, rule) for rule in answers)
        case other:
            raise KeyError(other)


def fault(record: Mapping[str, Any]) -> tuple[str, str, Any] | None:
    """The field of a record that no text can be marked by, what it should be and what it is; or None.

    >>> fault({"check": "number", "answers": ["a few"]})
    ('answers', 'numbers', ['a few'])
    """
    answers, count = record["answers"], record.get("count")
    if record["check"] == "items" and count is not None and count not in range(1, len(answers) + 1):
        return "count", f"a whole number from 1 to {len(answers)}", count
    try:
        match record["check"]:
            case "number":
                wanted = "numbers"
                [float(answer) for answer in answers]
            case "json":
                wanted = "JSON objects as text"
                [dict(json.loads(answer)) for answer in answers]
            case "obeys":
                wanted = f"rules, of {', '.join(RULES)}"
                [_obeys("", answer) for answer in answers]
    except (ValueError, KeyError, TypeError):
        return "answers", wanted, answers
    return None


def _lower(texts: Sequence[str]) -> set[str]:
    return {text.lower() for text in texts}


def _clean(text: str) -> str:
    """Without markdown, quotes and a first "Sure!", line by line."""
    text = re.sub(r"[*`#\"\u201c\u201d\u2018]|(?<!\w)[_'\u2019]|[_'\u2019](?!\w)", "", text).replace("\u2019", "'")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return _FILLER.sub("", "\n".join(line for line in lines if line))


def _statement(text: str) -> str:
    """The sentence that gives the answer, in lower case: what follows "the answer is", else the first one."""
    text = _clean(text).lower()
    if found := _ANSWER.search(text):
        text = text[found.end() :]
    text = re.sub(r":\n", ": ", text, count=1)
    first = _SENTENCE.split(text, maxsplit=1)[0]
    return _BULLET.sub("", first).rstrip(" .!?")


def _says(text: str, answers: set[str]) -> bool:
    statement = _statement(text)
    if re.search(r"\bnot\b|n't\b", _CUT.split(statement, maxsplit=1)[0]):
        return False
    for start in (statement, _BEFORE.sub("", statement)):
        begun = re.match("|".join(map(_begins, answers)), start)
        if begun and not _is_list(start):
            return True
    tails = [statement[found.end() :] for found in re.finditer(_MARKER, statement)]
    return any(_bare(tail) in answers and not _is_list(tail) for tail in tails)


def _begins(answer: str) -> str:
    """What matches an answer at the start of a sentence; the letter "a" is not the article."""
    return re.escape(answer) + (r"(?![\w'-]| (?:or|and)\b|/)" if len(answer) > 1 else r"(?=$|,)")


def _is_list(text: str) -> bool:
    """Whether it is three or more things in a row, of which a model has not chosen one."""
    parts = text.split(",")
    return len(parts) > 2 and all(len(part.split()) <= 2 for part in parts)


def _bare(text: str) -> str:
    """Up to a comma, a bracket or "because", without what may stand before a word."""
    return _BEFORE.sub("", _CUT.split(_BEFORE.sub("", text), maxsplit=1)[0]).strip(" .!?:")


def _number(text: str) -> float | None:
    """The number that a reply comes to, or None."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)|\$|\u20ac|\u00a3", "", _clean(text).lower())
    text = _WORDED.sub(_digits, text)
    if found := _ANSWER.search(text):
        text = text[found.end() :]
    elif "=" in text and (after := _NUMBER.findall(text.rsplit("=", 1)[1])):
        return float(after[0])
    text = re.sub(r",? (?=so |therefore |which means )", "\n", text)
    sentences = [_BULLET.sub("", sentence) for sentence in _SENTENCE.split(text) if _NUMBER.search(sentence)]
    if not sentences:
        return None
    concluding = [
        sentence for sentence in sentences if re.match(r"so|therefore|thus|hence|in total|which means", sentence)
    ]
    sentence = concluding[-1] if concluding else sentences[0]
    numbers = _NUMBER.findall(sentence)
    if (verb := _FOUND.search(sentence)) and (after := _NUMBER.findall(sentence[verb.end() :])):
        return float(after[0])
    return float(numbers[0]) if len({*numbers}) == 1 or found else None


def _digits(found: re.Match[str]) -> str:
    """A number word in digits."""
    tens, unit, single = found.groups()
    if single:
        return str(_UNITS.index(single))
    return str(20 + 10 * _TENS.index(tens) + (_UNITS.index(unit) if unit else 0))


def items(text: str) -> list[str]:
    """The items of a list in lower case: bulleted lines, or parted by commas, "and" or lines, or else by spaces.

    >>> items("Here they are:\\n1. **Fox** - an animal\\n2. Hen"), items("They are a fox and a hen."), items("f-o-x")
    (['fox', 'hen'], ['fox', 'hen'], ['f', 'o', 'x'])
    """
    text = _clean(text).lower()
    bulleted = [_BULLET.sub("", line) for line in text.split("\n") if _BULLET.match(line)]
    if bulleted:
        return [_item(re.split(r"\s[-\u2013(]|:", line)[0]) for line in bulleted]
    if found := _ANSWER.search(text):
        text = text[found.end() :]
    text = re.sub(r"^[^,:]*:\s*", "", text, count=1)
    lines = [line for line in text.split("\n") if line]
    one_each = len(lines) > 1 and all(len(line.split()) <= 3 for line in lines)
    listed = ", ".join(lines) if one_each else _SENTENCE.split(text, maxsplit=1)[0]
    listed = re.sub(r"^[^,]*?\s(?:is|are)\s+", "", listed).rstrip(" .!")
    parts = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s*<\s*|\s*->\s*|\s*\u2192\s*", listed)
    if len(parts) == 1:
        parts = re.split(r"[\s-]+", listed)
    return [_item(part) for part in parts if part.strip()]


def _item(text: str) -> str:
    text = text.strip(" .!,;")
    return re.sub(r"^(?:an?|the)\s+(?=\S)", "", text)


def _json(text: str) -> Any:
    """The first JSON object in a text, or None."""
    for found in re.finditer(r"\{", text):
        try:
            return json.JSONDecoder().raw_decode(text, found.start())[0]
        except ValueError:
            continue
    return None


def _same(left: Any, wanted: Any) -> bool:
    """Whether two JSON values have the same keys and, as lower-case text, the same values."""
    if isinstance(wanted, dict):
        return isinstance(left, dict) and {*left} == {*wanted} and all(_same(left[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(left, list) and len(left) == len(wanted) and all(map(_same, left, wanted))
    return not isinstance(left, dict | list) and str(left).strip().lower() == str(wanted).lower()


def _reply(text: str) -> str:
    """The reply itself, in one line: without markdown, quotes, and a first line that ends in a colon."""
    text = _clean(text)
    text = re.sub(r"^[^\n]*:\n", "", text)
    return " ".join(text.split())


RULES = ("words N", "at_most_words N", "at_least_words N", "mentions WORD", "starts TEXT", "ends TEXT", "exactly TEXT")
"""The rules of ``obeys``; only ``exactly`` minds upper and lower case, and no spaces, nor a full stop at the end."""


def _obeys(reply: str, rule: str) -> bool:
    """Whether a reply keeps a rule; KeyError for an unknown one, ValueError where its number is none."""
    name, _, value = rule.partition(" ")
    lower, words = reply.lower(), re.findall(r"[\w'-]+", reply)
    match name:
        case "words":
            return len(words) == int(value)
        case "at_most_words":
            return len(words) <= int(value)
        case "at_least_words":
            return len(words) >= int(value)
        case "mentions":
            return bool(re.search(rf"\b{re.escape(value.lower())}", lower))
        case "starts":
            return lower.startswith(value.lower())
        case "ends":
            return lower.rstrip(" .!?").endswith(value.lower()) if value[-1:].isalnum() else lower.endswith(value)
        case "exactly":
            return "".join(reply.split()).rstrip(".") == "".join(value.split()).rstrip(".")
        case _:
            raise KeyError(name)
