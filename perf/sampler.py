"""The sampler against the former one: a Gumbel number for each token of the vocabulary, and rows that have ended leave
when half of the batch has.

``python -m perf.sampler MODEL`` has both answer the same prompts in turn, and prints the answers per second of each and
the median ratio. ``--draws 20000`` first holds that many draws of one token against the exact softmax by a chi-square
test, at temperatures 0.5, 1 and 1.5; ``--shapes 1000`` counts draws that are others in a batch of another shape.
"""

import argparse
import statistics
import time
from typing import Any
from unittest.mock import patch

import torch
from scipy.stats import chi2
from torch import Tensor

from tuna.inference import generate
from tuna.inference.generate import Draw, Generator, noise_key, pick
from tuna.models.source import ModelConfig
from tuna.ranking.settings import Settings

_LOW = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _LOW
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _LOW
    return x ^ (x >> 16)


def former_pick(logits: Tensor, temperature: Tensor, keys: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """What ``pick`` was: the largest of logits / T + Gumbel noise, its log-probability by a softmax of its own."""
    column = torch.arange(logits.shape[-1], dtype=torch.int64, device=logits.device)
    row = _mix((keys[:, :1] + step * 0x9E3779B1) & _LOW)
    bits = _mix((_mix(column ^ row) + keys[:, 1:]) & _LOW)
    noise = -torch.log(-torch.log((bits.double() + 0.5) / (_LOW + 1)))
    scaled = logits.double() / temperature.clamp(min=1e-8)
    ids = torch.where(temperature > 0, scaled + noise, logits.double()).argmax(-1)
    return ids, logits.double().log_softmax(-1).gather(1, ids[:, None]).squeeze(1)


def speed(generator: Generator, prompts: list[list[int]], pairs: int) -> None:
    """Four answers per prompt by both, in turn; the first pair warms up."""
    former: dict[str, Any] = {"pick": former_pick, "LEAVING": 0.5}
    versions = {"former": former, "now": {name: getattr(generate, name) for name in former}}
    ratios: list[tuple[float, float]] = []
    for pair in range(pairs + 1):
        draws = [Draw(k // 4, noise_key("speed", pair, k), 1.0) for k in range(4 * len(prompts))]
        rates, costs = {}, {}
        for name, how in versions.items():
            start, worked = time.perf_counter(), time.process_time()
            with patch.multiple(generate, **how):
                tokens = sum(a.num_tokens or 0 for a in generator.draw(prompts, draws))
            rates[name] = len(draws) / (time.perf_counter() - start)
            costs[name] = (time.process_time() - worked) / tokens
            print(f"{name:>7}: {rates[name]:.3f} answers/s, {tokens} tokens of {1000 * costs[name]:.2f} ms CPU each")
        ratios.append((rates["now"] / rates["former"], costs["former"] / costs["now"]))
    for title, found in zip(
        ("answers per second", "tokens per CPU second"), zip(*ratios[1:], strict=True), strict=True
    ):
        median, least, most = statistics.median(found), min(found), max(found)
        print(f"{title}: {median:.2f} times the former, median of {pairs} pairs ({least:.2f} to {most:.2f})")


@torch.inference_mode()
def other_shapes(generator: Generator, prompts: list[list[int]], count: int) -> None:
    """How many of ``count`` draws per prompt are other tokens where the prompts share a batch or stand alone."""
    together = generator._prefill(prompts)[0]
    alone = torch.cat([generator._prefill([prompt])[0] for prompt in prompts])
    one = torch.ones(len(prompts), 1, dtype=torch.float64)
    changed = {"former": 0, "now": 0}
    for name, how in (("former", former_pick), ("now", pick)):
        for k in range(count):
            keys = torch.tensor([noise_key("shape", n, k) for n in range(len(prompts))])
            changed[name] += int((how(together, one, keys, k)[0] != how(alone, one, keys, k)[0]).sum())
    shift = float((together - alone).abs().max())
    print(
        f"another batch shape (logits differ by {shift:.1e} at most): {changed} of {count * len(prompts)} draws differ"
    )


@torch.inference_mode()
def chi_square(generator: Generator, prompt: list[int], count: int) -> None:
    """Observed and expected numbers of first tokens; those expected fewer than 5 times are counted together."""
    logits = generator._prefill([prompt])[0]
    for heat in (0.5, 1.0, 1.5):
        share = (logits[0].double() / heat).softmax(-1)
        seen = torch.zeros_like(share)
        for at in range(0, count, 500):
            keys = torch.tensor([noise_key("chi", heat, k) for k in range(at, min(at + 500, count))])
            rows = logits.expand(len(keys), -1)
            ids, _ = pick(rows, torch.full((len(keys), 1), heat, dtype=torch.float64), keys, 0)
            seen += torch.bincount(ids, minlength=len(share))
        often = count * share >= 5
        observed = torch.cat([seen[often], seen[~often].sum()[None]])
        expected = torch.cat([count * share[often], count * share[~often].sum()[None]])
        statistic = float(((observed - expected) ** 2 / expected).sum())
        free = len(expected) - 1
        found = f"chi-square {statistic:.1f} with {free} degrees of freedom, p = {chi2.sf(statistic, free):.3f}"
        print(f"temperature {heat}: {count} draws of {len(share)} tokens, {found}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--shapes", type=int, default=0, help="draws per prompt in another batch shape")
    parser.add_argument("--draws", type=int, default=0, help="draws of the chi-square test")
    options = parser.parse_args()
    generator = Generator(ModelConfig(options.model), max_tokens=options.max_tokens)
    prompts = [generator.prompt(record) for record in Settings(first=options.prompts).instructions().records]
    if options.draws:
        chi_square(generator, prompts[0], options.draws)
    if options.shapes:
        other_shapes(generator, prompts, options.shapes)
    if options.pairs:
        speed(generator, prompts, options.pairs)


if __name__ == "__main__":
    main()
