"""Baselines of lists worked by hand."""

import numpy as np

from tuna.data.baselines import baselines
from tuna.data.batch import Group


def _group(sizes: list[int], scores: list[float]) -> Group:
    responses = tuple(np.ones(size, np.int32) for size in sizes)
    return Group("0", np.ones(1, np.int32), responses, tuple(scores), (False,) * len(sizes))


def test_length_by_hand_and_chance_near_a_half() -> None:
    # The longer is better in both pairs of the first, one of three right in the second; the third is all tied.
    groups = [_group([3, 2, 9], [2, 1, float("nan")]), _group([1, 2, 2], [3, 2, 1]), _group([1, 2], [0, 0])]
    found = baselines(groups)
    assert found["length"].mean == (1 + (0 + 0 + 0.5) / 3) / 2
    assert found["length"].lists == 2
    many = [_group([1, 1], [1, 0]) for _ in range(600)]
    chance = baselines(many)["random"]
    assert abs(chance.mean - 0.5) < 0.01
    # One pair a list: the mean of 600 fair coins has a standard deviation of 0.5 / sqrt(600) = 0.0204.
    assert abs(chance.high - chance.low - 2 * 1.96 * 0.0204) < 0.02
