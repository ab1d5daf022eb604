"""What a run will take of memory, found before any weight is read; and what to type where that is too much."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from torch import nn

from tuna.data.batch import PackedBatch
from tuna.errors import ConfigError
from tuna.models.checkpointing import checkpoint_layers
from tuna.models.footprint import AUTOCAST, footprint
from tuna.models.frozen import HalfLinear, halve, plain
from tuna.models.lora import parse_lora
from tuna.models.quantized import BYTES
from tuna.models.source import ModelConfig
from tuna.modules.optimizers import Adafactor, Optimizer
from tuna.training.frozen_dtype import settle_frozen
from tuna.training.machine import available
from tuna.training.trainer import TrainerConfig

if TYPE_CHECKING:
    from tuna.training.run import Components

SMALL = 30_000_000  # parameters; a smaller model is not looked at by itself


@dataclass(frozen=True, slots=True)
class Forecast:
    """Bytes per process at the peak of a training step. ``activations`` is what is neither of the others there.

    available: of the device, per process; None where it is not known. gathered: weights of one layer, which a sharded
    process has whole for a moment.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    gathered: int = 0
    available: int | None = None

    @property
    def total(self) -> int:
        """Bytes of one process at its peak."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.gathered

    @property
    def fits(self) -> bool:
        """Whether it is less than is available, as far as that is known."""
        return self.available is None or self.total <= self.available

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations", "gathered")
        shown = ", ".join(f"{name} {getattr(self, name) / 1e9:.2f}" for name in parts if getattr(self, name))
        of = "" if self.available is None else f" of {self.available / 1e9:.1f} GB available"
        return f"{self.total / 1e9:.2f} GB{of} per process at the peak ({shown})"

    def to_dict(self) -> dict[str, int | None]:
        """For run.json, in bytes."""
        return asdict(self) | {"total": self.total}


def forecast(parts: "Components", **changes: Any) -> Forecast:
    """What one process of the run of ``parts`` takes, from config.json and the data's lengths; no weights are read.

    A pass over the heaviest micro-batch is made on tensors that have shapes and no values. changes: other settings, by
    key ("model.lora", "optimizer", "trainer.micro_tokens", "trainer.activation_checkpointing").
    """
    model, training, optimizer = _changed(parts, changes)
    batch = parts.data.heaviest(parts.total_steps, changes.get("trainer.micro_tokens"))
    several = parts.data.accumulate > 1 or "trainer.micro_tokens" in changes
    return estimate(
        model, training, optimizer, batch, reward=not parts.module.answers, several=several, steps=parts.total_steps
    )


def estimate(
    model: ModelConfig, training: TrainerConfig, optimizer: Optimizer, batch: PackedBatch, *, reward: bool = False,
    several: bool = True, steps: int = 2,
) -> Forecast:  # fmt: skip
    """``forecast`` for one micro-batch. several: a step has more than one of them, so gradients are kept between."""
    how = training.activation_checkpointing or model.gradient_checkpointing

    def prepare(built: Any) -> None:
        if model.halves:
            halve(built)
        if model.quantize:
            _quantize(built)
        checkpoint_layers(built, how)

    found = footprint(
        model, batch, reward=reward, state_bytes=optimizer.state_bytes, held=several,
        autocast=AUTOCAST.get(training.precision), by_row=not training.on_gpu, prepare=prepare,
        period=1 if isinstance(how, bool | str) else Fraction(str(how)).denominator,
    )  # fmt: skip
    shares = training.local_devices if training.shard_over == "node" else training.world_size
    weights, state, has = int(found.weights / shares), int(found.optimizer / shares), available(training)
    gradients = found.gradients if several else min(found.gradients, max(0.0, found.beside - found.forward))
    in_a_pass = Forecast(
        weights, int(gradients / shares), state if steps > 1 else 0, int(found.beside - gradients),
        gathered=int(found.layer * 2) if shares > 1 else 0, available=has,
    )  # fmt: skip
    in_a_step = Forecast(weights, int(found.gradients / shares), state, 0, available=has)  # the first makes the state
    return max(in_a_pass, in_a_step, key=lambda each: each.total)


def _quantize(built: Any) -> None:
    """Have frozen linear layers but the head take what 4 bits do; in use each is made whole, as a halved one is."""
    head = plain(built.get_output_embeddings())
    for module in built.modules():
        if type(module) in (nn.Linear, HalfLinear) and not module.weight.requires_grad and module is not head:
            module.weight = nn.Parameter(module.weight.detach().bfloat16(), requires_grad=False)
            module.weight.stored = BYTES
            module.__class__ = HalfLinear


def check_memory(parts: "Components") -> Forecast | None:
    """The forecast; None for a small model, or one that does not run on tensors without values, which the log says.

    Raises: ConfigError where it is more than the device has (``trainer.check_memory``), with what to type instead.
    """
    if parts.num_parameters < SMALL:
        return None
    try:
        found = forecast(parts)
    except Exception as error:  # any code of a model may run here, and no run should end for a forecast
        parts.data.report.notes.append(
            f"no forecast of memory ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        )
        return None
    if found.fits or not parts.training.check_memory:
        return found
    raise ConfigError(
        f"memory: the run needs {found}; next: {_advice(parts)}, or trainer.check_memory=false to try it all the same"
    )


def _advice(parts: "Components") -> str:
    """The changes that are needed to fit, as keys to type."""
    taken: list[dict[str, Any]] = []
    for change in _changes(parts):
        found = _tried(parts, [*taken, change])
        if found is None:
            continue
        taken.append(change)
        if found.fits:
            for each in taken[-2::-1]:
                rest = [other for other in taken if other is not each]
                if (less := _tried(parts, rest)) and less.fits:
                    taken = rest
            words = {key: value for each in taken for key, value in each.items()}
            return " ".join(f"{k}={'null' if value is None else str(value).lower()}" for k, value in words.items())
    sharded = "more devices" if parts.training.strategy == "fsdp" else "trainer=fsdp over several devices"
    return f"a smaller model, or {sharded} (no setting here fits)"


def _changes(parts: "Components") -> Iterator[dict[str, Any]]:
    """What takes less memory, to be made one after another; first what changes no result."""
    if parts.training.activation_checkpointing is not True:
        yield {"trainer.activation_checkpointing": True}
    longest = max(group.num_tokens for group in parts.data.train_groups)
    by_tokens = {"trainer.accumulate": None} if parts.training.accumulate else {}
    yield by_tokens | {"trainer.micro_tokens": longest}
    if parts.training.world_size == 1:
        yield {"optimizer": "adafactor"}
    if parse_lora(parts.model.lora) is None:
        yield {"model.lora": 16}
    yield {"model.frozen_dtype": "bfloat16"}
    yield {"model.quantize": "nf4"}


def _tried(parts: "Components", changes: list[dict[str, Any]]) -> Forecast | None:
    """None where they cannot be used here: a class without checkpointing, a library that is not installed."""
    try:
        return forecast(parts, **{key: value for each in changes for key, value in each.items()})
    except Exception:  # any code of a model may run here
        return None


def _changed(parts: "Components", changes: Mapping[str, Any]) -> tuple[ModelConfig, TrainerConfig, Optimizer]:
    of_model = {key[6:]: value for key, value in changes.items() if key.startswith("model.")}
    of_trainer = {key[8:]: value for key, value in changes.items() if key.startswith("trainer.")}
    model, training = parts.model, replace(parts.training, **of_trainer)
    if of_model:
        model = replace(model, **of_model)
        settle_frozen(model, training)
    optimizer = {"adafactor": Adafactor()}.get(changes.get("optimizer", ""), parts.optimizer)
    return model, training, optimizer
