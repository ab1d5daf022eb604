"""Noise by key: the same everywhere, and Gumbel."""

import math

import torch

from tuna.inference.noise import gumbel, noise_key


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
