"""Prompt templates: the tokenizer's chat template, Alpaca's two, none. How a question, and its answer, are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tuna.data.chat import ChatTemplate
from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.errors import ConfigError

TEMPLATES = ("auto", "alpaca", "chat", "none")

# Word for word Stanford Alpaca's (tatsu-lab/stanford_alpaca, train.py).
_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
)
_INPUT = "\n\n### Input:\n"
_RESPONSE = "\n\n### Response:"


class Prompt(Protocol):
    """A question as the model reads it before it answers."""

    @property
    def bos(self) -> bool:
        """Whether the tokenizer's own beginning-of-sequence token goes in front: a chat template writes its own."""
        ...

    @property
    def text(self) -> str:
        """The whole prompt."""
        ...

    def answered(self, text: str, reasoning: str | None = None) -> tuple[str, str]:
        """The whole conversation up to the answer's last character, and what the template writes after it."""
        ...


Template = Callable[[Record], Prompt]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt that the answer follows without a word between."""

    text: str
    bos: bool = True

    def answered(self, text: str, reasoning: str | None = None) -> tuple[str, str]:
        """Prompt and answer as one text; the end-of-sequence token follows as an id."""
        return self.text + text, ""


def template_named(name: str, tokenizer: Any, template_args: Mapping[str, Any] | None = None) -> Template:
    """The function that renders records. "auto" is the chat template where the tokenizer has one, else Alpaca's.

    A record's own ``template`` wins over ``name``. template_args: further variables of the chat template, such as
    ``enable_thinking``; ``date`` is the day that templates print which show one.

    Raises: ConfigError for an unknown name, or "chat" without a chat template.
    """
    rendered: dict[str, Template] = {"alpaca": alpaca, "none": none}
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "auto":
        name = "chat" if has_chat else "alpaca"
    if template_args and name != "chat":
        raise ConfigError(
            f"model.template_args: expected nothing (template={name} has no variables), got {', '.join(template_args)}"
        )

    def find(wanted: str) -> Template:
        if wanted == "chat" and "chat" not in rendered:
            if not has_chat:
                raise ConfigError(
                    "datamodule.template: expected alpaca or none (the tokenizer has no chat template), got 'chat'"
                )
            rendered["chat"] = ChatTemplate(tokenizer, template_args or {})
        if wanted not in rendered:
            raise ConfigError(f"datamodule.template: expected one of {', '.join(TEMPLATES)}, got {wanted!r}")
        return rendered[wanted]

    default = find(name)

    def render(record: Record) -> Prompt:
        own = record.template
        return default(record) if own in (None, "auto", name) else find(str(own))(record)

    return render


def alpaca(record: Record) -> TextPrompt:
    """Alpaca's template, the one with an input where there is an input.

    Raises: FieldError for a conversation, which it cannot show.

    >>> alpaca(Record("0", "Say hi.")).text.endswith("### Instruction:\\nSay hi.\\n\\n### Response:")
    True
    """
    _one_turn(record, "alpaca")
    if record.input:
        return TextPrompt(_WITH_INPUT + record.instruction + _INPUT + record.input + _RESPONSE)
    return TextPrompt(_WITHOUT_INPUT + record.instruction + _RESPONSE)


def none(record: Record) -> TextPrompt:
    """The instruction as it is, the input after it on a line of its own.

    Raises: FieldError for a conversation, which it cannot show.
    """
    _one_turn(record, "none")
    return TextPrompt(record.user_turn)


def _one_turn(record: Record, template: str) -> None:
    if record.messages:
        roles = ", ".join(str(message["role"]) for message in record.messages)
        raise FieldError(
            "messages", f"one user turn (all that template={template} can show)", [*record.messages],
            f"it has the turns {roles}; take a model whose tokenizer has a chat template",
        )  # fmt: skip


def parse_alpaca(prompt: str) -> tuple[str, str] | None:
    """Instruction and input of a finished Alpaca prompt, None when it is something else.

    >>> parse_alpaca(alpaca(Record("0", "Add.", "1 2")).text)
    ('Add.', '1 2')
    """
    if not prompt.endswith(_RESPONSE):
        return None
    if prompt.startswith(_WITH_INPUT) and _INPUT in prompt:
        instruction, _, given = prompt[len(_WITH_INPUT) : -len(_RESPONSE)].partition(_INPUT)
        return instruction, given
    if prompt.startswith(_WITHOUT_INPUT):
        return prompt[len(_WITHOUT_INPUT) : -len(_RESPONSE)], ""
    return None
