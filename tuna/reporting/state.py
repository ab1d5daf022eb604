"""What is on disk, what of it counts, and what is missing: listed and counted, so that no gap looks like a result."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tuna.reporting.read import Found, Measured, Run
from tuna.reporting.systems import System
from tuna.reporting.tables import Cell, Table, number

_UNFINISHED = {
    "running": "still running, or killed: resume it with resume=auto",
    "failed": "failed: see its log.txt; the same command with resume=auto goes on",
    "interrupted": "interrupted: the same command with resume=auto goes on",
}


@dataclass(frozen=True, slots=True)
class State:
    """Counts, in words, and what is missing, a line each."""

    counts: dict[str, int]
    missing: list[str]
    notes: list[str]


def look(found: Found, systems: Sequence[System]) -> State:
    """Sum up.

    ``missing``: unfinished runs, jobs that never became one, incomplete results, finished runs without any result,
    unreadable files.
    """
    by_status = Counter(run.status for run in found.runs)
    incomplete = [result for result in found.results if not result.finished]
    unmeasured = _unmeasured(systems) if found.results else []
    counts = {
        "systems": len(systems),
        "runs": len(found.runs),
        **{f"runs {status}": by_status[status] for status in sorted(by_status)},
        "results": len(found.results),
        "results incomplete": len(incomplete),
        "rankings": len(found.rankings),
    }
    unread = [problem for problem in found.problems if "not in the report" in problem]
    missing = [_run_line(run) for run in found.runs if run.status != "finished"]
    missing += found.jobs
    missing += [_result_line(result) for result in incomplete] + unmeasured + unread
    missing += _rankings_short_of(found, "missing", "instructions still to ask")
    notes = [problem for problem in found.problems if problem not in unread]
    return State(counts, missing, notes + _rankings_short_of(found, "unusable", "instructions without a usable list"))


def _run_line(run: Run) -> str:
    return f"run {run.name}: {_UNFINISHED.get(run.status, f'status {run.status!r}')}; not in the tables"


def _result_line(result: Measured) -> str:
    n, total = result.coverage
    name = result.model.get("name")
    return (
        f"result {result.benchmark} of {name}: incomplete, {n} of {total} questions; not in the tables ({result.path})"
    )


def _unmeasured(systems: Sequence[System]) -> list[str]:
    out = []
    for system in systems:
        if system.named and not system.tables:
            continue  # a proxy ranking model, a sweep of our own: no row of a table waits for it
        measured = {seed for held in system.results.values() for seed in held}
        for seed in sorted(set(system.runs) - measured):
            out.append(
                f"run {system.runs[seed].name} ({system.label}, seed {seed}): finished, no benchmark measured it"
            )
    return out


def _rankings_short_of(found: Found, key: str, words: str) -> list[str]:
    """Rankings whose report counts some of them under ``key``."""
    counts = {ranking.name: int(ranking.content.get(key) or 0) for ranking in found.rankings}
    return [f"ranking {name}: {count} {words}" for name, count in counts.items() if count]


def runs_table(found: Found, systems: Sequence[System]) -> Table | None:
    """Every run, finished or not."""
    label = {r.path: s.label for s in systems for r in [*s.runs.values(), *s.broken]}
    rows = []
    for run in found.runs:
        seconds = run.metrics.get("perf/tokens_per_second")
        lists = ((run.content.get("parents") or {}).get("data") or {}).get("train_lists")
        rows.append(
            [
                Cell(run.name, run.name), Cell(label.get(run.path, "(an older one of the same)")),
                Cell(str(run.seed), run.seed), Cell(run.status, run.status),
                Cell(f"{lists:,}" if isinstance(lists, int) else "-", lists),
                Cell(number(seconds) if seconds is not None else "-", seconds),
            ]
        )  # fmt: skip
    head = ["run", "system", "seed", "status", "lists", "tokens per second"]
    return Table("runs", "All runs", "Every run.json that was found.", head, rows) if rows else None
