"""Where a model that only answers or scores is put."""

import torch


def device_named(name: str) -> torch.device:
    """The device of a config's ``device`` key: auto is CUDA where there is one, else the CPU.

    >>> device_named("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
