"""The keys of conf/rank.yaml itself, and the instructions that they name."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from annotated_types import Ge
from omegaconf import DictConfig

from tuna.assets import FOLDER
from tuna.config import checks
from tuna.data.columns import check_columns
from tuna.data.load import Loaded, Source, load_questions, problem_text
from tuna.errors import ConfigError, DataError

T = TypeVar("T")

EMBEDDED_FILE = FOLDER / "instructions" / "train.jsonl"
EMBEDDED_FIRST = 800


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` of ``count``, from 1: every count-th instruction.

    >>> Shard.parse("2/3").take(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    index: int = 1
    count: int = 1

    @staticmethod
    def parse(text: str | None) -> "Shard":
        """From ``i/n``."""
        if text is None:
            return Shard()
        first, _, last = text.partition("/")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise ConfigError(f"shard: expected i/n with i from 1 to n, such as 2/8, got {text!r}")
        return Shard(int(first), int(last))

    def take(self, rows: list[T]) -> list[T]:
        """This part's rows, in order."""
        return rows[self.index - 1 :: self.count]


@dataclass(frozen=True)
class Settings:
    """What one collection is asked to do.

    input: instructions, any format that train.py reads; null: the embedded ones. input_split, input_subset,
    input_columns: as datamodule.split, subset and columns (docs/data.md). output: the ranked lists, null:
    <folder>/<name>.jsonl. name: null is <ranker>-<hash of what answers what>, so the same command goes on where it
    stopped. first, last: this many rows from the start or the end of the input. shard: i/n, every n-th instruction.
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
    first: Annotated[int, Ge(1)] | None = None
    last: Annotated[int, Ge(1)] | None = None
    shard: str | None = None
    dry_run: bool = False
    score_only: bool = False
    rerank: bool = False
    max_cost: Annotated[float, Ge(0)] | None = None
    max_requests: Annotated[int, Ge(0)] | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config. Raises ConfigError for all wrong values, a line each."""
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings")
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

    @property
    def part(self) -> Shard:
        """Which of the instructions it collects for."""
        return Shard.parse(self.shard)

    def instructions(self) -> Loaded:
        """The records of ``input``, before they are cut into shards, each with an id of its own; what is to be noted.

        Unlike for training, the original response may be missing. Raises DataError for every malformed row, an id that
        comes twice, a range that the file does not have.
        """
        path, first = self.input, self.first
        if path is None:
            path, first = str(EMBEDDED_FILE), EMBEDDED_FIRST if first is None and self.last is None else first
        split, subset, columns = self.input_split, self.input_subset, self.input_columns
        found = load_questions(
            Source(path, None, first, self.last, split=split, subset=subset, columns=columns, key="input")
        )
        if found.problems:
            raise DataError(problem_text(found.problems))
        return found
