"""Prompt templates: Alpaca's two, the tokenizer's chat template, none. Responses are never part of a template."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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

# Llama 3's chat templates print today's date unless they are given one; a run resumed tomorrow must see the same.
_DATE = "26 Jul 2024"
_SENTINEL = "\u2603tuna\u2603"
_KEPT_END = 200


@dataclass(frozen=True, slots=True)
class PromptParts:
    """A prompt in five pieces: the template's words; between them instruction and input, which may be shortened.

    bos: whether the tokenizer's own beginning-of-sequence token goes in front (a chat template writes its own).
    """

    before: str
    instruction: str
    between: str
    input: str
    after: str
    bos: bool = True

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.before + self.instruction + self.between + self.input + self.after

    def kept(self, characters: int) -> "PromptParts":
        """The prompt with only ``characters`` of instruction and input kept: the input goes first, from its end.

        >>> PromptParts("<", "do it", "|", "now", ">").kept(6).text
        '<do it|n>'
        """
        instruction = self.instruction[:characters]
        return PromptParts(
            self.before,
            instruction,
            self.between,
            self.input[: max(0, characters - len(self.instruction))],
            self.after,
            self.bos,
        )


Template = Callable[[Record], PromptParts]


def template_named(name: str, tokenizer: Any) -> Template:
    """The function that renders records. "auto" is the chat template where the tokenizer has one, else Alpaca's.

    A record's own ``template`` wins over ``name``.

    Raises: ConfigError for an unknown name, or "chat" without a chat template.
    """
    rendered: dict[str, Template] = {"alpaca": alpaca, "none": none}
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "auto":
        name = "chat" if has_chat else "alpaca"

    def find(wanted: str) -> Template:
        if wanted == "chat" and "chat" not in rendered:
            if not has_chat:
                raise ConfigError(
                    "datamodule.template: expected alpaca or none (the tokenizer has no chat template), got 'chat'"
                )
            rendered["chat"] = chat(tokenizer)
        if wanted not in rendered:
            raise ConfigError(f"datamodule.template: expected one of {', '.join(TEMPLATES)}, got {wanted!r}")
        return rendered[wanted]

    default = find(name)

    def render(record: Record) -> PromptParts:
        own = record.template
        return default(record) if own in (None, "auto", name) else find(str(own))(record)

    return render


def alpaca(record: Record) -> PromptParts:
    """Alpaca's template, the one with an input where there is an input.

    >>> alpaca(Record("0", "Say hi.")).text.endswith("### Instruction:\\nSay hi.\\n\\n### Response:")
    True
    """
    if record.input:
        return PromptParts(_WITH_INPUT, record.instruction, _INPUT, record.input, _RESPONSE)
    return PromptParts(_WITHOUT_INPUT, record.instruction, "", "", _RESPONSE)


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


def none(record: Record) -> PromptParts:
    """The instruction as it is, the input after it on a line of its own.

    A finished Alpaca prompt is known again, so that shortening spares its words; of any other the end is spared, since
    what asks for the answer stands there.
    """
    if not record.input:
        parsed = parse_alpaca(record.instruction)
        if parsed is not None:
            return alpaca(Record(record.id, parsed[0], parsed[1]))
        keep = min(_KEPT_END, len(record.instruction) // 2)
        cut = len(record.instruction) - keep
        return PromptParts("", record.instruction[:cut], "", "", record.instruction[cut:])
    return PromptParts("", record.instruction, "\n", record.input, "")


def chat(tokenizer: Any, answer: str | None = None) -> Template:
    """The tokenizer's chat template with one user turn, and the opening of the assistant's (or all of it, ``answer``).

    The template is rendered once around a mark in the turn's place, so that shortening acts on the turn alone. The turn
    is the instruction, then the input on a line of its own. Some templates strip the turn, which a probe finds out.
    """
    before, after = _around(tokenizer, _SENTINEL, answer)
    strips = _render(tokenizer, f" \n{_SENTINEL}\n ", answer) == before + _SENTINEL + after

    def render(record: Record) -> PromptParts:
        instruction, given = record.instruction, record.input
        if strips:
            instruction, given = instruction.lstrip() if given else instruction.strip(), given.rstrip()
        return PromptParts(before, instruction, "\n" if given else "", given, after, bos=False)

    return render


def _around(tokenizer: Any, turn: str, answer: str | None) -> tuple[str, str]:
    whole = _render(tokenizer, turn, answer)
    if len(re.findall(re.escape(turn), whole)) != 1:
        raise ConfigError(
            "datamodule.template: expected a chat template that shows the user's turn once, got one that does not"
        )
    before, _, after = whole.partition(turn)
    return before, after


def _render(tokenizer: Any, turn: str, answer: str | None) -> str:
    messages = [{"role": "user", "content": turn}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=answer is None, date_string=_DATE
            )
        )
    except Exception as error:  # Jinja raises what the template's author raises
        raise ConfigError(
            f"datamodule.template: the tokenizer's chat template cannot render one user turn: {error}"
        ) from None
