"""What paths in configs stand for, so that replicates' parents match; and who made the lists behind a run."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from tuna.reporting.read import Found, Ranking, Row, Run, flatten
from tuna.runs import FREE

# Keys that say where, when and how often, never what was learned; `seed` is what replicates differ in, and `data`
# stands in datamodule.sources too.
_FREE = {"seed", "data", "trainer.threads"}
_FREE |= {f"{group}.{key}".lstrip(".") for group, keys in FREE.items() for key in keys}
_FREE_OF_RANKING = {"seed", "name", "output", "folder", "dry_run", "rerank", "max_cost", "max_requests", "prices"}


class Parents:
    """What paths in configs stand for: a run's group, a ranking's settings; so that replicates' parents match."""

    def __init__(self, found: Found) -> None:
        self._runs = {run.path.resolve(): run for run in found.runs}
        self._by_name: dict[str, list[Run]] = defaultdict(list)
        for run in found.runs:
            self._by_name[run.path.name if run.sweep is None else f"{run.path.parent.name}/{run.path.name}"].append(run)
        self._rankings = {ranking.lists.resolve(): ranking for ranking in found.rankings}
        self._signatures: dict[Path, str] = {}
        self.names: dict[object, str] = {}  # of lists, in a label: the proxy model that ranked them

    def run_at(self, path: object) -> Run | None:
        """The run that ``path`` names: itself or its model folder; by name alone where that is unambiguous."""
        if not path or not isinstance(path, str) or "\0" in path:
            return None
        place = Path(path)
        place = place.parent if place.name in ("model", "adapter") else place
        if run := self._runs.get(place.resolve()):
            return run
        named = self._by_name.get(place.name) or self._by_name.get("/".join(place.parts[-2:])) or []
        return named[0] if len(named) == 1 and not place.exists() and len(place.parts) > 1 else None

    def flat(self, run: Run) -> dict[str, Any]:
        """The run's config as dotted keys, without what is free, paths by what they stand for."""
        found = {}
        for key, value in flatten(run.config).items():
            first, *rest = key.split(".")
            if not {first, ".".join([first, *rest[:1]])} & _FREE:
                found[key] = self._meaning(value)
        return found

    def signature(self, item: Run | Ranking) -> str:
        """What of its config counts (and of a run the stage), as text."""
        if item.path not in self._signatures:
            self._signatures[item.path] = str(item.path)  # for the time being, of a file that names itself
            if isinstance(item, Run):
                kept: Any = [item.content.get("stage"), self.flat(item)]
            else:
                counts = flatten({key: value for key, value in item.config.items() if key not in _FREE_OF_RANKING})
                kept = {k: self._meaning(value) for k, value in counts.items() if k.rpartition(".")[2] != "seed"}
            self._signatures[item.path] = json.dumps(kept, sort_keys=True, default=str)
        return self._signatures[item.path]

    def rankers_of(self, run: Run, seen: frozenset[Path] = frozenset()) -> dict[str, str]:
        """Who ranked, or wrote, the lists that a run and those before it were tuned on: a judge, a model's fingerprint
        or a server's name for it; and what to call it. What a proxy model learned from counts with it.
        """
        found: dict[str, str] = {}
        data: Row = run.config.get("datamodule") or {}
        paths = [data.get("path"), *(source.get("path") for source in data.get("sources") or ())]
        before = [self.run_at((run.config.get("model") or {}).get("path"))]
        for ranking in (self._rankings.get(Path(path).resolve()) for path in paths if isinstance(path, str)):
            if ranking is not None:
                found |= ranking.ranker
                before.append(self.run_at(ranking.proxy))
        for parent in before:
            if parent is not None and parent.path not in seen:
                found |= self.rankers_of(parent, seen | {run.path})
        return found

    def _meaning(self, value: object) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)  # 1 on the command line is the 1.0 of the constructor
        if not isinstance(value, str) or "\0" in value or not ("/" in value or value.endswith(".jsonl")):
            return value
        if run := self.run_at(value):
            return f"model of {self.signature(run)}"
        if ranking := self._rankings.get(Path(value).resolve()):
            lists = f"lists of {self.signature(ranking)}"
            if run := self.run_at(ranking.proxy):
                self.names[lists] = f"by {run.system}"
            return lists
        return value
