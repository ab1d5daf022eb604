"""The instructions to collect for: any format that train.py reads (docs/data.md), or the embedded ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tuna.config.scale import ASSETS
from tuna.data.load import Loaded, Source, load_questions, problem_text
from tuna.errors import ConfigError, DataError

T = TypeVar("T")

EMBEDDED_FILE = ASSETS / "instructions" / "train.jsonl"
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
        """From ``i/n``.

        Raises:
            ConfigError: it is something else.
        """
        if text is None:
            return Shard()
        first, _, last = text.partition("/")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise ConfigError(f"shard: expected i/n with i from 1 to n, such as 2/8, got {text!r}")
        return Shard(int(first), int(last))

    def take(self, rows: list[T]) -> list[T]:
        """This part's rows, in order."""
        return rows[self.index - 1 :: self.count]


def read_instructions(
    path: str | None,
    *,
    first: int | None = None,
    last: int | None = None,
    split: str | None = None,
    subset: str | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Loaded:
    """The records of ``path`` (null: the embedded instructions), each with an id of its own, and what is to be noted.

    Unlike for training, the original response may be missing. split, subset, columns: as the datamodules have them.

    Raises:
        DataError: every malformed row, an id that comes twice, a range that the file does not have.
    """
    if path is None:
        path, first = str(EMBEDDED_FILE), EMBEDDED_FIRST if first is None and last is None else first
    found = load_questions(Source(path, None, first, last, split=split, subset=subset, columns=columns, key="input"))
    if found.problems:
        raise DataError(problem_text(found.problems))
    return found
