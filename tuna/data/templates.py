"""Prompt templates: the tokenizer's chat template, Alpaca's two, none; and what goes of a question that is too long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tuna.data.chat import ChatPrompt, ChatTemplate
from tuna.data.fields import FieldError
from tuna.data.record import Message, Record
from tuna.errors import ConfigError

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
_KEPT_END = 200  # characters of a finished prompt's end, where what asks for the answer stands


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt that the answer follows without a word between; bos: the tokenizer's own start token goes in front."""

    text: str
    bos: bool = True

    def answered(self, text: str, reasoning: str | None = None) -> tuple[str, str]:
        """Prompt and answer as one text; the end-of-sequence token follows as an id."""
        return self.text + text, ""


Prompt = TextPrompt | ChatPrompt
Template = Callable[[Record], Prompt]


def template_named(name: str, tokenizer: object, template_args: Mapping[str, Any] | None = None) -> Template:
    """The function that renders records. "auto" is the chat template where the tokenizer has one, else Alpaca's.

    A record's own ``template`` wins over ``name``. template_args: further variables of the chat template, such as
    ``enable_thinking``; ``date`` is the day that templates print which show one. Raises: ConfigError for other names.
    """
    name = meant_by(name, tokenizer)
    if template_args and name != "chat":
        raise ConfigError(
            f"model.template_args: expected nothing (template={name} has no variables), got {', '.join(template_args)}"
        )

    @cache
    def find(wanted: str) -> Template:
        if wanted == "chat":
            if meant_by("auto", tokenizer) == "chat":
                return ChatTemplate(tokenizer, template_args or {})
            raise ConfigError("model.template: expected alpaca or none (there is no chat template), got 'chat'")
        if wanted not in _TEXTS:
            raise ConfigError(f"model.template: expected one of auto, chat, {', '.join(_TEXTS)}, got {wanted!r}")
        return _TEXTS[wanted]

    def render(record: Record) -> Prompt:
        return find(name if record.template in (None, "auto") else str(record.template))(record)

    find(name)
    return render


def meant_by(name: str, tokenizer: object) -> str:
    """The template that a name stands for: "auto" is "chat" where the tokenizer has a chat template, else "alpaca"."""
    return ("chat" if getattr(tokenizer, "chat_template", None) else "alpaca") if name == "auto" else name


def alpaca(record: Record) -> TextPrompt:
    """Alpaca's template, the one with an input where there is one. Raises: FieldError for a conversation."""
    _one_turn(record, "alpaca")
    if record.input:
        return TextPrompt(_WITH_INPUT + record.instruction + _INPUT + record.input + _RESPONSE)
    return TextPrompt(_WITHOUT_INPUT + record.instruction + _RESPONSE)


def none(record: Record) -> TextPrompt:
    """The instruction as it is, the input on a line of its own. Raises: FieldError for a conversation."""
    _one_turn(record, "none")
    return TextPrompt(record.user_turn)


_TEXTS: dict[str, Template] = {"alpaca": alpaca, "none": none}


def _one_turn(record: Record, template: str) -> None:
    if record.messages:
        roles = ", ".join(str(message["role"]) for message in record.messages)
        raise FieldError(
            "messages", f"one user turn (all that template={template} can show)", [*record.messages],
            f"it has the turns {roles}; take a model whose tokenizer has a chat template",
        )  # fmt: skip


def parse_alpaca(prompt: str) -> tuple[str, str] | None:
    """Instruction and input of a finished Alpaca prompt, None when it is something else."""
    if not prompt.endswith(_RESPONSE):
        return None
    if prompt.startswith(_WITH_INPUT) and _INPUT in prompt:
        instruction, _, given = prompt[len(_WITH_INPUT) : -len(_RESPONSE)].partition(_INPUT)
        return instruction, given
    if prompt.startswith(_WITHOUT_INPUT):
        return prompt[len(_WITHOUT_INPUT) : -len(_RESPONSE)], ""
    return None


def size(record: Record) -> int:
    """Characters that ``kept`` can cut: all that the question says, a system prompt aside."""
    if record.messages:
        return sum(len(_content(m)) for m in record.messages if m["role"] != "system")
    return len(record.instruction) + len(record.input)


def kept(record: Record, characters: int, *, finished: bool = False) -> Record:
    """The question with at most ``characters`` of its characters, for a prompt that is too long.

    The input goes first, from its end, then the instruction. Of a conversation the oldest exchanges go first, whole,
    then the last one is cut from its end; a system prompt stays. In a ``finished`` prompt (template none) Alpaca's
    words stay, and of any other the end, since what asks for the answer stands there.
    """
    if record.messages:
        return _kept_turns(record, characters)
    if finished and not record.input:
        whole = record.instruction
        if (parsed := parse_alpaca(whole)) is not None:
            return replace(record, instruction=alpaca(kept(Record(record.id, *parsed), characters)).text)
        end = len(whole) - min(_KEPT_END, len(whole) // 2)
        return replace(record, instruction=whole[: max(0, min(end, characters))] + whole[end:])
    given = record.input[: max(0, characters - len(record.instruction))]
    return replace(record, instruction=record.instruction[:characters], input=given)


def _kept_turns(record: Record, characters: int) -> Record:
    system = [m for m in record.messages if m["role"] == "system"]
    turns = [m for m in record.messages if m["role"] != "system"]
    while sum(map(len, map(_content, turns))) > characters:
        later = next((k for k, m in enumerate(turns) if k and m["role"] == "user"), None)
        if later is None:
            break
        turns = turns[later:]
    left, cut = max(0, characters), []
    for message in turns:
        content = _content(message)[:left]
        left -= len(content)
        cut.append({**message, "content": content})
    return replace(record, messages=(*system, *cut))


def _content(message: Message) -> str:
    return str(message.get("content") or "")
