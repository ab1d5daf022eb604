"""The keys of conf/rank.yaml itself, and the instructions that they name."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig

from tuna.assets import FOLDER
from tuna.config import checks
from tuna.data.columns import check_columns
from tuna.data.load import Loaded, Source, load_questions, problem_text
from tuna.errors import ConfigError, DataError

EMBEDDED_FILE = FOLDER / "instructions" / "train.jsonl"
EMBEDDED_FIRST = 800


def shard_of(text: str | None) -> tuple[int, int]:
    """Which part, from 1, of how many ``i/n`` names: every n-th instruction; all of them for None.
    Raises: ConfigError for any other text.

    >>> shard_of("2/3"), shard_of(None)
    ((2, 3), (1, 1))
    """
    first, _, last = ("1/1" if text is None else text).partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ConfigError(f"shard: expected i/n with i from 1 to n, such as 2/8, got {text!r}")
    return int(first), int(last)


@dataclass(frozen=True)
class Settings:
    """What one collection is asked to do; conf/rank.yaml says what each key means. input: null is the embedded ones."""

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
        """From the composed config. Raises: ConfigError with one line for each wrong value."""
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
        shard_of(values.get("shard"))
        return Settings(**values)

    @property
    def part(self) -> tuple[int, int]:
        """Which of how many parts of the instructions it collects for, from 1."""
        return shard_of(self.shard)

    def instructions(self) -> Loaded:
        """The records of ``input`` before they are cut into shards, each with an id of its own, and notes. Raises
        DataError for every malformed row, an id that comes twice, a range that the file does not have.
        """
        path, first = self.input, self.first
        if path is None:
            path, first = str(EMBEDDED_FILE), EMBEDDED_FIRST if first is None and self.last is None else first
        more: dict[str, Any] = {"split": self.input_split, "subset": self.input_subset, "columns": self.input_columns}
        found = load_questions(Source(path, None, first, self.last, **more, key="input"))
        if found.problems:
            raise DataError(problem_text(found.problems))
        return found
