"""The tables of the report, shaped as the paper's."""

from collections.abc import Sequence

from tuna.inference.cost import Prices, dollars
from tuna.reporting.columns import Column
from tuna.reporting.compare import RUN_COLUMNS, Comparison, words
from tuna.reporting.paper import PaperCell, paper
from tuna.reporting.read import Found, Measured, Ranking, Run
from tuna.reporting.sweeps import Sweep
from tuna.reporting.systems import System
from tuna.reporting.tables import EMPTY, Cell, Table, figure_cell, number

_INTERVALS = (
    "In brackets the 95% interval: Student's t over seeds; with one seed, the benchmark's own over its questions. "
    "Δ is the difference to {baseline}: paired by seed, with one seed each paired by question where the score is a "
    "mean over questions; of win rates against it, to one half. In bold the two best of a column (of three or more)."
)


def system_tables(comparison: Comparison) -> list[Table]:
    """Tables 1, 3 and 8: their systems by tag, beside the baseline; untagged systems stand in Table 1."""
    out = []
    for key in ("1", "3", "8"):
        rows = [system for system in comparison.systems if _stands_in(system, key, comparison.baseline)]
        if any(system is not comparison.baseline for system in rows) or (rows and key == "1"):
            table = _systems_table(comparison, rows, f"table-{key}", str(paper()["tables"][key]))
            if table.rows:
                out.append(table)
    return out


def _stands_in(system: System, key: str, baseline: System | None) -> bool:
    if system is baseline or key in system.tables:
        return True
    return key == "1" and not system.named and not system.swept


def _columns(comparison: Comparison, rows: Sequence[System]) -> list[Column]:
    """Results' columns with a figure in these rows; greedy accuracy that runs measured themselves, where none has."""
    found = [column for column in comparison.of_results if any(comparison.values(s, column) for s in rows)]
    if any(column.benchmark == "elementary" for column in found):
        return found
    return found + [c for c in RUN_COLUMNS[:2] if any(comparison.values(s, c) for s in rows)]


def _systems_table(comparison: Comparison, rows: Sequence[System], key: str, title: str) -> Table:
    columns = _columns(comparison, rows)
    best = comparison.best(columns, rows)
    baseline = comparison.baseline.label if comparison.baseline else "the baseline (there is none)"
    lines, partial = [], []
    for system in rows:
        cells = [Cell(system.label, system.label), _seeds(system)]
        for column in columns:
            found = comparison.estimate(system, column)
            change = comparison.versus(system, comparison.baseline, column)
            strong = system.label in best[column.key]
            cells.append(figure_cell(found, change, strong=strong, lower_is_better=column.lower_is_better))
            partial += _partial(system, column)
        lines.append(cells)
    head = ["system", "seeds", *(_heading(column) for column in columns)]
    caption = _INTERVALS.format(baseline=baseline) if columns else "No system has a result yet; see what is missing."
    return Table(key, title, caption, head, lines, partial)


def _heading(column: Column) -> str:
    score = "" if column.key.startswith("run:") or column.beside else f": {column.score}"
    return f"{words(column)}{score}{' (lower is better)' if column.lower_is_better else ''}"


def _seeds(system: System) -> Cell:
    counts = len(system.runs) or max((len(held) for held in system.results.values()), default=0)
    broken = f"{len(system.broken)} not finished" if system.broken else ""
    return Cell(str(counts), counts, (broken,) if broken else ())


def _partial(system: System, column: Column) -> list[str]:
    """Figures over fewer questions than the benchmark has, or over fewer seeds than were trained."""
    held = system.results.get(column.held, {})
    out: list[str] = []
    if column.beside:
        return out  # told by the primary score's column
    for seed in sorted(held):
        n, total = held[seed].coverage
        if n < total:
            out.append(f"{system.label}, {words(column)}, seed {seed}: over {n} of {total} questions")
    if held and (missing := sorted(set(system.runs) - set(held))):
        out.append(f"{system.label}, {words(column)}: not measured for seed {', '.join(map(str, missing))}")
    return out


def sweep_table(sweep: Sweep, comparison: Comparison) -> Table:
    """One row a point: how many runs finished, every column's figure."""
    head = [sweep.words, "system", "runs", *(_heading(column) for column in sweep.columns)]
    points = [*([(0.0, sweep.start)] if sweep.start else []), *sweep.points]
    rows = []
    for x, system in points:
        cells = [Cell(f"{x:,g}", x), Cell(system.label, system.label), _seeds(system)]
        for column in sweep.columns:
            cells.append(figure_cell(comparison.estimate(system, column), lower_is_better=column.lower_is_better))
        rows.append(cells)
    caption = "Mean over seeds and its 95% interval; in the figures a bar may leave the frame, a point does not."
    return Table(f"sweep-{sweep.name}", sweep.title, caption, head, rows)


