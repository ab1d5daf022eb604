"""What a run will take of memory, found before any weight is read; and what to type where that is too much."""

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuna.data.batch import PackedBatch
from tuna.errors import ConfigError
from tuna.models.checkpointing import checkpoint_layers
from tuna.models.footprint import AUTOCAST, footprint
from tuna.models.frozen import HalfLinear, halve
from tuna.models.lora import parse_lora
from tuna.models.quantized import BYTES
from tuna.models.source import ModelConfig
from tuna.modules.optimizers import Adafactor, Optimizer
from tuna.training.trainer import TrainerConfig

if TYPE_CHECKING:
    from tuna.training.run import Components

CONTEXT = 1_000_000_000  # of a GPU, which CUDA and its libraries take
GROUPS = Path("/sys/fs/cgroup")
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
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
        if model.halves or model.quantize:
            halve(built)
        if model.quantize:  # as wide in use as halved ones
            head = built.get_output_embeddings()
            for module in built.modules():
                if isinstance(module, HalfLinear) and module is not head:
                    module.weight.stored = BYTES  # type: ignore[attr-defined]
        checkpoint_layers(built, how)

    period = 1 if isinstance(how, bool | str) else round(1 / min(how, 1 - how))
    found = footprint(
        model, batch, reward=reward, state_bytes=optimizer.state_bytes, held=several,
        autocast=AUTOCAST.get(training.precision), by_row=not training.on_gpu, prepare=prepare, period=period,
    )  # fmt: skip
    shares = training.local_devices if training.shard_over == "node" else training.world_size
    state = found.optimizer / shares if steps > 1 else 0.0  # it comes with the first step
    gradients = found.gradients if several else min(found.gradients, max(0.0, found.beside - found.forward))
    activations = found.beside - gradients
    gathered = found.layer * 2 if shares > 1 else 0.0
    numbers = (found.weights / shares, gradients / shares, state, activations, gathered)
    weights, gradients_kept, moments, beside, whole = map(int, numbers)
    return Forecast(weights, gradients_kept, moments, beside, whole, available(training))


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
    """The first of ever larger changes that fits, as keys to type; first come those that change no result."""
    longest = max(group.num_tokens for group in parts.data.train_groups)
    layers, fewer = {"trainer.activation_checkpointing": True}, {"trainer.micro_tokens": longest}
    factored, lora = {"optimizer": "adafactor"}, {"model.lora": 16}
    anew = layers if not parts.training.activation_checkpointing else {}
    one_process = factored if parts.training.world_size == 1 else {}
    adapters = lora if parse_lora(parts.model.lora) is None else {"model.frozen_dtype": "bfloat16"}
    for change in (anew, fewer, anew | fewer, one_process | anew | fewer, adapters, adapters | anew | fewer):
        if change and forecast(parts, **change).fits:
            return " ".join(f"{key}={str(value).lower()}" for key, value in change.items())
    sharded = "more devices" if parts.training.strategy == "fsdp" else "trainer=fsdp over several devices"
    return f"a smaller model, or {sharded} (no setting here fits)"


def _changed(parts: "Components", changes: Mapping[str, Any]) -> tuple[ModelConfig, TrainerConfig, Optimizer]:
    of_model = {key[6:]: value for key, value in changes.items() if key.startswith("model.")}
    of_trainer = {key[8:]: value for key, value in changes.items() if key.startswith("trainer.")}
    model = replace(parts.model, **of_model) if of_model else parts.model
    optimizer = {"adafactor": Adafactor()}.get(changes.get("optimizer", ""), parts.optimizer)
    return model, replace(parts.training, **of_trainer), optimizer


def available(training: TrainerConfig) -> int | None:
    """Bytes that each process of this machine may take: of its GPU, or of what the machine has left."""
    if training.on_gpu:
        return int(torch.cuda.get_device_properties(0).total_memory) - CONTEXT
    left = min(_free(), default=None)
    return None if left is None else left // training.local_devices


def give_back() -> None:
    """Have blocks of 1 MB and more go back to the system as soon as they are freed, on Linux with glibc.

    It would keep those below 32 MB, and what long-lived gradients come to lie between cannot be used again: a quarter
    of a step's memory and more (perf/memory_forecast.py).
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


def _free() -> Iterator[int]:
    """What the kernel could give, and what this process's control group still may take."""
    about = Path("/proc/meminfo")
    if about.is_file():
        values = dict(line.split(":") for line in about.read_text().strip().split("\n"))
        if "MemAvailable" in values:
            yield 1024 * int(values["MemAvailable"].split()[0])
    for limit, used, inactive in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = (GROUPS / limit).read_text().strip(), int((GROUPS / used).read_text())
            stat = (GROUPS / used).with_name("memory.stat").read_text()
        except (OSError, ValueError):
            continue
        files = next((int(line.split()[1]) for line in stat.split("\n") if line.startswith(f"{inactive} ")), 0)
        if most.isdecimal():
            yield int(most) - now + files  # files that were read can be let go of
