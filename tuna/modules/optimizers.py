"""Optimizers, the config group ``optimizer``. Learning rate and weight decay, betas and eps are the module's keys."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.models.quantized import EXTRA


@dataclass(frozen=True, slots=True)
class Rates:
    """What a module says of its optimizer. fused: one kernel for a whole step may be used."""

    lr: float
    weight_decay: float
    betas: tuple[float, float]
    eps: float
    fused: bool = True


class Optimizer(ABC):
    """One file and one YAML make another; it is built once per run, over what trains."""

    @abstractmethod
    def build(self, parameters: Sequence[nn.Parameter], rates: Rates) -> torch.optim.Optimizer:
        """The optimizer over ``parameters``; its state has to be tensors and numbers per parameter."""

    @abstractmethod
    def state_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of its state for a float32 parameter of this shape."""

    def check(self, *, sharded: bool) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse (ConfigError), before weights load, what it cannot do here. sharded: over several processes."""


class AdamW(Optimizer):
    """torch's AdamW, two float32 moments per parameter (Loshchilov and Hutter, arXiv 1711.05101)."""

    def build(self, parameters: Sequence[nn.Parameter], rates: Rates) -> torch.optim.Optimizer:
        """See Optimizer."""
        return torch.optim.AdamW(
            parameters, rates.lr, rates.betas, rates.eps, rates.weight_decay, fused=rates.fused
        )  # fmt: skip

    def state_bytes(self, shape: Sequence[int]) -> int:
        """See Optimizer."""
        return 8 * prod(shape)


@checked
@dataclass(frozen=True)
class AdamW8bit(Optimizer):
    """bitsandbytes' AdamW, whose moments are 8 bits with a scale per 256 (Dettmers et al., arXiv 2110.02861).

    min_size: numbers below which a tensor's moments stay float32. paged: let moments move to the host's memory where a
    GPU's runs out. Raises: ConfigError where bitsandbytes is not installed, or sharded.
    """

    min_size: Annotated[int, Ge(0)] = 4096
    paged: bool = False

    def check(self, *, sharded: bool) -> None:
        """See Optimizer."""
        _one_process("adamw_8bit", sharded)
        try:
            import bitsandbytes  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"optimizer: adamw_8bit needs bitsandbytes ({error}); next: {EXTRA}, or optimizer=adamw"
            ) from error

    def build(self, parameters: Sequence[nn.Parameter], rates: Rates) -> torch.optim.Optimizer:
        """See Optimizer."""
        import bitsandbytes

        class Plain(bitsandbytes.optim.AdamW8bit):  # type: ignore[misc]  # untyped
            state_dict = torch.optim.Optimizer.state_dict  # its own hides the moments from torch's checkpoints

        made: Any = Plain(
            parameters, rates.lr, rates.betas, rates.eps, rates.weight_decay, min_8bit_size=self.min_size,
            is_paged=self.paged,
        )  # fmt: skip
        return made  # type: ignore[no-any-return]

    def state_bytes(self, shape: Sequence[int]) -> int:
        """See Optimizer."""
        numbers = prod(shape)
        return 8 * numbers if numbers < self.min_size else 2 * (numbers + 4 * ceil(numbers / 256)) + 2048


@checked
@dataclass(frozen=True)
class Adafactor(Optimizer):
    """transformers' Adafactor: of a matrix, second moments per row and column alone (Shazeer and Stern, 1804.04235).

    Its steps are of the module's learning rate as AdamW's are, neither relative to the weights nor to the time; the
    module's betas and eps are not used. momentum: null is none; it costs a float32 number per parameter. decay: second
    moments keep 1 - step^-decay of themselves. clip_threshold: the largest root mean square of an update.
    Raises: ConfigError when sharded.
    """

    clip_threshold: Annotated[float, Gt(0)] = 1.0
    decay: Annotated[float, Gt(0)] = 0.8
    momentum: Annotated[float, Gt(0), Lt(1)] | None = None

    def check(self, *, sharded: bool) -> None:
        """See Optimizer."""
        _one_process("adafactor", sharded)

    def build(self, parameters: Sequence[nn.Parameter], rates: Rates) -> torch.optim.Optimizer:
        """See Optimizer."""
        from transformers.optimization import Adafactor as Factored

        return Factored(
            parameters, lr=rates.lr, clip_threshold=self.clip_threshold, decay_rate=-self.decay, beta1=self.momentum,
            weight_decay=rates.weight_decay, scale_parameter=False, relative_step=False, warmup_init=False,
        )  # fmt: skip

    def state_bytes(self, shape: Sequence[int]) -> int:
        """See Optimizer."""
        numbers = prod(shape)
        moments = numbers if len(shape) < 2 else numbers // shape[-1] + numbers // shape[-2]
        return 4 * (moments + (numbers if self.momentum else 0))


def _one_process(name: str, sharded: bool) -> None:
    if sharded:
        raise ConfigError(f"optimizer: {name} has no sharded state; next: optimizer=adamw with trainer=fsdp")
