"""Reading questions, files of answers, clones of benchmarks: all that is wrong in the files is one message."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuna import assets
from tuna.assets.checker import is_checkable
from tuna.console import shortened
from tuna.data import fields
from tuna.data.fields import FieldError, RowError, describe, parse_json
from tuna.data.files import read_rows
from tuna.data.load import problem_text
from tuna.data.messages import asked, read_messages
from tuna.data.record import Record
from tuna.data.rows import Row
from tuna.errors import ConfigError, DataError
from tuna.judges.prompt import request

T = TypeVar("T")
Name = tuple[str, str]  # (task, id); ("", id) where a row has no task; ("instruction", text) where it has no id
_USED = {"id", "instruction", "input", "output", "question_id", "turns", "messages", "tools"}


class Faults:
    """Collects what is wrong in many places, so that one message names all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Keep a FieldError of the block, with the place before it; the block ends there."""
        try:
            yield
        except FieldError as error:
            self.found.append(f"{place}: {error}")

    def check(self, next_step: str = "") -> None:
        """Raises DataError with what was collected, the first 20 of it."""
        if self.found:
            raise DataError("\n".join(filter(None, [*shortened(self.found, 20), next_step])))


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to answer: ``record`` under the model's template is the prompt. (task, id) names it."""

    id: str
    record: Record
    task: str = ""

    @property
    def own_id(self) -> str:
        """The id within its task: ids that repeat from task to task stand behind the task's name."""
        return self.id.removeprefix(f"{self.task}/")

    @property
    def names(self) -> tuple[Name, ...]:
        """What a row of answers may call it, the most exact name first."""
        text = ("instruction", request(self.record).strip())
        return (self.task, self.id), (self.task, self.own_id), ("", self.id), text


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """The answers of a file by name, and a hash of the file."""

    path: str
    sha256: str
    texts: dict[Name, str]

    def match(self, questions: Sequence[Question]) -> tuple[dict[Name, str], int]:
        """(task, id) of a question -> its answer; and how many rows answer none. DataError where no row answers one.

        A row names its question by task and id, by id alone, or by its instruction with the input, or its messages.
        """
        named = {(q.task, q.id): next((name for name in q.names if name in self.texts), None) for q in questions}
        found = {question: self.texts[name] for question, name in named.items() if name is not None}
        if not found and questions:
            first = questions[0]
            raise DataError(
                f"{self.path}: answers none of the {len(questions)} questions; expected rows such as "
                f'{{"task": {first.task!r}, "id": {first.id!r}, "prediction": "..."}}, got {next(iter(self.texts))!r}'
            )
        return found, len(self.texts) - len({*named.values()} - {None})


def read_answers(path: str) -> GivenAnswers:
    """Read ``{"task"?, "id", "prediction"}`` or ``{"instruction", "output"}`` rows; either text key goes with either.

    A conversation up to the answer stands as ``messages`` in the instruction's place.
    Raises: DataError: every malformed row, and a question that is answered twice, as file:line.
    """
    rows = read_rows(path)
    texts: dict[Name, str] = {}
    where: dict[Name, str] = {}

    def take(value: Mapping[str, Any], row: Row, _: int) -> None:
        key = "prediction" if "prediction" in value else "output"
        if not isinstance(text := value.get(key), str):
            raise FieldError(key, "a text (prediction or output)", text)
        if value.get("id") is not None:
            name = (str(value.get("task") or ""), str(value["id"]))
        elif value.keys() & {"messages", "turns", "instruction"}:
            name = ("instruction", request(Record("", **_asked(value))).strip())
        else:
            raise FieldError("id", "an id (with a task, where the benchmark has tasks) or an instruction", value)
        if name in texts:
            raise RowError(f"answers the same question as {where[name]}")
        texts[name], where[name] = text, row.where

    _each(rows.rows, take)
    return GivenAnswers(path, rows.sha256, texts)


@dataclass(frozen=True, slots=True)
class OpenQuestions:
    """All questions of a file with its hash; a question's ``task`` is its category."""

    path: str
    sha256: str
    questions: tuple[Question, ...]

    def check(self, given: GivenAnswers) -> None:
        """Raise a DataError with those answers of a file that belong to no question."""
        known = {name for question in self.questions for name in question.names}
        unknown = [" ".join(filter(None, name)) for name in given.texts if name not in known]
        if unknown:
            listed = "\n  ".join(shortened([name[:100] for name in unknown], 5))
            raise DataError(
                f"{given.path}: {len(unknown)} answers to no question of {self.path}:\n  {listed}\n"
                "Next: benchmark.questions=<the file that was answered>"
            )


