"""Which runs are one system: the same label and the same config but for the seed, parents included."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuna.reporting.columns import Columns
from tuna.reporting.read import Found, Measured, Ranking, Run, flatten
from tuna.runs import FREE

# Keys that say where, when and how often, never what was learned; `seed` is what replicates differ in.
_FREE = {group: set(keys) for group, keys in FREE.items()}
_FREE[""] |= {"seed", "data"}  # `data` stands in datamodule.sources too
_FREE["trainer"] |= {"threads"}
_FREE_OF_RANKING = {"seed", "name", "output", "folder", "dry_run", "rerank", "max_cost", "max_requests", "prices"}
_LONG = 24  # characters; a longer value (a path) tells nothing in a label


@dataclass
class System:
    """One row of a table. ``runs``: finished ones by seed; ``broken``: the others. ``results``: by column, by seed.

    named: an experiment says which tables it stands in, be it in none. changed: the config keys that tell it from other
    systems of the same base name, with its values. alone: a run outside of any sweep made it.
    """

    label: str
    base: str
    stage: str = ""
    tables: tuple[str, ...] = ()
    named: bool = False
    alone: bool = False
    flat: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    broken: list[Run] = field(default_factory=list)
    results: dict[str, dict[int, Measured]] = field(default_factory=dict)

    @property
    def swept(self) -> bool:
        """Whether it is a variant that only jobs of sweeps made."""
        runs = [*self.runs.values(), *self.broken]
        return bool(runs and self.changed) and all(run.sweep for run in runs)

    def any_run(self) -> Run | None:
        """The run of its lowest seed, finished if there is one."""
        return next(iter([*(self.runs[seed] for seed in sorted(self.runs)), *self.broken]), None)


class Places:
    """What paths in configs stand for: a run's group, a ranking's settings; so that replicates' parents match."""

    def __init__(self, found: Found) -> None:
        self._runs = {run.path.resolve(): run for run in found.runs}
        self._by_name: dict[str, list[Run]] = defaultdict(list)
        for run in found.runs:
            self._by_name[run.path.name if run.sweep is None else f"{run.path.parent.name}/{run.path.name}"].append(run)
        self._rankings = {ranking.lists.resolve(): ranking for ranking in found.rankings}
        self._signatures: dict[Path, str] = {}
        self._open: set[Path] = set()

    def run_at(self, path: str | None) -> Run | None:
        """The run that ``path`` names: itself or its model folder; by name alone where that is unambiguous."""
        if not path:
            return None
        place = Path(path)
        place = place.parent if place.name in ("model", "adapter") else place
        if run := self._runs.get(place.resolve()):
            return run
        named = self._by_name.get(place.name) or self._by_name.get("/".join(place.parts[-2:])) or []
        return named[0] if len(named) == 1 and not place.exists() and len(place.parts) > 1 else None

    def signature(self, run: Run) -> str:
        """The run's config as text, without what is free, paths by what they stand for."""
        return self._remember(run.path, lambda: self._run_signature(run))

    def flat(self, run: Run) -> dict[str, Any]:
        """The run's config as dotted keys, as ``signature`` sees it."""
        return {key: self._meaning(value) for key, value in flatten(_kept(run.config)).items()}

    def _run_signature(self, run: Run) -> str:
        return json.dumps([run.content.get("stage"), self.flat(run)], sort_keys=True, default=str)

    def _ranking_signature(self, ranking: Ranking) -> str:
        kept = {k: v for k, v in ranking.config.items() if k not in _FREE_OF_RANKING}
        flat = {k: self._meaning(v) for k, v in flatten(kept).items() if k.rpartition(".")[2] != "seed"}
        return json.dumps(flat, sort_keys=True, default=str)

    def _meaning(self, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)  # 1 on the command line is the 1.0 of the constructor
        if not isinstance(value, str) or not ("/" in value or value.endswith(".jsonl")):
            return value
        if run := self.run_at(value):
            return f"model of {self.signature(run)}"
        ranking = self._rankings.get(Path(value).resolve())
        if ranking:
            return f"lists of {self._remember(ranking.path, lambda: self._ranking_signature(ranking))}"
        return value

    def _remember(self, path: Path, make: Any) -> str:
        if path in self._open:  # a file that names itself
            return str(path)
        if path not in self._signatures:
            self._open.add(path)
            self._signatures[path] = make()
            self._open.discard(path)
        return self._signatures[path]


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for key, value in config.items():
        if key in _FREE[""]:
            continue
        drop = _FREE.get(key, set())
        out[key] = {k: v for k, v in value.items() if k not in drop} if isinstance(value, Mapping) else value
    return out


