"""How a reward model reads a question and its answer: the chat template around both, to its last token."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tuna.data.record import Record
from tuna.data.templates import PromptParts, Template, chat, template_named

_ANSWER = "\u2603answer\u2603"


def conversation(name: str, tokenizer: Any) -> tuple[Template, Sequence[int]]:
    """The template ``name`` for scoring, and the ids that follow a complete answer.

    Under a chat template those are what it writes after the assistant's turn, which can be more than the
    end-of-sequence token (Qwen's has a line break after it), and the turn's opening is that of a finished conversation.
    Reward models are trained so, and read at the very last token. Elsewhere the end-of-sequence token follows.

    Raises: ConfigError for an unknown name, or "chat" without a chat template.
    """
    plain = template_named(name, tokenizer)  # its checks
    if name not in ("auto", "chat") or not getattr(tokenizer, "chat_template", None):
        return plain, (int(tokenizer.eos_token_id),)
    whole = chat(tokenizer, _ANSWER)
    opening, _, closing = whole(Record("", "?")).after.partition(_ANSWER)

    def render(record: Record) -> PromptParts:
        if record.template not in (None, "auto", "chat"):
            return plain(record)
        return replace(whole(record), after=opening)

    ids = [int(i) for i in tokenizer(closing, add_special_tokens=False)["input_ids"]] if closing else []
    return render, ids or (int(tokenizer.eos_token_id),)
