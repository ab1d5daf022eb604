"""Whether the last number of an answer is the row's ``output``; a row whose output is no number cannot be judged."""

import re

NUMBER = r"-?\d+(?:\.\d+)?"


def score(prompt: str, answer: str, row: dict) -> bool | None:
    """1 where it is, 0 where it is not, None where there is nothing to compare with."""
    if not re.fullmatch(NUMBER, row["output"] or ""):
        return None
    found = re.findall(NUMBER, answer.replace(",", ""))
    return bool(found) and float(found[-1]) == float(row["output"])
