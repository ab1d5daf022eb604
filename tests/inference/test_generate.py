"""Batched drawing equals the plain way: greedy as generate(), log-probabilities as a forward pass."""

import math
from typing import Any

import pytest
import torch

from tests.training.make import write_model
from tuna.data.record import Record
from tuna.errors import ModelError
from tuna.inference.generate import Draw, Generator, gumbel, noise_key
from tuna.models.source import ModelConfig


def test_the_numbers_are_fixed() -> None:
    made = gumbel([(1, 2), (3, 4)], 5, 4)
    again = gumbel([(3, 4)], 5, 9)
    torch.testing.assert_close(made[1], again[0, :4], rtol=1e-12, atol=1e-12)  # a logarithm's last bits may differ
    assert not torch.equal(made, gumbel([(1, 2), (3, 4)], 6, 4))


def test_mean_and_variance_are_gumbels() -> None:
    sample = gumbel([noise_key(k) for k in range(50)], 0, 4000)
    assert abs(float(sample.mean()) - 0.5772) < 0.01
    assert abs(float(sample.var()) - math.pi**2 / 6) < 0.03


def test_argmax_draws_from_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)
    keys = torch.tensor([noise_key("draw", k) for k in range(20_000)])
    share = torch.bincount((logits + gumbel(keys, 3, 4)).argmax(1), minlength=4) / 20_000
    assert torch.allclose(share.double(), logits.softmax(0), atol=0.012)


def test_steps_and_keys_do_not_run_together() -> None:
    rows = [gumbel([noise_key(k)], step, 2000)[0] for k in range(4) for step in range(4)]
    correlation = torch.corrcoef(torch.stack(rows)) - torch.eye(16, dtype=torch.float64)
    assert float(correlation.abs().max()) < 0.1


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
