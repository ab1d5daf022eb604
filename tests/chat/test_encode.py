"""The invariant: what is drawn, scored and trained on has transformers' own ids, and one log-probability.

Random conversations of every fixture; see tests.chat.conversations and tests.chat.reference.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from tests.chat import reference
from tests.chat.conversations import Conversation, conversation
from tests.chat.templates import CHAT, FIXTURES, PLAIN
from tuna.data.encode import Encoder
from tuna.data.fields import FieldError
from tuna.data.lists import Answer, AnswerList
from tuna.data.messages import asked
from tuna.data.packing import pack
from tuna.data.record import Record
from tuna.data.tokenize import tokenize
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.generate import Draw, Generator, noise_key
from tuna.inference.score import score_answers
from tuna.inference.store import Store
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig

CONVERSATIONS = 160  # per fixture, some 2.5 answers each: over 5,000 in all


def record_of(number: int, talk: Conversation) -> Record:
    return Record(str(number), where=f"talk:{number}", **asked(talk.messages, talk.tools))


class Encoders:
    """One encoder for each set of template arguments."""

    def __init__(self, name: str) -> None:
        self.name, self.made = name, dict[str, Encoder]()

    def of(self, talk: Conversation) -> Encoder:
        key = repr(sorted(talk.template_args.items()))
        if key not in self.made:
            self.made[key] = Encoder(FIXTURES[self.name].tokenizer, "auto", talk.template_args)
        return self.made[key]


@pytest.mark.parametrize("name", CHAT)
def test_ids_are_those_of_transformers_own_template(name: str) -> None:
    fixture, rng, encoders, seen = FIXTURES[name], Random(name), Encoders(name), 0
    special = reference.special_ids(fixture.tokenizer, fixture.markers)
    for number in range(CONVERSATIONS):
        talk = conversation(rng, fixture)
        encoder = encoders.of(talk)
        answers = [Answer(text, reasoning=said) for text, said in zip(talk.answers, talk.thoughts, strict=True)]
        written = encoder.write(record_of(number, talk), answers)
        encoded = encoder.encode(written)
        given = reference.prompt_ids(
            fixture.tokenizer, talk.messages, talk.tools, talk.template_args, markers=fixture.markers
        )
        assert encoder.prompt(written.record).tolist() == given
        for k, (response, scored) in enumerate(zip(encoded.responses, encoded.scored, strict=True)):
            whole = [*encoded.prompt.tolist(), *response.tolist()]
            assert whole == reference.whole_ids(
                fixture.tokenizer, talk.whole(k), talk.tools, talk.template_args, markers=fixture.markers
            )
            # What is scored begins where the prompt in use and the conversation part, and ends with the turn's end.
            first = len(encoded.prompt) + int(scored.argmax())
            assert whole[:first] == given[:first] and (len(given) == first or whole[first] != given[first])
            last = len(encoded.prompt) + max(at for at, own in enumerate(scored) if own)
            assert fixture.tokenizer.convert_ids_to_tokens(whole[last]) == fixture.ends_with
            assert not special & set(whole[first:last])
            seen += 1
    assert seen > 2 * CONVERSATIONS


@pytest.mark.parametrize("name", PLAIN)
def test_without_a_chat_template_prompt_and_answer_are_one_text(name: str) -> None:
    fixture, rng = FIXTURES[name], Random(name)
    encoder = Encoder(fixture.tokenizer)
    for number in range(CONVERSATIONS):
        talk = conversation(rng, fixture, system=False)
        record = Record(str(number), talk.messages[-1]["content"])
        encoded = encoder.encode(encoder.write(record, [Answer(text) for text in talk.answers]))
        for text, response in zip(talk.answers, encoded.responses, strict=True):
            whole = [*encoded.prompt.tolist(), *response.tolist()]
            assert whole == reference.joined_ids(fixture.tokenizer, encoder.text(record), text)


@pytest.mark.parametrize("count", [6, pytest.param(24, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("name", FIXTURES)
def test_drawn_scored_and_trained_log_probabilities_are_equal(
    name: str, count: int, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    fixture, rng = FIXTURES[name], Random(name)
    node = ModelConfig(str(model_folder(name)))
    talks = [conversation(rng, fixture, system=None if name in CHAT else False) for _ in range(count)]
    records = [
        record_of(n, talk) if name in CHAT else Record(str(n), talk.messages[-1]["content"])
        for n, talk in enumerate(talks)
    ]
    generator = Generator(node, max_tokens=12)
    prompts = [generator.prompt(record) for record in records]
    draws = [Draw(n, noise_key(n, k), 1.0) for n in range(count) for k in range(12)]
    flat = generator.draw(prompts, draws)
    drawn = generator.as_written(records, [flat[12 * n : 12 * n + 12] for n in range(count)])
    with Store(tmp_path / "store") as store:
        context = Context(store, Budget(store.journal("requests")), Prices())
        scored = score_answers(node, records, drawn, context, row_tokens=2048)
    encoder, scorer, compared = node.encoder(), load_scorer(node).eval(), 0
    for n, record in enumerate(records):
        texts = tuple(Answer(a.text, a.finish_reason == "stop", float(k)) for k, a in enumerate(drawn[n]))
        (group,) = (group for _, group in tokenize([AnswerList(record, texts)], encoder, 4096, ranked=True)[0])
        with torch.inference_mode():
            trained = scorer(pack([group], row_tokens=2048)).tolist()
        by_score = {score: (v, size) for score, v, size in zip(group.scores, trained, group.lengths, strict=True)}
        for k, (one, other) in enumerate(zip(drawn[n], scored[n], strict=True)):
            if other.refused or k not in by_score:
                continue  # an empty answer, or one that is drawn twice
            value, size = by_score[k]
            assert one.num_tokens == other.num_tokens == size
            assert one.logprob == pytest.approx(value, rel=1e-4, abs=1e-3)
            assert other.logprob == pytest.approx(value, rel=1e-4, abs=1e-3)
            compared += 1
    assert compared > 8 * count


def test_a_turn_that_is_shown_otherwise_later_is_refused() -> None:
    """Mistral's system prompt moves into the last user turn, so the first answer was given without it."""
    encoder = Encoder(FIXTURES["mistral"].tokenizer)
    turns = [("system", "Be kind."), ("user", "One?"), ("assistant", "Uno."), ("user", "Two?")]
    record = Record("0", **asked([{"role": role, "content": content} for role, content in turns]))
    with pytest.raises(FieldError, match="writes earlier ones otherwise once an answer follows"):
        encoder.encode(encoder.write(record, [Answer("Dos.")]), turns=True)


