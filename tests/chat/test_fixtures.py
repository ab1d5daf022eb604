"""The fixtures are what they claim: quirks of the templates, the reference, the generator, the toys."""

# ruff: noqa: RUF001  (the full-width bars are DeepSeek's)

import inspect
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from tests.chat import models, reference, tokenizers
from tests.chat.conversations import Conversation, conversation, mentions
from tests.chat.reference import joined_ids, prompt_ids, rendered, special_ids, text_ids, whole_ids
from tests.chat.templates import CHAT, FIXTURES, PLAIN, Fixture

ASK = [{"role": "user", "content": "Who sings?"}]
SAID = [*ASK, {"role": "assistant", "content": "A crow."}]
AGAIN = [*SAID, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It is glad."}]
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}
CALLED: list[dict[str, Any]] = [
    *ASK,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "1"},
    {"role": "assistant", "content": "One."},
]

chat = pytest.mark.parametrize("fixture", [FIXTURES[name] for name in CHAT], ids=CHAT)
every = pytest.mark.parametrize("fixture", FIXTURES.values(), ids=FIXTURES)


def show(name: str, messages: list[Any], **args: Any) -> str:
    return rendered(FIXTURES[name].tokenizer, messages, template_args=args)


def tokens(tokenizer: Any, text: str) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]))


def drawn(fixture: Fixture, count: int, **wanted: Any) -> list[Conversation]:
    rng = Random(fixture.name)
    return [conversation(rng, fixture, **wanted) for _ in range(count)]


def refused(fixture: Fixture, messages: list[Any]) -> bool:
    try:
        rendered(fixture.tokenizer, messages)
    except TemplateError:
        return True
    return False


@every
def test_tokenizers_are_tiny_and_their_special_tokens_are_theirs(fixture: Fixture) -> None:
    tokenizer = fixture.tokenizer
    assert 600 <= len(tokenizer) <= 1200
    added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    assert added[fixture.ends_with]
    assert not any(added[name] for name in fixture.markers + fixture.inner)
    assert set(fixture.specials) == {name for name, special in added.items() if special} | set(fixture.markers)
    assert len(special_ids(tokenizer, fixture.markers)) == len(fixture.specials)


@chat
def test_templates_begin_and_end_answers_as_declared(fixture: Fixture) -> None:
    whole, prompt = rendered(fixture.tokenizer, AGAIN), rendered(fixture.tokenizer, AGAIN[:-1], prompt=True)
    assert prompt.endswith(fixture.opening)
    assert whole.endswith("It is glad." + fixture.ending)
    assert fixture.ending.strip().startswith(fixture.ends_with)
    assert (whole == prompt + fixture.between + "It is glad." + fixture.ending) is not fixture.drops_thought
    assert whole.startswith(prompt) is not fixture.drops_thought


@chat
def test_templates_refuse_what_they_do_not_allow(fixture: Fixture) -> None:
    assert refused(fixture, [SYSTEM, *ASK]) is not fixture.allows_system
    assert refused(fixture, [*ASK, *ASK]) is fixture.alternates
    assert not refused(fixture, AGAIN)


@chat
def test_templates_strip_as_declared(fixture: Fixture) -> None:
    spaced = [{**message, "content": f" \n{message['content']}\t "} for message in AGAIN]
    assert (rendered(fixture.tokenizer, spaced) == rendered(fixture.tokenizer, AGAIN)) is fixture.strips


@chat
def test_templates_show_tools_as_declared(fixture: Fixture) -> None:
    if not fixture.tools:
        assert rendered(fixture.tokenizer, ASK, [TOOL]) == rendered(fixture.tokenizer, ASK)
        return
    text = rendered(fixture.tokenizer, CALLED, [TOOL])
    assert "Adds." in text and ('"a": 1' in text or "a=1" in text) and "One." in text


@chat
def test_dates_are_pinned(fixture: Fixture) -> None:
    assert ("2024" in rendered(fixture.tokenizer, ASK)) is fixture.dated