def benchmark_tables(comparison: Comparison) -> list[Table]:
    """Every score of every benchmark, and what the score would be without a model."""
    out = []
    for column in comparison.of_results:
        if column.beside:
            continue
        held = [s for s in comparison.systems if column.key in s.results]
        results = [result for system in held for result in system.results[column.key].values()]
        names = list(dict.fromkeys(name for result in results for name in result.scores))
        rows = []
        for system in held:
            lower = {n for r in system.results[column.key].values() for n in names if r.lower_is_better(n)}
            estimates = [figure_cell(comparison.estimate(system, column, n), lower_is_better=n in lower) for n in names]
            rows.append([Cell(system.label, system.label), _coverage(system.results[column.key]), *estimates])
        rows += _baseline_rows(results, names)
        title = f"{words(column)}: all scores"
        caption = "Mean over seeds and its 95% interval. Rows in parentheses need no model."
        notes = list(dict.fromkeys(str(n) for r in results for n in r.content.get("notes") or []))[:8]
        out.append(
            Table(f"benchmark-{_name(column.key)}", title, caption, ["system", "questions", *names], rows, notes)
        )
    return out


def _name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in key)


def _coverage(held: dict[int, Measured]) -> Cell:
    pairs = sorted({result.coverage for result in held.values()})
    shown = ", ".join(f"{n}/{total}" if n != total else str(n) for n, total in pairs)
    return Cell(shown, pairs[0][0])


def _baseline_rows(results: Sequence[Measured], names: Sequence[str]) -> list[list[Cell]]:
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for name, by_kind in (result.content.get("baselines") or {}).items():
            for kind, value in by_kind.items():
                if isinstance(value, int | float):
                    found.setdefault(kind, {}).setdefault(name, []).append(float(value))
    rows = []
    for kind in sorted(found):
        means = {name: sum(values) / len(values) for name, values in found[kind].items()}
        cells = [Cell(number(means[n]), means[n]) if n in means else EMPTY for n in names]
        rows.append([Cell(f"({kind})", f"({kind})"), EMPTY, *cells])
    return rows


def run_table(comparison: Comparison) -> Table | None:
    """What runs measured on their own held-out lists, before and after, beside what needs no model."""
    rows = []
    for system in comparison.systems:
        after = comparison.estimate(system, RUN_COLUMNS[2])
        if after is None:
            continue
        runs = list(system.runs.values())
        before = [run.metrics["before/pair_accuracy"] for run in runs if "before/pair_accuracy" in run.metrics]
        beside = [_mean_of(runs, name) for name in ("length", "random")]
        was = sum(before) / len(before) if before else None
        cross = comparison.estimate(system, RUN_COLUMNS[3])
        cells = [Cell(system.label, system.label), Cell(str(len(runs)), len(runs)), _plain(was), figure_cell(after)]
        rows.append([*cells, *map(_plain, beside), figure_cell(cross)])
    head = ["system", "seeds", "pair accuracy before", "after", "length-only", "chance", "cross-entropy after"]
    caption = (
        "Each run on its own held-out lists: systems tuned on other data have other lists, so rows do not compare. "
        "Length-only prefers the longer answer."
    )
    return Table("held-out", "Held-out lists of the runs", caption, head, rows) if rows else None


def _mean_of(runs: Sequence[Run], name: str) -> float | None:
    found = []
    for run in runs:
        value = ((run.content.get("baselines") or {}).get(name) or {}).get("mean")
        if isinstance(value, int | float) and value == value:
            found.append(float(value))
    return sum(found) / len(found) if found else None


def _plain(value: float | None) -> Cell:
    return EMPTY if value is None else Cell(number(value), value)


