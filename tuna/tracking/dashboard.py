"""The W&B dashboard of sweeps: ``python -m tuna.tracking.dashboard ENTITY/PROJECT [--group SWEEP] [--json]``."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from tuna.errors import ConfigError, RunError, TunaError
from tuna.secrets import masked_output
from tuna.tracking.wandb_run import STEP, wandb_mode

SETTINGS = ("loss.lambda", "loss.margin", "datamodule.beta", "module.lr", "seed")  # what the paper's sweeps change
RESULTS = ("val/pair_accuracy", "val/task_accuracy", "val/loss")  # of a run's summary
CURVES = ("train/loss", "train/loss_rank", "train/loss_ce", "train/pair_accuracy", "val/pair_accuracy", "train/lr")


def workspace(place: str, name: str, group: str | None) -> Any:
    """The view for ``place`` (ENTITY/PROJECT), of the sweep ``group`` alone where given; nothing is sent."""
    entity, _, project = place.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(f"expected ENTITY/PROJECT (as in me/tuna), got {place!r}")
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ImportError as error:
        raise ConfigError(
            f"the dashboard needs wandb-workspaces ({error}); next: python -m pip install wandb-workspaces"
        ) from None
    best, by_mean = RESULTS[0], {"orientation": "v", "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    axes = [(key, wr.Config(key)) for key in SETTINGS] + [(key, wr.SummaryMetric(key)) for key in RESULTS[:2]]
    columns = [wr.ParallelCoordinatesPlotColumn(metric, display_name=key) for key, metric in axes]
    sections = {  # title: columns, rows, panels
        "Sweep": (2, 2, [
            wr.ParallelCoordinatesPlot(columns=columns, title="settings and held-out accuracy"),
            *(wr.ScatterPlot(title=f"{best} by {x}", x=wr.Config(x), y=wr.SummaryMetric(best)) for x in SETTINGS[:3]),
        ]),
        "Held out": (2, 2, [
            wr.BarPlot(title=f"{key} by {what}", metrics=[key], groupby=by, **by_mean)
            for key in RESULTS[:2]
            for by, what in (("Group", "sweep"), ("JobType", "stage"))
        ]),
        "Training": (3, 2, [wr.LinePlot(title=key, x=STEP, y=[key]) for key in CURVES]),
        "Answers before and after": (1, 1, [wr.WeavePanelSummaryTable(table_name="samples")]),
    }  # fmt: skip
    filters = [expr.Metric("Group") == group] if group else ""
    pinned = ["run:displayName", "run:group", *(f"summary:{key}" for key in RESULTS)]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(
                name=title,
                panels=panels,
                layout_settings=ws.SectionLayoutSettings(columns=wide, rows=high),
                is_open=True,
            )
            for title, (wide, high, panels) in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(filters=filters, pinned_columns=pinned),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; the exit code is 1 after an error that the user can fix."""
    parser = argparse.ArgumentParser(prog="python -m tuna.tracking.dashboard", description="Make the W&B dashboard.")
    parser.add_argument("place", metavar="ENTITY/PROJECT")
    parser.add_argument("--group", metavar="SWEEP", help="show the runs of this sweep alone")
    parser.add_argument("--name", default="Tuna sweeps", help="of the saved view (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print what would be made, and send nothing")
    asked = parser.parse_args(argv)
    logging.getLogger("wandb").setLevel(logging.ERROR)
    try:
        view = workspace(asked.place, asked.name, asked.group)
        if asked.json:
            spec = view._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
            shown = {"entity": view.entity, "project": view.project, "name": view.name, "spec": spec}
            print(json.dumps(shown, indent=2))
            return 0
        if wandb_mode("auto") != "online":
            raise RunError("not logged in to W&B, or WANDB_MODE says otherwise; next: wandb login, or give --json")
        try:
            view.save()
        except Exception as error:
            raise RunError(f"W&B does not take the dashboard ({type(error).__name__}: {error})") from error
        print(view.url)
    except TunaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with masked_output():
        sys.exit(main())
