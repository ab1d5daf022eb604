"""What holds of the paper's claims in the results at hand, with the numbers; nothing is said beyond the intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.reporting.columns import RUN_COLUMNS, Column
from tuna.reporting.compare import Comparison, Terms
from tuna.reporting.lengths import longer_first
from tuna.reporting.read import Found, paper
from tuna.reporting.sweeps import Point, Sweep
from tuna.reporting.systems import System
from tuna.reporting.tables import LEVEL, number, p_value, with_interval
from tuna.stats import Estimate, holm

_SEEDS = 3  # the fewest that decide: intervals of fewer know the questions' spread alone, or next to nothing
_MOST = 100_000
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


@dataclass(frozen=True, slots=True)
class _Test:
    """One column's part before it is decided. better: what has to be above zero, or (no_less) not below."""

    column: str
    text: str
    better: tuple[Estimate, ...]
    found: Estimate
    no_less: bool = False

    def decided(self, ps: Sequence[float]) -> Evidence:
        """Its verdict by the corrected p-values, of as many as ``better``; below three seeds none."""
        told = [f"p {p_value(p)} by Holm" for p in ps[-1:] if self.better[-1].p is not None]
        signs = [(e.mean > 0) - (e.mean < 0) if p < LEVEL else 0 for e, p in zip(self.better, ps, strict=True)]
        verdict = FAILS if -1 in signs else HOLDS if 0 not in signs else OPEN
        if self.no_less and self.better[0].low == self.better[0].high == 0:
            verdict = HOLDS  # the same figures throughout
        if (fewest := min(e.n for e in self.better)) < _SEEDS:
            verdict = OPEN
            told.append(
                f"{_SEEDS} seeds are the fewest that decide, there {'is 1' if fewest == 1 else f'are {fewest}'}"
            )
        elif verdict == OPEN and (needed := _needed(self.better[-1])):
            told.append(needed)
        return Evidence(self.column, "; ".join([self.text, *told]), verdict, self.found)


def check_claims(comparison: Comparison, sweeps: Sequence[Sweep], found: Found | None = None) -> list[Verdict]:
    """Every claim of paper.json: it holds where every column says so, not where one is against it, else it is open.
    A claim that goes ``beyond`` the paper is left out where its systems are not all there.

    p-values are corrected by Holm over all columns of all claims. A column counts once, and not where whose opinion it
    is made the lists of the claim's systems. found: has the rankings, for claims about these.
    """
    claims = [c for c in paper()["claims"] if "beyond" not in c or all(_named(c[k], comparison) for k in ("a", "b"))]
    tests = {claim["id"]: _tests(claim, comparison, sweeps, found or Found()) for claim in claims}
    every = [e for kept, _ in tests.values() for test in kept for e in test.better]
    corrected = iter(holm([e.p for e in every]))
    out = []
    baseline = comparison.baseline.label if comparison.baseline else "the baseline"
    for claim in claims:
        kept, told = tests[claim["id"]]
        says = claim["says"].replace("{baseline}", baseline)
        if not kept:
            out.append(Verdict(claim["id"], says, UNMEASURED, "; ".join(told), ()))
            continue
        evidence = tuple(test.decided([next(corrected) for _ in test.better]) for test in kept)
        counts = {kind: sum(e.verdict == kind for e in evidence) for kind in (HOLDS, FAILS, OPEN)}
        verdict = FAILS if counts[FAILS] else HOLDS if counts[HOLDS] == len(evidence) else OPEN
        mixed = "mixed: " if counts[FAILS] and counts[HOLDS] else ""
        by_kind = ", ".join(f"{kind} on {count}" for kind, count in counts.items() if count)
        summary = "; ".join([f"{mixed}{by_kind} of {len(evidence)} columns", *told])
        out.append(Verdict(claim["id"], says, verdict, summary, evidence))
    return out


def _tests(
    claim: dict[str, Any], comparison: Comparison, sweeps: Sequence[Sweep], found: Found
) -> tuple[list[_Test], list[str]]:
    """What there is to decide, and what is told beside it, or why there is nothing."""
    if "sweep" in claim:
        return _along(claim, comparison, sweeps)
    return _longer(claim, found) if claim["kind"] == "longer" else _pair(claim, comparison)


