"""Rounds of a pipeline: its steps written out round by round; whether there is a next one, and which was the best."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.console import nearest
from tuna.errors import ConfigError, RunError
from tuna.runs import latest_of, read_json

BOOK = "rounds.json"  # which result is of which round: report.py makes a table of it


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the rounds' table."""

    name: str
    round: int | None  # 0: the start; None: beside the rounds
    steps: tuple[str, ...]  # what measures it, and its likelihood
    model: str | None  # the step that makes its model


@dataclass(frozen=True, slots=True)
class Written:
    """A pipeline with all its rounds written out."""

    steps: dict[str, str]  # commands by name, as ``plan`` takes them
    earlier: dict[str, list[str]]  # of a step of a round: what measures the start and the rounds before, in order
    rows: list[Row]


def write_out(pipeline: Mapping[str, Any], values: Mapping[str, object], rounds: int) -> Written:
    """The steps of ``rounds`` rounds, each with its number behind its name, then the pipeline's other steps.

    pipeline: as conf/pipeline/rounds.yaml. values: of sizes; of ``all`` instructions each round sees the next
    ``first``, from the start again once they are used up. A ConfigError tells names that are no steps.

    >>> pipeline = {"each_round": {"tuned": "train.py model.path={current} first={until} last={rest}"},
    ...     "current": "tuned", "measure": ["start", "tuned"], "steps": {"start": "evaluate.py"}, "rows": {}}
    >>> written = write_out(pipeline, {"all": 5, "first": 2, "start": "tiny"}, 3)
    >>> written.steps["tuned_1"], written.steps["tuned_2"]
    ('train.py model.path={start} first=2 last=5', 'train.py model.path={tuned_1} first=4 last=3')
    >>> written.steps["tuned_3"], written.earlier["tuned_3"]
    ('train.py model.path={tuned_2} first=2 last=5', ['start', 'tuned_1', 'tuned_2'])
    """
    each, others = pipeline["each_round"], pipeline["steps"]
    current, (of_start, of_round) = pipeline["current"], pipeline["measure"]
    wrong = [
        f"pipeline.{key}: {name} is no step of {of}{nearest(name, list(steps))}"
        for key, name, of, steps in (
            ("current", current, "each_round", each), ("measure", of_start, "steps", others),
            ("measure", of_round, "each_round", each),
        )
        if name not in steps
    ]  # fmt: skip
    for key in ("all", "first"):
        if not isinstance(value := values.get(key), int) or value < 1:
            wrong.append(f"sizes.{key}: expected a whole number of instructions, got {value!r}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    total, first = int(str(values["all"])), int(str(values["first"]))
    turns = max(1, total // first)  # after which the instructions begin again
    steps: dict[str, str] = {}
    earlier: dict[str, list[str]] = {}
    measures = [of_start]
    for number in range(1, rounds + 1):
        turn = (number - 1) % turns
        known = {
            "round": str(number), "until": str((turn + 1) * first), "rest": str(total - turn * first),
            "current": "{start}" if number == 1 else f"{{{current}_{number - 1}}}",
            **{name: f"{{{name}_{number}}}" for name in each},
        }  # fmt: skip
        for name, command in each.items():
            steps[f"{name}_{number}"] = _filled(command, known)
            earlier[f"{name}_{number}"] = [*measures] if number > 1 else []
        measures.append(f"{of_round}_{number}")
    steps |= others
    rows: list[Row] = []
    for name, (model, *measured) in pipeline["rows"].items():
        if "{round}" in name:
            for number in range(1, rounds + 1):
                of = tuple(f"{step}_{number}" for step in measured)
                rows.append(Row(name.replace("{round}", str(number)), number, of, f"{model}_{number}"))
        else:
            rows.append(Row(name, 0 if of_start in measured else None, tuple(measured), model))
    return Written(steps, earlier, rows)


def _filled(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], match[0]), text)


def figure_in(folder: Path) -> float:
    """The primary figure of the latest result below a folder of evaluate.py's; minus it where lower is better."""
    found = results_in(folder)
    return figure_of(found[latest] if (latest := latest_of(found, folder)) else {}, folder)


def results_in(folder: Path) -> dict[Path, dict[str, Any]]:
    """By its file, each result below a folder of evaluate.py's; one that is being measured has no scores yet."""
    shape = {"scores": dict, "primary": str, "model": dict, "lower_is_better": list}
    found = {path: read_json(path, shape) for path in sorted(folder.glob("*/*/results.json"))}
    return {path: result for path, result in found.items() if "scores" in result}


def figure_of(result: Mapping[str, Any], path: Path) -> float:
    """The primary figure of a result's content; minus it where lower is better. path: where it is, for a message."""
    value = result.get("scores", {}).get(result.get("primary"))
    if not isinstance(value, int | float):
        raise RunError(
            f"{path}: expected a result with a figure to compare by, got {value!r}; next: move it away, then the same "
            "command measures anew"
        )
    return -value if result["primary"] in result.get("lower_is_better", ()) else value


def ended_at(figures: Sequence[float], patience: int) -> int | None:
    """The round (0 is the start) with which the rounds end, since ``patience`` in a row were below the best one.

    >>> ended_at([0.5, 0.6, 0.6, 0.4, 0.9], 1), ended_at([0.5, 0.6, 0.4, 0.9], 2)
    (3, None)
    """
    lasts = range(len(figures))
    return next((last for last in lasts if last - best_in(figures[: last + 1]) >= patience), None)


def best_in(figures: Sequence[float]) -> int:
    """The place of the highest figure, the last of equal ones.

    >>> best_in([0.5, 0.6, 0.6, 0.4])
    2
    """
    return max(range(len(figures)), key=lambda place: (figures[place], place))
