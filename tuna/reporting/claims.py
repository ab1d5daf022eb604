"""What holds of the paper's claims in the results at hand, with the numbers; nothing is said beyond the intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.reporting.columns import RUN_COLUMNS, Column
from tuna.reporting.compare import Comparison, Terms
from tuna.reporting.read import paper
from tuna.reporting.sweeps import Point, Sweep
from tuna.reporting.systems import System
from tuna.reporting.tables import number, with_interval
from tuna.stats import Estimate

HOLDS, FAILS, OPEN, UNMEASURED = "holds", "does not hold", "not decided", "not measured"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One column's part: the difference that decides, and the verdict."""

    column: str
    text: str
    verdict: str
    found: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, what holds of it over all columns, and each column's evidence."""

    id: str
    says: str
    verdict: str
    summary: str
    evidence: tuple[Evidence, ...]


def check_claims(comparison: Comparison, sweeps: Sequence[Sweep]) -> list[Verdict]:
    """Every claim of paper.json: it holds where every column says so, not where one is against it, else it is open."""
    out = []
    for claim in paper()["claims"]:
        found = _along(claim, comparison, sweeps) if "sweep" in claim else _pair(claim, comparison)
        if isinstance(found, str):
            out.append(Verdict(claim["id"], claim["says"], UNMEASURED, found, ()))
            continue
        counts = {kind: sum(e.verdict == kind for e in found) for kind in (HOLDS, FAILS, OPEN)}
        verdict = FAILS if counts[FAILS] else HOLDS if counts[HOLDS] == len(found) else OPEN
        told = "mixed: " if counts[FAILS] and counts[HOLDS] else ""
        told += ", ".join(f"{kind} on {count}" for kind, count in counts.items() if count)
        out.append(Verdict(claim["id"], claim["says"], verdict, f"{told} of {len(found)} columns", tuple(found)))
    return out


def _columns(comparison: Comparison) -> list[Column]:
    """Columns of benchmarks that the claims are about; the runs' own greedy accuracy where no result has it."""
    elementary = any(column.benchmark == "elementary" for column in comparison.of_results)
    columns = [*comparison.of_results, *(() if elementary else RUN_COLUMNS)]
    return [column for column in columns if column.benchmark not in paper()["not_of_the_claims"]]


def _named(name: str, comparison: Comparison) -> System | None:
    if name == "@baseline":
        return comparison.baseline
    low, systems = name.lower(), comparison.systems
    found = [s for s in systems if s.label.lower() == low]
    if name == "Tuna_c (PRM)":  # any of its kinds stands for it
        found += [s for s in systems if s.base.lower().startswith("tuna_c (prm")]
    found += [s for s in systems if s.base.lower() == low and not s.swept]
    found += [s for s in systems if s.stage == low == s.base.lower()]  # without experiment=... it has the stage's name
    return found[0] if found else None


def _pair(claim: dict[str, Any], comparison: Comparison) -> list[Evidence] | str:
    a, b = _named(claim["a"], comparison), _named(claim["b"], comparison)
    if a is None or b is None:
        absent = [str(claim[k]) for k, s in (("a", a), ("b", b)) if s is None]
        return "there is no " + " and no ".join("baseline" if n == "@baseline" else n for n in absent)
    out = []
    for column in _columns(comparison):
        change = comparison.versus(a, b, column)
        if change is None:
            continue
        better = change.negated() if column.lower_is_better else change
        # At least as good: shown where the interval has nothing below zero, refuted where it has nothing above.
        no_less = HOLDS if better.low is not None and better.low >= 0 else FAILS if better.below else OPEN
        verdict = _more(better) if claim["kind"] == "more" else no_less
        figures = ", ".join(f"{system.label} {_figure(comparison, system, column)}" for system in (a, b))
        out.append(Evidence(column.title, f"{figures}: {_told(change)}", verdict, change))
    return out or f"no benchmark has measured both {a.label} and {b.label}"


def _more(better: Estimate) -> str:
    return HOLDS if better.above else FAILS if better.below else OPEN


def _figure(comparison: Comparison, system: System, column: Column) -> str:
    found = comparison.estimate(system, column)
    return number(found.mean) if found else "-"


def _told(change: Estimate) -> str:
    if change.low is None:
        return f"difference {number(change.mean, True)}, no interval (one seed each)"
    seeds = f", n = {change.n}" if change.how == "paired by seed" else ""
    return f"difference {with_interval(change, True)} ({change.how}{seeds})"


def _along(claim: dict[str, Any], comparison: Comparison, sweeps: Sequence[Sweep]) -> list[Evidence] | str:
    """A claim about a sweep: ``saturates`` or ``rises``."""
    spec = next(spec for spec in paper()["sweeps"] if spec["tag"] == claim["sweep"])
    sweep = next((s for s in sweeps if s.key == spec["key"]), None)
    if sweep is None:
        return f"there is no sweep over {spec['key']} ({spec['words']})"
    line, found = next(iter(sweep.lines.items()))
    points = sweep.from_start(found)
    if len(points) < 3:
        return f"the sweep over {spec['key']} has {len(points)} points; three are needed"
    rises = claim["kind"] == "rises"
    evidence = []
    for column in _columns(comparison):
        if comparison.measured((system for _, system in points), column) < len(points):
            continue
        if rises and (column.beside or column.benchmark not in paper()["accuracy_oriented"]):
            continue
        one = (_rises if rises else _saturates)(points, column, comparison)
        evidence.append(replace(one, column=f"{column.title} ({line})") if line else one)
    return evidence or f"no benchmark has measured every point of the sweep over {spec['key']}"


def _saturates(points: list[Point], column: Column, comparison: Comparison) -> Evidence:
    """The first part gains, and more than all the rest: the difference of the two gains decides."""
    (_, none), (x1, part), (x2, everything) = points[0], points[1], points[-1]
    first, rest = _better(part, none, column, comparison), _better(everything, part, column, comparison)
    sign = -1.0 if column.lower_is_better else 1.0
    terms: Terms = [(2 * sign, part), (-sign, none), (-sign, everything)]
    lead = comparison.combined(terms, column)
    assert lead is not None
    verdict = HOLDS if first.above and lead.above else FAILS if first.below or lead.below else OPEN
    gains = f"to {x1:,g} lists: {_told(first)}; from there to {x2:,g}: {_told(rest)}"
    return Evidence(column.title, f"{gains}; the first gain less the second: {_told(lead)}", verdict, lead)


def _rises(points: list[Point], column: Column, comparison: Comparison) -> Evidence:
    (x1, low), (x2, high) = points[0], points[-1]
    change = _better(high, low, column, comparison)
    figures = ", ".join(f"{x:g}: {_figure(comparison, system, column)}" for x, system in points)
    return Evidence(column.title, f"{figures}; {x2:g} against {x1:g}: {_told(change)}", _more(change), change)


def _better(a: System, b: System, column: Column, comparison: Comparison) -> Estimate:
    change = comparison.versus(a, b, column)
    assert change is not None  # _along asks for figures of every point
    return change.negated() if column.lower_is_better else change
