"""One report: read what is on disk, compare, write tables, figures, the page. Called by report.py, and by tests."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig

from tuna.config import checks
from tuna.console import shortened
from tuna.errors import ConfigError, RunError
from tuna.files import write_text
from tuna.reporting import shapes
from tuna.reporting.answers import answer_sheets, answers_table
from tuna.reporting.claims import UNMEASURED, check_claims
from tuna.reporting.columns import find_columns
from tuna.reporting.compare import Comparison
from tuna.reporting.figures import draw_lengths, draw_sweep, draw_systems
from tuna.reporting.judges import judge_tables
from tuna.reporting.loss_tables import tables as tables_of_losses
from tuna.reporting.losses import Losses, losses_json, read_losses
from tuna.reporting.own import own_runs
from tuna.reporting.read import Found, paper
from tuna.reporting.rounds import Rounds, draw_rounds, read_rounds, rounds_json, rounds_table
from tuna.reporting.sources import column_table
from tuna.reporting.sweeps import Sweep, find_sweeps
from tuna.reporting.systems import System, find_systems, summarize
from tuna.reporting.tables import Group, Table, render
from tuna.runs import read_json, write_json

SCHEMA_VERSION = 1
FOLDERS = ("runs", "rankings", "results")
_BEGUN = ".begun"  # stands in the folder while a report is written, and after a kill
_MOST_TOLD = 10  # lines of a kind that are printed
_MOST_OPEN = 30  # runs; a longer table of them is folded


@dataclass(frozen=True)
class Settings:
    """What one report is made of: the keys of conf/report.yaml, explained there."""

    runs: str | list[str] = "runs"
    rankings: str | list[str] = "rankings"
    results: str | list[str] = "results"
    output: str = "report"
    name: str = "report"
    title: str = "Tuna, measured"
    baseline: str = "Alpaca"
    questions: Annotated[int, Ge(0)] = 20
    paper: str | None = None
    rounds: str | None = None
    losses: str | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config; a ConfigError has all wrong values and folders that do not exist, one per line."""
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings")
        for key in ("paper", "rounds", "losses"):
            if isinstance(values.get(key), str) and not Path(values[key]).is_file():
                wrong.append(f"{key}: expected a JSON file, there is none at {values[key]}")
        if not wrong:
            settings = Settings(**values)
            for key, folders in settings.folders.items():
                if folders != Settings().folders[key]:
                    wrong += [f"{key}: {folder}: no such folder" for folder in folders if not folder.is_dir()]
            if Path(settings.output).is_file():
                wrong.append(f"output: expected a folder, {settings.output} is a file")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return settings

    @property
    def folders(self) -> dict[str, list[Path]]:
        """The folders under ``runs``, ``rankings`` and ``results``."""
        given = {key: getattr(self, key) for key in FOLDERS}
        return {key: [Path(f) for f in ([value] if isinstance(value, str) else value)] for key, value in given.items()}


def run(cfg: DictConfig) -> dict[str, float]:
    """Write the report that ``cfg`` asks for; gives its counts, or a TunaError that says why there is none."""
    settings = Settings.read(cfg)
    date = _date()
    paper_tables = shapes.read_paper_tables(Path(settings.paper)) if settings.paper else []
    rounds = read_rounds(Path(settings.rounds)) if settings.rounds else None
    compared = read_losses(Path(settings.losses)) if settings.losses else None
    found = Found.read(**settings.folders) if compared is None else Found()
    output = Path(settings.output)
    earlier = _check_own(output)
    try:
        for inner in ("tables", "figures"):
            (output / inner).mkdir(parents=True, exist_ok=True)
        (output / _BEGUN).touch()
        report = _write(settings, date, found, paper_tables, rounds, compared, earlier)
        (output / _BEGUN).unlink()
    except OSError as error:
        raise RunError(
            f"{error.filename or output}: {error.strerror or error}; name another place with output=FOLDER"
        ) from error
    print(", ".join(f"{key}: {value}" for key, value in report["counts"].items()))
    for claim in report["claims"]:
        if claim["verdict"] != UNMEASURED:
            print(f"{claim['verdict']:<14} {claim['says']} ({claim['summary']})")
    if unmeasured := sum(claim["verdict"] == UNMEASURED for claim in report["claims"]):
        print(
            f"{UNMEASURED}: {unmeasured} claims of the paper, whose systems are not among these (the page says which)"
        )
    for kind, lines in (("missing", report["missing"]), ("note", report["notes"])):
        for line in shortened(lines, _MOST_TOLD):
            print(f"{kind}: {line}")
    beside = f"{len(report['tables'])} tables, {len(report['figures'])} figures beside it"
    print(f"written: {output / 'report.html'}, report.json; {beside}")
    return {key: float(value) for key, value in report["counts"].items()}


