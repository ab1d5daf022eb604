"""Keeps libraries from talking over the run's own lines; what they warn of is known and handled here."""

import logging
import os
import warnings

from transformers.utils.logging import disable_progress_bar


def quiet() -> None:
    """Silence tips, adverts and warnings about choices that are deliberate."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("lightning.pytorch", "lightning.fabric", "torch.distributed", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    disable_progress_bar()
    for message in (
        r".*does not have many workers.*",  # batches are made from tokens in memory
        r".*The number of training batches .* is smaller than the logging interval.*",
        r".*GPU available but not used.*",
        r".*`gradient_checkpointing_enable` is deprecated.*",  # the new name is not in all supported versions
        r".*is an instance of `nn.Module` and is already saved.*",
        r".*Trying to infer the `batch_size`.*",
        r".*isinstance\(treespec, LeafSpec\).*",
        r".*`torch.jit.*` is deprecated.*",
        r".*experimental feature.*ModelParallelStrategy.*",
        r".*It is recommended to use `self.log\(.*sync_dist=True.*",  # the meter has summed over processes
        r".*torch.distributed is disabled, unavailable or uninitialized.*",  # one process saves its checkpoint alone
    ):
        warnings.filterwarnings("ignore", message=message)
