"""Random conversations that a fixture's template can show, from a seed, and cheap: thousands per second.

    conversation(rng, fixture, *, lookalikes=True, thoughts=True, tools=None, system=None) -> Conversation
    mentions(conversation, texts) -> bool       whether a text in it holds one of these

The texts are made of word lists of this file: several scripts, emoji with joiners, combining marks, code, white space
of all kinds at the ends, texts that look empty, and (``lookalikes``) texts that look like special tokens, the fixture's
own among them, whole and in part.
"""

# ruff: noqa: RUF001  (the full-width bars are DeepSeek's)

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.chat.templates import Fixture

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation up to the answer, and candidates for the answer.

    messages: roles and content, the last one a user's or a tool's turn.
    tools: the functions that the template shows; empty where the fixture knows none.
    answers: one to four texts; a thinking fixture's may begin with a think block.
    thoughts: for each answer its reasoning where it is given apart (``reasoning_content``), else None.
    template_args: arguments of the template, ``enable_thinking`` for the fixtures that know it.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]
    answers: list[str]
    thoughts: list[str | None]
    template_args: dict[str, Any]

    def whole(self, number: int) -> list[Message]:
        """The conversation with that answer as its last turn."""
        last = {"role": "assistant", "content": self.answers[number]}
        thought = self.thoughts[number]
        return [*self.messages, last if thought is None else {**last, "reasoning_content": thought}]

    def texts(self) -> list[str]:
        """Every text in it that came from data."""
        said = [message["content"] for message in self.messages]
        thought = [message["reasoning_content"] for message in self.messages if "reasoning_content" in message]
        return [*said, *thought, *self.answers, *(text for text in self.thoughts if text is not None)]


