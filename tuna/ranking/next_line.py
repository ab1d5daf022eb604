"""The last line of a collection: the command that goes on with its lists, or why there is none yet."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuna.config.commands import Unsayable, command, script, typed_fields
from tuna.ranking.instructions import Shard
from tuna.ranking.settings import OutputPaths, Settings
from tuna.runs import read_json

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


def next_line(
    places: OutputPaths, settings: Settings, ranker: str, rows: Sequence[dict[str, Any]], tuned: "ModelConfig | None"
) -> str:
    """What to do with the ranked lists ``rows`` of one collection.

    tuned: the model that they are for; None where a server or a file gave the answers and nobody has named it.
    """
    shard = Shard.parse(settings.shard)
    if shard.count > 1:
        return _merge(places, settings, shard)
    if not any(len({answer["score"] for answer in row["responses"]}) > 1 for row in rows):
        return "all answers of each list are tied, so there is nothing to train on; another judge or model may differ"
    values: dict[str, Any] = {"stage": "tuna_p" if ranker == "probabilistic" else "tuna_c"}
    if tuned is not None:
        values |= {"model.path": tuned.path, **typed_fields(tuned, "model")}
    values["datamodule.path"] = str(places.output)
    if any("output" not in row for row in rows):
        values["datamodule.original"] = "best"  # training wants an original response
    try:
        train = command("train.py", values)
    except Unsayable as key:
        return f"to go on: stage={values['stage']}, with {key} in a file, since no command line can hold its value"
    return f"to go on: {train}, with model.path= of the model to be tuned" if tuned is None else f"next: {train}"


def _merge(places: OutputPaths, settings: Settings, shard: Shard) -> str:
    """The command that joins the parts once all are there and whole."""
    parts = [OutputPaths.of(replace(settings, shard=f"{k}/{shard.count}"), _name(places)) for k in _numbers(shard)]
    whole = [part for part in parts if part.output.exists() and read_json(part.report).get("missing") == 0]
    output = OutputPaths.of(replace(settings, shard=None), _name(places)).output
    if len(whole) < shard.count:
        return f"shard {settings.shard}: {shard.count - len(whole)} other parts are to be collected before the merge"
    if output.exists():
        return f"all {shard.count} parts are there; {output} is too, so a merge needs another name"
    return f"next: {shlex.join(['python', script('rank.py'), 'merge', str(output), *(str(p.output) for p in whole)])}"


def _numbers(shard: Shard) -> range:
    return range(1, shard.count + 1)


def _name(places: OutputPaths) -> str:
    """The collection's own name, which its output's has the shard behind."""
    return places.output.name.partition(".shard-")[0]
