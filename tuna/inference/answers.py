"""One answer of a model: read from a reply (text, thought, log-probabilities), stored, and shown in the output."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tuna.data.record import Record, reason_word

# Qwen and DeepSeek, Seed, others; Mistral; Kimi; Cohere; OpenThinker; gpt-oss.
_OPEN = re.compile(
    r"<(?:seed:)?think(?:ing)?\s*>|\[THINK\]|\u25c1think\u25b7|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    r"|<\|channel\|>(?:analysis|commentary)\b",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    r"</(?:seed:)?think(?:ing)?\s*>|\[/THINK\]|\u25c1/think\u25b7|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<\|channel\|>final(?:<\|message\|>)?",
    re.IGNORECASE,
)
_EITHER = re.compile(f"(?P<opens>{_OPEN.pattern})|{_CLOSE.pattern}", re.IGNORECASE)
_OPENS_A_LINE = re.compile(rf"^[ \t]*(?:{_OPEN.pattern})", re.IGNORECASE | re.MULTILINE)
_PLAIN_TAG = re.compile(r"\s*<(thoughts?|reasoning)>(.*?)(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)  # only at the start
_BARE_CHANNELS = re.compile(r"\s*analysis(.*)assistantfinal", re.DOTALL)  # gpt-oss without its special tokens
_AFTER = re.compile(r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|<\|(?:return|end)\|>\s*\Z")


def split_thought(text: str) -> tuple[str | None, str]:
    """Thought and answer; the thought is None where the text holds none.

    The answer is what comes after the last closing mark (the prompt may have opened the thought), up to a further
    opening one. A text that opens with a thought and never closes it is thought alone.

    >>> split_thought("<think>\\nOaks are trees.\\n</think>\\n\\nAn oak.")
    ('Oaks are trees.', 'An oak.')
    >>> split_thought("An oak.")
    (None, 'An oak.')
    """
    text = _marked(text)
    ends = list(_CLOSE.finditer(text))
    start = ends[-1].end() if ends else 0
    begun = (_OPEN if ends else _OPENS_A_LINE).search(text, start)
    if not ends and not begun:
        return None, text
    before = text[: ends[-1].start()] if ends else ""
    opened = _OPEN.match(before.lstrip())
    thoughts = [before.lstrip()[opened.end() if opened else 0 :].strip()]
    answer = text[start:]
    if begun:  # and never closed
        thoughts.append(text[begun.end() :].strip())
        answer = text[start : begun.start()]
    return "\n".join(filter(None, thoughts)), _AFTER.sub("", answer).strip()


def outside_thought(text: str) -> str:
    """The text without its thoughts: blocks between marks, all before a closing mark alone, all after an opening one.

    >>> outside_thought("A first try.</think>Good. <think>or not?</think>Done.<think>wait")
    'Good. Done.'
    """
    text = _marked(text)
    kept: list[str] = []
    start, within = 0, False
    for mark in _EITHER.finditer(text):
        if mark["opens"] is None:
            if not within:
                kept.clear()
            start, within = mark.end(), False
        elif not within:
            kept.append(text[start : mark.start()])
            within = True
    return "".join(kept if within else [*kept, text[start:]])


def _marked(text: str) -> str:
    """The text with <think> around a thought that is told in a way of its own."""
    if found := _PLAIN_TAG.match(text):
        return f"<think>{found[2]}</think>{text[found.end() :]}"
    if found := _BARE_CHANNELS.match(text):
        return f"<think>{found[1]}</think>{text[found.end() :]}"
    return text


ORIGINAL = "original"  # the source of an original response that is ranked beside a model's answers
NOT_THE_TEXTS = "log-probabilities are not those of the text"
NO_NUMBER = "a token's log-probability is no number (null, infinite, above 0, or -9999 and less)"

# Where servers put a thought that they split off, and what a part of a content that is one says of its type.
_APART = ("reasoning_content", "reasoning", "thinking", "thinking_blocks", "reasoning_details")
_THINKS = re.compile("think|reason|thought", re.IGNORECASE)
# OpenAI's word, those of Google, Anthropic and Amazon, as ``reason_word`` gives them.
_FILTERED = frozenset({
    "contentfilter", "contentfiltered", "safety", "imagesafety", "recitation", "blocklist", "prohibitedcontent", "spii",
    "refusal", "guardrailintervened",
})  # fmt: skip

_FLOOR = -9999.0  # vLLM's and OpenAI's
_ROUNDING = 1e-3  # above 0 that a sum in half precision may come out
_ENDING = re.compile(rb"\s*|<[^<>\s]+>|\[[A-Z_/]+\]")  # an ending token: special, or decoded to nothing
_ESCAPED = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)")  # OpenAI's completions: part of a character


def text_logprobs(given: object, text: str) -> tuple[list[float], str | None]:
    """The log-probabilities of the tokens that spell ``text`` and of the ending token after them; else none, and why.

    White space is not compared, since some servers decode tokens one by one and lose it; nor are characters of which
    the tokens hold parts. Tokens before the text (a thought) do not count, nor do values whose tokens are not named.
    One token without a number: none at all.

    >>> tokens = [("Hm", -2.0), ("</think>", -0.1), ("An", -0.5), (" oak.", -0.25), ("<|im_end|>", -0.125)]
    >>> given = {"content": [{"token": token, "logprob": value} for token, value in tokens]}
    >>> text_logprobs(given, "An oak.")
    ([-0.5, -0.25, -0.125], None)
    >>> text_logprobs(given, "A birch.")
    ([], 'log-probabilities are not those of the text')
    """
    pieces, values = _read(given)
    if not values or not text.strip():
        return [], None
    start = None if pieces is None else _start(pieces, text)
    if start is None:
        return [], None if all(value is None for value in values) else NOT_THE_TEXTS
    values = values[start:]
    found = [float(value) for value in values if type(value) in (int, float) and _FLOOR < value <= _ROUNDING]
    if len(found) == len(values):
        return found, None
    return [], None if all(value is None for value in values) else NO_NUMBER


def _read(given: object) -> tuple[list[bytes] | None, list[Any]]:
    """Tokens as bytes (None where the server names none) and log-probabilities of a chat or a completions reply."""
    if not isinstance(given, Mapping):
        return None, []
    if isinstance(content := given.get("content"), list):
        items = [item if isinstance(item, Mapping) else {} for item in content]
        named = [_bytes(item.get("token"), item.get("bytes")) for item in items]
        values = [item.get("logprob") for item in items]
    else:
        tokens, values = (x if isinstance(x, list) else [] for x in (given.get("tokens"), given.get("token_logprobs")))
        named = [_bytes(token) for token in tokens]
    pieces = [piece for piece in named if piece is not None]
    return (pieces if len(pieces) == len(values) else None), values


def _bytes(token: object, given: object = None) -> bytes | None:
    if isinstance(given, list) and all(isinstance(b, int) and 0 <= b < 256 for b in given):
        return bytes(given)
    if not isinstance(token, str):
        return None
    escaped = _ESCAPED.fullmatch(token)
    return bytes.fromhex(escaped[1].replace("\\x", "")) if escaped else token.encode("utf-8", "replace")


def _start(pieces: Sequence[bytes], text: str) -> int | None:
    """The first of the tokens that, up to the end or the ending token, spell the text; None where none do."""
    target = _squeezed(text)
    ends = [len(pieces), *([len(pieces) - 1] if _ENDING.fullmatch(pieces[-1]) else [])]
    if any(_spell(b"".join(pieces[:end]), target) for end in ends):
        return 0
    return next((start for end in ends if (start := _last_start(pieces[:end], target)) is not None), None)


def _last_start(pieces: Sequence[bytes], target: str) -> int | None:
    found, tail = None, b""
    for start in reversed(range(len(pieces))):
        tail = pieces[start] + tail
        spelled = bool(pieces[start].strip()) and _spell(tail, target)
        if spelled:
            found = start  # the token before may hold the first part of a character
        elif found is not None or len(_squeezed(tail.decode("utf-8", "replace"))) > 4 * len(target) + 4:
            break
    return found


def _spell(data: bytes, target: str) -> bool:
    told = _squeezed(data.decode("utf-8", "replace"))
    if "\ufffd" not in told:
        return told == target
    known = map(re.escape, re.split("\ufffd+", told))
    return re.fullmatch("[^\x00-\x7f]*".join(known), target) is not None


def _squeezed(text: str) -> str:
    return "".join(text.split())


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    text: str
    logprob: float | None = None  # summed, natural log, at temperature 1, over ``num_tokens`` tokens
    num_tokens: int | None = None  # the end-of-sequence counted when it was generated
    finish_reason: str | None = None
    refused: str | None = None  # why there is no text
    temperature: float | None = None  # this and the similarity: the diversity rule's
    similarity: float | None = None
    reward: float | None = None  # a PRM's
    reasoning: str | None = None  # the thought before the text
    unscored: str | None = None  # why ``logprob`` is None although log-probabilities were given
    tokens: tuple[int, ...] | None = field(default=None, compare=False, repr=False)  # as drawn here; not stored
    source: str | None = field(default=None, repr=False)  # who wrote it, where that is not who was asked
    shortened: bool | None = field(default=None, repr=False)  # whether its prompt was, to fit the model's positions

    @property
    def unusable_reason(self) -> str | None:
        """Why this answer cannot be ranked, or None."""
        if self.refused is not None or self.text.strip():
            return self.refused
        return "empty answer" if self.reasoning is None else "empty answer: nothing after its reasoning"

    def to_dict(self) -> dict[str, Any]:
        """For a line of the store."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "tokens"}


