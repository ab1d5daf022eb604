"""Marks in a reply's own words: [[A]], [[B]], [[C]] of two answers, ``Score: N`` of one."""

import re

from tuna.judges.replies import VerdictError, outside_quotes, shortened, spoken

_SIGNS = {"A": 1, "B": -1, "C": 0}
_MARK = re.compile(r"\[\[(.*?)(?:\]\]|$)")
_ALONE = re.compile(r"[*_`#>\s]*\[\[\s*[ABC]\s*\]\][*_`.\s]*")
_ESCAPED = str.maketrans({"\uff3b": "[", "\uff3d": "]", "\\": None, "\u00a0": " "})

_ASKED = (
    "[[A]] if Answer A is better", "[[B]] if Answer B is better", "[[C]] if neither is better than the other",
)  # fmt: skip


NUMBER = r"(\d{1,3}(?:\.\d{1,3})?)"
_AROUND = r"[ \t*_`\[\]()\"']*"
_OUT_OF = rf"(?:{_AROUND}(?:/|out of){_AROUND}(\d+))?"
# A line that begins with "Score:", one that holds [[4]] or [RESULT] 4 (Prometheus), or a number that is all.
_STATED = re.compile(
    rf"^[#>\-]?{_AROUND}(?:(?:my|final|overall|total|the) +){{0,2}}(?:score|rating|grade|mark|result){_AROUND}"
    rf"(?:is|[:=]){_AROUND}{NUMBER}{_OUT_OF}(.*)$|^.*(?:\[\[|\[RESULT\]:?) *{NUMBER} *(?:\]\])?(.*)$"
    rf"|\A{_AROUND}{NUMBER}{_OUT_OF}{_AROUND}\.?{_AROUND}\Z",
    re.IGNORECASE | re.MULTILINE,
)


def parse_mark(text: str, finished: bool = True) -> int:
    """1 for [[A]], -1 for [[B]], 0 for [[C]]: the mark on the last line that has any in double brackets.

    Thoughts are not read, and a mark that stands only in a quote is none. A line before it may hold several marks, as
    where the judge repeats what it was asked for, if the last holds its own and nothing else; none may hold another.

    >>> parse_mark("I end with [[A]], [[B]] or [[C]].\\nB is right where A errs.\\n\\n**[[B]]**")
    -1
    >>> parse_mark("[[A]] or [[B]]")
    Traceback (most recent call last):
    ...
    tuna.judges.replies.VerdictError: more than one verdict on its line: [[A]] or [[B]]
    """
    return _SIGNS[spelled_mark(text, finished)]


def spelled_mark(text: str, finished: bool = True) -> str:
    """The letter of the same."""
    text = spoken(text, finished).translate(_ESCAPED)
    lines = _marked(text)
    if not lines:
        raise VerdictError("no [[A]], [[B]] or [[C]] found")
    last = _marks(lines[-1])
    shown = shortened(lines[-1])
    if not last <= _SIGNS.keys():
        raise VerdictError(f"expected [[A]], [[B]] or [[C]], got {shown}")
    if len(last) > 1:
        raise VerdictError(f"more than one verdict on its line: {shown}")
    rivals = [line for line in lines if (_marks(line) & _SIGNS.keys()) - last]
    if any(len(_marks(line)) == 1 for line in rivals) or (rivals and not _ALONE.fullmatch(lines[-1])):
        raise VerdictError(f"verdicts that differ: {shortened(rivals[-1])} and {shown}")
    if not any(_marks(line) == last for line in _marked(outside_quotes(text, lambda quote: "[[" in quote))):
        raise VerdictError(f"no [[A]], [[B]] or [[C]] found but in a quote: {shown}")
    return last.pop()


def _marked(text: str) -> list[str]:
    """The lines that hold double brackets, without the prompt's own."""
    lines = (line.strip() for line in text.splitlines() if "[[" in line)
    return [line for line in lines if line not in _ASKED]


def _marks(line: str) -> set[str]:
    """What stands in double brackets; empty for brackets that are not closed."""
    return {match.group(1).strip() if match.group().endswith("]]") else "" for match in _MARK.finditer(line)}


def spelled_score(text: str, finished: bool, high: int) -> str:
    """The number of the one score that a reply states, on a line that begins with ``Score:`` (or rating, grade, mark,
    result), in ``[[4]]``, or as the whole reply. Thoughts are not read, nor what is only quoted.

    >>> spelled_score("It errs once.\\n**Score:** 4/5", True, 5)
    '4'
    >>> spelled_score("Score: 2 at first sight.\\nScore: 4", True, 5)
    Traceback (most recent call last):
    ...
    tuna.judges.replies.VerdictError: scores that differ: 2 and 4
    """
    text = spoken(text, finished)
    own = outside_quotes(text, lambda quote: _STATED.search(quote) is not None)
    stated = [_parts(found) for found in _STATED.finditer(own)]
    if not stated:
        raise VerdictError("no line with Score: N found" + (" but in a quote" if _STATED.search(text) else ""))
    scores = list(dict.fromkeys(score for score, _, _ in stated))
    if len({float(score) for score in scores}) > 1:
        raise VerdictError(f"scores that differ: {' and '.join(scores[:5])}")
    score, out_of, rest = stated[-1]
    if out_of and int(out_of) != high:
        raise VerdictError(f"expected a score out of {high}, got {score} out of {out_of}")
    if re.search(r"\d", rest):
        raise VerdictError(f"more than one number on the score's line: {shortened(score + rest)}")
    return score


def _parts(found: re.Match[str]) -> tuple[str, str, str]:
    """Score, what it is out of, and what follows on its line."""
    first, out, rest, bracketed, after, alone, alone_out = found.groups()
    return first or bracketed or alone, out or alone_out or "", rest or after or ""


def last_stated(text: str, mark: str) -> int:
    """Where the last statement of a score gives its number, -1 where there is none: thoughts come before it."""
    stated = [found for found in _STATED.finditer(text) if _parts(found)[0] == mark]
    return max(stated[-1].start(group) for group in (1, 4, 6)) if stated else -1
