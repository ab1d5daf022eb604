"""Answers that lie in a file already: ``answers=FILE.jsonl``, a row an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuna.data.fields import FieldError
from tuna.data.files import Row, read_rows
from tuna.data.load import problem_text
from tuna.data.messages import asked, read_messages
from tuna.data.record import Record
from tuna.errors import DataError
from tuna.evaluation.base import Question
from tuna.judges.prompt import shown

Name = tuple[str, str]  # (task, id); ("", id) where a row has no task; ("instruction", text) where it has no id


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """The file's answers by name, and a hash of the file."""

    path: str
    sha256: str
    texts: dict[Name, str]

    def match(self, questions: Sequence[Question]) -> tuple[dict[Name, str], int]:
        """(task, id) of a question -> its answer; and how many rows answer no question.

        A row names its question by task and id, by id alone, or by its instruction or messages.

        Raises:
            DataError: no row answers any question.
        """
        found, used = {}, set()
        for question in questions:
            for name in (
                (question.task, question.id),
                (question.task, question.id.removeprefix(f"{question.task}/")),  # ids that repeat from task to task
                ("", question.id),
                ("instruction", shown(question.record).strip()),
            ):
                if name in self.texts:
                    found[question.task, question.id] = self.texts[name]
                    used.add(name)
                    break
        if not found and questions:
            first = questions[0]
            raise DataError(
                f"{self.path}: answers none of the {len(questions)} questions; expected rows such as "
                f'{{"task": {first.task!r}, "id": {first.id!r}, "prediction": "..."}}, got {next(iter(self.texts))!r}'
            )
        return found, len(self.texts) - len(used)


def read_answers(path: str) -> GivenAnswers:
    """Read ``{"task"?, "id", "prediction"}`` or ``{"instruction", "output"}`` rows; either text key goes with either.

    A conversation up to the answer stands as ``messages`` in the instruction's place.

    Raises:
        DataError: every malformed row, and a question that is answered twice, as file:line.
    """
    rows = read_rows(path)
    texts: dict[Name, str] = {}
    where: dict[Name, str] = {}
    problems = []
    for row in rows.rows:
        problem = row.problem or _read(row, texts, where)
        if problem:
            problems.append(f"{row.where}: {problem}")
    if problems:
        raise DataError(problem_text(problems))
    return GivenAnswers(path, rows.sha256, texts)


def _read(row: Row, texts: dict[Name, str], where: dict[Name, str]) -> str | None:
    """Take one row in; gives what is wrong with it."""
    value = row.value
    if not isinstance(value, dict):
        return f"expected a JSON object, got {value!r:.40}"
    key = "prediction" if "prediction" in value else "output"
    text = value.get(key)
    if not isinstance(text, str):
        return f"{key}: expected a text (prediction or output), got {text!r:.40}"
    if value.get("id") is not None:
        name = (str(value.get("task") or ""), str(value["id"]))
    elif "messages" in value:
        try:
            record = Record("", **asked(read_messages(value["messages"], "messages")))
            name = ("instruction", shown(record).strip())
        except FieldError as error:
            return str(error)
    elif isinstance(value.get("instruction"), str):
        name = ("instruction", value["instruction"].strip())
    else:
        return f"id: expected an id (with a task, where the benchmark has tasks) or an instruction, got {sorted(value)}"
    if name in texts:
        return f"answers the same question as {where[name]}"
    texts[name], where[name] = text, row.where
    return None