def _needed(found: Estimate) -> str:
    """How many seeds, or questions, would most likely decide, were the difference as it was found."""
    seeds, questions = found.needed
    ways = [f"{seeds:,} seeds"] if seeds and seeds < _MOST else []
    ways += [f"{questions:,} questions"] if questions and questions < _MOST else []
    return f"a difference of this size would be decided by about {' or '.join(ways)}" if ways else ""


def _columns(comparison: Comparison, systems: Sequence[System]) -> tuple[list[Column], list[str]]:
    """Columns of benchmarks that the claims are about and all systems have a figure in, and which are left out.

    The runs' own greedy accuracy where no result has it.
    """
    elementary = any(column.benchmark == "elementary" for column in comparison.of_results)
    columns = [*comparison.of_results, *(() if elementary else RUN_COLUMNS)]
    kept: list[Column] = []
    told, counted = [], list[frozenset[str]]()
    for column in columns:
        if column.benchmark in paper()["not_of_the_claims"] or comparison.measured(systems, column) < len(systems):
            continue
        asked, judge = comparison.asked(column), comparison.judge_of(column)
        if of := [system for system in systems if judge in system.rankers]:
            names = " and ".join(dict.fromkeys(system.label for system in of))
            told.append(f"{column.title} does not count: {of[0].rankers[judge]} judged it and made lists of {names}")
        elif not asked or asked not in counted:  # one measurement counts once
            counted.append(asked)
            kept.append(column)
    return kept, told


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


def _pair(claim: dict[str, Any], comparison: Comparison) -> tuple[list[_Test], list[str]]:
    """About two systems, or (``rate``) one that was compared with the other."""
    a, b = _named(claim["a"], comparison), _named(claim["b"], comparison)
    if a is None or b is None:
        absent = [str(claim[k]) for k, s in (("a", a), ("b", b)) if s is None]
        return [], ["there is no " + " and no ".join("baseline" if n == "@baseline" else n for n in absent)]
    if claim["kind"] == "rate":
        return _rates(claim, a, comparison)
    columns, told = _columns(comparison, [a, b])
    out = []
    for column in columns:
        change = comparison.versus(a, b, column)
        if change is None:
            continue
        better = change.negated() if column.lower_is_better else change
        figures = ", ".join(f"{system.label} {_figure(comparison, system, column)}" for system in (a, b))
        text = f"{figures}: {_told(change)}{_beside_control(a, b, column, comparison)}"
        out.append(_Test(column.title, text, (better,), change, claim["kind"] == "no less"))
    return out, told if out or told else [f"no benchmark has measured both {a.label} and {b.label}"]


def _beside_control(a: System, b: System | None, column: Column, comparison: Comparison) -> str:
    """What the same answers do without their order, where that was measured and is not what the claim is about."""
    control = _named(paper()["control"], comparison)
    if control is None or control in (a, b):
        return ""
    change = comparison.versus(a, control, column)
    if change is None:
        return ""
    who = f"the control {control.label} (the teacher's answers, not ranked)"
    return f"; {who} {_figure(comparison, control, column)}, {a.label} less it: {_told(change)}"


def _rates(claim: dict[str, Any], system: System, comparison: Comparison) -> tuple[list[_Test], list[str]]:
    """Two tests a column: that the win rate is above the lower bound, and below the upper one."""
    low, high = claim["between"]
    columns, told = _columns(comparison, [system])
    title, out = str(paper()["benchmarks"][claim["benchmark"]]), []
    for column in (column for column in columns if column.benchmark == claim["benchmark"]):
        found, above = comparison.estimate(system, column), comparison.combined([(1.0, system)], column, low)
        below = comparison.combined([(-1.0, system)], column, -high)
        assert found is not None and above is not None and below is not None  # the column has figures
        text = f"win rate {with_interval(found)}, expected {low:g} to {high:g}"
        nearest_last = (above, below) if below.mean < above.mean else (below, above)
        text += _beside_control(system, None, column, comparison)
        out.append(_Test(column.title, text, nearest_last, found))
    told = [line for line in told if line.startswith(title)]
    return out, told or ([] if out else [f"no {title} has measured {system.label}"])


def _longer(claim: dict[str, Any], found: Found) -> tuple[list[_Test], list[str]]:
    """That the answers ranked first are longer than those ranked last."""
    figures = longer_first(found, claim["ranker"])
    out = [
        _Test(
            name, f"words of the first less those of the last: {with_interval(each, True)} ({each.how})", (each,), each
        )
        for name, each in figures.items()
    ]
    return out, [] if out else [f"there are no lists of ranker={claim['ranker']}"]