def from_choice(choice: Mapping[str, Any]) -> Answer:
    """An answer from a choice of a chat or a completions reply, thought apart from text; ValueError where it is none.

    >>> given = {"tokens": ["Hi", "."], "token_logprobs": [-1.0, -0.5]}
    >>> from_choice({"text": "Hi.", "finish_reason": "stop", "logprobs": given})  # doctest: +NORMALIZE_WHITESPACE
    Answer(text='Hi.', logprob=-1.5, num_tokens=2, finish_reason='stop', refused=None, temperature=None,
           similarity=None, reward=None, reasoning=None, unscored=None)
    """
    answer = apart(read_choice(choice))
    logprobs, why = text_logprobs(choice.get("logprobs"), answer.text)
    total = round(math.fsum(logprobs), 6) if logprobs else None
    return replace(answer, logprob=total, num_tokens=len(logprobs) or None, unscored=why)


def read_choice(choice: Mapping[str, Any]) -> Answer:
    """The text of a choice as the server has it (``reasoning`` apart), no log-probabilities; ValueError for none."""
    reason, message = choice.get("finish_reason"), choice.get("message")
    if isinstance(reason, Mapping):  # SGLang's {"type": "length", "length": 16}
        reason = reason.get("type", reason)
    if not isinstance(message, Mapping) and "text" not in choice:
        raise ValueError("a choice without text or message")
    said = message if isinstance(message, Mapping) and not choice.get("text") else choice
    text, thought, refusal = _parts(said.get("content") if said is message else choice["text"])
    reasoning = next(filter(None, (_words(said.get(key)) for key in _APART)), "") or thought
    refusal = said.get("refusal") or refusal
    word = reason_word(str(reason))
    refused = "content filter" if word in _FILTERED else f"refusal: {refusal}" if refusal else None
    return Answer(
        _clean(text) or "",
        finish_reason=_clean(str(reason)[:100]) if reason else None,
        refused=_clean("the server stopped with an error" if word == "error" else refused),
        reasoning=_clean(reasoning) or None,
    )


