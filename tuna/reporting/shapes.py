"""The tables of the report, shaped as the paper's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tuna.data import fields
from tuna.errors import DataError
from tuna.inference.cost import Prices, dollars
from tuna.reporting.columns import CROSS_ENTROPY, OPEN_ENDED_MARK, PAIR_ACCURACY, TASK_ACCURACY, Column
from tuna.reporting.compare import Comparison
from tuna.reporting.read import Found, Ranking, paper
from tuna.reporting.sweeps import Sweep
from tuna.reporting.systems import System
from tuna.reporting.tables import EMPTY, Cell, Table, cell, figure_cell

_INTERVALS = (
    "In brackets the 95% interval over seeds, and questions where the score is a mean of these; that of a share by its "
    "log odds. With one seed, the benchmark's own over its questions. Δ is the difference to {baseline}, over the same "
    "seeds and questions; of win rates against it, to one half. In bold the two best of a column (of three or more)."
)
JUDGE = "judge"  # the benchmark whose results have tables of their own, in judges.py
_MOST_NOTES = 8  # of a benchmark's own


def system_tables(comparison: Comparison) -> list[Table]:
    """Tables 1, 3 and 8: their systems by tag, beside the baseline; untagged systems stand in Table 1."""
    out, systems, baseline = [], comparison.systems, comparison.baseline
    first: list[System] = []
    for key in ("1", "3", "8"):
        rows = [s for s in systems if s is baseline or key in s.tables or (key == "1" and not (s.named or s.swept))]
        first = first or rows
        if key != "1" and baseline is None and all(system in first for system in rows):
            continue  # Table 1 once more
        if any(system is not baseline for system in rows) or (rows and key == "1"):
            out.append(_systems_table(comparison, rows, f"table-{key}", str(paper()["tables"][key])))
    return out


def _systems_table(comparison: Comparison, rows: Sequence[System], key: str, title: str) -> Table:
    columns = [column for column in comparison.of_results if comparison.measured(rows, column)]
    if not any(column.benchmark == "elementary" for column in columns):  # greedy accuracy that runs measured themselves
        columns += [column for column in (TASK_ACCURACY, OPEN_ENDED_MARK) if comparison.measured(rows, column)]
    best = comparison.best(columns, rows)
    baseline = comparison.baseline.label if comparison.baseline else "the baseline (there is none)"
    lines, partial = [], []
    measured = [s for s in rows if any(comparison.estimate(s, c) is not None for c in columns)]
    if measured and (bare := [system.label for system in rows if system not in measured]):
        partial.append(f"Without a figure here, so left out: {', '.join(bare)}")
    for system in measured or rows:
        lines.append([_who(system), _seeds(system)])
        for c in columns:
            found, change = comparison.estimate(system, c), comparison.versus(system, comparison.baseline, c)
            strong = system.label in best[c.key]
            lines[-1].append(figure_cell(found, change, strong=strong, lower_is_better=c.lower_is_better))
            partial += _partial(system, c)
    head = ["system", "seeds", *map(_heading, columns)]
    caption = _INTERVALS.format(baseline=baseline) if columns else "No system has a result yet; see what is missing."
    return Table(key, title, caption, head, lines, partial)


def _who(system: System) -> Cell:
    """A row's first cell: the label, and below it which run or settings it stands for."""
    return Cell(system.label, system.label, (system.about,) if system.about else ())


def _heading(column: Column) -> str:
    score = "" if column.of_runs or column.beside else f": {column.score}"
    return f"{column.title}{score}{column.direction}"


def _seeds(system: System) -> Cell:
    count = len(system.runs) or max((len(held) for held in system.results.values()), default=0)
    return Cell(str(count), count, (f"{len(system.broken)} not finished",) if system.broken else ())


def _partial(system: System, column: Column) -> list[str]:
    """Figures over fewer questions than the benchmark has, or over fewer seeds than were trained."""
    if column.beside:
        return []  # told by the primary score's column
    held = system.results.get(column.held, {})
    coverage = {seed: held[seed].coverage for seed in sorted(held)}
    where = f"{system.label}, {column.title}"
    out = [f"{where}, seed {seed}: over {n} of {of} questions" for seed, (n, of) in coverage.items() if n < of]
    if held and (missing := sorted(set(system.runs) - set(held))):
        out.append(f"{where}: not measured for seed {', '.join(map(str, missing))}")
    return out


