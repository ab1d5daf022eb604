"""The tokenizer's chat template: conversations as the model sees them in use, rendered by transformers."""

import json
import re
import resource
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from types import FrameType
from typing import Any

from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.errors import ConfigError

# Templates that print today's date are given this one (the default of Llama 3's own), so that a run resumed tomorrow,
# and the answers of a store, have the same prompts. template_args={date: 2026-01-31} is another.
DATE = "2024-07-26"
SECONDS, BYTES = 10.0, 2 * 1024**3  # for rendering one conversation, which takes a millisecond and nothing
LONGEST = 1_000_000  # characters of a rendered conversation that has less than a tenth of them itself
_SENTINEL = "\u2603tuna\u2603"


class ChatTemplate:
    """The tokenizer's chat template. Raises: ConfigError where it cannot render one user turn and its answer."""

    def __init__(self, tokenizer: Any, template_args: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.variables = dict(template_args)
        given = self.variables.pop("date", DATE)
        try:
            self._day = date.fromisoformat(str(given))
        except ValueError:
            raise ConfigError(f"model.template_args.date: expected a date such as {DATE}, got {given!r}") from None
        self.variables.setdefault("date_string", self._day.strftime("%d %b %Y"))
        self._shown: set[object] = set()
        try:
            self.closing = self._closing([{"role": "user", "content": "?"}])
        except FieldError as error:
            raise ConfigError(
                f"model.template: the tokenizer's chat template does not serve: {error}; next: mend "
                "chat_template (chat_template.jinja or tokenizer_config.json), or model.template=alpaca"
            ) from None

    def __call__(self, record: Record) -> "ChatPrompt":
        """The record's prompt."""
        return ChatPrompt(self, record)

    def source(self, tools: Any = ()) -> str:
        """The template's text; a tokenizer can have one of its own for conversations with tools."""
        return pinned(self.tokenizer.get_chat_template(tools=list(tools) or None), self._day)

    def render(self, messages: list[dict[str, Any]], tools: Any = (), *, prompt: bool = False) -> str:
        """Messages as text; prompt: with the opening of the assistant's turn. Raises: FieldError where that fails."""
        try:
            with bounded(seconds=SECONDS, size=BYTES):
                text = str(self._apply(messages, tools, tokenize=False, add_generation_prompt=prompt))
            if len(text) > LONGEST and len(text) > 10 * len(str([messages, tools])):
                raise ValueError(f"a text of {len(text)} characters")
        except Exception as error:  # Jinja raises what the template's author raises
            roles = ", ".join(str(message["role"]) for message in messages)
            said = "it needs more than 2 GB of memory" if isinstance(error, MemoryError) else str(error)
            raise FieldError(
                "messages", "a conversation that the chat template can show", messages,
                f"it says {said!r} to the turns {roles}",
            ) from None  # fmt: skip
        return text

    def words_around(self) -> str:
        """What the template writes around the turns of a plain conversation: its own text alone."""
        turn = {"role": "user", "content": _SENTINEL}
        return self.render([turn, {"role": "assistant", "content": _SENTINEL}, turn]).replace(_SENTINEL, "\0")

    def reference(self, record: Record, text: str, reasoning: str | None) -> list[int]:
        """transformers' own ids of the conversation with an answer."""
        messages = [*record.conversation, _answer(text, reasoning)]
        return [int(i) for i in self._apply(messages, record.tools, tokenize=True, return_dict=True)["input_ids"]]

    def _apply(self, messages: list[dict[str, Any]], tools: Any, **how: bool) -> Any:
        return self.tokenizer.apply_chat_template(
            messages, tools=list(tools) or None, chat_template=self.source(tools), **how, **self.variables
        )

    def _closing(self, messages: list[dict[str, Any]], tools: Any = ()) -> str:
        whole = self.render([*messages, {"role": "assistant", "content": _SENTINEL}], tools)
        if whole.count(_SENTINEL) != 1:
            raise FieldError("messages", "a chat template that shows an answer once", messages)
        return whole.partition(_SENTINEL)[2]

    def answered(self, record: Record, text: str, reasoning: str | None) -> tuple[str, str]:
        """The conversation up to its answer's end, and what follows. Raises: FieldError where a turn is not shown."""
        before = record.conversation
        whole = self.render([*before, _answer(text, reasoning)], record.tools)
        closing = self.closing if whole.endswith(self.closing) else self._closing(before, record.tools)
        if not whole.endswith(closing):
            raise FieldError("messages", "a chat template that ends all answers alike", before)
        self._check_turns(record)
        _check_shown(record, text, whole)
        return whole[: len(whole) - len(closing)], closing

    def _check_turns(self, record: Record) -> None:
        """Whether the template shows each turn of such a conversation, tried with words that stand nowhere else."""
        roles = tuple((str(m["role"]), bool(m.get("tool_calls"))) for m in record.messages)
        if not roles or roles in self._shown:
            return
        tried = [{**message, "content": f"tuna{k}turn"} for k, message in enumerate(record.messages)]
        whole = self.render([*tried, _answer("?", None)], record.tools)
        for k, (who, calls) in enumerate(roles):
            if f"tuna{k}turn" not in whole and not calls:
                raise FieldError(f"messages[{k}]", f"a conversation whose {who} turn the chat template shows", who)
        self._shown.add(roles)


def _answer(text: str, reasoning: str | None) -> dict[str, Any]:
    thought = {} if reasoning is None else {"reasoning_content": reasoning}
    return {"role": "assistant", "content": text, **thought}


def _check_shown(record: Record, answer: str, whole: str) -> None:
    calls = [(k, call) for k, m in enumerate(record.messages) for call in m.get("tool_calls") or ()]
    for field, called in [*((f"messages[{k}].tool_calls", c) for k, c in calls), *(("tools", t) for t in record.tools)]:
        name = str((called.get("function") or called).get("name", ""))
        if name not in whole:
            raise FieldError(field, "functions that the chat template shows", name, "next: leave them out of the file")
    for k, message in enumerate(record.messages):
        said = "" if message.get("tool_calls") else _spoken(message)
        if said not in whole and json.dumps(said, ensure_ascii=False)[1:-1] not in whole:
            expected = f"what the chat template shows of a turn of the {message['role']}"
            raise FieldError(f"messages[{k}].content", expected, said)
    if not record.messages and record.user_turn.strip() not in whole:
        raise FieldError("instruction", "a user turn that the chat template shows as it is", record.user_turn)
    if _spoken({"role": "assistant", "content": answer}) not in whole:
        raise FieldError("responses", "an answer that the chat template shows as it is", answer)


def _spoken(message: Mapping[str, Any]) -> str:
    """What a template has to show of a message: many leave out an assistant's thought, and white space at the ends."""
    content = str(message.get("content") or "")
    return (content.rpartition("</think>")[2] if message["role"] == "assistant" else content).strip()


@dataclass(frozen=True)
class ChatPrompt:
    """A record's conversation under a chat template; see tuna.data.templates.TextPrompt."""

    template: ChatTemplate
    record: Record
    bos: bool = False

    @cached_property
    def text(self) -> str:
        """All turns, and the opening of the assistant's."""
        return self.template.render(self.record.conversation, self.record.tools, prompt=True)

    def answered(self, text: str, reasoning: str | None = None) -> tuple[str, str]:
        """The conversation with an answer; see ChatTemplate.answered."""
        return self.template.answered(self.record, text, reasoning)


def pinned(source: str, day: date) -> str:
    """A chat template whose ``strftime_now`` gives ``day``: a macro hides transformers' own, which reads the clock."""
    if "strftime_now" not in source:
        return source
    codes = sorted(set(re.findall(r"%[-#_^0]?[A-Za-z]", source)), key=lambda code: (-len(code), code))
    said = {code: datetime(day.year, day.month, day.day).strftime(code) for code in codes} | {"%%": "%"}
    chain = "".join(f"|replace({json.dumps(code)}, {json.dumps(text)})" for code, text in said.items())
    # The line break after the macro's end is Jinja's to take away; the template starts at a line's start, as it did.
    return "{% macro strftime_now(format) %}{{ format" + chain + " }}{% endmacro %}" + "\n" + source


@contextmanager
def bounded(*, seconds: float, size: int) -> Iterator[None]:
    """Let the code of others compute for ``seconds``, and allocate ``size`` bytes where the system can tell (Linux).

    Time is the thread's own, so that a busy or a sleeping machine is no fault. Only the main thread is bounded, as
    signals reach no other; it is the one that reads models and data. Raises: TimeoutError, MemoryError.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun = time.thread_time()

    def look(signal_number: int, frame: FrameType | None) -> None:
        if time.thread_time() - begun > seconds:
            raise TimeoutError(f"it goes on for more than {seconds:g} s")

    taken, limit = _taken(), resource.getrlimit(resource.RLIMIT_AS)
    allowed = [each for each in (taken + size, *limit) if each != resource.RLIM_INFINITY]
    handler = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.25, 0.25)
    try:
        if taken:
            resource.setrlimit(resource.RLIMIT_AS, (min(allowed), limit[1]))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limit)


def _taken() -> int:
    """Bytes of this process's address space, 0 where that is not told."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(32).split()[0]) * resource.getpagesize()
    except OSError:
        return 0
