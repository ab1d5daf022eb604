"""What a judge is asked: a Jinja template, shipped in ``prompts/`` or the user's own file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuna.console import nearest
from tuna.data.messages import transcript
from tuna.data.record import Record
from tuna.errors import ConfigError

Kind = Literal["listwise", "pairwise", "pointwise"]
SHIPPED = Path(__file__).parent / "prompts"
_ANSWERS: dict[Kind, tuple[str, ...]] = {"listwise": ("responses",), "pairwise": ("a", "b"), "pointwise": ("response",)}
_SHOWN = ("request", "instruction", "input", "output", "record", "low", "high", "direct")


def shown(record: Record) -> str:
    """The instruction, or a conversation's transcript: what people and judges read, and what tells questions apart.

    >>> turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And?"}
    >>> shown(Record("0", "And?", messages=turns))
    'System: Be brief.\\n\\nUser: And?'
    """
    return transcript(record.messages) if record.messages else record.instruction


def request(record: Record) -> str:
    """The same with the input below it, where there is one."""
    return shown(record) + (f"\n\n{record.input}" if record.input else "")


class CannotShow(Exception):
    """Why a record cannot be shown by a prompt: it has not got what the prompt mentions."""


@dataclass(frozen=True)
class Prompt:
    """A template, checked. It may mention ``request`` (the instruction, or a conversation's transcript, with the input
    below it), ``instruction``, ``input``, ``output`` (the original response, undefined where a row has none),
    ``record`` (the row, by column), ``low`` and ``high`` (the scale) and ``direct`` (whether the reply is to be the
    mark alone); of answers ``responses`` (listwise), ``a`` and ``b`` (pairwise) or ``response`` (pointwise).

    >>> prompt = Prompt.of("Is this a good answer to {{ request }}?\\n{{ response }}", "mine.jinja")
    >>> prompt.kind, prompt.render(Record("0", "Say hi."), response="Hi.")
    ('pointwise', 'Is this a good answer to Say hi.?\\nHi.')
    >>> Prompt.of("{{ request }}\\n{{ reponse }}", "mine.jinja")
    Traceback (most recent call last):
    ...
    tuna.errors.ConfigError: prompt: mine.jinja:2: expected the variables responses (listwise), a and b (pairwise) or
    response (pointwise), and of request, instruction, input, output, record, low, high, direct, got reponse; did you
    mean response?
    """

    name: str
    source: str
    kind: Kind
    template: Template = field(repr=False, compare=False)
    mentions: frozenset[str] = field(compare=False)

    @classmethod
    def load(cls, name: str) -> Self:
        """A shipped prompt by its name, else a file. Raises ConfigError: there is none, or it cannot be used."""
        shipped = SHIPPED / f"{name}.jinja"
        path = shipped if Path(name).name == name and shipped.is_file() else Path(name)
        try:
            return cls.of(path.read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            names = ", ".join(sorted(each.stem for each in SHIPPED.glob("*.jinja")))
            fault = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise ConfigError(f"prompt: expected {names} or a Jinja file, got {name!r}: {fault}") from None

    @classmethod
    def of(cls, source: str, name: str) -> Self:
        """The prompt whose text is ``source``; ConfigError names ``name`` and the line."""
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        try:
            tree = environment.parse(source)
            template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"prompt: {name}:{error.lineno}: expected a Jinja template, got: {error.message}"
            ) from None
        except (RecursionError, OverflowError):
            raise ConfigError(f"prompt: {name}:1: expected a Jinja template, got one nested too deeply") from None
        if (
            other := next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None)
        ) is not None:
            raise ConfigError(f"prompt: {name}:{other.lineno}: expected one file, got {type(other).__name__.lower()}")
        mentions = frozenset(find_undeclared_variables(tree))
        made = cls(name, source, _kind(tree, mentions, name), template, mentions)
        if "record" not in mentions:  # a row's columns are not known here
            try:
                made.render(Record("0", "x", "x", "x"), **made.answers("x", "x"))
            except CannotShow as error:
                raise ConfigError(str(error)) from None
        return made

    def answers(self, *texts: str) -> dict[str, Any]:
        """Texts under the names by which the prompt mentions answers."""
        return (
            {"responses": list(texts)}
            if self.kind == "listwise"
            else dict(zip(_ANSWERS[self.kind], texts, strict=False))
        )

    def render(self, record: Record, *, low: int = 1, high: int = 5, direct: bool = False, **answers: object) -> str:
        """What is asked about ``answers``. Raises CannotShow: the record lacks what the prompt mentions."""
        asked: dict[str, Any] = {"instruction": shown(record), "input": record.input}
        if record.output is not None:
            asked["output"] = record.output
        row: Mapping[str, Any] = {**record.extra, "id": record.id, **asked}
        try:
            text = self.template.render(
                **asked, request=request(record), record=row, low=low, high=high, direct=direct, **answers
            )
            return text.removesuffix("\n")
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise CannotShow(f"prompt: {self.name}:{_line(error)}: {' '.join(str(error).split())[:200]}") from None


def _kind(tree: nodes.Template, mentions: frozenset[str], name: str) -> Kind:
    """By the answers that it mentions; ConfigError: other variables, or answers of no kind or of two."""
    known = [each for names in _ANSWERS.values() for each in names]
    wrong = sorted(mentions - {*known, *_SHOWN})
    kinds: list[Kind] = [kind for kind, names in _ANSWERS.items() if mentions & {*names}]
    if not wrong and len(kinds) == 1 and mentions >= {*_ANSWERS[kinds[0]]}:
        return kinds[0]
    told = wrong or sorted(mentions & {*known})
    lines = [found.lineno for found in tree.find_all(nodes.Name) if found.name in told and found.ctx == "load"]
    hint = nearest(wrong[0], [*known, *_SHOWN]) if wrong else ""
    raise ConfigError(
        f"prompt: {name}:{min(lines, default=1)}: expected the variables responses (listwise), a and b (pairwise) or "
        f"response (pointwise), and of {', '.join(_SHOWN)}, got {', '.join(told) or 'none of answers'}{hint}"
    )


def _line(error: Exception) -> int:
    """The line of the template at which an error was raised."""
    line, at = 1, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == "<template>":
            line = at.tb_lineno
        at = at.tb_next
    return line
