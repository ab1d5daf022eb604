"""A server that answers as real ones do and should not: every reply ends in a list, is dropped with its reason and
counted, or is asked for again. Thoughts never reach a list or a judge, and what was said is in the store.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.inference.http_server import LoopbackServer
from tests.inference.make import collect, read_rows, write_rows
from tuna.data.load import Source, load_source
from tuna.data.record import was_cut
from tuna.inference.answers import NO_NUMBER, NOT_THE_TEXTS
from tuna.judges.replies import VerdictError
from tuna.judges.verdict import parse_verdict

pytestmark = pytest.mark.once

Choice = dict[str, Any]
END = ("<|im_end|>", -0.25)
EMPTY, NO_TEXT = "empty answer", "empty answer: nothing after its reasoning"


def spelled(*texts: str) -> list[tuple[str, Any]]:
    """The tokens of texts, each of log-probability -0.25."""
    return [(token, -0.25) for text in texts for token in re.findall(r"\s*\S+|\s+$", text)]


def given(tokens: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": value, "top_logprobs": []} for token, value in tokens]}


def said(content: Any, tokens: list[tuple[str, Any]] | None = None, reason: Any = "stop", **message: Any) -> Choice:
    """A choice; where no tokens are given, those of ``content``."""
    tokens = [*spelled(content), END] if tokens is None and isinstance(content, str) else tokens
    told = None if tokens is None else given(tokens)
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason, "logprobs": told}


def apart(text: str, thought: str, **message: Any) -> Choice:
    """A thought that the server splits off; the log-probabilities are those of all tokens."""
    return said(text, [*spelled(thought), ("</think>", -3.0), *spelled(text), END], **message)


def within(before: str, after: str) -> Callable[[str, str], Choice]:
    """A thought that stands in the text between two marks, whose tokens are given too."""

    def choice(text: str, thought: str) -> Choice:
        tokens = [(before, -2.0), *spelled(thought), (after, -2.0), *spelled(text), END]
        return said(f"{before}{thought}{after}{text}", tokens)

    return choice


def odd(value: Any) -> Callable[[str, str], Choice]:
    """One token has ``value`` for a log-probability."""
    return lambda text, thought: said(text, [*spelled(text)[:-1], (spelled(text)[-1][0], value), END])


def ending(reason: Any) -> Callable[[str, str], Choice]:
    return lambda text, thought: said(text, reason=reason)


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


class Fate(NamedTuple):
    """What comes of an answer: a place in the list, or the reason for which it is dropped; whether it counts as cut."""

    dropped: str | None = None
    cut: bool = False


KEPT = Fate()

# how a text and a thought are told, and what is to come of them
ANSWERS: dict[str, tuple[Callable[[str, str], Choice], Fate]] = {
    # a thought apart: its log-probabilities do not count (case 13)
    "reasoning_content": (lambda t, m: apart(t, m, reasoning_content=m), KEPT),
    "reasoning": (lambda t, m: apart(t, m, reasoning=m), KEPT),
    "thinking": (lambda t, m: apart(t, m, thinking=m), KEPT),
    "thinking blocks": (lambda t, m: apart(t, m, thinking_blocks=[part("thinking", thinking=m)]), KEPT),
    "reasoning details": (lambda t, m: apart(t, m, reasoning_details=[part("reasoning.text", text=m)]), KEPT),
    "a thinking part": (lambda t, m: said([part("thinking", thinking=m), part("text", text=t)], spelled(t)), KEPT),
    "a thinking part of parts": (
        lambda t, m: said([part("thinking", thinking=[part("text", text=m)]), part("text", text=t)], spelled(t)),
        KEPT,
    ),
    "a reasoning part": (lambda t, m: said([part("reasoning", text=m), part("text", text=t)], spelled(t)), KEPT),
    "a reasoning part's summary": (
        lambda t, m: said(
            [part("reasoning", summary=[part("summary_text", text=m)]), part("text", text=t)], spelled(t)
        ),
        KEPT,
    ),
    "a redacted part": (
        lambda t, m: said([part("redacted_thinking", data="x"), part("text", text=t)], spelled(t)),
        KEPT,
    ),
    "a part marked as thought": (lambda t, m: said([{"text": m, "thought": True}, {"text": t}], spelled(t)), KEPT),
    "a floor within the thought": (
        lambda t, m: said(t, [(m, -9999.0), ("</think>", None), *spelled(t), END], reasoning_content=m),
        KEPT,
    ),
    "thought apart and in the text": (
        lambda t, m: apart(f"<think>{m}</think>\n\n{t}", m, reasoning_content=m),
        KEPT,
    ),
    # a thought in the text (case 14)
    "<think>": (within("<think>\n", "\n</think>\n\n"), KEPT),
    "</think> alone": (within("", "\n</think>\n"), KEPT),
    "<thinking>": (within("<thinking>", "</thinking>"), KEPT),
    "<THINK>": (within("<THINK>\n", "\n</THINK>\n"), KEPT),
    "[THINK]": (within("[THINK]", "[/THINK]"), KEPT),
    "<seed:think>": (within("<seed:think>", "</seed:think>"), KEPT),
    "Kimi's": (within("\u25c1think\u25b7", "\u25c1/think\u25b7"), KEPT),
    "Cohere's": (within("<|START_THINKING|>", "<|END_THINKING|>"), KEPT),
    "OpenThinker's": (within("<|begin_of_thought|>\n\n", "\n\n<|end_of_thought|>\n\n"), KEPT),
    "<thought>": (within("<thought>", "</thought>\n"), KEPT),
    "<reasoning>": (within("<reasoning>\n", "\n</reasoning>\n"), KEPT),
    "channels": (
        within("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        KEPT,
    ),
    "channels without their tokens": (within("analysis", "assistantfinal"), KEPT),
    "a second thought, never closed": (lambda t, m: said(f"<think>a</think>{t} <think>{m}"), Fate(NOT_THE_TEXTS)),
    "a thought after the text": (
        lambda t, m: said(f"{t}\n<think>\n{m}", reason="length"),
        Fate(NOT_THE_TEXTS, cut=True),
    ),
    # nothing but a thought, or nothing
    "null beside reasoning": (
        lambda t, m: said(None, spelled(m), "length", reasoning_content=m),
        Fate(NO_TEXT, cut=True),
    ),
    "null beside reasoning that ended": (lambda t, m: said(None, spelled(m), reasoning=m), Fate(NO_TEXT)),
    "a thought alone": (lambda t, m: said(f"<think>{m}</think>"), Fate(NO_TEXT)),
    "a thought never closed": (lambda t, m: said(f"<think>{m}", reason="length"), Fate(NO_TEXT, cut=True)),
    "a thought in a tag never closed": (
        lambda t, m: said(f"<reasoning>{m}", reason="MAX_TOKENS"),
        Fate(NO_TEXT, cut=True),
    ),
    "a channel never closed": (
        lambda t, m: said(f"<|channel|>analysis<|message|>{m}", reason="length"),
        Fate(NO_TEXT, cut=True),
    ),
    "a thinking part alone": (lambda t, m: said([part("thinking", thinking=m)]), Fate(NO_TEXT)),
    "null": (lambda t, m: said(None), Fate(EMPTY)),
    "no text": (lambda t, m: said(""), Fate(EMPTY)),
    "white space": (lambda t, m: said(" \n\t"), Fate(EMPTY)),
    "no parts": (lambda t, m: said([]), Fate(EMPTY)),
    # log-probabilities that are not those of the text, or no numbers
    "tokens of another text": (lambda t, m: said(t, [*spelled("A birch."), END]), Fate(NOT_THE_TEXTS)),
    "too few tokens": (lambda t, m: said(t, spelled(t)[:-1]), Fate(NOT_THE_TEXTS)),
    "more tokens than text": (lambda t, m: said(t, [*spelled(t + " It grows."), END]), Fate(NOT_THE_TEXTS)),
    "a token of thought and text": (
        lambda t, m: said(t, [(m, -1.0), ("</think>An", -1.0), *spelled(t)[1:]], reasoning_content=m),
        Fate(NOT_THE_TEXTS),
    ),
    "tokens without names": (
        lambda t, m: said(t) | {"logprobs": {"content": [{"logprob": -0.25}] * 3}},
        Fate(NOT_THE_TEXTS),
    ),
    "-9999": (odd(-9999.0), Fate(NO_NUMBER)),
    "-inf": (odd(float("-inf")), Fate(NO_NUMBER)),
    "NaN": (odd(float("nan")), Fate(NO_NUMBER)),
    "null for one token": (odd(None), Fate(NO_NUMBER)),
    "above 0": (odd(5.0), Fate(NO_NUMBER)),
    "a word": (odd("-0.25"), Fate(NO_NUMBER)),
    "true": (odd(True), Fate(NO_NUMBER)),
    "no log-probabilities": (lambda t, m: said(t) | {"logprobs": None}, Fate("no log-probability")),
    "an empty list of them": (lambda t, m: said(t, []), Fate("no log-probability")),
    # reasons (case 15)
    **{
        f"ends in {reason}": (ending(reason), Fate(cut=True))
        for reason in (
            "MAX_TOKENS",
            "length",
            "LENGTH",
            "max_tokens",
            "max_output_tokens",
            "incomplete",
            "model_length",
            "abort",
            "tool_calls",
            "function_call",
            "pause_turn",
            "FinishReason.MAX_TOKENS",
            "FINISH_REASON_OTHER",
            "new_word",
            7,
        )
    },
    "ends in an object": (ending({"type": "length", "length": 16}), Fate(cut=True)),
    **{
        f"ends in {reason}": (ending(reason), KEPT)
        for reason in ("STOP", "end_turn", "eos_token", "COMPLETE", "FINISH_REASON_STOP", "stop_sequence", None)
    },
    "ends in an object of its own": (ending({"type": "stop", "matched": 2}), KEPT),
    **{
        f"ends in {reason}": (ending(reason), Fate("content filter", cut=True))
        for reason in ("content_filter", "SAFETY", "RECITATION", "refusal", "PROHIBITED_CONTENT")
    },
    "ends in error": (ending("error"), Fate("the server stopped with an error", cut=True)),
    "a refusal": (lambda t, m: said(None, refusal=f"No {t}"), Fate("refusal: No ")),
    "a refusal as a part": (lambda t, m: said([part("refusal", refusal=f"No {t}")]), Fate("refusal: No ")),
    # what is no text
    "content that is a number": (lambda t, m: said(7, kept=t), Fate("malformed choice: content that is no text: int")),
    "content that is an object": (
        lambda t, m: said({"text": t}),
        Fate("malformed choice: content that is no text: dict"),
    ),
    "a part of another kind": (
        lambda t, m: said([part("tool_use", input={"tree": t})]),
        Fate("malformed choice: content with a part that is no text"),
    ),
    "a message that is a text": (
        lambda t, m: {"message": t, "finish_reason": "stop"},
        Fate("malformed choice: a choice without text or message"),
    ),
    "no message": (
        lambda t, m: {"finish_reason": "stop", "kept": t},
        Fate("malformed choice: a choice without text or mess"),
    ),
}
# Replies without any answer: asked for again, and kept.
USELESS: dict[str, Callable[[str], Any]] = {
    "no choices": lambda t: {"choices": [], "kept": t},
    "null for choices": lambda t: {"choices": None, "kept": t},
    "choices of nothing": lambda t: {"choices": [None, {}, t]},
    "an error that was billed": lambda t: {
        "error": {"message": t},
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
}


class Odd(LoopbackServer):
    """Answers the n-th question with the n-th reply, and with two plain answers beside it."""

    def _value(self, body: dict[str, Any], prompt: str, path: str, kind: str, nth: int) -> Any:
        number = int(prompt.split()[-1])
        plain = [said(f"Ash{number} {k}.") for k in range(2)]
        if number < len(ANSWERS):
            tell, _ = list(ANSWERS.values())[number]
            choices = [tell(f"An oak{number}q.", f"mulling{number}q over it"), *plain]
        elif nth == 0:
            return {"model": "m", **list(USELESS.values())[number - len(ANSWERS)](f"An oak{number}q.")}
        else:
            choices = [said(f"An oak{number}q."), *plain]
        return {"model": "m", "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 9}}


def test_answers_of_a_teacher(tmp_path: Path) -> None:
    fates = [*(fate for _, fate in ANSWERS.values()), *(KEPT for _ in USELESS)]
    total, requests = len(fates), len(fates) + len(USELESS)
    rows = [{"id": f"q{n}", "instruction": f"Name tree {n}", "output": "An elm."} for n in range(total)]
    words = ["ranker=probabilistic", "ranker.n=3", "teacher=openai", "teacher.model=m", "teacher.retries=1"]
    with Odd() as server:
        words.append(f"teacher.base_url={server.url}")
        assert collect(tmp_path, write_rows(tmp_path / "in.jsonl", rows), *words)["lists"] == total
        assert sum(server.asked.values()) == requests
    lists = read_rows(tmp_path / "out.jsonl")
    records = load_source(Source(str(tmp_path / "out.jsonl"))).records
    store = "".join((tmp_path / "out.store" / f"{name}.jsonl").read_text() for name in ("answers", "unusable"))
    for number, (name, fate) in enumerate(zip([*ANSWERS, *USELESS], fates, strict=True)):
        text, thought = f"An oak{number}q.", f"mulling{number}q over it"
        listed, dropped = lists[number]["responses"], lists[number].get("dropped", [])
        plain = [r["text"] for r in listed if r["text"].startswith("Ash")]
        assert plain == [f"Ash{number} 0.", f"Ash{number} 1."], name
        mine = [r for r in listed if not r["text"].startswith("Ash")]
        if fate.dropped is None:
            assert [r["text"] for r in mine] == [text] and not dropped, (name, mine, dropped)
            assert mine[0]["logprob"] == -0.25 * mine[0]["num_tokens"] and mine[0]["num_tokens"] <= 3, name
            assert [c.complete for c in records[number].responses if c.text == text] == [not fate.cut], name
        else:
            assert not mine and [d["reason"].startswith(fate.dropped) for d in dropped] == [True], (name, mine, dropped)
        assert not any("mulling" in each["text"] for each in listed + dropped), name
        reply = ANSWERS[name][0](text, thought) if name in ANSWERS else USELESS[name](text)
        for word in (text[3:-1], thought.split()[0]):
            assert word not in json.dumps(reply) or word in store, (name, word)
    assert json.loads((tmp_path / "out.report.json").read_text())["coverage"] == {
        "answers": 3 * total, "usable": 3 * total - sum(fate.dropped is not None for fate in fates),
        "cut": sum(fate.cut for fate in fates), "empty": sum(fate.dropped in (EMPTY, NO_TEXT) for fate in fates),
        "shortened": 0,
    }  # fmt: skip


# A judge's replies in words of its own: {good} is the ranking by length, best first, {bad} the reverse; {marks} and
# {lows} agree with one each, {half} with both as much; {chain} is {good} as a chain.
VERDICTS: dict[str, str | Choice] = {
    "a draft in a thought": "<think>\nFirst try: rank: {bad}. No.\n</think>\n{marks}\n\n## Final ranking\n{chain}",
    "a draft before a closing mark": "Perhaps rank: {bad}?\n</think>\n{marks}\nrank: {good}",
    "a draft split off": {"content": "{marks}\nrank: {good}", "reasoning_content": "mulling: rank: {bad}"},
    "a draft in a part": {
        "content": [part("thinking", thinking="mulling: rank: {bad}"), part("text", text="rank: {good}")]
    },
    "a draft in a reasoning part": {
        "content": [part("reasoning", text="mulling: rank: {bad}"), part("text", text="{marks}\nrank: {good}")]
    },
    "a draft in a tag": "<reasoning>rank: {bad}</reasoning>\nrank: {good}",
    "a draft in a channel": "<|channel|>analysis<|message|>rank: {bad}<|end|><|start|>assistant"
    "<|channel|>final<|message|>rank: {good}",
    "a draft in a bare channel": "analysisMaybe rank: {bad}assistantfinalrank: {good}",
    "marks in a thought": "<think>{lows}</think>rank: {good}",
    "a thought after it": "{marks}\nrank: {good}\n<think>or rank: {bad}",
    "JSON": '```json\n{{"why": "lengths", "rank": {good}}}\n```',
    "bold": "**Rank: {good}**",
    "the same rank twice": "rank: {good}\n{marks}\nFinal ranking: {chain}",
    "said to end in STOP": {"content": "rank: {good}", "finish_reason": "STOP"},
    "said to end in end_turn": {"content": "rank: {good}", "finish_reason": "end_turn"},
}
# No verdicts, with a part of the reason; asked again.
NO_VERDICTS: dict[str, tuple[str | Choice, str]] = {
    "two ranks": ("rank: {bad}\nOn second thought:\nrank: {good}", "differ"),
    "a quoted rank after it": ('{lows}\nrank: {bad}\n\nResponse 1 has the line "rank: {good}".', "differ"),
    "a heading that differs": ("rank: {bad}\n## Final ranking\n{chain}", "differ"),
    "JSON that differs": ('{{"rank": {bad}}}\nrank: {good}', "differ"),
    "all marks against it": ("{marks}\nrank: {bad}", "contradicted"),
    "half of the marks against it": ("{half}\nrank: {good}", "contradicted"),
    "cut, with a plan": ({"content": "Plan: rank: {bad}. Response", "finish_reason": "MAX_TOKENS"}, "cut"),
    "cut after it": ({"content": "rank: {bad}\nSince", "finish_reason": "length"}, "cut"),
    "incomplete": ({"content": "rank: {bad}", "finish_reason": "incomplete"}, "cut"),
    "a call of a tool": ({"content": "rank: {bad}", "finish_reason": "tool_calls"}, "cut"),
    "a pause": ({"content": "rank: {bad}", "finish_reason": "pause_turn"}, "cut"),
    "a thought alone": ("<think>rank: {bad}</think>", "no rank"),
    "a thought never closed": ("<think>rank: {bad}", "no rank"),
    "a channel never closed": ("<|channel|>analysis<|message|>rank: {bad}", "no rank"),
    "null": ({"content": None}, "no rank"),
    "null beside reasoning": ({"content": None, "reasoning": "rank: {bad}"}, "no rank"),
    "no text": ("", "no rank"),
    "a tie": ("rank: [0 = 1, 2, 3]", "more than numbers"),
    "a number twice": ("rank: [0, 0, 1, 2]", "twice"),
    "an unknown number": ("rank: [0, 1, 2, 9]", "unknown"),
    "never closed": ("rank: [0, 1, 2", "not closed"),
    "the form": ("rank: [i, j, k, l, m]", "no rank"),
    "only quoted": ("> rank: {bad}\n\nI cannot say.", "no rank"),
    "a block of code that goes on": ("```\nrank: {bad}\n```\nis what Response 2 wants.", "quote"),
}


def words_of(template: Any, prompt: str) -> Any:
    """A template with its places filled in, for the order in which the prompt shows the answers."""
    shown = re.findall(r"###Response \d:\n(.*)", prompt)[:4]
    order = sorted(range(4), key=lambda k: -len(shown[k]))
    marks, lows, half = ([15, 12, 9, 6], [6, 9, 12, 15], [12, 6, 15, 9])
    lines = ["\n".join(f"Response {k}: [{of[order.index(k)]}]" for k in range(4)) for of in (marks, lows, half)]
    fields = {"good": order, "bad": order[::-1], "chain": " > ".join(map(str, order))}
    fields |= dict(zip(("marks", "lows", "half"), lines, strict=True))
    if isinstance(template, str):
        return template.format(**fields)
    if isinstance(template, dict):
        return {key: words_of(value, prompt) for key, value in template.items()}
    return [words_of(value, prompt) for value in template] if isinstance(template, list) else template


def test_replies_of_a_judge(tmp_path: Path) -> None:
    told = [*VERDICTS.values(), *(reply for reply, _ in NO_VERDICTS.values())]
    answers = [{"text": f"oak{'s' * k}"} for k in range(4)]
    answers[2]["text"] = f"<think>mulling</think>{answers[2]['text']}"
    rows = [{"id": f"q{n}", "instruction": f"Tree <{n}>", "responses": answers} for n in range(len(told) + 1)]

    def say(prompt: str, k: int) -> Choice:
        number = int(re.findall(r"Tree <(\d+)>", prompt)[0])
        never = number == len(told)
        reply = "I like them all." if never else told[number] if server.asked[prompt] == 1 else "rank: {good}"
        reply = words_of(reply, prompt)
        message = reply if isinstance(reply, dict) else {"content": reply}
        return {"message": {"role": "assistant", **message}, "finish_reason": message.pop("finish_reason", "stop")}

    words = ["judge=openai", "judge.model=j", "judge.attempts=2", "score_only=true"]
    with LoopbackServer(say=say) as server:
        words.append(f"judge.base_url={server.url}")
        figures = collect(tmp_path, write_rows(tmp_path / "in.jsonl", rows), *words)
        assert (figures["lists"], figures["unusable"]) == (len(told), 1)
        asked = {int(re.findall(r"Tree <(\d+)>", prompt)[0]): count for prompt, count in server.asked.items()}
        assert not any("mulling" in json.dumps(body) for body in server.bodies)
    verdicts = [json.loads(line) for line in (tmp_path / "out.store" / "verdicts.jsonl").read_text().splitlines()]
    for number, (name, row) in enumerate(
        zip([*VERDICTS, *NO_VERDICTS], read_rows(tmp_path / "out.jsonl"), strict=True)
    ):
        assert [r["text"] for r in row["responses"]] == ["oaksss", "oakss", "oaks", "oak"], name
        assert asked[number] == (1 if name in VERDICTS else 2), name
    assert asked[len(told)] == 2 and len(verdicts) == sum(asked.values())
    (left,) = read_rows(tmp_path / "out.unusable.jsonl")
    assert "no rank" in left["reason"] and left["raw"] == ["I like them all."] * 2


@pytest.mark.parametrize("name", NO_VERDICTS)
def test_why_a_reply_is_no_verdict(name: str) -> None:
    reply, reason = NO_VERDICTS[name]
    prompt = "".join(f"###Response {k}:\n{'oak' * (k + 1)}\n" for k in range(4))
    found = words_of(reply if isinstance(reply, dict) else {"content": reply}, prompt)
    with pytest.raises(VerdictError, match=reason):
        parse_verdict(found["content"] or "", 4, finished=not was_cut(found.get("finish_reason")))