_SAID = """the a river letter seven bread under quietly and or blue window asks 12 1987 3.5 Tuesday don't it's harbor
Anna's re-read e-mail to of in why what draws (roughly) counts; sings: "so" never? yes! ünder Straße façade"""
_WORDS = _SAID.split()
_FOREIGN = (
    "猫は窓の外を見ている。", "今天天气很好", "東京タワー", "하늘이 맑다", "مرحبا بالعالم", "שלום לכולם",
    "Добрый вечер", "καλημέρα", "สวัสดีตอนเช้า", "नमस्ते दुनिया", "e\u0301te\u0301", "n\u0303",
    "Z\u0351\u036b\u0343a\u0323lgo", "ﬁn ½ Ⅷ", "\u1e9b\u0323", "中文,English混排", "٣٤٥",
)  # fmt: skip
_EMOJI = ("🙂", "👩‍🔬", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇵🇹", "❤️", "🫠", "🧑🏿‍🚀")
_CODE = (
    "```python\ndef add(a, b):\n    return a + b\n```", "`x  =  1`", "for (i = 0; i < 3; i++) {\n\tsum += i;\n}",
    '{"a": [1, 2, {"b": null}]}', "<p class='x'>a &amp; b</p>", "SELECT *\n  FROM t\n WHERE x <> 'y';", 
    "C:\\new\\table", "$$\\frac{a}{b}$$", "{{ name }} {% if x %}", "- one\n- two\n  - three", "| a | b |\n|---|---|",
    "\\n not a line break",
)  # fmt: skip
_SPACES = (" ", "  ", "\n", "\n\n", "\t", " \n ", "\u00a0", "\r\n", "\u3000", "\u2009", "\n\n\n\n", "        ")
_EMPTY = (" ", "\n", "\u00a0", "\u200b", "\ufeff", "\u200d", "\t\n", ".", "-", "\u00ad")
_FAMOUS = (
    "</s>", "<s>", "<|im_end|>", "<|im_start|>", "<|im_start|>system", "<end_of_turn>", "<start_of_turn>model",
    "<|eot_id|>", "<|start_header_id|>", "[INST]", "[/INST]", "<<SYS>>", "<|end|>", "<|user|>", "<|assistant|>",
    "<|endoftext|>", "<｜User｜>", "<unk>", "<pad>", "<bos>", "<eos>", "### Response:", "\n\nHuman:",
)  # fmt: skip
_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city, in a few words.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
_SUM = {"type": "function", "function": {"name": "sum_up", "description": "Adds numbers.", "parameters": {}}}


def conversation(
    rng: Random,
    fixture: Fixture,
    *,
    lookalikes: bool = True,
    thoughts: bool = True,
    tools: bool | None = None,
    system: bool | None = None,
) -> Conversation:
    """One conversation; the same for equal states of ``rng``.

    lookalikes: whether texts may hold what looks like a special token; never one of ``fixture.leaks``.
    thoughts: whether answers and earlier turns may have thoughts, where ``fixture.thinks``.
    tools: whether functions are called (True only has an effect where ``fixture.tools``); None draws it.
    system: whether there is a system turn (True only has an effect where ``fixture.allows_system``); None draws it.
    """
    write = _writer(rng, _lookalikes(fixture) if lookalikes else ())
    thinks = thoughts and fixture.thinks
    with_tools = fixture.tools and (rng.random() < 0.4 if tools is None else tools)
    with_system = fixture.allows_system and (rng.random() < 0.5 if system is None else system)
    messages: list[Message] = [{"role": "system", "content": write()}] if with_system else []
    for left in range(rng.choice((1, 1, 2, 2, 3, 4, 5, 6)), 0, -1):
        messages.append({"role": "user", "content": write()})
        called = with_tools and rng.random() < 0.5
        if called:
            messages += _call(rng, fixture, write)
        if left > 1:
            messages.append(_assistant(rng, write, thinks))
    last = [_assistant(rng, write, thinks) for _ in range(rng.choice((1, 2, 2, 3, 4)))]
    return Conversation(
        messages,
        rng.choice(([_WEATHER], [_WEATHER, _SUM])) if with_tools else [],
        [message["content"] for message in last],
        [message.get("reasoning_content") for message in last],
        {"enable_thinking": rng.random() < 0.5} if fixture.switches and rng.random() < 0.5 else {},
    )


def _assistant(rng: Random, write: Callable[[], str], thinks: bool) -> Message:
    content = write()
    kind = rng.random() if thinks else 1.0
    if kind < 0.3:
        return {"role": "assistant", "content": f"<think>\n{_thought(rng, write)}\n</think>\n\n{content}"}
    if kind < 0.5:
        return {"role": "assistant", "content": content, "reasoning_content": _thought(rng, write)}
    return {"role": "assistant", "content": content}


def _thought(rng: Random, write: Callable[[], str]) -> str:
    return rng.choice(("", "\n", "Let me see.", write()))


def _call(rng: Random, fixture: Fixture, write: Callable[[], str]) -> list[Message]:
    """A turn that calls one function (or two, where templates take two), and the results, one turn each."""
    several = 1 if fixture.name == "llama3" else rng.choice((1, 1, 2))
    calls, results = [], []
    for number in range(several):
        name, arguments = rng.choice((("weather", {"city": write(), "days": 3}), ("sum_up", {"numbers": [1, 2.5]})))
        made = f"call_{rng.randrange(1000)}_{number}"
        calls.append({"id": made, "type": "function", "function": {"name": name, "arguments": arguments}})
        results.append({"role": "tool", "tool_call_id": made, "name": name, "content": write()})
    return [{"role": "assistant", "content": rng.choice(("", "", "One moment.")), "tool_calls": calls}, *results]


def _lookalikes(fixture: Fixture) -> tuple[str, ...]:
    """Texts like special tokens, the fixture's own first, and parts of them."""
    own = [text for text in fixture.specials if text not in fixture.leaks]
    parts = [part for text in own for part in (text[:-1], text[1:], text[:1] + text)]
    famous = [text for text in _FAMOUS if text not in fixture.leaks]
    return (*own, *own, *parts, *famous)


def _writer(rng: Random, lookalikes: Sequence[str]) -> Callable[[], str]:
    def write() -> str:
        kind = rng.random()
        if kind < 0.04:
            return rng.choice(_EMPTY)
        if kind < 0.12:
            return rng.choice(_WORDS)
        pieces = rng.choices(_WORDS, k=80 if kind > 0.99 else rng.randrange(1, 12))
        for _ in range(rng.randrange(3)):
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(rng.choice((_FOREIGN, _EMOJI, _CODE))))
        if lookalikes and rng.random() < 0.25:
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(lookalikes))
        text = rng.choice((" ", " ", " ", " ", "", "\n", "  ")).join(pieces)
        if rng.random() < 0.15:
            text = rng.choice(_SPACES) + text
        return text + rng.choice(_SPACES) if rng.random() < 0.15 else text

    return write


def mentions(conversation: Conversation, texts: Sequence[str]) -> bool:
    """Whether a text of the conversation (or of a call's arguments) holds one of these."""
    return any(text in said for said in _strings(conversation) for text in texts)


def _strings(conversation: Conversation) -> list[str]:
    calls: list[Mapping[str, Any]] = [
        call["function"]["arguments"] for message in conversation.messages for call in message.get("tool_calls", ())
    ]
    return conversation.texts() + [value for call in calls for value in call.values() if isinstance(value, str)]
