"""The instructions to collect for: any format that train.py reads (docs/data.md), or the embedded ones."""

from dataclasses import dataclass, replace
from typing import TypeVar

from tuna.config.scale import ASSETS
from tuna.data.fields import FieldError
from tuna.data.files import read_rows
from tuna.data.importers import choose
from tuna.data.load import problem_text
from tuna.data.record import Record
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


def read_instructions(path: str | None, *, first: int | None = None, last: int | None = None) -> list[Record]:
    """The records of ``path`` (null: the embedded instructions), each with an id of its own.

    Unlike for training, the original response may be missing.

    Raises:
        DataError: every malformed row, an id that comes twice, a range that the file does not have.
    """
    if path is None:
        path, first = str(EMBEDDED_FILE), EMBEDDED_FIRST if first is None and last is None else first
    rows = read_rows(path).rows
    for key, wanted in (("first", first), ("last", last)):
        if wanted is not None and not 0 < wanted <= len(rows):
            raise DataError(f"{path}: {key}: expected 1 to {len(rows)} (the file's rows), got {wanted}")
    importer = choose("auto", (row.value for row in rows), path)
    records, problems, seen = [], [], dict[str, str]()
    begin, end = len(rows) - last if last else 0, first or len(rows)
    for index, row in list(enumerate(rows))[begin:end]:
        try:
            if row.problem:
                problems.append(f"{row.where}: {row.problem}")
                continue
            if not isinstance(row.value, dict):
                raise FieldError("line", "a JSON object", row.value)
            record = importer.read(row.value, row.where, index)
            if not record.instruction.strip() and not record.input.strip():
                raise FieldError("instruction", "some text", record.instruction)
            if record.id in seen:
                raise FieldError("id", f"an id of its own ({seen[record.id]} has it too)", record.id)
            seen[record.id] = row.where
            records.append(replace(record, where=row.where))
        except FieldError as error:
            problems.append(f"{row.where}: {error}")
    if problems:
        raise DataError(problem_text(problems))
    return records