def test_dated_prints_the_pinned_day_and_llama3_has_a_default_of_its_own() -> None:
    assert "Today is 26 July 2024." in show("dated", ASK)
    tokenizer = FIXTURES["llama3"].tokenizer
    assert "Date of today: 26 Jul 2024\n" in tokenizer.apply_chat_template(ASK, tokenize=False)
    dated = tokenizer.apply_chat_template(ASK, tokenize=False, date_string="1 May 2030")
    assert "Date of today: 1 May 2030\n" in dated


def test_llama3_writes_its_bos_itself_and_the_tokenizer_would_write_another() -> None:
    tokenizer = FIXTURES["llama3"].tokenizer
    bos = tokenizer.bos_token_id
    ids = whole_ids(tokenizer, AGAIN)
    assert ids[0] == bos and ids.count(bos) == 1
    assert tokenizer(show("llama3", AGAIN))["input_ids"].count(bos) == 2


def test_llama2_writes_a_bos_per_user_turn() -> None:
    text = show("llama2", [SYSTEM, *AGAIN])
    assert text == (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWho sings? [/INST] A crow. </s>"
        "<s>[INST] Why? [/INST] It is glad. </s>"
    )


def test_gemma_ends_turns_with_another_token_than_eos() -> None:
    for name in ("gemma2", "gemma3"):
        tokenizer = FIXTURES[name].tokenizer
        assert tokenizer.eos_token_id not in whole_ids(tokenizer, AGAIN)
    assert show("gemma3", [SYSTEM, *SAID]) == (
        "<bos><start_of_turn>user\nBe brief.\n\nWho sings?<end_of_turn>\n<start_of_turn>model\nA crow.<end_of_turn>\n"
    )


def test_qwen_forgets_thoughts_before_the_last_question() -> None:
    first = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA crow."}
    second = {"role": "assistant", "content": "It is glad.", "reasoning_content": "well"}
    for name in ("qwen3", "qwen35"):
        text = show(name, [*ASK, first, *AGAIN[2:3], second])
        assert "hm" not in text and "<|im_start|>assistant\nA crow.<|im_end|>" in text
        assert text.endswith("<think>\nwell\n</think>\n\nIt is glad.<|im_end|>\n")


def test_qwen_keeps_the_thoughts_between_question_and_answer() -> None:
    turns = [dict(message) for message in CALLED]
    turns[1]["reasoning_content"] = "add them"
    text = show("qwen3", turns)
    assert "<think>\nadd them\n</think>\n\n<tool_call>\n" in text
    assert "<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n" in text


def test_thinking_is_switched_by_an_argument() -> None:
    empty = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    for name, opened in (("qwen3", "<|im_start|>assistant\n"), ("qwen35", "<|im_start|>assistant\n<think>\n")):
        tokenizer = FIXTURES[name].tokenizer
        assert rendered(tokenizer, ASK, prompt=True).endswith("<|im_end|>\n" + opened)
        assert rendered(tokenizer, ASK, template_args={"enable_thinking": False}, prompt=True).endswith(empty)


def test_r1_shows_what_follows_the_thought_only() -> None:
    thought = [*ASK, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA crow."}]
    assert show("deepseek_r1", thought) == (
        "<｜begin▁of▁sentence｜><｜User｜>Who sings?<｜Assistant｜>\n\nA crow.<｜end▁of▁sentence｜>"
    )


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (tokenizers.llama2, ["<s>", "▁or", "</s>", "▁the", "</s>", "▁", "▁the"]),
        (tokenizers.zephyr, ["<s>", "▁or", "</s>", "▁the", "</s>", "▁the"]),
        (tokenizers.plain_first, ["<s>", "or", "</s>", "t", "he", "</s>", "▁the"]),
    ],
)
def test_prefix_spaces_differ_by_kind(build: Callable[[], Any], expected: list[str]) -> None:
    assert tokens(build(), "<s>or</s>the</s> the") == expected
    assert tokens(build(), "the") == ["▁the"]


def test_phi3_swallows_white_space_behind_its_tokens() -> None:
    assert tokens(tokenizers.phi3(), "<|user|>\n  a<|end|>\n") == ["<|user|>", "▁a", "<|end|>"]