@pytest.mark.parametrize("name", ["llama3", "gemma2", "qwen3", "chatml_base", "phi3", "deepseek_r1", "zephyr"])
def test_all_assistant_turns_are_scored_from_opening_to_end(name: str) -> None:
    fixture = FIXTURES[name]
    encoder = Encoder(fixture.tokenizer)
    turns = [("user", "One?"), ("assistant", "Uno."), ("user", "Two?"), ("assistant", "Dos."), ("user", "Three?")]
    record = Record("0", **asked([{"role": role, "content": content} for role, content in turns]))
    encoded = encoder.encode(encoder.write(record, [Answer("Tres.")]), turns=True)
    ids, mask = encoded.responses[0], encoded.scored[0]
    parts, part = [], list[int]()
    for token, own in [*zip(ids.tolist(), mask.tolist(), strict=True), (0, False)]:
        if own:
            part.append(token)
        elif part:
            parts.append(fixture.tokenizer.decode(part))
            part = []
    empty_thought = "<think>\n\n</think>\n\n" if name == "qwen3" else ""
    last = empty_thought + "Tres."
    assert [text.strip() for text in parts] == [said + fixture.ends_with for said in ("Uno.", "Dos.", last)]


def test_leading_white_space_that_joins_the_opening_is_scored_with_the_answer() -> None:
    """The opening ends in a line break; blank lines in front of the answer are one token with it."""
    tokenizer = FIXTURES["chatml_base"].tokenizer
    encoder = Encoder(tokenizer)
    record = Record("0", "Name a tree.")
    encoded = encoder.encode(encoder.write(record, [Answer("\n\nAn oak."), Answer("An elm.")]))
    given = encoder.prompt(record)
    assert encoded.prompt.tolist() == given.tolist()[:-1]
    assert [int(mask.argmax()) for mask in encoded.scored] == [0, 1]
    assert encoded.responses[1][0] == given[-1]


