"""One report: read what is on disk, compare, write tables, figures, the page. Called by report.py, and by tests."""

import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tuna.errors import ConfigError, RunError
from tuna.reporting import shapes
from tuna.reporting.answers import Sheet, answer_sheets, answers_table
from tuna.reporting.claims import Verdict, check_claims
from tuna.reporting.columns import Columns
from tuna.reporting.compare import Comparison, words
from tuna.reporting.figures import draw_lengths, draw_sweep
from tuna.reporting.page import Group, Item, inline, render
from tuna.reporting.paper import paper, read_cells
from tuna.reporting.read import Found
from tuna.reporting.settings import Settings
from tuna.reporting.state import State, look, runs_table
from tuna.reporting.sweeps import find_sweeps
from tuna.reporting.systems import find_systems
from tuna.reporting.tables import Table
from tuna.runs import read_json, write_json

SCHEMA_VERSION = 1
_BEGUN = ".begun"  # stands in the folder while a report is written, and after a kill


@dataclass
class Report:
    """What goes into the files. ``groups``: the page's sections of tables and figures, in order."""

    settings: Settings
    date: str
    comparison: Comparison
    state: State
    claims: list[Verdict]
    groups: list[Group] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    extra: list[Table] = field(default_factory=list)  # written as files only
    paper_tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[Table]:
        """All that are written to tables/."""
        return [item.table for group in self.groups for item in group.items if item.table] + self.extra


def run(cfg: DictConfig) -> dict[str, float]:
    """Write the report that ``cfg`` asks for; gives its counts.

    Raises:
        TunaError: wrong settings, nothing to report on, an output that cannot be written.
    """
    settings = Settings.read(cfg)
    date = _date()
    cells = read_cells(Path(settings.paper)) if settings.paper else []
    found = Found.read(*(settings.folders(key) for key in ("runs", "rankings", "results")))
    output = Path(settings.output)
    _check_own(output)
    try:
        for inner in ("tables", "figures"):
            (output / inner).mkdir(parents=True, exist_ok=True)
        (output / _BEGUN).touch()
        report = _make(settings, date, found, output / "figures")
        report.paper_tables = shapes.paper_tables(cells)
        _write(report, found, output)
        (output / _BEGUN).unlink()
    except OSError as error:
        raise RunError(
            f"{error.filename or output}: {error.strerror or error}; name another place with output=FOLDER"
        ) from error
    _tell(report, output)
    return {key: float(value) for key, value in report.state.counts.items()}


def _check_own(output: Path) -> None:
    """Nothing is replaced or removed that no report of ours has made.

    Raises:
        ConfigError: the folder holds such a thing under one of our names.
    """
    if (output / _BEGUN).exists():
        return
    before = _earlier(output)
    there = [name for name in ("report.html", "report.json", "tables", "figures") if os.path.lexists(output / name)]
    if there and before is None:
        raise ConfigError(
            f"output: {output / there[0]} is there and report.py did not make it; next: the same command with another "
            "output=FOLDER"
        )
    figures = output / "figures"
    other = {path.name for path in figures.glob("*")} - {str(name) for name in (before or {}).get("figures", ())}
    if other:
        raise ConfigError(
            f"output: {figures / min(other)} is no figure of the report that is there, and would be removed; next: "
            "move it away, or the same command with another output=FOLDER"
        )


def _earlier(output: Path) -> dict[str, Any] | None:
    """The report.json of an earlier report, whole or begun."""
    try:
        found = read_json(output / "report.json")
    except (RunError, OSError, TypeError, ValueError):
        return None
    return found if {"schema_version", "figures", "tables"} <= found.keys() else None


