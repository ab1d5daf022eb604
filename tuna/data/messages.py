"""Conversations: lists of chat messages, checked and brought into one form."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tuna.data.fields import FieldError, check_text, check_texts
from tuna.data.record import Message

ROLES = ("system", "user", "assistant", "tool")
_SPOKEN = {
    "human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "model": "assistant", "developer": "system", "observation": "tool", "function": "tool", "ipython": "tool",
}  # fmt: skip


def read_messages(value: object, field: str) -> tuple[Message, ...]:
    """A list of chat messages ``{role, content}``, or ShareGPT's ``{from, value}``, with the roles of ROLES.

    Content that is a list of text parts becomes their text. What else a message has (tool_calls, reasoning_content) is
    kept where it is not null, since templates read it.

    Raises: FieldError for anything that is no text or no valid Unicode, and for an unknown role.
    """
    if not isinstance(value, list | tuple) or not value:
        raise FieldError(field, "one chat message or more", value)
    return tuple(read_message(message, f"{field}[{k}]") for k, message in enumerate(value))


def read_message(value: object, field: str) -> Message:
    """One chat message; see ``read_messages``."""
    if not isinstance(value, Mapping) or not ({"role", "from"} & set(value)):
        raise FieldError(field, "a chat message with role and content", value)
    key, said = ("role", "content") if "role" in value else ("from", "value")
    spoken = check_text(value[key], f"{field}.{key}")
    role = spoken if spoken in ROLES else _SPOKEN.get(spoken.lower(), spoken.lower())
    if role not in ROLES:
        raise FieldError(f"{field}.{key}", f"one of {', '.join(ROLES)}", spoken)
    content = value.get(said)
    if content is None and role == "assistant" and value.get("tool_calls"):
        content = ""  # a turn that only calls functions
    rest = {k: v for k, v in value.items() if k not in (key, said) and v is not None}
    for name, other in rest.items():
        check_texts({name: other}, f"{field}.{name}")
    return {"role": role, "content": _content(content, f"{field}.{said}"), **rest}


def _content(value: object, field: str) -> str:
    """The text of a message: a string, or a list of text parts; no images and the like."""
    if not isinstance(value, list):
        return check_text(value, field)
    for k, part in enumerate(value):
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise FieldError(f"{field}[{k}]", "a part with text", part)
    return check_text("".join(part["text"] for part in value), field)


def asked(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The fields of a Record that hold this question: one plain user turn is the short form, ``instruction``."""
    last = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    if len(messages) == 1 and set(messages[0]) == {"role", "content"} and messages[0]["role"] == "user" and not tools:
        return {"instruction": last}
    return {"instruction": last, "messages": tuple(messages), "tools": tuple(tools)}


def transcript(messages: Sequence[Message]) -> str:
    """A conversation as text for people and judges; never what a model under training reads.

    >>> transcript([{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}])
    'User: Hi.\\n\\nAssistant: Hello.'
    """
    told = []
    for message in messages:
        calls = (call.get("function") or call for call in message.get("tool_calls") or ())
        texts = [str(message["content"]), *(json.dumps(call, ensure_ascii=False) for call in calls)]
        told.append(f"{message['role'].capitalize()}: " + "\n".join(filter(None, texts)))
    return "\n\n".join(told)