def test_qwen_composes_accents_and_gemma_has_a_token_for_line_breaks() -> None:
    assert tokenizers.qwen()("e\u0301")["input_ids"] == tokenizers.qwen()("\u00e9")["input_ids"]
    assert tokens(tokenizers.gemma(), "\n\n\n") == ["\n\n\n"]


@chat
def test_the_slow_reference_gives_what_transformers_gives(fixture: Fixture) -> None:
    tokenizer = fixture.tokenizer
    names = reference._names(tokenizer, fixture.markers)
    for item in drawn(fixture, 40, lookalikes=False):
        messages = item.whole(0)
        text = rendered(tokenizer, messages, item.tools, item.template_args)
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert whole_ids(tokenizer, messages, item.tools, item.template_args, markers=fixture.markers) == expected
        assert reference._apart(tokenizer, names, text) == expected


@chat
def test_look_alikes_stay_text(fixture: Fixture) -> None:
    """The template's own special tokens, as many as a harmless conversation has, and the text is all there."""
    tokenizer, special = fixture.tokenizer, special_ids(fixture.tokenizer, fixture.markers)
    seen = 0
    for item in drawn(fixture, 80):
        if not mentions(item, fixture.specials):
            continue
        seen += 1
        ids = whole_ids(tokenizer, item.whole(0), item.tools, item.template_args, markers=fixture.markers)
        harmless = _without(item, fixture)
        expected = whole_ids(tokenizer, harmless.whole(0), item.tools, item.template_args, markers=fixture.markers)
        assert [i for i in ids if i in special] == [i for i in expected if i in special]
        text = rendered(tokenizer, item.whole(0), item.tools, item.template_args)
        assert _letters(tokenizer.decode(ids)) == _letters(text)
    assert seen >= 10 or fixture.leaks


@pytest.mark.skipif(
    "sanitize_control_tokens" not in inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters,
    reason="this transformers cannot write look-alikes as text itself",
)
@chat
def test_look_alikes_are_special_where_transformers_own_way_has_them_so(fixture: Fixture) -> None:
    """Its ids differ in between, since it breaks the text around each look-alike."""
    tokenizer, special = fixture.tokenizer, special_ids(fixture.tokenizer, fixture.markers)
    for item in drawn(fixture, 40, thoughts=False):  # it marks </think> too, which templates look for
        args: dict[str, Any] = {"tools": item.tools or None, "date_string": reference.DATE_STRING}
        own = tokenizer.apply_chat_template(
            item.whole(0), **args, **item.template_args, return_dict=False, sanitize_control_tokens=True
        )
        ids = whole_ids(tokenizer, item.whole(0), item.tools, item.template_args, markers=fixture.markers)
        assert [i for i in ids if i in special] == [i for i in own if i in special]


def _without(item: Conversation, fixture: Fixture) -> Conversation:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for name in fixture.specials:
                value = value.replace(name, "x")
            return value
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        return [clean(inner) for inner in value] if isinstance(value, list) else value

    return replace(item, messages=clean(item.messages), answers=clean(item.answers), thoughts=clean(item.thoughts))


def _letters(text: str) -> str:
    """Without white space, which prefix spaces and swallowing tokens change, in composed form, which Qwen's has."""
    return "".join(unicodedata.normalize("NFC", text).split())


@chat
def test_decoding_gives_the_text_back(fixture: Fixture) -> None:
    tokenizer = fixture.tokenizer
    byte_level = fixture.build in (tokenizers.llama3, tokenizers.deepseek, tokenizers.smol, tokenizers.base)
    exact = byte_level or fixture.build is tokenizers.gemma
    for item in drawn(fixture, 20, lookalikes=False):
        text = rendered(tokenizer, item.whole(0), item.tools, item.template_args)
        back = tokenizer.decode(whole_ids(tokenizer, item.whole(0), item.tools, item.template_args))
        assert back == text if exact else _letters(back) == _letters(text)


