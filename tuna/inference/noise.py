"""Gumbel noise by key: the same (seed, instruction, sample, trial, step) gives the same numbers, whatever the batch.

argmax(logits / T + Gumbel noise) is a draw from softmax(logits / T). Drawing with noise that belongs to the sample, and
not to a generator's state, lets a collection stop and go on anywhere and still write the same file.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_GOLDEN = 0x9E3779B1


def noise_key(*parts: object) -> tuple[int, int]:
    """Two 32-bit words from what names a sample.

    >>> noise_key(0, "q1", 2, 0) == noise_key(0, "q1", 2, 0), noise_key(0, "q1", 2, 0) == noise_key(0, "q1", 20, 0)
    (True, False)
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finalizer on 32-bit words held in int64."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _LOW
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _LOW
    return x ^ (x >> 16)


def gumbel(
    keys: Sequence[tuple[int, int]] | Tensor, step: int, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard Gumbel noise.

    Args:
        keys: a key a row, [R, 2].
        step: which token of the sample.
        size: V.
        device: where the numbers are made; they are the same everywhere, but for the last bits of a logarithm.

    Returns:
        [R, V] float64.
    """
    key = torch.as_tensor(keys, dtype=torch.int64, device=device)
    column = torch.arange(size, dtype=torch.int64, device=device)
    row = _mix((key[:, :1] + step * _GOLDEN) & _LOW)
    bits = _mix((_mix(column ^ row) + key[:, 1:]) & _LOW)
    uniform = (bits.double() + 0.5) / (_LOW + 1)
    return -torch.log(-torch.log(uniform))
