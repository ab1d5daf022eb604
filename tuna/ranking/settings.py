"""The keys of conf/rank.yaml itself, and where things go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tuna.config import checks
from tuna.data.columns import check_columns
from tuna.errors import ConfigError
from tuna.ranking.instructions import Shard


@dataclass(frozen=True)
class Settings:
    """What one collection is asked to do.

    input: instructions, any format that train.py reads; null: the embedded ones. input_split, input_subset,
    input_columns: as datamodule.split, subset and columns (docs/data.md). output: the ranked lists, null:
    <folder>/<name>.jsonl. name: null is <ranker>-<hash of what answers what>, so the same command goes on where it
    stopped. first, last: so many rows from the start or the end of the input. shard: i/n, every n-th instruction.
    dry_run: say what it would take, and send nothing. score_only: rank the answers that the input already has. rerank:
    keep the stored answers and rank them by other settings. max_cost (dollars), max_requests: never overrun, all runs
    into this output together.
    """

    input: str | None = None
    input_split: str | None = None
    input_subset: str | None = None
    input_columns: dict[str, Any] | None = None
    output: str | None = None
    folder: str = "rankings"
    name: str | None = None
    seed: int = 0
    first: int | None = None
    last: int | None = None
    shard: str | None = None
    dry_run: bool = False
    score_only: bool = False
    rerank: bool = False
    max_cost: float | None = None
    max_requests: int | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config.

        Raises:
            ConfigError: all wrong values, a line each.
        """
        low = {"first": 1, "last": 1, "max_cost": 0, "max_requests": 0}
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings", low)
        output = values.get("output")
        if isinstance(output, str) and not output.endswith(".jsonl"):
            wrong.append(f"output: expected a path that ends with .jsonl, got {output!r}")
        try:
            check_columns(values.get("input_columns"), "input_columns")
        except ConfigError as error:
            wrong.append(str(error))
        if wrong:
            raise ConfigError("\n".join(wrong))
        Shard.parse(values.get("shard"))
        return Settings(**values)


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """What lies beside an output ``NAME.jsonl``."""

    output: Path

    @staticmethod
    def of(settings: Settings, name: str) -> "OutputPaths":
        """The places of a collection that is called ``name`` unless ``output`` says otherwise."""
        output = Path(settings.output) if settings.output else Path(settings.folder) / f"{settings.name or name}.jsonl"
        shard = Shard.parse(settings.shard)
        if shard.count > 1:
            output = output.with_name(f"{output.stem}.shard-{shard.index}-of-{shard.count}.jsonl")
        return OutputPaths(output)

    def _beside(self, ending: str) -> Path:
        return self.output.with_name(self.output.stem + ending)

    @property
    def store(self) -> Path:
        """Answers, verdicts, ledger, lock."""
        return self._beside(".store")

    @property
    def unusable(self) -> Path:
        """Instructions that got no list."""
        return self._beside(".unusable.jsonl")

    @property
    def report(self) -> Path:
        """Counts and figures."""
        return self._beside(".report.json")

    @property
    def figure(self) -> Path:
        """The report as a picture."""
        return self._beside(".report.png")