def _parts(content: object) -> tuple[str, str, object]:
    """Text, thought and refusal of a content: a text, none, or a list of parts; else ValueError."""
    if content is None or isinstance(content, str):
        return content or "", "", None
    if not isinstance(content, list):
        raise ValueError(f"content that is no text: {type(content).__name__}")
    text, thought, refusal = "", "", None
    for part in content:
        fields = part if isinstance(part, Mapping) else {"text": part}
        if "thinking" in fields or _THINKS.search(str(fields.get("type"))) or fields.get("thought"):
            thought += _words(fields)
            continue
        refusal = refusal or fields.get("refusal")
        found = fields.get("text", "" if "refusal" in fields else None)
        if not isinstance(found, str):
            raise ValueError("content with a part that is no text")
        text += found
    return text, thought, refusal


def _words(value: object) -> str:
    """All text of a thought that a server splits off: a text, a list of parts, a part."""
    if isinstance(value, Mapping):
        return "".join(_words(value.get(key)) for key in ("thinking", "reasoning", "text", "content", "summary"))
    return "".join(map(_words, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


def read_choices(body: Mapping[str, Any], one: Callable[[Mapping[str, Any]], Answer] = from_choice) -> list[Answer]:
    """The answers of a reply, each read by ``one``, else refused. Raises ValueError: it has none that can be read."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("the answer has no choices")
    answers, faults = [], []
    for choice in choices:
        try:
            answers.append(one(choice))
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
            faults.append(str(error))
            answers.append(Answer("", refused=_clean(f"malformed choice: {error}")))
    if len(faults) == len(choices):
        raise ValueError(f"the answer is malformed ({faults[0]})")
    return answers


def _clean(text: object) -> str | None:
    return text.encode("utf-8", "replace").decode().strip() if isinstance(text, str) else None


def apart(answer: Answer) -> Answer:
    """The same answer with the thought that its text held in ``reasoning``; a log-probability of both goes."""
    thought, text = split_thought(answer.text)
    if thought is None:
        return answer
    reasoning = "\n".join(dict.fromkeys(filter(None, (answer.reasoning, thought)))) or None
    unscored = NOT_THE_TEXTS if answer.logprob is not None else answer.unscored
    return replace(answer, text=text, reasoning=reasoning, logprob=None, num_tokens=None, unscored=unscored)


def stored_answers(line: Mapping[str, Any]) -> list[Answer]:
    """The answers of a line of a ranking's store; ValueError where it holds none."""
    answers = [Answer(**choice) for choice in line["choices"]]
    if not all(isinstance(a.text, str) and isinstance(a.logprob, float | int | None) for a in answers):
        raise ValueError("no answers")
    return answers


KEPT = ("finish_reason", "refused", "reasoning", "shortened")  # of a benchmark's answer, beside its text


def stored_answer(line: Mapping[str, Any]) -> Answer:
    """The answer of a line of a benchmark's store."""
    return Answer(str(line["text"]), **{key: line.get(key) for key in KEPT})


def candidate(answer: Answer, score: float, source: str, **extra: object) -> dict[str, Any]:
    """One entry of a record's ``responses``; keys without a value are left out."""
    row = {"text": answer.text, "score": score, **answer.to_dict(), "source": answer.source or source, **extra}
    return {key: value for key, value in row.items() if value is not None and key not in ("refused", "unscored")}


def given_answers(record: Record) -> list[Answer]:
    """The answers that a record already has, thought apart from text."""
    given = (Answer(c.text, c.logprob, c.num_tokens, c.finish_reason, reasoning=c.reasoning) for c in record.responses)
    return [apart(answer) for answer in given]


def output_row(record: Record, responses: list[dict[str, Any]], **extra: object) -> dict[str, Any]:
    """A ranked list as train.py reads it; what else the instruction carried stays."""
    if record.messages or record.tools:
        asked: dict[str, Any] = {"messages": record.conversation, "tools": list(record.tools) or None}
    else:
        asked = {"instruction": record.instruction, "input": record.input}
    row = {"id": record.id, **asked, "output": record.output, "template": record.template, "responses": responses}
    row = {key: value for key, value in row.items() if value is not None} | extra
    return row | {key: value for key, value in record.extra.items() if key not in row}
