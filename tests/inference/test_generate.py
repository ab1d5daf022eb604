"""Batched drawing equals the plain way: greedy as generate(), log-probabilities as a forward pass."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import chi2

from tests.training.make import write_model
from tuna.data.record import Record
from tuna.errors import ModelError
from tuna.inference import generate
from tuna.inference.generate import Draw, Generator, noise_key, pick, uniform
from tuna.models.source import ModelConfig


def test_the_numbers_are_fixed() -> None:
    made = uniform([(1, 2), (3, 4)], 5)
    assert made.tolist() == [[0.8067715408978984, 0.3494765245122835], [0.8501936910906807, 0.05362025566864759]]
    assert torch.equal(made[1:], uniform([(3, 4)], 5)) and not torch.equal(made, uniform([(1, 2), (3, 4)], 6))


def test_the_numbers_are_uniform_and_do_not_run_together() -> None:
    by_step = torch.cat([uniform([noise_key(k) for k in range(2000)], step) for step in range(8)], 1)
    by_key = torch.cat([uniform([noise_key(k) for k in range(16)], step) for step in range(1000)], 1).T
    for numbers in (by_step, by_key):  # [2000, 16]
        assert float(numbers.min()) > 0 and float(numbers.max()) < 1
        assert torch.allclose(numbers.mean(0), torch.tensor(0.5).double(), atol=0.03)
        assert torch.allclose(numbers.var(0), torch.tensor(1 / 12).double(), atol=0.01)
        assert float((torch.corrcoef(numbers.T) - torch.eye(16).double()).abs().max()) < 0.1


@pytest.mark.parametrize("heat", [0.5, 1.0, 1.5])
def test_draws_have_the_softmaxs_frequencies(heat: float) -> None:
    """Chi-square over 20,000 draws and 600 tokens, which are no whole number of groups."""
    count = 20_000
    logits = torch.randn(600, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([noise_key("draw", heat, k) for k in range(count)])
    hot = torch.full((count, 1), heat, dtype=torch.float64)
    seen = torch.zeros(600, dtype=torch.float64)
    for part in torch.arange(count).split(2000):
        ids, _ = pick(logits.expand(len(part), -1), hot[part], keys[part], 3)
        seen += torch.bincount(ids, minlength=600)
    expected = count * (logits.double() / heat).softmax(0)
    often = expected >= 5
    observed = torch.cat([seen[often], seen[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    assert len(expected) > 100
    assert chi2.sf(float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1) > 0.001


def test_a_row_without_heat_takes_the_likeliest_token_and_log_probabilities_are_at_temperature_1() -> None:
    logits = torch.randn(64, 300, generator=torch.Generator().manual_seed(1)).bfloat16()
    heat = torch.tensor([0.0, 0.7, 1.0, 1.3]).double().repeat(16)[:, None]
    ids, logprobs = pick(logits, heat, torch.tensor([noise_key(k) for k in range(64)]), 0)
    assert torch.equal(ids[::4], logits[::4].argmax(-1)) and not torch.equal(ids, logits.argmax(-1))
    plain = logits.double().log_softmax(-1).gather(1, ids[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("number", [2.0**-33, 0.5, 1 - 2.0**-33])
def test_a_token_of_probability_0_is_never_drawn(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "uniform", lambda keys, *_: torch.full((len(keys), 2), number, dtype=torch.float64))
    logits = torch.full((3, 1000), -math.inf)
    possible = torch.tensor([[0, 255], [256, 700], [511, 999]])
    logits.scatter_(1, possible, torch.tensor([[0.0, -30.0]]).expand(3, -1))
    for heat in (0.5, 1.0):
        ids, _ = pick(logits, torch.full((3, 1), heat).double(), torch.zeros(3, 2, dtype=torch.int64), 0)
        assert ((ids[:, None] == possible).any(1)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers_give_no_log_probability(value: float) -> None:
    logits = torch.zeros(2, 300)
    logits[1, 7] = value
    ids, logprobs = pick(logits, torch.ones(2, 1).double(), torch.tensor([[1, 2], [3, 4]]), 0)
    assert logprobs.isnan().tolist() == [False, True] and int(ids.max()) < 300


QUESTIONS = ["w5 w6", "w7", "w8 w9 w10 w11 w12", "w13 w14 w15"]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    torch.set_num_threads(1)
    folder = write_model(tmp_path_factory.mktemp("m") / "llama")
    return Generator(ModelConfig(str(folder), template="none"), max_tokens=12)


@pytest.fixture(scope="module")
def prompts(generator: Generator) -> list[list[int]]:
    return [generator.prompt(Record(str(n), text)) for n, text in enumerate(QUESTIONS)]


def test_greedy_is_generates(generator: Generator, prompts: list[list[int]]) -> None:
    drawn = generator.draw(prompts, [Draw(k, (0, 0), 0.0) for k in range(4)])
    for prompt, answer in zip(prompts, drawn, strict=True):
        ids = torch.tensor([prompt])
        plain: Any = generator.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        new = plain[0, len(prompt) :].tolist()
        assert answer.num_tokens == len(new)
        assert answer.text == generator.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert answer.finish_reason == ("stop" if new[-1] == 2 else "length")


def test_logprobs_are_those_of_a_forward_pass_and_do_not_depend_on_the_batch(
    generator: Generator, prompts: list[list[int]]
) -> None:
    draws = [Draw(k % 4, noise_key(k), 0.7 + 0.1 * k) for k in range(12)]
    together = generator.draw(prompts, draws)
    alone = [generator.draw(prompts, [draw])[0] for draw in draws]
    assert [a.text for a in together] == [a.text for a in alone]
    for draw, one, other in zip(draws, together, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        tokens = generator.encoder.tokens.ids(one.text).tolist() + [2] * (one.finish_reason == "stop")
        if len(tokens) != one.num_tokens:
            continue  # it drew a special token that the text does not show
        ids = torch.tensor([prompts[draw.prompt] + tokens])
        with torch.inference_mode():
            logprobs = generator.model(ids).logits[0, :-1].log_softmax(-1)
        start = len(prompts[draw.prompt]) - 1
        plain = sum(float(logprobs[start + k, token]) for k, token in enumerate(tokens))
        assert one.logprob == pytest.approx(plain, abs=1e-3)


def test_rows_that_end_early_change_nothing_for_the_others(generator: Generator, prompts: list[list[int]]) -> None:
    ending = Generator.__new__(Generator)
    ending.__dict__ |= generator.__dict__ | {"ends": {2, *range(20, 30)}}
    draws = [Draw(k % 4, noise_key("e", k), 1.0) for k in range(24)]
    together = ending.draw(prompts, draws)
    assert len({a.num_tokens for a in together}) > 5  # rows left the batch more than once
    for draw, answer in zip(draws, together, strict=True):
        alone = ending.draw(prompts, [draw])[0]
        assert (alone.text, alone.num_tokens) == (answer.text, answer.num_tokens)
        assert alone.logprob == pytest.approx(answer.logprob, abs=1e-4)


def test_the_first_token_has_the_models_frequencies(generator: Generator, prompts: list[list[int]]) -> None:
    count = 3000
    with torch.inference_mode():
        expected = generator.model(torch.tensor([prompts[0]])).logits[0, -1].softmax(-1)
    short = Generator.__new__(Generator)
    short.__dict__ |= generator.__dict__ | {"max_tokens": 1}
    drawn = short.draw(prompts, [Draw(0, noise_key("f", k), 1.0) for k in range(count)])
    top = 4 + int(expected[4:].argmax())  # a word
    word = generator.tokenizer.decode([top])
    share = sum(a.text == word for a in drawn) / count
    assert share == pytest.approx(float(expected[top]), abs=4 * (0.25 / count) ** 0.5)


def test_a_prompt_beyond_the_positions(generator: Generator) -> None:
    long = Record("x", " ".join(["w5"] * 300))
    assert len(generator.prompt(long)) <= 128 - 12
    with pytest.raises(ModelError, match="does not fit"):
        generator.prompt(long, cut=False)
    answer = generator.draw([generator.prompt(long)], [Draw(0, (1, 2), 1.0)])[0]
    assert answer.num_tokens is not None and answer.num_tokens <= 12
