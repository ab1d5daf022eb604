"""A judge that is a Python function of the user's: ``score(prompt, answer, row) -> float``, or several with weights.

It runs the user's own code: what is typed in the config is imported and called, and nothing else.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Interval

from tuna.config.types import checked
from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ConfigError, RunError
from tuna.inference.context import Context
from tuna.inference.server import StopRun
from tuna.inference.store import Entry, Journal, key_of
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling, dense_levels
from tuna.judges.prompt import request
from tuna.judges.workers import Fault, Job, Loaded, Values, Workers

_TYPED = re.compile(r".+:[A-Za-z_][\w.]*")
_EXAMPLE = "such as my_rewards.py:score (a file's function) or package.module:score"
CANNOT_SAY = "the function cannot say (None)"


@dataclass(frozen=True, slots=True)
class Scored:
    """What the functions make of one row: per answer the weighted sum, None where one cannot say; or why nothing."""

    totals: Sequence[float | None] = ()
    parts: Sequence[Sequence[float | None]] = ()  # by function, then by answer
    fault: Fault | None = None
    asked: bool = True  # False where the run was stopped before


@checked
@dataclass
class Functions:
    """One function or several, which give an answer the score sum_f weight_f * value_f; None of one is None."""

    # what scores an answer: PATH.py:NAME or package.module:NAME; a list; or, in a YAML, a mapping of these to weights
    function: str | list[str] | dict[str, float] | None = None
    weights: list[float] | None = None  # one per function of a list; null is 1 each
    workers: Annotated[int, Interval(ge=1, le=256)] = 2  # processes; each imports the functions
    timeout: Annotated[float, Gt(0)] = 60.0  # seconds per row and function, then the row is set aside
    import_timeout: Annotated[float, Gt(0)] = 600.0  # seconds until a worker has imported the functions

    node: ClassVar[str] = "judge"

    def __post_init__(self) -> None:
        if not self.function:
            raise ConfigError(f"function: missing; give {self.node}.function=PATH.py:NAME, {_EXAMPLE}")
        named = [self.function] if isinstance(self.function, str) else list(self.function)
        if wrong := [name for name in named if not isinstance(name, str) or not _TYPED.fullmatch(name)]:
            raise ConfigError(f"function: expected PATH.py:NAME or package.module:NAME, got {wrong[0]!r}")
        if isinstance(self.function, dict) and self.weights is not None:
            raise ConfigError("weights: expected none beside a mapping, which has them; got both")
        given = list(self.function.values()) if isinstance(self.function, dict) else self.weights
        self._weights = [1.0] * len(named) if given is None else given
        if len(self._weights) != len(named) or not all(map(_finite, self._weights)):
            raise ConfigError(f"weights: expected {len(named)} numbers, one per function, got {given}")
        self._workers = Workers(named, self.workers, self.timeout, self.import_timeout)
        try:
            self._loaded = self._workers.check()
        except ConfigError as error:
            raise ConfigError(f"function: {error}") from None

    def identity(self) -> dict[str, Any]:
        """What shapes its values: the text of each function's file, and the weights."""
        functions = [f"{each.shown} {each.sha256[:16]}" for each in self._loaded]
        weights = [float(weight) for weight in self._weights] if len(functions) > 1 else None
        return {"functions": functions, "weights": weights}

    def score(self, rows: Sequence[tuple[Record, Sequence[str]]], context: Context) -> list[Scored]:
        """What each row's answers are worth. A value is stored as it comes, and none is computed twice; a row without
        one, because the function failed, is tried again by the next run.
        """
        journal = context.store.journal("scores")
        asked = [self._asked(record, answers) for record, answers in rows]
        faults: dict[str, Fault] = {}
        try:
            self._run([each for of_row in asked for each in of_row], journal, faults)
        except RunError as error:
            context.stopped = StopRun(str(error))
        return [self._scored(of_row, journal, faults) for of_row in asked]

    def _asked(self, record: Record, answers: Sequence[str]) -> list["_Asked"]:
        """What the functions have to say about a row, and under which keys it is stored."""
        prompt, row = request(record), row_of(record)
        found = []
        for number, function in enumerate(self._loaded):
            name = function.shown.rpartition(":")[2]
            about = {"function": function.sha256, "name": name, "whole": function.whole, "prompt": prompt, "row": row}
            units = [list(answers)] if function.whole else [[answer] for answer in answers]
            keys = [key_of(**about, answers=unit) for unit in units]
            found.append(_Asked(function, Job(number, prompt, tuple(answers), row), keys))
        return found

    def _run(self, asked: Sequence["_Asked"], journal: Journal, faults: dict[str, Fault]) -> None:
        """Have computed and stored what the journal lacks."""
        todo = list(_todo(asked, journal))
        keys = {id(each.job): each for each in todo}
        progress = Progress("scored", len(asked), len(asked) - len(todo))
        try:
            with closing(self._workers.run((each.job for each in todo), self._loaded)) as told:
                for job, said in told:
                    each = keys[id(job)]
                    if isinstance(said, Values):
                        line = {"key": each.keys[said.place], "function": each.function.shown, "values": said.values}
                        journal.append(line)
                    elif said is not None:
                        faults.update((key, said) for key in each.keys if key not in journal)
                    if not isinstance(said, Values):
                        progress.update(said is None, aside=said is not None)
        finally:
            progress.close()

    def _scored(self, asked: Sequence["_Asked"], journal: Journal, faults: dict[str, Fault]) -> Scored:
        parts: list[list[float | None]] = []
        for each in asked:
            for key in each.keys:
                if key not in journal:
                    return Scored(fault=faults.get(key, Fault("")), asked=key in faults)
            parts.append([value for key in each.keys for value in journal.read(key, _values)[0]])
        totals = [self._total(values) for values in zip(*parts, strict=True)]
        return Scored(totals, parts)

    def _total(self, values: Sequence[float | None]) -> float | None:
        known = [weight * value for weight, value in zip(self._weights, values, strict=True) if value is not None]
        return sum(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job, and the keys of its values: one per answer, or one where the function takes all answers at once."""

    function: Loaded
    job: Job
    keys: list[str]


def _todo(asked: Sequence[_Asked], journal: Journal) -> Iterator[_Asked]:
    """What is left of each, every value once."""
    seen: set[str] = set()
    for each in asked:
        new = {key: place for place, key in enumerate(each.keys) if key not in journal and key not in seen}
        if not new:
            continue
        seen.update(new)
        job = each.job
        answers = job.answers if each.function.whole else [job.answers[place] for place in new.values()]
        yield _Asked(each.function, Job(job.function, job.prompt, answers, job.row), list(new))


@checked
@dataclass
class FunctionJudge(Functions, Judge):
    """Ranks the answers of a list by their scores, the highest first; equal scores are ties."""

    asks_again: ClassVar[bool] = True

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {"judge": "function", **Functions.identity(self)}

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling per case."""
        scored = self.score([(case.record, [answer.text for answer in case.answers]) for case in cases], context)
        return [self._ruling(each) for each in scored]

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """A comparison per pair: the higher score is better, whatever the order."""
        scored = self.score([(pair.record, [pair.first, pair.second]) for pair in pairs], context)
        return [_comparison(each) for each in scored]

    def _ruling(self, scored: Scored) -> Ruling | NoRuling:
        if scored.fault is not None:
            return NoRuling(scored.fault.reason, scored.fault.raw, scored.asked)
        levels = dense_levels([None if total is None else -total for total in scored.totals])
        if (left := len(levels) - levels.count(None)) < 2:
            return NoRuling(f"{CANNOT_SAY} of {len(levels) - left} of {len(levels)} answers")
        notes = {"functions": [each.shown for each in self._loaded], "values": scored.parts}
        return Ruling(levels, scored.totals, notes=notes if len(scored.parts) > 1 else {})


def _comparison(scored: Scored) -> Comparison:
    if scored.fault is not None:
        return Comparison((None, None), scored.fault.reason or "not asked yet", scored.fault.raw)
    first, second = scored.totals
    if first is None or second is None:
        return Comparison((None, None), CANNOT_SAY)
    sign = (first > second) - (first < second)
    return Comparison((sign, sign))


def row_of(record: Record) -> dict[str, Any]:
    """What a function is given as ``row``: id, instruction, input, output, and the row's other columns.

    >>> row_of(Record("7", "Add 2 and 3.", output="5", extra={"check": "number"}))
    {'check': 'number', 'id': '7', 'instruction': 'Add 2 and 3.', 'input': '', 'output': '5'}
    """
    row = {**record.extra, "id": record.id, "instruction": record.instruction, "input": record.input}
    row["output"] = record.output
    row |= {"messages": [dict(message) for message in record.messages]} if record.messages else {}
    return row | ({"tools": [dict(tool) for tool in record.tools]} if record.tools else {})


def _values(line: Entry) -> list[float | None]:
    return [None if value is None else float(value) for value in line["values"]]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
