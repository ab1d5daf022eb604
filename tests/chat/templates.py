"""Chat templates in the manner of those that people have, each with the tokenizer that it belongs to.

    FIXTURES: dict[str, Fixture]    all of them by name, those without a chat template last
    CHAT: tuple[str, ...]           the names of those with a chat template
    PLAIN: tuple[str, ...]          the names of those without: Alpaca's prompt, answer and eos as one text

``Fixture.tokenizer`` is the tokenizer with its chat template, one object per process: do not change it.
"""

# ruff: noqa: RUF001  (the full-width bars are DeepSeek's)

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.chat import tokenizers


@dataclass(frozen=True)
class Fixture:
    """A tokenizer, a chat template, and what a test may expect of them.

    build: the tokenizer's builder in ``tests.chat.tokenizers``.
    ends_with: the token that the model writes to end its turn; not always the tokenizer's eos.
    ending: all that the template puts behind an answer that ends a conversation, as text.
    opening: what ``add_generation_prompt`` puts in front of an answer, as text.
    between: what a whole conversation has between that opening and an answer without a thought, as text.
    allows_system: whether a conversation may begin with a system turn; the others raise.
    alternates: whether other than user, assistant, user, .. raises.
    strips: whether white space around a turn's content is taken off.
    thinks: whether the template knows ``<think>`` and ``reasoning_content``.
    drops_thought: whether even the last answer is shown without its thought, so that a generation prompt, which opens
        one, is no prefix of the conversation.
    switches: whether ``enable_thinking`` changes the prompt.
    tools: whether tools, tool calls and tool turns are shown.
    dated: whether today's date stands in the prompt.
    markers: added tokens that open or end turns though they are not special.
    inner: the other added tokens that the template writes and that are not special.
    leaks: special tokens that the tokenizer's own model makes from plain text, whatever is switched off.
    """

    name: str
    build: Callable[[], Any]
    template: str | None
    ends_with: str
    ending: str
    opening: str
    between: str = ""
    allows_system: bool = True
    alternates: bool = False
    strips: bool = False
    thinks: bool = False
    drops_thought: bool = False
    switches: bool = False
    tools: bool = False
    dated: bool = False
    markers: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()

    @property
    def tokenizer(self) -> Any:
        return _with_template(self.name)

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens and the markers: what text in the data must never become."""
        return _specials(self.name)


@cache
def _with_template(name: str) -> Any:
    fixture = FIXTURES[name]
    tokenizer = deepcopy(fixture.build())
    tokenizer.chat_template = fixture.template
    return tokenizer


@cache
def _specials(name: str) -> tuple[str, ...]:
    added = FIXTURES[name].build().added_tokens_decoder.values()
    return (*(token.content for token in added if token.special), *FIXTURES[name].markers)


LLAMA3 = """{{- bos_token }}
{%- if date_string is not defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0].role == "system" %}
    {%- set orders = messages[0].content | trim %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set orders = "" %}{%- set turns = messages %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Knowledge up to: Spring 2023\\nDate of today: " + date_string + "\\n\\n" }}
{%- if tools %}
    {{- "To call a function, answer with its name and parameters as JSON.\\n\\n" }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) + "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- orders + "<|eot_id|>" }}
{%- for turn in turns %}
    {%- if turn.tool_calls %}
        {%- if turn.tool_calls | length != 1 %}{{- raise_exception("one call per turn") }}{%- endif %}
        {%- set call = turn.tool_calls[0].function %}
        {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}
        {{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + "}<|eot_id|>" }}
    {%- elif turn.role == "tool" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" + (turn.content | tojson) + "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>" + turn.role + "<|end_header_id|>\\n\\n" + turn.content | trim + "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{%- endif %}"""

GEMMA2 = """{{- bos_token }}
{%- if messages[0].role == "system" %}{{- raise_exception("there is no system role here") }}{%- endif %}
{%- for turn in messages %}
    {%- if (turn.role == "user") != (loop.index0 % 2 == 0) %}{{- raise_exception("roles must take turns") }}{%- endif %}
    {%- set role = "model" if turn.role == "assistant" else turn.role %}
    {{- "<start_of_turn>" + role + "\\n" + turn.content | trim + "<end_of_turn>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<start_of_turn>model\\n" }}{%- endif %}"""

GEMMA3 = """{{- bos_token }}
{%- set first, turns = "", messages %}
{%- if messages[0].role == "system" %}
    {%- set first, turns = messages[0].content + "\\n\\n", messages[1:] %}
{%- endif %}
{%- for turn in turns %}
    {%- if (turn.role == "user") != (loop.index0 % 2 == 0) %}{{- raise_exception("roles must take turns") }}{%- endif %}
    {{- "<start_of_turn>" + ("model" if turn.role == "assistant" else turn.role) + "\\n" }}
    {{- (first if loop.first else "") + turn.content | trim + "<end_of_turn>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<start_of_turn>model\\n" }}{%- endif %}"""

_TOOL_LIST = """    {{- "You may call these functions:\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" + tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\nWrite a call as JSON between <tool_call> and </tool_call>.<|im_end|>\\n" }}"""

# The last turn that a person wrote: thoughts before it are forgotten.
_LAST_QUERY = """{%- set seen = namespace(query=messages | length - 1, found=false) %}
{%- for turn in messages[::-1] %}
    {%- if not seen.found and turn.role == "user" and not turn.content.startswith("<tool_response>") %}
        {%- set seen.query = messages | length - 1 - loop.index0 %}{%- set seen.found = true %}
    {%- endif %}
{%- endfor %}"""

_CALLS = """        {%- for call in turn.tool_calls or [] %}
            {{- "\\n" if not loop.first or text else "" }}
            {{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
            {{- "}\\n</tool_call>" }}
        {%- endfor %}
        {{- "<|im_end|>\\n" }}"""

_TOOL_TURNS = """        {%- if loop.first or loop.previtem.role != "tool" %}{{- "<|im_start|>user" }}{%- endif %}
        {{- "\\n<tool_response>\\n" + turn.content + "\\n</tool_response>" }}
        {%- if loop.last or loop.nextitem.role != "tool" %}{{- "<|im_end|>\\n" }}{%- endif %}"""


def _thinking(text: str, thought: str, closed: str, opened: str) -> str:
    """A template of Qwen's family.

    text: a turn's content as an expression; thought: when the last turns show a thought, as a condition; closed,
    opened: what a generation prompt ends with, thinking off and on.
    """
    return (
        _LAST_QUERY
        + """
{%- if tools %}
    {{- "<|im_start|>system\\n" }}
    {%- if messages[0].role == "system" %}{{- TEXT0 + "\\n\\n" }}{%- endif %}
TOOL_LIST
{%- elif messages[0].role == "system" %}
    {{- "<|im_start|>system\\n" + TEXT0 + "<|im_end|>\\n" }}
{%- endif %}
{%- for turn in messages %}
    {%- if turn.role == "user" or (turn.role == "system" and not loop.first) %}
        {{- "<|im_start|>" + turn.role + "\\n" + TEXT + "<|im_end|>\\n" }}
    {%- elif turn.role == "assistant" %}
        {%- set text, thought = TEXT, "" %}
        {%- if turn.reasoning_content is string %}
            {%- set thought = turn.reasoning_content %}
        {%- elif "</think>" in text %}
            {%- set thought = text.split("</think>")[0].rstrip("\\n").split("<think>")[-1].lstrip("\\n") %}
            {%- set text = text.split("</think>")[-1].lstrip("\\n") %}
        {%- endif %}
        {{- "<|im_start|>assistant\\n" }}
        {%- if loop.index0 > seen.query and (THOUGHT) %}
            {{- "<think>\\n" + thought.strip("\\n") + "\\n</think>\\n\\n" + text.lstrip("\\n") }}
        {%- else %}
            {{- text }}
        {%- endif %}
CALLS
    {%- elif turn.role == "tool" %}
TOOL_TURNS
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
    {{- "CLOSED" if enable_thinking is defined and enable_thinking is false else "OPENED" }}
{%- endif %}""".replace("TOOL_LIST", _TOOL_LIST)
        .replace("CALLS", _CALLS)
        .replace("TOOL_TURNS", _TOOL_TURNS)
        .replace("TEXT0", text.replace("turn", "messages[0]"))
        .replace("TEXT", text)
        .replace("THOUGHT", thought)
        .replace("CLOSED", closed)
        .replace("OPENED", opened)
    )


_EMPTY_THOUGHT = "<think>\\n\\n</think>\\n\\n"
QWEN3 = _thinking("turn.content", "loop.last or thought", _EMPTY_THOUGHT, "")
QWEN35 = _thinking("turn.content | trim", "true", _EMPTY_THOUGHT, "<think>\\n")

CHATML = """{%- for turn in messages %}
    {{- "<|im_start|>" + turn.role + "\\n" + turn.content + "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{%- endif %}"""

MISTRAL = """{{- bos_token }}
{%- set orders, turns = "", messages %}
{%- if messages[0].role == "system" %}
    {%- set orders, turns = messages[0].content + "\\n\\n", messages[1:] %}
{%- endif %}
{%- for turn in turns %}
    {%- if (turn.role == "user") != (loop.index0 % 2 == 0) %}{{- raise_exception("roles must take turns") }}{%- endif %}
    {%- if turn.role == "user" %}
        {%- set shown = orders if loop.index0 >= turns | length - 2 else "" %}
        {{- "[INST] " + shown + turn.content + " [/INST]" }}
    {%- else %}
        {{- " " + turn.content + eos_token }}
    {%- endif %}
{%- endfor %}"""

LLAMA2 = """{%- set orders, turns = "", messages %}
{%- if messages[0].role == "system" %}
    {%- set orders, turns = "<<SYS>>\\n" + messages[0].content + "\\n<</SYS>>\\n\\n", messages[1:] %}
{%- endif %}
{%- for turn in turns %}
    {%- if (turn.role == "user") != (loop.index0 % 2 == 0) %}{{- raise_exception("roles must take turns") }}{%- endif %}
    {%- if turn.role == "user" %}
        {{- bos_token + "[INST] " + ((orders if loop.first else "") + turn.content) | trim + " [/INST]" }}
    {%- else %}
        {{- " " + turn.content | trim + " " + eos_token }}
    {%- endif %}
{%- endfor %}"""

PHI3 = """{%- for turn in messages %}
    {{- "<|" + turn.role + "|>\\n" + turn.content + "<|end|>\\n" }}
{%- endfor %}
{{- "<|assistant|>\\n" if add_generation_prompt else eos_token }}"""

R1 = """{{- bos_token }}
{%- for turn in messages %}
    {%- if turn.role == "system" %}
        {{- turn.content }}
    {%- elif turn.role == "user" %}
        {{- "<｜User｜>" + turn.content }}
    {%- else %}
        {{- "<｜Assistant｜>" + turn.content.split("</think>")[-1] + "<｜end▁of▁sentence｜>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<｜Assistant｜><think>\\n" }}{%- endif %}"""

TRIMMING = """{{- bos_token }}
{%- for turn in messages %}
    {{- turn.role | capitalize + ": " + turn.content | trim + (eos_token if turn.role == "assistant" else "") + "\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "Assistant:" }}{%- endif %}"""

NO_SYSTEM = """{{- bos_token }}
{%- for turn in messages %}
    {%- if turn.role == "system" %}{{- raise_exception("Only user and assistant are known") }}{%- endif %}
    {{- "### " + turn.role + "\\n" + turn.content + ("</s>" if turn.role == "assistant" else "") + "\\n\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "### assistant\\n" }}{%- endif %}"""

DATED = """{{- "<|im_start|>system\\nToday is " + strftime_now("%d %B %Y") + ".\\n" }}
{%- if messages[0].role == "system" %}{{- "\\n" + messages[0].content }}{%- endif %}
{{- "<|im_end|>\\n" }}
{%- for turn in messages if turn.role != "system" %}
    {{- "<|im_start|>" + turn.role + "\\n" + turn.content + "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{%- endif %}"""

TOOLFUL = """{%- if tools %}{{- "<|im_start|>tools\\n" + tools | tojson + "<|im_end|>\\n" }}{%- endif %}
{%- for turn in messages %}
    {{- "<|im_start|>" + turn.role }}
    {%- if turn.role == "tool" and turn.tool_call_id %}{{- " of " + turn.tool_call_id }}{%- endif %}
    {{- "\\n" + turn.content }}
    {%- for call in turn.tool_calls or [] %}
        {{- "\\n-> " + (call.id or "") + " " + call.function.name + "(" }}
        {%- for key, value in call.function.arguments | items %}
            {{- (", " if not loop.first else "") + key + "=" + value | tojson }}
        {%- endfor %}
        {{- ")" }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{%- endif %}"""

ZEPHYR = """{%- for turn in messages %}
    {{- "<|" + turn.role + "|>\\n" + turn.content + eos_token + "\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|assistant|>\\n" }}{%- endif %}"""

_CHATML_OPENING = "<|im_start|>assistant\n"
_TURN = "<|start_header_id|>assistant<|end_header_id|>\n\n"
_QWEN_INNER = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
_R1_MARKERS = ("<｜User｜>", "<｜Assistant｜>")

_ALL = (
    Fixture(
        "llama3", tokenizers.llama3, LLAMA3, "<|eot_id|>", "<|eot_id|>", _TURN, strips=True, tools=True, dated=True
    ),
    Fixture(
        "gemma2", tokenizers.gemma, GEMMA2, "<end_of_turn>", "<end_of_turn>\n", "<start_of_turn>model\n",
        allows_system=False, alternates=True, strips=True,
    ),
    Fixture(
        "gemma3", tokenizers.gemma, GEMMA3, "<end_of_turn>", "<end_of_turn>\n", "<start_of_turn>model\n",
        alternates=True, strips=True,
    ),
    Fixture(
        "qwen3", tokenizers.qwen, QWEN3, "<|im_end|>", "<|im_end|>\n", _CHATML_OPENING,
        between="<think>\n\n</think>\n\n", thinks=True, switches=True, tools=True, inner=_QWEN_INNER,
    ),
    Fixture(
        "qwen35", tokenizers.qwen, QWEN35, "<|im_end|>", "<|im_end|>\n", _CHATML_OPENING + "<think>\n",
        between="\n</think>\n\n", strips=True, thinks=True, switches=True, tools=True, inner=_QWEN_INNER,
    ),
    Fixture("chatml_base", tokenizers.base, CHATML, "<|im_end|>", "<|im_end|>\n", _CHATML_OPENING),
    Fixture("mistral", tokenizers.mistral, MISTRAL, "</s>", "</s>", "", between=" ", alternates=True),
    Fixture("llama2", tokenizers.llama2, LLAMA2, "</s>", " </s>", "", between=" ", alternates=True, strips=True),
    Fixture("phi3", tokenizers.phi3, PHI3, "<|end|>", "<|end|>\n<|endoftext|>", "<|assistant|>\n"),
    Fixture(
        "deepseek_r1", tokenizers.deepseek, R1, "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
        "<｜Assistant｜><think>\n", thinks=True, drops_thought=True, markers=_R1_MARKERS, inner=("<think>", "</think>"),
    ),
    Fixture(
        "trimming", tokenizers.unigram, TRIMMING, "</s>", "</s>\n", "Assistant:",
        between=" ", strips=True, leaks=("<s>", "</s>", "<unk>"),
    ),
    Fixture(
        "no_system_raises", tokenizers.plain_first, NO_SYSTEM, "</s>", "</s>\n\n", "### assistant\n",
        allows_system=False,
    ),
    Fixture("dated", tokenizers.smol, DATED, "<|im_end|>", "<|im_end|>\n", _CHATML_OPENING, dated=True),
    Fixture("toolful", tokenizers.smol, TOOLFUL, "<|im_end|>", "<|im_end|>\n", _CHATML_OPENING, tools=True),
    Fixture("zephyr", tokenizers.zephyr, ZEPHYR, "</s>", "</s>\n", "<|assistant|>\n"),
    Fixture("alpaca_legacy", tokenizers.llama2, None, "</s>", "</s>", ""),
    Fixture("alpaca_first", tokenizers.plain_first, None, "</s>", "</s>", ""),
    Fixture("alpaca_bytes", tokenizers.gpt2, None, "<|endoftext|>", "<|endoftext|>", ""),
)  # fmt: skip

FIXTURES: dict[str, Fixture] = {fixture.name: fixture for fixture in _ALL}
CHAT = tuple(name for name, fixture in FIXTURES.items() if fixture.template is not None)
PLAIN = tuple(name for name, fixture in FIXTURES.items() if fixture.template is None)