def sweep_table(sweep: Sweep, comparison: Comparison) -> Table:
    """One row per point: how many runs finished, every column's figure."""
    head = [sweep.label, "system", "runs", *map(_heading, sweep.columns)]
    rows = [
        [Cell(f"{x:,g}", x), cell(system.label), _seeds(system)]
        + [figure_cell(comparison.estimate(system, column)) for column in sweep.columns]
        for x, system in sweep.from_start(sweep.points)
    ]
    caption = "Mean over seeds and its 95% interval; in the figures a bar may leave the frame, a point does not."
    return Table(f"sweep-{sweep.name}", sweep.title, caption, head, rows)


def benchmark_tables(comparison: Comparison) -> list[Table]:
    """Every score of every benchmark, and what the score would be without a model."""
    out = []
    for column in comparison.of_results:
        if column.beside:
            continue
        held = [(system, system.results[column.key]) for system in comparison.systems if column.key in system.results]
        results = [result for _, by_seed in held for result in by_seed.values()]
        names = list(dict.fromkeys(name for result in results for name in result.scores))
        rows = []
        for system, by_seed in held:
            figures = [figure_cell(comparison.estimate(system, column, name)) for name in names]
            pairs = sorted({result.coverage for result in by_seed.values()})
            shown = ", ".join(f"{n}/{total}" if n != total else str(n) for n, total in pairs)
            rows.append([cell(system.label), Cell(shown, pairs[0][0]), *figures])
        without = [result.content.get("baselines") or {} for result in results]
        for kind in sorted({kind for by_name in without for by_kind in by_name.values() for kind in by_kind}):
            means = (_mean(each.get(name, {}).get(kind) for each in without) for name in names)
            rows.append([cell(f"({kind})"), EMPTY, *map(cell, means)])
        caption = "Mean over seeds and its 95% interval. Rows in parentheses need no model."
        notes = list(dict.fromkeys(str(n) for r in results for n in r.content.get("notes") or []))[:_MOST_NOTES]
        key, head = f"benchmark-{_name(column.key)}", ["system", "questions", *names]
        out.append(Table(key, f"{column.title}: all scores", caption, head, rows, notes))
    return out


def _name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in key)


def _mean(values: Iterable[object]) -> float | None:
    """That of the numbers among the values."""
    found = [float(value) for value in values if isinstance(value, int | float) and value == value]
    return sum(found) / len(found) if found else None


def held_out_table(comparison: Comparison) -> Table:
    """What runs measured on their own held-out lists, before and after, beside what needs no model."""
    rows = []
    for system in comparison.systems:
        if (after := comparison.estimate(system, PAIR_ACCURACY)) is None:
            continue
        runs = list(system.runs.values())
        plain = [run.content.get("baselines") or {} for run in runs]
        before = _mean(run.metrics.get("before/pair_accuracy") for run in runs)
        without = [_mean((held.get(name) or {}).get("mean") for held in plain) for name in ("length", "random")]
        cross = figure_cell(comparison.estimate(system, CROSS_ENTROPY))
        rows.append([cell(system.label), cell(len(runs)), cell(before), figure_cell(after), *map(cell, without), cross])
    head = ["system", "seeds", "pair accuracy before", "after", "length-only", "chance", "cross-entropy after"]
    caption = (
        "Each run on its own held-out lists: systems tuned on other data have other lists, so rows do not compare. "
        "Length-only prefers the longer answer."
    )
    return Table("held-out", "Held-out lists of the runs", caption, head, rows)


def runs_table(found: Found, systems: Sequence[System]) -> Table:
    """Every run, finished or not."""
    label = {run.path: system.label for system in systems for run in system.all_runs}
    rows = []
    for run in found.runs:
        who, speed = label.get(run.path, "(an older one of the same)"), run.metrics.get("perf/tokens_per_second")
        names = [cell(run.name), Cell(who), Cell(str(run.seed), run.seed), cell(run.status)]
        rows.append([*names, cell(run.lists), cell(speed)])
    head = ["run", "system", "seed", "status", "lists", "tokens per second"]
    return Table("runs", "All runs", "Every run.json that was found.", head, rows)