def test_a_cut_answer_has_no_ending_and_equals_the_beginning_of_the_whole() -> None:
    for name in CHAT:
        encoder = Encoder(FIXTURES[name].tokenizer)
        record = Record("0", "Name a tree.")
        cut, whole = encoder.encode(encoder.write(record, [Answer("An oak", False), Answer("An oak")])).responses
        assert whole.tolist()[: len(cut)] == cut.tolist()
        assert not set(cut[-1:].tolist()) & encoder.ends and set(whole.tolist()) & encoder.ends


def _with_template(template: str, *, ends: str = "<|im_end|>", **flags: bool) -> Any:
    """The ChatML tokenizer under another template; flags of the token that ends turns."""
    tokenizer = deepcopy(FIXTURES["chatml_base"].build())
    tokenizer.chat_template = template
    if flags:
        tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(ends, special=True, **flags)]})
    return tokenizer


TALK = Record(
    "0", **asked([{"role": r, "content": c} for r, c in (("user", "One?"), ("assistant", "Uno."), ("user", "Two?"))])
)


@pytest.mark.parametrize(
    "template",
    [
        # Earlier answers end in another token than the last; in nothing; at the end of all turns alone.
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if loop.last and m.role == 'assistant' %}"
        "<|im_end|>{% else %}<|endoftext|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% endif %}",
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}{% if add_generation_prompt %}"
        "<|im_start|>assistant\n{% else %}<|im_end|>{% endif %}",
    ],
)
def test_no_other_turn_is_ever_a_target(template: str) -> None:
    encoder = Encoder(_with_template(template))
    try:
        encoded = encoder.encode(encoder.write(TALK, [Answer("Dos.")]), turns=True)
    except FieldError as error:
        assert "targets=last" in str(error)
        return
    (ids,), (mask,) = encoded.responses, encoded.scored
    said = encoder.tokenizer.decode(ids[mask])
    assert "Dos." in said and "user" not in said and "Two" not in said


def test_an_ending_that_takes_white_space_before_it_is_the_ending_once() -> None:
    tokenizer = _with_template(FIXTURES["chatml_base"].template or "", lstrip=True, rstrip=True)
    encoder = Encoder(tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in encoder.ends
    encoded = encoder.encode(encoder.write(Record("0", "One?"), [Answer("Uno. ")]))
    whole = [*encoded.prompt.tolist(), *encoded.responses[0].tolist()]
    messages = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Uno. "}]
    assert whole == tokenizer.apply_chat_template(messages, return_dict=False)
    assert encoded.responses[0][encoded.scored[0]].tolist().count(end) == 1


def test_a_turn_of_weight_nothing_is_no_target() -> None:
    turns = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in TALK.messages]
    tokenizer = FIXTURES["gemma3"].tokenizer
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(encoder.write(Record("0", **asked(turns)), [Answer("Dos.")]), turns=True)
    text = tokenizer.decode(encoded.responses[0][encoded.scored[0]])
    assert "Uno" not in text and "Dos." in text


def test_the_newest_turns_stay_where_a_conversation_is_too_long() -> None:
    encoder = Encoder(FIXTURES["gemma3"].tokenizer)
    turns = [(role, f"{number} word word word word") for number in range(6) for role in ("user", "assistant")]
    record = Record("0", **asked([{"role": r, "content": c} for r, c in (*turns, ("user", "Last?"))]))
    groups, counts = tokenize(
        [AnswerList(record, (Answer("The very end.", target=True),))], encoder, 80, ranked=False, turns=True
    )
    ((_, group),) = groups
    assert counts.shortened == 1 and len(group.prompt) + len(group.responses[0]) <= 80
    text = encoder.tokenizer.decode(group.responses[0][group.masks[0]])
    assert "The very end." in text and "5 word" in text and "0 word" not in text