def _date() -> str:
    """Now, or SOURCE_DATE_EPOCH (seconds since 1970), in UTC."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None and not given.isdigit():
        raise ConfigError(f"SOURCE_DATE_EPOCH: expected whole seconds since 1970, got {given!r}")
    return datetime.fromtimestamp(int(given) if given else int(time.time()), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _make(settings: Settings, date: str, found: Found, figures: Path) -> Report:
    columns = Columns(found.results)
    systems = find_systems(found, columns)
    comparison = Comparison(systems, columns, settings.baseline)
    sweeps = find_sweeps(comparison)
    sheets = answer_sheets(comparison, settings.questions, found.problems)
    state = look(found, systems)
    report = Report(settings, date, comparison, state, check_claims(comparison, sweeps), sheets=sheets)
    shutil.rmtree(figures)  # of an older report
    figures.mkdir()
    tables = shapes.system_tables(comparison)
    report.groups.append(_group("systems", "Systems", tables, tables[0].caption if tables else ""))
    items = []
    for sweep in sweeps:
        drawn, left = draw_sweep(sweep, comparison, figures)
        report.notes += [f"{sweep.title}: {what} are not drawn" for what in left]
        items.append(Item(sweep.title, shapes.sweep_table(sweep, comparison), _inlined(drawn)))
    report.groups.append(Group("sweeps", "Sweeps", items))
    report.groups.append(_benchmarks(comparison, found))
    report.groups.append(_rankings(report, found, figures))
    held_out, runs = shapes.run_table(comparison), runs_table(found, systems)
    report.groups.append(
        Group("runs", "Runs", [Item(t.title, t) for t in (held_out, runs) if t], folded=len(found.runs) > 30)
    )
    report.groups = [group for group in report.groups if group.items]
    report.figures = sorted(path.name for path in figures.iterdir())
    if (side_by_side := answers_table(sheets)) is not None:
        report.extra.append(side_by_side)
    report.notes += comparison.notes + state.notes
    return report


def _inlined(drawn: list[tuple[Path, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((inline(path), alt) for path, alt in drawn)


def _group(key: str, title: str, tables: list[Table], text: str = "") -> Group:
    return Group(key, title, [Item(table.title, table) for table in tables], text)


def _benchmarks(comparison: Comparison, found: Found) -> Group:
    group = _group(
        "benchmarks", "Benchmarks in detail", [*shapes.benchmark_tables(comparison), *shapes.study_tables(found)]
    )
    return Group(group.id, group.title, group.items, group.text, folded=True)


def _rankings(report: Report, found: Found, figures: Path) -> Group:
    items = []
    lengths, cost = shapes.length_table(found.rankings), shapes.cost_table(found.rankings)
    if lengths is not None:
        path = figures / "lengths.png"
        if left := draw_lengths(found.rankings, path):
            report.notes.append(left)
        items.append(Item(lengths.title, lengths, _inlined([(path, "Mean words by rank")])))
    if cost is not None:
        items.append(Item(cost.title, cost))
    return Group("rankings", "Rankings", items)


def _write(report: Report, found: Found, output: Path) -> None:
    names = set()
    for table in [*report.tables, *report.paper_tables]:
        names |= {f"{table.key}.md", f"{table.key}.tex"}
        (output / "tables" / f"{table.key}.md").write_text(table.markdown(), encoding="utf-8")
        (output / "tables" / f"{table.key}.tex").write_text(table.latex(), encoding="utf-8")
    before = (_earlier(output) or {}).get("tables", ())
    for name in {f"{key}.{ending}" for key in before for ending in ("md", "tex")} - names:
        (output / "tables" / name).unlink(missing_ok=True)
    settings = report.settings
    sources = ", ".join(str(folder) for key in ("runs", "rankings", "results") for folder in settings.folders(key))
    sections = [("claims", "Claims"), *((group.id, group.title) for group in report.groups)]
    sections += [("answers", "Answers")] * bool(report.sheets) + [("paper", "The paper")]
    page = render(
        title=settings.title, date=report.date, state=report.state, notes=report.notes, claims=report.claims,
        groups=report.groups, sheets=report.sheets, paper=paper(), paper_tables=report.paper_tables, sources=sources,
        sections=sections,
    )  # fmt: skip
    (output / "report.html").write_text(page, encoding="utf-8")
    write_json(output / "report.json", _as_json(report, found))


def _as_json(report: Report, found: Found) -> dict[str, Any]:
    """Everything that the page says in numbers, for programs."""
    comparison = report.comparison
    systems = []
    for system in comparison.systems:
        scores = {}
        for column in comparison.of_results:
            estimate = comparison.estimate(system, column)
            if estimate is not None:
                change = comparison.versus(system, comparison.baseline, column)
                scores[column.key] = {
                    "score": column.score, "lower_is_better": column.lower_is_better, "words": words(column),
                    "estimate": asdict(estimate), "to_baseline": asdict(change) if change else None,
                    "values": {str(seed): value for seed, value in comparison.values(system, column).items()},
                }  # fmt: skip
        systems.append(
            {
                "system": system.label, "stage": system.stage or None, "tables": list(system.tables),
                "runs": {str(seed): str(system.runs[seed].path) for seed in sorted(system.runs)},
                "not_finished": [str(run.path) for run in system.broken], "scores": scores,
            }
        )  # fmt: skip
    return {
        "schema_version": SCHEMA_VERSION, "name": report.settings.name, "title": report.settings.title,
        "date": report.date, "baseline": comparison.baseline.label if comparison.baseline else None,
        "counts": report.state.counts, "missing": report.state.missing, "notes": report.notes, "systems": systems,
        "claims": [asdict(claim) for claim in report.claims],
        "tables": [table.key for table in [*report.tables, *report.paper_tables]], "figures": report.figures,
        "sources": {key: [str(f) for f in report.settings.folders(key)] for key in ("runs", "rankings", "results")},
    }  # fmt: skip


def _tell(report: Report, output: Path) -> None:
    counts = report.state.counts
    print(", ".join(f"{key}: {value}" for key, value in counts.items()))
    for claim in report.claims:
        print(f"{claim.verdict:<14} {claim.says} ({claim.summary})")
    for line in report.state.missing[:10]:
        print(f"missing: {line}")
    if len(report.state.missing) > 10:
        print(f"missing: {len(report.state.missing) - 10} more, in the report")
    for note in report.notes[:10]:
        print(f"note: {note}")
    tables, figures = len(report.tables) + len(report.paper_tables), len(report.figures)
    print(f"written: {output / 'report.html'}, report.json; {tables} tables, {figures} figures beside it")
