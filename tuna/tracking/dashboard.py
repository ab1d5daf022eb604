"""The W&B dashboard of sweeps, as code: ``python -m tuna.tracking.dashboard ENTITY/PROJECT [--group SWEEP] [--json]``.

It makes a saved view of the project in W&B. ``--json`` prints what it would make, and sends nothing.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from tuna.errors import ConfigError, RunError, TunaError
from tuna.secrets import masked_output

SETTINGS = ("loss.lambda", "loss.margin", "datamodule.beta", "module.lr", "seed")  # what the paper's sweeps change
RESULTS = ("val/pair_accuracy", "val/task_accuracy", "val/loss")  # of a run's summary
CURVES = ("train/loss", "train/loss_rank", "train/loss_ce", "train/pair_accuracy", "val/pair_accuracy", "train/lr")
STEP = "trainer/global_step"
EXTRA = "python -m pip install wandb-workspaces"


def workspace(place: str, *, name: str = "Tuna sweeps", group: str | None = None) -> Any:
    """The saved view for ``ENTITY/PROJECT``, a wandb_workspaces Workspace; nothing is sent.

    group: show the runs of this sweep alone.

    Raises:
        ConfigError: ``place`` is no ENTITY/PROJECT, or wandb-workspaces is not installed.
    """
    entity, _, project = place.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(f"expected ENTITY/PROJECT (as in me/tuna), got {place!r}")
    try:
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ImportError as error:
        raise ConfigError(f"the dashboard needs wandb-workspaces ({error}); next: {EXTRA}") from None
    columns = ["run:displayName", "run:group", *(f"summary:{key}" for key in RESULTS)]

    def section(title: str, panels: list[Any], columns: int, rows: int) -> Any:
        grid = ws.SectionLayoutSettings(columns=columns, rows=rows)
        return ws.Section(name=title, panels=panels, layout_settings=grid, is_open=True)

    shown = [expr.Metric("Group") == group] if group else ""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            section("Sweep", _sweep(), 2, 2),
            section("Held out", _held_out(), 2, 2),
            section("Training", _curves(), 3, 2),
            section("Answers before and after", _answers(), 1, 1),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(filters=shown, pinned_columns=columns),
    )


def _sweep() -> list[Any]:
    """What a setting does to the result: all settings at once, then each alone."""
    import wandb_workspaces.reports.v2 as wr

    axes = [wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=key) for key in SETTINGS]
    axes += [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(key), display_name=key) for key in RESULTS[:2]]
    alone = [
        wr.ScatterPlot(
            title=f"{RESULTS[0]} by {key}",
            x=wr.Config(key),
            y=wr.SummaryMetric(RESULTS[0]),
        )
        for key in SETTINGS[:3]
    ]
    title = "settings and held-out accuracy"
    return [wr.ParallelCoordinatesPlot(columns=axes, title=title), *alone]


def _held_out() -> list[Any]:
    """The result by sweep, the mean over its runs, and by stage."""
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.BarPlot(
            title=f"{key} by {words}",
            metrics=[key],
            orientation="v",
            groupby=by,
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
        )
        for key in RESULTS[:2]
        for by, words in (("Group", "sweep"), ("JobType", "stage"))
    ]


def _curves() -> list[Any]:
    """Figures over the optimizer steps."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.LinePlot(title=key, x=STEP, y=[key]) for key in CURVES]


def _answers() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.WeavePanelSummaryTable(table_name="samples")]


def specification(view: Any) -> dict[str, Any]:
    """What is sent to W&B, as plain data."""
    model = view._to_model()
    return {"entity": view.entity, "project": view.project, "name": view.name, "spec": _plain(model.spec)}


def _plain(spec: Any) -> Any:
    return json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; the exit code is 1 after a fault that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m tuna.tracking.dashboard", description="Make the W&B dashboard.")
    parser.add_argument("place", metavar="ENTITY/PROJECT")
    parser.add_argument("--group", metavar="SWEEP", help="show the runs of this sweep alone")
    parser.add_argument("--name", default="Tuna sweeps", help="of the saved view (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what would be made, and send nothing")
    asked = parser.parse_args(argv)
    logging.getLogger("wandb").setLevel(logging.ERROR)
    try:
        view = workspace(asked.place, name=asked.name, group=asked.group)
        if asked.json:
            print(json.dumps(specification(view), indent=2))
        else:
            _save(view)
    except TunaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _save(view: Any) -> None:
    """Send it.

    Raises:
        RunError: W&B does not take it.
    """
    from tuna.tracking.wandb_mode import wandb_mode

    if wandb_mode("auto") != "online":
        raise RunError("not logged in to W&B, or WANDB_MODE says otherwise; next: wandb login, or --json to look at it")
    try:
        view.save()
    except Exception as error:
        raise RunError(f"W&B does not take the dashboard ({type(error).__name__}: {error})") from error
    print(view.url)


if __name__ == "__main__":
    with masked_output():
        sys.exit(main())