def _check_own(output: Path) -> dict[str, Any]:
    """The report.json of an earlier report, whole or begun; a ConfigError where other things have our files' names."""
    try:
        before = read_json(output / "report.json")
    except RunError:
        before = {}
    before = before if {"schema_version", "figures", "tables"} <= before.keys() else {}
    there = [name for name in ("report.html", "report.json", "tables", "figures") if os.path.lexists(output / name)]
    if there and not before and not (output / _BEGUN).exists():
        raise ConfigError(
            f"output: {output / there[0]} is there and report.py did not make it; next: the same command with another "
            "output=FOLDER"
        )
    return before


def _date() -> str:
    """Now, or SOURCE_DATE_EPOCH (seconds since 1970), in UTC."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None and not given.isdigit():
        raise ConfigError(f"SOURCE_DATE_EPOCH: expected whole seconds since 1970, got {given!r}")
    return datetime.fromtimestamp(int(given or time.time()), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _write(
    settings: Settings, date: str, found: Found, paper_tables: list[Table], rounds: Rounds | None,
    compared: Losses | None, earlier: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Draw the figures, write tables and the page; gives report.json: all that the page says in numbers."""
    output = Path(settings.output)
    columns = find_columns(found.results)
    systems = find_systems(found, columns)
    comparison = Comparison(systems, columns.values(), settings.baseline)
    sweeps = find_sweeps(comparison)
    sheets = answer_sheets(comparison, settings.questions, found.problems)
    (counts, missing), claims = summarize(found, systems), [] if compared else check_claims(comparison, sweeps, found)
    notes: list[str] = []
    groups = _groups(comparison, sweeps, found, output / "figures", notes)
    measured = any(claim.verdict != UNMEASURED for claim in claims)
    own = None if compared else own_runs(found.runs, output / "figures", found.problems)
    if own:
        groups.insert(len(groups) if measured else 0, own)
    own_alone = bool(own) and not measured and not paper_tables  # nothing here is about the paper
    if own_alone:
        claims.clear()
        if settings.baseline == Settings.baseline and comparison.baseline is None:
            comparison.notes.clear()  # nobody asked for it
    if rounds and rounds.lines:
        draw_rounds(rounds, drawn := output / "figures" / "rounds.png")
        groups.insert(0, Group("rounds", "Rounds", [rounds_table(rounds, drawn)]))
    if compared:
        groups.insert(0, Group("losses", "Losses", tables_of_losses(compared, output / "figures")))
        comparison.notes.clear()  # of systems, which there are none of
    notes += comparison.notes + found.problems
    tables = [table for group in groups for table in group.tables]
    tables += [answers_table(sheets)] * bool(sheets) + paper_tables
    for table in tables:
        write_text(output / "tables" / f"{table.key}.md", table.markdown())
        write_text(output / "tables" / f"{table.key}.tex", table.latex())
    figures = sorted(path.name for table in tables for path, _ in table.figures)
    for key in {*earlier.get("tables", ())} - {table.key for table in tables}:
        for ending in ("md", "tex"):
            (output / "tables" / f"{key}.{ending}").unlink(missing_ok=True)
    for name in {*map(str, earlier.get("figures", ()))} - {*figures}:
        (output / "figures" / name).unlink(missing_ok=True)
    sections = [(group.id, group.title) for group in groups]
    sections = [("claims", "Claims")] * measured + sections + [("answers", "Answers")] * bool(sheets)
    sections += [("paper", "The paper")] * (not own_alone)
    page = render(
        measured=measured,
        title=settings.title, date=date, counts=counts, missing=missing, notes=notes, claims=claims, groups=groups,
        sheets=sheets, paper=paper(), paper_tables=paper_tables, sections=sections,
        sources=", ".join(str(folder) for folders in settings.folders.values() for folder in folders),
    )  # fmt: skip
    write_text(output / "report.html", page)
    report = {
        "schema_version": SCHEMA_VERSION, "name": settings.name, "title": settings.title, "date": date,
        "baseline": comparison.baseline.label if comparison.baseline else None, "counts": counts,
        "missing": missing, "notes": notes,
        "systems": [_figures(system, comparison) for system in comparison.systems],
        "claims": [asdict(claim) for claim in claims], "tables": [table.key for table in tables],
        "figures": figures, **({"rounds": rounds_json(rounds)} if rounds else {}),
        **({"losses": losses_json(compared)} if compared else {}),
        "judges": {table.key: table.values() for group in groups if group.id == "judges" for table in group.tables},
        "sources": {key: [*map(str, folders)] for key, folders in settings.folders.items()},
    }  # fmt: skip
    write_json(output / "report.json", report)
    return report


