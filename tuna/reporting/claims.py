"""What holds of the paper's claims in the results at hand, with the numbers; nothing is said beyond the intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.reporting.columns import Column
from tuna.reporting.compare import RUN_COLUMNS, Comparison, words
from tuna.reporting.paper import paper
from tuna.reporting.sweeps import Sweep
from tuna.reporting.systems import System
from tuna.reporting.tables import number, span
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
    """Every claim of paper.json; ``kind`` says how it is checked."""
    kinds: dict[str, Callable[[dict[str, Any]], list[Evidence] | str]] = {
        "more": lambda claim: _pair(claim, comparison, _more),
        "no less": lambda claim: _pair(claim, comparison, _no_less),
        "saturates": lambda claim: _along(claim, comparison, sweeps, _saturates),
        "rises": lambda claim: _along(claim, comparison, sweeps, _rises),
    }
    return [_sum_up(claim, kinds[claim["kind"]](claim)) for claim in paper()["claims"]]


def _sum_up(claim: dict[str, Any], found: list[Evidence] | str) -> Verdict:
    """Holds where every column says so; one column against it and it does not; else it is not decided."""
    if isinstance(found, str):
        return Verdict(claim["id"], claim["says"], UNMEASURED, found, ())
    counts = {kind: sum(e.verdict == kind for e in found) for kind in (HOLDS, FAILS, OPEN)}
    verdict = FAILS if counts[FAILS] else HOLDS if counts[HOLDS] == len(found) else OPEN
    told = ", ".join(f"{kind} on {count}" for kind, count in counts.items() if count)
    if counts[FAILS] and counts[HOLDS]:
        told = f"mixed: {told}"
    return Verdict(claim["id"], claim["says"], verdict, f"{told} of {len(found)} columns", tuple(found))


def _columns(comparison: Comparison) -> list[Column]:
    """Columns of benchmarks that the claims are about; the runs' own greedy accuracy where no result has it."""
    apart = paper()["not_of_the_claims"]
    columns = [c for c in comparison.of_results if c.benchmark not in apart]
    if not any(column.benchmark == "elementary" for column in columns):
        columns += [c for c in RUN_COLUMNS if c.benchmark not in apart]
    return columns


def _named(name: str, comparison: Comparison) -> System | None:
    if name == "@baseline":
        return comparison.baseline
    exact = [s for s in comparison.systems if s.label.lower() == name.lower()]
    if not exact and name == "Tuna_c (PRM)":  # any of its kinds stands for it
        exact = [s for s in comparison.systems if s.base.lower().startswith("tuna_c (prm")]
    if not exact:
        exact = [s for s in comparison.systems if s.base.lower() == name.lower() and not s.swept]
    if not exact:  # runs without experiment=... have the stage's name
        exact = [s for s in comparison.systems if s.stage == name.lower() == s.base.lower()]
    return exact[0] if exact else None


def _pair(claim: dict[str, Any], comparison: Comparison, judge: Callable[[Estimate], str]) -> list[Evidence] | str:
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
        figures = [f"{system.label} {_figure(comparison, system, column)}" for system in (a, b)]
        out.append(Evidence(words(column), f"{', '.join(figures)}: {_told(change)}", judge(better), change))
    return out or f"no benchmark has measured both {a.label} and {b.label}"


def _more(better: Estimate) -> str:
    return HOLDS if better.above else FAILS if better.below else OPEN


def _no_less(better: Estimate) -> str:
    """At least as good: shown where the interval has nothing below zero, refuted where it has nothing above."""
    if better.low is None:
        return OPEN
    return HOLDS if better.low >= 0 else FAILS if better.below else OPEN


def _figure(comparison: Comparison, system: System, column: Column) -> str:
    found = comparison.estimate(system, column)
    return number(found.mean) if found else "-"


def _told(change: Estimate) -> str:
    if change.low is None:
        return f"difference {number(change.mean, True)}, no interval (one seed each)"
    seeds = f", n = {change.n}" if change.how == "paired by seed" else ""
    return f"difference {number(change.mean, True)} {span(change, True)} ({change.how}{seeds})"


def _along(
    claim: dict[str, Any],
    comparison: Comparison,
    sweeps: Sequence[Sweep],
    judge: Callable[[list[tuple[float, System]], Column, Comparison], Evidence],
) -> list[Evidence] | str:
    spec = next(spec for spec in paper()["sweeps"] if spec["tag"] == claim["sweep"])
    sweep = next((s for s in sweeps if s.key == spec["key"]), None)
    if sweep is None:
        return f"there is no sweep over {spec['key']} ({spec['words']})"
    line, found = next(iter(sweep.lines.items()))
    points = [*([(0.0, sweep.start)] if sweep.start else []), *found]
    if len(points) < 3:
        return f"the sweep over {spec['key']} has {len(points)} points; three are needed"
    columns = [c for c in _columns(comparison) if all(comparison.values(system, c) for _, system in points)]
    if claim["kind"] == "rises":
        columns = [
            column for column in columns if column.benchmark in paper()["accuracy_oriented"] and not column.beside
        ]
    if not columns:
        return f"no benchmark has measured every point of the sweep over {spec['key']}"
    evidence = [judge(points, column, comparison) for column in columns]
    return [replace(e, column=f"{e.column} ({line})") for e in evidence] if line else evidence


def _better(a: System, b: System, column: Column, comparison: Comparison) -> Estimate:
    change = comparison.versus(a, b, column)
    assert change is not None  # _columns asks for figures of every point
    return change.negated() if column.lower_is_better else change


def _saturates(points: list[tuple[float, System]], column: Column, comparison: Comparison) -> Evidence:
    """The first part gains, and more than all the rest: the difference of the two gains decides."""
    (_, none), (x1, part), (x2, everything) = points[0], points[1], points[-1]
    first, rest = _better(part, none, column, comparison), _better(everything, part, column, comparison)
    sign = -1.0 if column.lower_is_better else 1.0
    lead = comparison.combined([(2 * sign, part), (-sign, none), (-sign, everything)], column)
    assert lead is not None
    verdict = HOLDS if first.above and lead.above else FAILS if first.below or lead.below else OPEN
    gains = f"to {x1:,g} lists: {_told(first)}; from there to {x2:,g}: {_told(rest)}"
    text = f"{gains}; the first gain less the second: {_told(lead)}"
    return Evidence(words(column), text, verdict, lead)


def _rises(points: list[tuple[float, System]], column: Column, comparison: Comparison) -> Evidence:
    (x1, low), (x2, high) = points[0], points[-1]
    change = _better(high, low, column, comparison)
    figures = ", ".join(f"{x:g}: {_figure(comparison, system, column)}" for x, system in points)
    return Evidence(words(column), f"{figures}; {x2:g} against {x1:g}: {_told(change)}", _more(change), change)
