"""Ids are joined, never re-tokenized; special tokens stand once; what is too long is cut where it may be."""

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.data.make import tokenizer
from tuna.data.batch import Group
from tuna.data.encode import Encoder
from tuna.data.lists import Answer, AnswerList, ranked_list
from tuna.data.record import Candidate, Record
from tuna.data.templates import alpaca
from tuna.data.tokenize import Counts, tokenize
from tuna.errors import ConfigError, ModelError

EOS = 2


def _run(
    *lists: AnswerList, max_length: int = 512, tok: Any = None, template: str = "alpaca", ranked: bool = True
) -> tuple[list[Group], Counts]:
    tok = tok or tokenizer()
    groups, counts = tokenize(lists, Encoder(tok, template), max_length, ranked=ranked)
    return [group for _, group in groups], counts


def _list(instruction: str, *answers: Answer, given: str = "") -> AnswerList:
    return AnswerList(Record("0", instruction, given), answers)


def _plain(tok: Any, text: str) -> list[int]:
    return list(tok(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("bos", [False, True])
def test_ids_are_those_of_the_parts(bos: bool) -> None:
    tok = tokenizer(bos=bos)
    (group,), _ = _run(_list("Say it.", Answer("one", score=1.0), Answer(" two", score=0.0)), tok=tok)
    prompt = alpaca(Record("0", "Say it.")).text
    assert group.prompt.tolist() == [1] * bos + _plain(tok, prompt)
    for text, response in zip(["one", " two"], group.responses, strict=True):
        assert [*group.prompt, *response] == [1] * bos + [*_plain(tok, prompt + text), EOS]
    assert all(mask.all() for mask in group.scored)
    assert (group.scores, group.targets) == ((1.0, 0.0), (False, False))
    assert group.prompt.dtype == group.responses[0].dtype == np.int32


def test_special_tokens_are_never_doubled_and_never_invented() -> None:
    answers = [Answer("a</s>", score=1.0), Answer("b", complete=False, score=0.0), Answer("c", score=0.5)]
    (group,), counts = _run(_list("Say it.", *answers))
    assert [r.tolist().count(EOS) for r in group.responses] == [1, 0, 1]
    assert counts.cut == 0
    finished = AnswerList(Record("0", "<s>Say it.", template="none"), tuple(answers))
    (group,), _ = _run(finished, tok=tokenizer(bos=True))
    assert group.prompt.tolist().count(1) == 1


def test_a_chat_template_writes_its_own_beginning() -> None:
    tok = tokenizer(bos=True, chat=True)
    (group,), _ = _run(_list("Say it.", Answer("a", score=1.0), Answer("b", score=0.0)), tok=tok, template="auto")
    messages = [{"role": "user", "content": "Say it."}]
    for text, response in zip("ab", group.responses, strict=True):
        own = tok.apply_chat_template([*messages, {"role": "assistant", "content": text}], return_dict=False)
        assert [*group.prompt, *response] == own


def test_padding_may_be_the_end_of_sequence() -> None:
    one, _ = _run(_list("Say it.", Answer("a", score=1.0), Answer("b", score=0.0)), tok=tokenizer(pad_is_eos=True))
    two, _ = _run(_list("Say it.", Answer("a", score=1.0), Answer("b", score=0.0)))
    assert [r.tolist() for r in one[0].responses] == [r.tolist() for r in two[0].responses]


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tok = tokenizer()
    tok.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        Encoder(tok)


def test_long_prompts_lose_input_first_and_never_the_templates_words() -> None:
    tok = tokenizer()
    answers = (Answer("a b c", score=1.0), Answer("d", score=0.0))
    size = len(_plain(tok, alpaca(Record("0", "Say it.", "x")).text)) + 20
    (group,), counts = _run(_list("Say it.", *answers, given="word " * 200), max_length=size)
    text = tok.decode(group.prompt)
    assert "### Instruction:\nSay it.\n\n### Input:\nword w" in text and text.endswith("\n\n### Response:")
    assert counts.shortened == 1 and counts.cut == 0
    assert len(group.prompt) == size - 5 - 1 or len(group.prompt) <= size - len(group.responses[0])
    (group,), _ = _run(_list("first " * 200, *answers, given="word " * 200), max_length=size)
    text = tok.decode(group.prompt)
    assert "word" not in text and "### Instruction:\nfirst first" in text
    assert text.endswith("\n\n### Response:") and "### Input" not in text


def test_responses_are_cut_to_what_the_prompt_leaves() -> None:
    tok = tokenizer()
    long = Answer("one two three four " * 60, score=1.0)
    (group,), counts = _run(_list("Say it.", long, Answer("d", score=0.0)), max_length=128)
    assert len(group.prompt) + len(group.responses[0]) == 128
    assert group.responses[0].tolist() == _plain(tok, long.text)[: len(group.responses[0])]
    assert group.responses[1].tolist() == [*_plain(tok, "d"), EOS]
    assert (counts.cut, counts.shortened) == (1, 0)


def test_the_prompt_may_take_half_at_most_where_responses_are_long() -> None:
    long = Answer("one two three four " * 60, score=1.0)
    item = _list("word " * 300, long, Answer("d", score=0.0))
    (group,), _ = _run(item, max_length=200)
    assert 95 <= len(group.prompt) <= 100
    assert len(group.prompt) + len(group.responses[0]) == 200


def test_what_cutting_makes_equal_is_one_response() -> None:
    start = "one two three four " * 60
    answers = (Answer(start + "a", score=1.0), Answer(start + "b", score=2.0), Answer("c", score=0.0))
    (group,), counts = _run(_list("Say it.", *answers), max_length=128)
    assert group.scores == (2.0, 0.0)
    assert counts.dropped == {"duplicate response after cutting": 1}
    groups, counts = _run(_list("Say it.", *answers[:2]), max_length=128)
    assert not groups and counts.dropped["list with fewer than two responses"] == 1


def test_only_a_template_that_does_not_fit_is_an_error() -> None:
    tok = tokenizer()
    answers = (Answer("a", score=1.0), Answer("b", score=0.0))
    words = len(_plain(tok, alpaca(Record("0", "")).text))
    (group,), _ = _run(_list("word " * 50, *answers), max_length=words + 1)
    assert len(group.prompt) == words
    with pytest.raises(ConfigError, match=f"max_length: expected more than the {words} tokens of the template"):
        _run(_list("word " * 50, *answers), max_length=words)


def test_an_empty_prompt_is_dropped() -> None:
    item = AnswerList(Record("0", "", template="none"), (Answer("a", target=True),))
    groups, counts = _run(item, ranked=False)
    assert not groups and counts.dropped == {"empty prompt": 1}


@pytest.mark.parametrize("seed", range(15))
def test_random_lists_keep_every_promise(seed: int) -> None:
    rng = random.Random(seed)
    tok = tokenizer(bos=seed % 2 == 0)
    words = ["one", "two", "ü", "###", "\n", "four", "\u4f60", "response"]

    def text(most: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, most)))

    lists = []
    for n in range(6):
        candidates = tuple(
            Candidate(text(60), float(rng.randint(0, 2)), finish_reason=rng.choice(["stop", "length"]))
            for _ in range(rng.randint(2, 8))
        )
        record = Record(str(n), text(40), rng.choice(["", text(80)]), text(40), candidates)
        found = ranked_list(record, Counter())
        if found is not None:
            lists.append(found)
    limit = rng.randint(80, 200)
    groups, _ = _run(*lists, max_length=limit, tok=tok)
    by_id = {item.record.id: item for item in lists}
    for group in groups:
        prompt = tok.decode(group.prompt[1:] if seed % 2 == 0 else group.prompt)
        assert prompt.startswith("Below is an instruction") and prompt.endswith("\n\n### Response:")
        assert len(group.prompt) + max(map(len, group.responses)) <= limit
        assert sum(score == score for score in group.scores) >= 2
        whole = {tuple(_plain(tok, a.text)): a for a in by_id[group.id].answers}
        for ids, score in zip(group.responses, group.scores, strict=True):
            bare = tuple(ids[:-1] if ids[-1] == EOS else ids)
            match = [a for full, a in whole.items() if full[: len(bare)] == bare]
            assert any(a.score == score or (math.isnan(a.score) and math.isnan(score)) for a in match)
            if ids[-1] == EOS:
                assert any(tuple(_plain(tok, a.text)) == bare and a.complete for a in by_id[group.id].answers)
