"""Filled-in sheets, unblinded: points for every system, or all that is wrong with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuna.console import shortened
from tuna.data.fields import describe
from tuna.data.json_text import parse_json
from tuna.errors import DataError
from tuna.evaluation.human_study.pages import SCHEMA_VERSION

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Sheets:
    """points: [questions, annotators, systems]."""

    systems: list[str]
    questions: list[dict[str, str]]
    annotators: list[str]
    points: npt.NDArray[np.float64]


def read_sheets(paths: Sequence[str], unblinding: str) -> Sheets:
    """Read exported sheets.

    Raises:
        DataError: no JSON, another study's, a person twice, and every question without a place for every answer.
    """
    key = _json(unblinding)
    if not isinstance(key, dict) or not {"study", "systems", "questions", "annotators"} <= key.keys():
        raise DataError(
            f"{unblinding}: expected the unblinding.json that was written beside the pages, got {describe(key)}"
        )
    wrong: list[str] = []
    points: dict[str, list[list[float]]] = {}
    whose: dict[str, str] = {}
    for path in paths:
        sheet = _json(path)
        problem = _misfit(sheet, key)
        name = str(sheet.get("annotator")) if isinstance(sheet, dict) else ""
        if problem is None and name in whose:
            problem = f"annotator: {name} has filled in {whose[name]} too"
        if problem is not None:
            wrong.append(f"{path}: {problem}")
            continue
        whose[name] = path
        points[name] = []
        for question in key["questions"]:
            labels = key["annotators"][name][question["id"]]
            places = sheet["places"].get(question["id"])
            if problem := _unranked(places, labels):
                wrong.append(f"{path}: question {question['id']}: {problem}")
            else:
                points[name].append(points_of(places, labels, key["systems"]))
    if wrong:
        next_step = "Next: the annotator opens the page, mends it, exports again"
        raise DataError("\n".join([*shortened(wrong, SHOWN), next_step]))
    return Sheets(key["systems"], key["questions"], list(points), np.array(list(points.values())).swapaxes(0, 1))


def _json(path: str) -> Any:
    try:
        return parse_json(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got something else ({error})") from None


def _misfit(sheet: Any, key: Mapping[str, Any]) -> str | None:
    """Why a sheet does not belong to the study, or None."""
    if not isinstance(sheet, dict) or not isinstance(sheet.get("places"), dict):
        return f"expected an exported sheet (study, annotator, places), got {describe(sheet)}"
    if sheet.get("schema_version") != SCHEMA_VERSION:
        return f"schema_version: expected {SCHEMA_VERSION}, got {describe(sheet.get('schema_version'))}"
    if sheet.get("study") != key["study"]:
        return f"study: expected {key['study']} (the pages'), got {describe(sheet.get('study'))}"
    if str(sheet.get("annotator")) not in key["annotators"]:
        return f"annotator: expected one of {', '.join(key['annotators'])}, got {describe(sheet.get('annotator'))}"
    if unknown := [name for name in sheet["places"] if name not in {question["id"] for question in key["questions"]}]:
        return f"places: expected the study's questions, got {', '.join(map(repr, unknown[:5]))}"
    return None


def _unranked(places: Any, labels: Mapping[str, Sequence[str]]) -> str | None:
    """What is wrong with one question's places, or None: the answers must have the places 1, 2, ... in some order."""
    if not isinstance(places, dict):
        return f"expected a place for every answer, got {describe(places)}"
    if unknown := sorted(places.keys() - labels.keys()):
        return f"expected places of answers {', '.join(labels)}, got one of {', '.join(unknown)}"
    if missing := [label for label in labels if label not in places]:
        return f"expected a place for every answer, got none for {', '.join(missing)}"
    given = [places[label] for label in labels]
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in given)
    if not whole or sorted(given) != list(range(1, len(labels) + 1)):
        return f"expected the places 1 to {len(labels)}, each once, got {given}"
    return None


def points_of(places: Mapping[str, int], labels: Mapping[str, Sequence[str]], systems: Sequence[str]) -> list[float]:
    """n + 1 - i points for the i-th of n systems (6 - i for the paper's five); equal answers share their places' mean.

    >>> points_of({"A": 2, "B": 1}, {"A": ["x"], "B": ["y", "z"]}, ["x", "y", "z"])
    [1.0, 2.5, 2.5]
    """
    found: dict[str, float] = {}
    before = 0
    for label in sorted(labels, key=lambda label: places[label]):
        group = labels[label]
        place = before + (len(group) + 1) / 2
        found |= {system: len(systems) + 1 - place for system in group}
        before += len(group)
    return [found[system] for system in systems]
