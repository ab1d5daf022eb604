"""How much longer the answer that was ranked first is than the one that was ranked last (the paper's Table 4)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tuna.data.files import read_rows
from tuna.errors import DataError
from tuna.reporting.parents import Parents
from tuna.reporting.read import Found, Ranking
from tuna.runs import numbers
from tuna.stats import Estimate, crossed


def longer_first(found: Found, kind: str) -> dict[str, Estimate]:
    """By the name of the first seed's file: words of the best answer less those of the worst one, a mean over lists.

    kind: of the ranker. Files that differ in their seed alone are one figure, over seeds and the lists that all have;
    those without such lists are left out.
    """
    parents, groups = Parents(found), defaultdict[str, list[Ranking]](list)
    for ranking in sorted(found.rankings, key=lambda ranking: ranking.seed):
        if ranking.kind == kind:
            groups[parents.signature(ranking)].append(ranking)
    figures = {}
    for same in groups.values():
        by_seed = list({ranking.seed: _differences(ranking) for ranking in same}.values())
        common = sorted(set.intersection(*(set(each) for each in by_seed)))
        if common:
            figures[same[0].name] = crossed([[each[key] for key in common] for each in by_seed])
    return figures


def _differences(ranking: Ranking) -> Mapping[str, float]:
    """By the list's id; lists whose answers are all tied have no first one. Empty where the file cannot be read."""
    try:
        rows = [row.value for row in read_rows(str(ranking.lists)).rows] if ranking.lists.exists() else []
    except DataError:
        rows = []
    found: dict[str, float] = {}
    for row in filter(lambda row: isinstance(row, dict) and isinstance(row.get("responses"), list), rows):
        answers = (answer for answer in row["responses"] if isinstance(answer, dict))
        known = [
            (float(answer["score"]), len(answer["text"].split()))
            for answer in answers
            if numbers(answer.get("score")) and isinstance(answer.get("text"), str)
        ]
        scores = [score for score, _ in known]
        if known and max(scores) > min(scores):
            found[str(row.get("id"))] = _mean(known, max(scores)) - _mean(known, min(scores))
    return found


def _mean(known: Sequence[tuple[float, int]], wanted: float) -> float:
    words = [count for score, count in known if score == wanted]
    return sum(words) / len(words)
