"""Which runs are one system: the same label and the same config but for the seed, parents included."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuna.reporting.columns import Column, differing
from tuna.reporting.parents import Parents
from tuna.reporting.read import Found, Measured, Run

_MOST = 3  # settings in a label; a system that differs in more goes by its run's name
_LONG = 24  # characters; a longer value (a path) tells nothing in a label


@dataclass
class System:
    """One row of a table."""

    label: str
    base: str
    about: str = field(default="", kw_only=True)  # what stands below the label in small print
    stage: str = ""
    tables: tuple[str, ...] = ()
    named: bool = False  # its experiment or stage says which tables it stands in, be it in none
    alone: bool = False  # a run outside of any sweep made it
    flat: dict[str, Any] = field(default_factory=dict)  # the config, as dotted keys
    changed: dict[str, Any] = field(default_factory=dict)  # what of it tells it from others of the same base name
    runs: dict[int, Run] = field(default_factory=dict)  # finished ones by seed
    broken: list[Run] = field(default_factory=list)  # the others
    results: dict[str, dict[int, Measured]] = field(default_factory=dict)  # by column, by seed
    rankers: dict[str, str] = field(default_factory=dict)  # who made the lists behind it: a judge or a model, its name

    @property
    def all_runs(self) -> list[Run]:
        """The finished ones by seed, then the others."""
        return [*(run for _, run in sorted(self.runs.items())), *self.broken]

    @property
    def swept(self) -> bool:
        """Whether it is a variant that only jobs of sweeps made."""
        return bool(self.all_runs and self.changed) and all(run.sweep for run in self.all_runs)


def find_systems(found: Found, columns: Mapping[Path, Column]) -> list[System]:
    """Group runs into systems and hang the results on them. What is set aside is told in ``found.problems``."""
    parents = Parents(found)
    groups: dict[tuple[str, str], System] = {}
    of_run: dict[Path, System] = {}
    for run in sorted(found.runs, key=_age):
        key = (run.system, parents.signature(run))
        system = groups.setdefault(key, System("", run.system, run.stage, flat=parents.flat(run)))
        system.named |= bool(run.row)
        system.alone |= run.sweep is None
        system.rankers |= parents.rankers_of(run)
        system.tables = tuple(dict.fromkeys([*system.tables, *map(str, run.row.get("tables") or ())]))
        of_run[run.path] = system
        if run.status != "finished":
            system.broken.append(run)
            continue
        if older := system.runs.get(run.seed):
            found.problems.append(
                f"{older.path} repeats {run.path} (the same config and seed): they count once, by the newer result each"
            )
        system.runs[run.seed] = run
    _label([*groups.values()], parents)
    for system in groups.values():
        if system.swept and not any(run.experiment for run in system.all_runs):  # a sweep of one's own is no row
            system.named, system.tables = False, ()
    return [*groups.values(), *_hang_results(found, columns, parents, of_run)]


def _age(item: Run | Measured) -> tuple[str, str]:
    """Sorts the newest last: of two with the same config and seed that one counts."""
    return str(item.content.get("ended")), str(item.path)


def _label(systems: list[System], parents: Parents) -> None:
    """The base name; where several have it, with what tells them apart (but for the one that is a table's row)."""
    by_base: dict[str, list[System]] = defaultdict(list)
    for system in systems:
        by_base[system.base].append(system)
    for base, same in by_base.items():
        differ = differing([system.flat for system in same])
        rows = [system for system in same if any(table.isdigit() for table in system.tables)] or same
        rows = [system for system in rows if system.runs] or rows
        rows = [system for system in rows if system.alone] or rows
        plain = rows[0] if len(rows) == 1 else None
        seen: Counter[str] = Counter()
        for system in same:
            system.changed = {
                k: system.flat.get(k) for k in differ if plain is None or system.flat.get(k) != plain.flat.get(k)
            }
            short = [
                parents.names.get(v) or f"{k.rpartition('.')[2]}={shown(v)}"
                for k, v in system.changed.items()
                if v in parents.names or len(shown(v)) <= _LONG
            ]
            system.label = base if system is plain else f"{base} ({', '.join(short) or 'other data'})"
            name = _own_name(system)
            if len(short) > _MOST and name:
                told = [text.rpartition("_target_=")[2] for text in short if not text.endswith("=null")]
                more = f" and {len(told) - _MOST} more" if len(told) > _MOST else ""
                system.label, system.about = name, f"{base}, {', '.join(told[:_MOST])}{more}"
            elif name and len(system.runs) == 1 and name != system.label:
                system.about = f"run {name}"
            seen[system.label] += 1
            if seen[system.label] > 1:
                system.label += f" #{seen[system.label]}"


def _own_name(system: System) -> str:
    """What its newest run outside of sweeps is called."""
    return max(
        ((str(run.content.get("ended")), run.name) for run in system.all_runs if not run.sweep), default=("", "")
    )[1]


def shown(value: object) -> str:
    """A config value in a label.

    >>> shown(13000.0), shown(0.1), shown(None)
    ('13000', '0.1', 'null')
    """
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _hang_results(
    found: Found, columns: Mapping[Path, Column], parents: Parents, of_run: Mapping[Path, System]
) -> list[System]:
    """Give each result to the system of its run; gives the systems of models that no run is known of."""
    bare: dict[tuple[str, str], System] = {}
    for result in sorted(found.results, key=_age):
        if not result.finished or result.model.get("kind") == "none":
            continue  # told as incomplete; a study of several systems stands apart
        if run := parents.run_at(result.model.get("run")):
            system, seed = of_run[run.path], run.seed
        else:
            if result.model.get("run"):
                lost = f"its run {result.model['run']} is not among the runs; shown by name"
                found.problems.append(f"{result.path}: {lost}")
            key = (str(result.model.get("name")), str(result.model.get("fingerprint")))
            system, seed = bare.setdefault(key, System(key[0], key[0])), 0
        held = system.results.setdefault(columns[result.path].key, {})
        if (older := held.get(seed)) and older.model.get("run") == result.model.get("run"):
            found.problems.append(f"{older.path}: measured again in {result.path}, which counts")
        held[seed] = result
    names = Counter(system.label for system in [*of_run.values(), *bare.values()])
    for (name, fingerprint), system in bare.items():
        system.label = name if names[name] == 1 else f"{name} ({fingerprint[:8]})"
    return [*bare.values()]


def summarize(found: Found, systems: list[System]) -> tuple[dict[str, int], list[str]]:
    """Counts of what is on disk, and what is missing, one per line, so that no gap looks like a result.

    What a ranking has no usable list of is told in ``found.problems``.
    """
    by_status = Counter(run.status for run in found.runs)
    incomplete = [result for result in found.results if not result.finished]
    counts = {
        "systems": len(systems),
        "runs": len(found.runs),
        **{f"runs {status}": by_status[status] for status in sorted(by_status)},
        "results": len(found.results),
        "results incomplete": len(incomplete),
        "rankings": len(found.rankings),
    }
    missing = [
        f"run {run.name}: {run.status}, not finished (log.txt says why; resume=auto goes on); not in the tables"
        for run in found.runs
        if run.status != "finished"
    ]
    missing += found.jobs
    for result in incomplete:
        n, total = result.coverage
        what = f"result {result.benchmark} of {result.model.get('name')}"
        missing.append(f"{what}: incomplete, {n} of {total} questions; not in the tables ({result.path})")
    # A proxy ranking model, a sweep of our own: no row of a table waits for it.
    for system in (s for s in systems if found.results and (s.tables or not s.named)):
        for seed in sorted(set(system.runs) - {seed for held in system.results.values() for seed in held}):
            who = f"run {system.runs[seed].name} ({system.label}, seed {seed})"
            missing.append(f"{who}: finished, no benchmark measured it")
    missing += found.unread
    for ranking in found.rankings:
        if ranking.missing:
            missing.append(f"ranking {ranking.name}: {ranking.missing} instructions still to ask")
        if ranking.unusable:
            found.problems.append(f"ranking {ranking.name}: {ranking.unusable} instructions without a usable list")
    return counts, missing
