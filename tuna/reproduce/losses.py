"""A comparison of losses: a pipeline's steps written out loss by loss, and what a sweep's results say was best."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tuna.errors import RunError
from tuna.reproduce.plan import Step
from tuna.reproduce.rounds import figure_of, results_in
from tuna.sweeps.jobs import job_in, jobs_in

BOOK = "losses.json"  # which results are whose: report.py compares them
SEEDS = ("choosing", "measuring")  # seeds that settings are chosen with, and that the chosen ones are measured with
LATER = re.compile(r"<(best|jobs):([^>]*)>")  # in a command: what is known once an earlier step is done


def write_out(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """The pipeline's steps; those of ``each_loss`` for each of ``losses``, with its name behind theirs; and those of
    ``each_size`` for each of ``sizes_of`` at each of ``sizes``, with the name and the size.

    In a command ``{loss}`` is the name, ``{grid}`` its words, ``{fixed}`` those of them that are not swept, ``{size}``
    the size; ``{x}``, ``{best:x}`` and ``{jobs:x}`` are of the step ``x`` of the same loss, and size.

    >>> write_out({"losses": {"dpo": "loss.beta=1,2"}, "each_loss": {"tried": "train.py -m loss={loss} {grid}",
    ...     "marked": "evaluate.py -m model.path={jobs:tried}"}, "steps": {}})
    {'tried_dpo': 'train.py -m loss=dpo loss.beta=1,2', 'marked_dpo': 'evaluate.py -m model.path={jobs:tried_dpo}'}
    """
    each, each_size = pipeline["each_loss"], pipeline.get("each_size", {})
    steps = dict(pipeline["steps"])
    for loss, words in pipeline["losses"].items():
        fixed = [word for word in words.split() if "," not in word and not word.startswith("{")]
        known = {"loss": loss, "grid": words, "fixed": " ".join(fixed)}
        known |= {name: f"{name}_{loss}" for name in each}
        steps |= {known[name]: _filled(command, known) for name, command in each.items()}
        for size in pipeline["sizes"] if loss in pipeline.get("sizes_of", ()) else ():
            at = known | {"size": str(size)} | {name: f"{name}_{loss}_{size}" for name in each_size}
            steps |= {at[name]: _filled(command, at) for name, command in each_size.items()}
    return steps


def _filled(command: str, known: Mapping[str, str]) -> str:
    """With what is a word at once written out, and names of steps in place of the ones of one loss."""
    now = {key: text for key, text in known.items() if key in ("loss", "grid", "fixed", "size")}
    for key, text in now.items():
        command = command.replace(f"{{{key}}}", text)
    steps = "|".join(known.keys() - now.keys())
    return re.sub(rf"\{{((?:\w+:)?)({steps})\}}", lambda match: f"{{{match[1]}{known[match[2]]}}}", command)


def book(pipeline: Mapping[str, Any], steps: Sequence[Step], folder: Path) -> dict[str, Any]:
    """Which results are of which loss (and size), and what to compare, for report.py. Last steps measure."""
    made = {step.recipe: str(step.makes.relative_to(folder)) for step in steps}
    measure, at = list(pipeline["each_loss"])[-1], list(pipeline.get("each_size", {}))[-1:]
    places = {loss: f"{measure}_{loss}" for loss in pipeline["losses"]}
    sizes: dict[str, dict[str, str]] = {}
    for loss in pipeline.get("sizes_of", ()):
        sizes[loss] = {str(pipeline["size"]): loss} | {str(size): f"{loss}@{size}" for size in pipeline["sizes"]}
        places |= {f"{loss}@{size}": f"{at[0]}_{loss}_{size}" for size in pipeline["sizes"]}
    return {
        "baseline": pipeline["baseline"], "start": made.get(pipeline["start"], ""), "sizes": sizes,
        "losses": {name: made[step] for name, step in places.items() if step in made},
        "contrasts": list(pipeline["contrasts"]),
    }  # fmt: skip


def settle(words: Sequence[str]) -> list[str]:
    """A command in which what was known later is filled in: ``<best:F>``, ``<jobs:F>``."""
    found: list[str] = []
    for word in words:
        if (match := LATER.fullmatch(word)) and match[1] == "best":
            found += best_settings(Path(match[2]))
        else:
            found.append(LATER.sub(lambda match: ",".join(map(str, _runs(Path(match[2])))), word))
    return found


def _runs(sweep: Path) -> list[Path]:
    return [job.folder for job in jobs_in(sweep)]


def best_settings(results: Path) -> list[str]:
    """The settings, without the seed, of the runs of a sweep whose mean over seeds of the primary figure is highest.

    results: where a sweep of evaluate.py over all runs of one sweep of train.py put its results. Raises: RunError
    where there is none.
    """
    figures: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for path, result in results_in(results).items():
        run = result.get("model", {}).get("run")
        job = job_in(Path(run)) if run else None
        if job is not None:
            settings: tuple[str, ...] = tuple(word for word in job.swept if not word.startswith("seed="))
            figures[settings].append(figure_of(result, path))
    if not figures:
        raise RunError(f"{results}: expected results of the jobs of a sweep, there are none")
    best = max(figures, key=lambda settings: fmean(figures[settings]))
    return [*best]