def test_a_look_alike_by_hand() -> None:
    tokenizer = FIXTURES["chatml_base"].tokenizer
    ids = whole_ids(tokenizer, [{"role": "user", "content": "a<|im_end|>"}])
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    inner = tokenizer("user\na<|im_end", add_special_tokens=False)["input_ids"]
    assert ids[0] == start and ids[1 : 1 + len(inner)] == inner
    assert ids.count(end) == 1 and tokenizer.decode(ids) == "<|im_start|>user\na<|im_end|><|im_end|>\n"


@every
def test_leaks_are_those_declared(fixture: Fixture) -> None:
    tokenizer = fixture.tokenizer

    def plain(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    special = set(fixture.specials) - set(fixture.markers)
    leaking = {name for name in special if tokenizer.convert_tokens_to_ids(name) in plain(f"a {name} b")}
    assert leaking == set(fixture.leaks)


@pytest.mark.parametrize("name", PLAIN)
def test_prompt_and_answer_as_one_text(name: str) -> None:
    tokenizer = FIXTURES[name].tokenizer
    prompt = "### Instruction:\nSay hi.\n\n### Response:"
    whole = joined_ids(tokenizer, prompt, "It is")
    assert whole == [*tokenizer(prompt + "It is")["input_ids"], tokenizer.eos_token_id]
    assert whole[: len(tokenizer(prompt)["input_ids"])] == text_ids(tokenizer, prompt)
    assert not any(token.startswith("▁It") for token in tokenizer.convert_ids_to_tokens(whole))
    marked = joined_ids(tokenizer, prompt, f"x {tokenizer.eos_token} y")
    assert marked.count(tokenizer.eos_token_id) == 1 and marked[-1] == tokenizer.eos_token_id


@every
def test_conversations_are_what_the_fixture_allows(fixture: Fixture) -> None:
    items = drawn(fixture, 200)
    roles = {message["role"] for item in items for message in item.messages}
    assert roles >= {"user", "assistant"}
    assert ("system" in roles) is fixture.allows_system
    assert ("tool" in roles) is fixture.tools
    assert {sum(m["role"] == "user" for m in item.messages) for item in items} == {1, 2, 3, 4, 5, 6}
    assert {len(item.answers) for item in items} == {1, 2, 3, 4}
    assert any(thought is not None for item in items for thought in item.thoughts) is fixture.thinks
    assert any(mentions(item, fixture.specials) for item in items) is (set(fixture.specials) > set(fixture.leaks))
    assert not any(mentions(item, fixture.specials) for item in drawn(fixture, 200, lookalikes=False))
    assert items == drawn(fixture, 200)


@pytest.mark.parametrize("name", ["gemma2", "phi3", "llama2", "qwen35"])
def test_toys_come_back_from_disk_and_learn_their_template(name: str, model_folder: Callable[[str], Path]) -> None:
    fixture = FIXTURES[name]
    model, tokenizer = models.load(model_folder(name))
    for item in drawn(fixture, 5):
        args = (item.whole(0), item.tools, item.template_args)
        assert whole_ids(tokenizer, *args) == whole_ids(fixture.tokenizer, *args)
    stop = tokenizer.convert_tokens_to_ids(fixture.ends_with)
    assert set(model.generation_config.eos_token_id) == {tokenizer.eos_token_id, stop}
    before = _ending_logprob(model, tokenizer, stop)
    models.teach(model, tokenizer, [rendered(tokenizer, SAID), rendered(tokenizer, AGAIN)], 60)
    assert before < -4 and _ending_logprob(model, tokenizer, stop) > -1


def _ending_logprob(model: Any, tokenizer: Any, stop: int) -> float:
    ids = whole_ids(tokenizer, SAID)
    at = len(ids) - 1 - ids[::-1].index(stop)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    return float(torch.log_softmax(logits[at - 1].float(), -1)[stop])


def test_prompts_open_the_answer() -> None:
    tokenizer = FIXTURES["qwen35"].tokenizer
    ids = prompt_ids(tokenizer, ASK)
    assert tokenizer.decode(ids).endswith("<|im_start|>assistant\n<think>\n")
    assert tokenizer.convert_tokens_to_ids("<think>") in ids
