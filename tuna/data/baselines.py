"""What anyone gets without a model: pair_accuracy of "longer is better" and of chance, with bootstrap intervals."""

from collections.abc import Sequence

import numpy as np

from tuna.data.batch import Group
from tuna.data.ranking import pair_accuracy
from tuna.stats import Interval, bootstrap_interval

_DRAWS = 200


def baselines(groups: Sequence[Group], seed: int = 0) -> dict[str, Interval]:
    """Intervals of pair_accuracy over ``groups`` by name: "length" (in tokens, longer is better) and "random".

    "random" is the mean over many draws (chance itself is 0.5) and the range in which 95% of them fall: how far chance
    alone strays on this many lists.
    """
    scores = [np.array(group.scores) for group in groups]
    lengths = [np.array([len(r) for r in group.responses], float) for group in groups]
    generator = np.random.default_rng(seed)
    length = bootstrap_interval(pair_accuracy(lengths, scores), seed)
    draws = [
        float(np.nanmean(pair_accuracy([generator.random(len(values)) for values in scores], scores)))
        for _ in range(_DRAWS if length.lists else 0)
    ]
    low, mean, high = (np.quantile(draws, 0.025), np.mean(draws), np.quantile(draws, 0.975)) if draws else (np.nan,) * 3
    return {"length": length, "random": Interval(float(mean), float(low), float(high), length.lists)}