def length_table(rankings: Sequence[Ranking]) -> Table:
    """Table 4: mean words by rank; no rows where no ranking has them."""
    most = max((len(ranking.lengths) for ranking in rankings), default=0)
    head = ["ranking", "ranked by", "lists", *(f"rank {k}" for k in range(1, most + 1)), "length and score"]
    rows = []
    for ranking in rankings if most else ():
        figures = [*[*ranking.lengths, *[None] * most][:most], ranking.correlation]
        rows.append([cell(ranking.name), Cell(ranking.by), cell(ranking.measured), *map(cell, figures)])
    caption = (
        "Mean words of the answers by their rank, the best first. The last column is Spearman's correlation of length "
        "and score, mean over lists: above 0, longer answers were preferred."
    )
    return Table("table-4", "Lengths by rank (the paper's Table 4)", caption, head, rows)


def cost_table(rankings: Sequence[Ranking]) -> Table:
    """Table 6: what each collection took, for 1,000 lists, and what people would cost."""
    rows = []
    for ranking in rankings:
        lists, spent = ranking.collected, ranking.cost
        per = spent / lists * 1000 if lists and spent is not None else None
        human = Prices(None, ranking.price).human(1000, ranking.size)
        amounts = [cell(count) for count in (lists, ranking.requests, ranking.tokens)]
        rows.append([cell(ranking.name), *amounts, *(Cell(dollars(value), value) for value in (spent, per, human))])
    head = ["ranking", "lists", "requests", "tokens", "cost", "per 1,000 lists", "people, per 1,000"]
    caption = (
        "As the servers counted. Local models cost no dollars. People: every pair of the answers, at the price of one "
        "comparison (the paper: $0.25, so $1500 for 1,000 lists of four)."
    )
    return Table("table-6", "Cost of the rankings (the paper's Table 6)", caption, head, rows)


def study_tables(found: Found) -> list[Table]:
    """Results that measure several systems at once, such as the human study: their own tables."""
    out = []
    for result in found.results:
        if result.model.get("kind") != "none" or not result.finished or result.benchmark == JUDGE:
            continue
        for name, rows in sorted((result.content.get("tables") or {}).items()):
            head = list(dict.fromkeys(key for row in rows for key in row))
            cells = [[cell(row.get(key)) for key in head] for row in rows]
            title = f"{paper()['benchmarks'].get(result.benchmark, result.benchmark)}: {name}"
            if rows:
                out.append(Table(f"study-{_name(result.path.parent.name)}-{_name(name)}", title, "", head, cells))
    return out


def read_paper_tables(path: Path) -> list[Table]:
    """The paper's own numbers, as the user transcribed them; each of its tables by itself.

    path: a JSON list of {"table": "1", "system": "Tuna", "column": "LMentry", "value": 1.0}; else a DataError has all
    that is wrong, one fault per line.
    """
    try:
        cells = fields.parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(cells, list):
        raise DataError(f"{path}: expected a list of cells, got {type(cells).__name__}")
    wrong = []
    for number, given in enumerate(cells, start=1):
        for key in ("table", "system", "column", "value"):
            value = given.get(key) if isinstance(given, dict) else given
            try:
                fields.number(value, key) if key == "value" else fields.check_text(value, key)
            except fields.FieldError as error:
                wrong.append(f"{path}: cell {number}: {error}")
    if wrong:
        raise DataError("\n".join(wrong))
    out = []
    for key in sorted({given["table"] for given in cells}):
        values = {(c["system"], c["column"]): float(c["value"]) for c in cells if c["table"] == key}
        head, systems = list(dict.fromkeys(column for _, column in values)), dict.fromkeys(s for s, _ in values)
        rows = [
            [cell(s), *(Cell(f"{values[s, c]:g}", values[s, c]) if (s, c) in values else EMPTY for c in head)]
            for s in systems
        ]
        title = f"The paper's Table {key}, at 7B"
        out.append(Table(f"paper-{_name(key)}", title, str(paper()["scale"]), ["system", *head], rows))
    return out