def _figure(comparison: Comparison, system: System, column: Column) -> str:
    found = comparison.estimate(system, column)
    return number(found.mean) if found else "-"


def _told(change: Estimate) -> str:
    if change.low is None:
        return f"difference {number(change.mean, True)}, no interval (one seed each)"
    return f"difference {with_interval(change, True)} ({change.how}, n = {change.n})"


def _along(claim: dict[str, Any], comparison: Comparison, sweeps: Sequence[Sweep]) -> tuple[list[_Test], list[str]]:
    """A claim about a sweep: ``saturates``, ``rises`` or is ``lowest`` somewhere."""
    spec = next(spec for spec in paper()["sweeps"] if spec["tag"] == claim["sweep"])
    sweep = next((s for s in sweeps if s.key == spec["key"]), None)
    if sweep is None:
        return [], [f"there is no sweep over {spec['key']} ({spec['words']})"]
    line, found = next(iter(sweep.lines.items()))
    points = sweep.from_start(found)
    if len(points) < 3:
        return [], [f"the sweep over {spec['key']} has {len(points)} points; three are needed"]
    columns, told = _columns(comparison, [system for _, system in points])
    if claim["kind"] == "lowest":
        if claim["at"] not in [x for x, _ in points]:
            return [], [f"the sweep over {spec['key']} has no {claim['at']:g}"]
        told = []
        columns = [column for column in comparison.of_results if column.benchmark == claim["benchmark"]]
    elif claim["kind"] == "rises":
        accuracy = paper()["accuracy_oriented"]
        columns, told = [c for c in columns if c.benchmark in accuracy and not c.beside], []
    evidence = []
    for column in columns:
        if comparison.measured((system for _, system in points), column) < len(points):
            continue
        one = _SHAPES[claim["kind"]](points, column, comparison, claim)
        beside = _beside_control(points[-1][1], None, column, comparison)
        evidence.append(replace(one, text=one.text + beside, column=f"{column.title} ({line})" if line else one.column))
    return evidence, told if evidence else [f"no benchmark has measured every point of the sweep over {spec['key']}"]


def _saturates(points: list[Point], column: Column, comparison: Comparison, claim: dict[str, Any]) -> _Test:
    """The first part gains, and more than all the rest: the difference of the two gains decides."""
    (_, none), (x1, part), (x2, everything) = points[0], points[1], points[-1]
    first, rest = _better(part, none, column, comparison), _better(everything, part, column, comparison)
    sign = -1.0 if column.lower_is_better else 1.0
    terms: Terms = [(2 * sign, part), (-sign, none), (-sign, everything)]
    lead = comparison.combined(terms, column)
    assert lead is not None
    gains = f"to {x1:,g} lists: {_told(first)}; from there to {x2:,g}: {_told(rest)}"
    return _Test(column.title, f"{gains}; the first gain less the second: {_told(lead)}", (first, lead), lead)


def _rises(points: list[Point], column: Column, comparison: Comparison, claim: dict[str, Any]) -> _Test:
    (x1, low), (x2, high) = points[0], points[-1]
    change = _better(high, low, column, comparison)
    figures = ", ".join(f"{x:g}: {_figure(comparison, system, column)}" for x, system in points)
    return _Test(column.title, f"{figures}; {x2:g} against {x1:g}: {_told(change)}", (change,), change)


def _lowest(points: list[Point], column: Column, comparison: Comparison, claim: dict[str, Any]) -> _Test:
    """All other points are above that one; the least of them is told."""
    lowest = next(system for x, system in points if x == claim["at"])
    changes: list[tuple[Estimate, float]] = []
    for x, system in points:
        change = comparison.versus(system, lowest, column)
        if change is not None:  # it is no other point
            changes.append((change, x))
    changes.sort(key=lambda item: -item[0].mean)
    least, place = changes[-1]
    figures = ", ".join(f"{x:g}: {_figure(comparison, system, column)}" for x, system in points)
    text = f"{figures}; {place:g} against {claim['at']:g}: {_told(least)}"
    return _Test(column.title, text, tuple(change for change, _ in changes), least)


_SHAPES = {"saturates": _saturates, "rises": _rises, "lowest": _lowest}


def _better(a: System, b: System, column: Column, comparison: Comparison) -> Estimate:
    change = comparison.versus(a, b, column)
    assert change is not None  # _along asks for figures of every point
    return change.negated() if column.lower_is_better else change
