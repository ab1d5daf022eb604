"""Open questions that answers are compared on: FastChat's question.jsonl, instruction rows, or the embedded ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuna import assets
from tuna.assets.checker import is_checkable
from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.files import Row, read_rows
from tuna.data.load import problem_text
from tuna.data.messages import asked, read_messages
from tuna.data.record import Record
from tuna.errors import DataError
from tuna.evaluation.base import Question, spread
from tuna.evaluation.given import GivenAnswers
from tuna.judges.prompt import shown

_USED = frozenset(
    {"id", "instruction", "input", "output", "question_id", "category", "task", "turns", "messages", "tools"}
)


@dataclass(frozen=True, slots=True)
class OpenQuestions:
    """All questions of a file with a hash of it; a question's ``task`` is its category."""

    path: str
    sha256: str
    questions: tuple[Question, ...]

    def first(self, limit: int | None) -> list[Question]:
        """So many, spread over the categories; all without a limit."""
        return spread(self.questions, [question.task for question in self.questions], limit)

    def check(self, given: GivenAnswers) -> None:
        """Every answer of a file must belong to a question.

        Raises:
            DataError: with those that belong to none.
        """
        known = {
            name for q in self.questions for name in (
                (q.task, q.id), ("", q.id), ("instruction", shown(q.record).strip())
            )
        }  # fmt: skip
        unknown = [" ".join(filter(None, name)) for name in given.texts if name not in known]
        if unknown:
            listed = "".join(f"\n  {name[:100]}" for name in unknown[:5])
            more = f"\n  and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(
                f"{given.path}: {len(unknown)} answers to no question of {self.path}:{listed}{more}\n"
                "Next: benchmark.questions=<the file that was answered>"
            )


def read_questions(path: str | None) -> OpenQuestions:
    """Read ``{"question_id", "category", "turns": [text]}`` or ``{"instruction", "input"?, "category"?, "id"?}`` rows.

    A conversation up to the answer stands as ``messages`` (and ``tools``) in place of instruction and input.

    path: null is the embedded open-ended questions. What else a row carries stays with its record.

    Raises:
        DataError: every malformed row, and two rows that ask the same, as file:line.
    """
    source = str(assets.path("instructions/held_out.jsonl")) if path is None else path
    rows = read_rows(source)
    wanted: Iterable[Row] = rows.rows
    if path is None:
        wanted = [row for row in rows.rows if not is_checkable(row.value)]
    questions, problems = [], []
    seen: dict[str, str] = {}
    for index, row in enumerate(wanted):
        try:
            questions.append(_read(row, index, seen))
        except FieldError as error:
            problems.append(f"{row.where}: {error}")
    if problems:
        raise DataError(problem_text(problems))
    return OpenQuestions(source, rows.sha256, tuple(questions))


def _read(row: Row, index: int, seen: dict[str, str]) -> Question:
    if row.problem:
        raise FieldError("line", "JSON", row.problem)
    value = row.value
    if not isinstance(value, dict):
        raise FieldError("line", "a JSON object", value)
    name = fields.identity({"id": value.get("question_id", value.get("id"))}, index)
    asks = next((key for key in ("messages", "turns") if key in value), "instruction")
    record = Record(
        name, **(_conversation(value) if asks == "messages" else _instruction(value)), where=row.where,
        output=fields.text(value, "output", default="") or None, extra=fields.rest(value, _USED),
    )  # fmt: skip
    for field, key in (("id", f"id {name}"), (asks, f"text {shown(record).strip()}")):
        if key in seen:
            raise FieldError(field, f"another than that of {seen[key]}, to tell answers apart", key.partition(" ")[2])
        seen[key] = row.where
    category = value.get("category") if value.get("category") is not None else value.get("task")
    return Question(name, record, "" if category is None else fields.check_text(category, "category"))


def _conversation(value: Mapping[str, Any]) -> dict[str, Any]:
    """The messages up to the answer."""
    messages = read_messages(value["messages"], "messages")
    if messages[-1]["role"] == "assistant":
        raise FieldError("messages", "a conversation that ends before the answer", value["messages"])
    return asked(messages, fields.items(value, "tools", "functions") if value.get("tools") else ())


def _instruction(value: Mapping[str, Any]) -> dict[str, Any]:
    """The first turn, or instruction and input."""
    if "turns" in value:
        turns = fields.items(value, "turns", "one text")
        if len(turns) != 1:
            raise FieldError("turns", "one turn", turns)
        text = fields.check_text(turns[0], "turns[0]")
    else:
        text = fields.text(value, "instruction")
    if not text.strip():
        raise FieldError("turns" if "turns" in value else "instruction", "some text", text)
    return {"instruction": text, "input": fields.text(value, "input", default="")}