def find_systems(found: Found, columns: Columns) -> list[System]:
    """Group runs into systems and hang the results on them. What is set aside is told in ``found.problems``."""
    places = Places(found)
    groups: dict[tuple[str, str], System] = {}
    of_run: dict[Path, System] = {}
    for run in found.runs:
        key = (_base_name(run), places.signature(run))
        if key not in groups:
            groups[key] = System("", key[0], stage=str(run.content.get("stage") or ""), flat=places.flat(run))
        groups[key].named = groups[key].named or isinstance(run.config.get("experiment"), Mapping)
        groups[key].alone = groups[key].alone or run.sweep is None
        groups[key].tables = tuple(dict.fromkeys([*groups[key].tables, *_tables(run)]))
        of_run[run.path] = groups[key]
        _add_run(groups[key], run, found.problems)
    _label([*groups.values()])
    systems = [*groups.values()]
    _hang_results(found, columns, places, systems, of_run)
    return systems


def _base_name(run: Run) -> str:
    experiment = run.config.get("experiment")
    named = experiment if isinstance(experiment, Mapping) else {}
    return str(named.get("system") or named.get("name") or run.content.get("stage") or run.name)


def _tables(run: Run) -> tuple[str, ...]:
    experiment = run.config.get("experiment")
    tables = experiment.get("tables") if isinstance(experiment, Mapping) else None
    return tuple(str(table) for table in tables or ())


def _add_run(system: System, run: Run, problems: list[str]) -> None:
    if run.status != "finished":
        system.broken.append(run)
        return
    other = system.runs.get(run.seed)
    if other is None:
        system.runs[run.seed] = run
        return
    newer, older = sorted((run, other), key=lambda r: (str(r.content.get("ended")), r.name), reverse=True)
    system.runs[run.seed] = newer
    problems.append(
        f"{older.path} repeats {newer.path} (the same config and seed): they count once, by the newer result each"
    )


def _label(systems: list[System]) -> None:
    """The base name; where several have it, with what tells them apart (but for the one that is a table's row)."""
    by_base: dict[str, list[System]] = defaultdict(list)
    for system in systems:
        by_base[system.base].append(system)
    for base, same in by_base.items():
        keys = sorted({key for system in same for key in system.flat})
        differ = [key for key in keys if len({repr(system.flat.get(key)) for system in same}) > 1]
        rows = [system for system in same if any(table.isdigit() for table in system.tables)] or same
        rows = [system for system in rows if system.runs] or rows
        rows = [system for system in rows if system.alone] or rows
        plain = rows[0] if len(rows) == 1 else None
        seen: dict[str, int] = defaultdict(int)
        for system in same:
            system.changed = {
                k: system.flat.get(k) for k in differ if plain is None or system.flat.get(k) != plain.flat.get(k)
            }
            short = [f"{_short_key(k)}={shown(v)}" for k, v in system.changed.items() if len(shown(v)) <= _LONG]
            system.label = base if system is plain else f"{base} ({', '.join(short) or 'other data'})"
            seen[system.label] += 1
            if seen[system.label] > 1:
                system.label += f" #{seen[system.label]}"


def shown(value: Any) -> str:
    """A config value in a label.

    >>> shown(13000.0), shown(0.1), shown(None)
    ('13000', '0.1', 'null')
    """
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _short_key(key: str) -> str:
    """The last part that says something.

    >>> _short_key("loss.lambda"), _short_key("datamodule.sources.0.beta")
    ('lambda', 'beta')
    """
    return key.rpartition(".")[2]


def _hang_results(
    found: Found, columns: Columns, places: Places, systems: list[System], of_run: dict[Path, System]
) -> None:
    bare: dict[tuple[str, str], System] = {}
    for result in found.results:
        if not result.finished or result.model.get("kind") == "none":
            continue  # told as incomplete; a study of several systems stands apart
        run = places.run_at(result.model.get("run"))
        if result.model.get("run") and run is None:
            found.problems.append(f"{result.path}: its run {result.model['run']} is not among the runs; shown by name")
        if run is None:
            key = (str(result.model.get("name")), str(result.model.get("fingerprint")))
            system, seed = bare.setdefault(key, System(key[0], key[0])), 0
        else:
            system, seed = of_run[run.path], run.seed
        _add_result(system, columns.of(result).key, seed, result, found.problems)
    names = Counter(system.label for system in [*systems, *bare.values()])
    for (name, fingerprint), system in bare.items():
        system.label = name if names[name] == 1 else f"{name} ({fingerprint[:8]})"
        systems.append(system)


def _add_result(system: System, column: str, seed: int, result: Measured, problems: list[str]) -> None:
    held = system.results.setdefault(column, {})
    other = held.get(seed)
    if other is None:
        held[seed] = result
        return
    newer, older = sorted((result, other), key=lambda r: (str(r.content.get("ended")), str(r.path)), reverse=True)
    held[seed] = newer
    if newer.model.get("run") == older.model.get("run"):
        problems.append(f"{older.path}: measured again in {newer.path}, which counts")