def length_table(rankings: Sequence[Ranking]) -> Table | None:
    """Table 4: mean words by rank."""
    most = max((len(r.content["ranking"].get("lengths") or []) for r in rankings), default=0)
    if not most:
        return None
    head = ["ranking", "ranked by", "lists", *(f"rank {k}" for k in range(1, most + 1)), "length and score"]
    rows = []
    for ranking in rankings:
        found = ranking.content["ranking"]
        lengths = [*(found.get("lengths") or []), *[None] * most][:most]
        lists = int(found.get("lists") or 0)
        cells = [Cell(ranking.name, ranking.name), Cell(_ranked_by(ranking)), Cell(f"{lists:,}", lists)]
        rows.append([*cells, *map(_plain, lengths), _plain(found.get("length_correlation"))])
    caption = (
        "Mean words of the answers by their rank, the best first. The last column is Spearman's correlation of length "
        "and score, mean over lists: above 0, longer answers were preferred."
    )
    return Table("table-4", "Lengths by rank (the paper's Table 4)", caption, head, rows)


def _ranked_by(ranking: Ranking) -> str:
    identity = ranking.content.get("identity") or {}
    source, settings = identity.get("source") or {}, identity.get("ranking") or {}
    who = settings.get("judge") or source.get("teacher") or ""
    return " by ".join(str(part) for part in (source.get("ranker"), who) if part) or "unknown"


def cost_table(rankings: Sequence[Ranking]) -> Table | None:
    """Table 6: what each collection took, for 1,000 lists, and what people would cost."""
    if not rankings:
        return None
    rows = []
    for ranking in rankings:
        usage = ranking.content.get("usage") or {}
        lists, spent = int(ranking.content.get("lists") or 0), usage.get("cost")
        size = int(ranking.content["ranking"].get("size") or 0)
        prices = ranking.config.get("prices") or {}
        human = Prices(None, float(prices.get("human_comparison", Prices.human_comparison))).human(1000, size)
        per = spent / lists * 1000 if lists and spent is not None else None
        requests, tokens = int(usage.get("requests") or 0), _tokens(usage)
        rows.append(
            [
                Cell(ranking.name, ranking.name), Cell(f"{lists:,}", lists), Cell(f"{requests:,}", requests),
                Cell(f"{tokens:,}", tokens), Cell(dollars(spent), spent), Cell(dollars(per), per),
                Cell(dollars(human), human),
            ]
        )  # fmt: skip
    head = ["ranking", "lists", "requests", "tokens", "cost", "per 1,000 lists", "people, per 1,000"]
    caption = (
        "As the servers counted. Local models cost no dollars. People: every pair of the answers, at the price of one "
        "comparison (the paper: $0.25, so $1500 for 1,000 lists of four)."
    )
    return Table("table-6", "Cost of the rankings (the paper's Table 6)", caption, head, rows)


def _tokens(usage: dict[str, object]) -> int:
    return sum(value for key in ("prompt_tokens", "completion_tokens") if isinstance(value := usage.get(key), int))


def study_tables(found: Found) -> list[Table]:
    """Results that measure several systems at once, such as the human study: their own tables."""
    out = []
    for result in found.results:
        if result.model.get("kind") != "none" or not result.finished:
            continue
        for name, rows in sorted((result.content.get("tables") or {}).items()):
            head = list(dict.fromkeys(key for row in rows for key in row))
            cells = [[_any_cell(row.get(key)) for key in head] for row in rows]
            title = f"{paper()['benchmarks'].get(result.benchmark, result.benchmark)}: {name}"
            if rows:
                out.append(Table(f"study-{_name(result.path.parent.name)}-{_name(name)}", title, "", head, cells))
    return out


def _any_cell(value: object) -> Cell:
    if isinstance(value, bool) or value is None:
        return Cell("-" if value is None else str(value).lower())
    if isinstance(value, int | float):
        return Cell(str(value) if isinstance(value, int) else number(value), float(value))
    return Cell(str(value), str(value))


def paper_tables(cells: Sequence[PaperCell]) -> list[Table]:
    """The paper's own numbers, as the user transcribed them; each of its tables by itself."""
    out = []
    for key in sorted({cell.table for cell in cells}):
        of = [cell for cell in cells if cell.table == key]
        head = list(dict.fromkeys(cell.column for cell in of))
        value = {(cell.system, cell.column): cell.value for cell in of}
        systems = list(dict.fromkeys(cell.system for cell in of))
        rows = [
            [Cell(s, s), *(Cell(f"{value[s, c]:g}", value[s, c]) if (s, c) in value else EMPTY for c in head)]
            for s in systems
        ]
        title = f"The paper's Table {key}, at 7B"
        out.append(Table(f"paper-{_name(key)}", title, str(paper()["scale"]), ["system", *head], rows))
    return out