def _groups(
    comparison: Comparison, sweeps: Sequence[Sweep], found: Found, figures: Path, notes: list[str]
) -> list[Group]:
    """The page's sections of tables, their figures drawn into the folder ``figures``; what is not drawn is noted."""
    main, swept = [*shapes.system_tables(comparison), column_table(comparison)], []
    drawn, left = draw_systems(comparison, figures / "systems.png")
    main[0] = replace(main[0], figures=drawn)
    notes += left
    for sweep in sweeps:
        drawn, left = draw_sweep(sweep, comparison, figures)
        notes += [f"{sweep.title}: {what} are not drawn" for what in left]
        swept.append(replace(shapes.sweep_table(sweep, comparison), figures=drawn))
    detail = [*shapes.benchmark_tables(comparison), *shapes.study_tables(found)]
    lengths, cost = shapes.length_table(found.rankings), shapes.cost_table(found.rankings)
    if lengths.rows:
        notes += draw_lengths(found.rankings, figures / "lengths.png")
        lengths = replace(lengths, figures=[(figures / "lengths.png", "Mean words by rank")])
    runs = [shapes.held_out_table(comparison), shapes.runs_table(found, comparison.systems)]
    groups = [
        Group("systems", "Systems", main, main[0].caption if main else ""),
        Group("sweeps", "Sweeps", swept),
        Group("benchmarks", "Benchmarks in detail", detail, folded=True),
        Group("judges", "Judges", judge_tables(found, figures)),
        Group("rankings", "Rankings", [lengths, cost]),
        Group("runs", "Runs", runs, folded=len(found.runs) > _MOST_OPEN),
    ]
    groups = [replace(group, tables=[table for table in group.tables if table.rows]) for group in groups]
    return [group for group in groups if group.tables]


def _figures(system: System, comparison: Comparison) -> dict[str, Any]:
    """A system's part of report.json."""
    scores = {}
    for column in comparison.of_results:
        if estimate := comparison.estimate(system, column):
            change = comparison.versus(system, comparison.baseline, column)
            scores[column.key] = {
                "score": column.score, "lower_is_better": column.lower_is_better, "words": column.title,
                "estimate": asdict(estimate), "to_baseline": asdict(change) if change else None,
                "values": {str(seed): value for seed, value in comparison.values(system, column).items()},
            }  # fmt: skip
    return {
        "system": system.label, "stage": system.stage or None, "tables": list(system.tables),
        "runs": {str(seed): str(system.runs[seed].path) for seed in sorted(system.runs)},
        "not_finished": [str(run.path) for run in system.broken], "scores": scores,
    }  # fmt: skip