def read_questions(path: str | None) -> OpenQuestions:
    """Read ``{"question_id", "category", "turns": [text]}`` or ``{"instruction", "input"?, "category"?, "id"?}`` rows.

    A conversation up to the answer stands as ``messages`` (and ``tools``) in place of instruction and input. What else
    a row carries stays with its record. path: null is the embedded open-ended questions.
    Raises: DataError: every malformed row, and two rows that ask the same, as file:line.
    """
    source = str(assets.path("instructions/held_out.jsonl")) if path is None else path
    rows = read_rows(source)
    seen: dict[tuple[str, str], str] = {}

    def read(value: Mapping[str, Any], row: Row, index: int) -> Question:
        given = fields.identity({"id": value.get("question_id", value.get("id"))}, index)
        name = fields.check_text(given, "id")
        output = fields.text(value, "output", default="") or None
        record = Record(name, **_asked(value), where=row.where, output=output, extra=fields.rest(value, _USED))
        for field, what, text in (("id", "id", name), (_asks(value), "text", request(record).strip())):
            if (what, text) in seen:
                raise FieldError(field, f"another than that of {seen[what, text]}, to tell answers apart", text)
            seen[what, text] = row.where
        category = value.get("category") if value.get("category") is not None else value.get("task")
        return Question(name, record, "" if category is None else fields.check_text(category, "category"))

    wanted = [row for row in rows.rows if path is not None or not is_checkable(row.value)]
    return OpenQuestions(source, rows.sha256, tuple(_each(wanted, read)))


def _each(rows: Iterable[Row], read: Callable[[Mapping[str, Any], Row, int], T]) -> list[T]:
    """What ``read`` makes of each row's object, its place in the file, and its number; all faults in one DataError."""
    found, faults = [], Faults()
    for index, row in enumerate(rows):
        with faults.at(row.where):
            if row.problem:
                raise RowError(row.problem)
            if not isinstance(row.value, dict):
                raise FieldError("line", "a JSON object", row.value)
            found.append(read(row.value, row, index))
    if faults.found:
        raise DataError(problem_text(faults.found))
    return found


def _asks(value: Mapping[str, Any]) -> str:
    """The key that holds what is asked."""
    return next((key for key in ("messages", "turns") if key in value), "instruction")


def _asked(value: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, as a record's fields: the messages up to the answer, the first turn, or instruction and input."""
    key = _asks(value)
    if key == "messages":
        messages = read_messages(value["messages"], "messages")
        if messages[-1]["role"] == "assistant":
            raise FieldError("messages", "a conversation that ends before the answer", value["messages"])
        tools = fields.items(value, "tools", "functions") if value.get("tools") else []
        fields.check_texts(tools, "tools")
        return asked(messages, tools)
    if key == "turns":
        turns = fields.items(value, "turns", "one text")
        if len(turns) != 1:
            raise FieldError("turns", "one turn", turns)
        text = fields.check_text(turns[0], "turns[0]")
    else:
        text = fields.text(value, "instruction")
    if not text.strip():
        raise FieldError(key, "some text", text)
    return {"instruction": text, "input": fields.text(value, "input", default="")}


def spread(items: Sequence[T], limit: int | None, by: Callable[[T], object]) -> list[T]:
    """The first items of each kind in turn until there are ``limit``, in their old order; all without a limit.

    >>> spread(["a1", "a2", "a3", "b1"], 3, lambda item: item[0])
    ['a1', 'a2', 'b1']
    """
    seen, turns = Counter[object](), []
    for place, kind in enumerate(map(by, items)):
        turns.append((seen[kind], place))
        seen[kind] += 1
    return [items[place] for place in sorted(place for _, place in sorted(turns)[:limit])]


def read_object(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON object in a file, and the file's content; a FieldError where it cannot be read or holds no object."""
    try:
        content = path.expanduser().read_bytes()
        value = parse_json(content)
    except OSError as error:
        raise RowError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RowError(f"expected a JSON object, got broken JSON ({error})") from None
    if not isinstance(value, dict):
        raise RowError(f"expected a JSON object, got {describe(value)}")
    return value, content


def find_clone(root: str | None, repository: str, command: str, inside: str) -> Path:
    """The clone that ``benchmark.root`` names, with the path ``inside``; else a ConfigError that says how to get it."""
    folder = Path(root or "").expanduser()
    if root is None or not (folder / inside).exists():
        raise ConfigError(
            f"benchmark.root={root or 'null'}: expected a clone of {repository}, no {inside} there; next: {command}, "
            f"then benchmark.root={repository.partition('/')[2]}"
        )
    return folder


def read_files(
    folder: Path, names: Sequence[str], read: Callable[[str, Mapping[str, Any], str, Faults], T]
) -> tuple[list[T], str]:
    """What ``read`` makes of the objects in ``folder/<name>.json``, and a hash of the files' names and contents.

    It gets a file's name, object and path, and where to leave what is wrong with it; all of that is one DataError.
    """
    digest, found, faults = hashlib.sha256(), [], Faults()
    for name in names:
        path = folder / f"{name}.json"
        with faults.at(str(path)):
            value, content = read_object(path)
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
            found.append(read(name, value, str(path), faults))
    faults.check()
    return found, digest.hexdigest()
