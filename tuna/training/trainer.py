"""How a run trains: processes, precision, accumulation, clipping, checkpoints. The config node ``trainer``."""

import math
import os
from typing import Any, Literal

from tuna.errors import ConfigError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
NonFiniteMode = Literal["stop", "skip"]


class TrainerConfig:
    """What of a run is not data, model or loss; ``lightning(...)`` makes the Lightning Trainer of it.

    strategy: "single" is one process, "fsdp" is PyTorch's fully_shard (FSDP2) over devices x num_nodes processes.
    precision: the compute type; trained weights and optimizer state are float32 always. accumulate: micro-batches an
    optimizer step on each process. clip_norm: largest gradient norm, null for none. checkpoint_every, validate_every,
    log_every: in optimizer steps; validate_every null is before and after only. early_stop_patience: validations
    without a better val/loss after which training ends, null for never. nonfinite: "stop" ends the run at the first
    loss or gradient that is NaN or infinite; "skip" leaves such a step out, 1 in 20 of the run's steps at most, one at
    least. timeout_minutes: for which processes wait for each other before they give up.

    Raises:
        ConfigError: a value is out of its range; all of them in one message.
    """

    def __init__(
        self,
        *,
        accelerator: Literal["auto", "cpu", "gpu"] = "auto",
        devices: int | Literal["auto"] = 1,
        num_nodes: int = 1,
        strategy: Literal["single", "fsdp"] = "single",
        precision: Precision = "32-true",
        max_epochs: int = 1,
        max_steps: int | None = None,
        accumulate: int = 1,
        clip_norm: float | None = 1.0,
        checkpoint_every: int = 50,
        keep_checkpoints: int = 2,
        validate_every: int | None = None,
        early_stop_patience: int | None = None,
        log_every: int = 10,
        nonfinite: NonFiniteMode = "stop",
        activation_checkpointing: bool = False,
        deterministic: bool = False,
        threads: int | None = None,
        timeout_minutes: float = 30.0,
    ) -> None:
        self.accelerator, self.devices, self.num_nodes, self.strategy = accelerator, devices, num_nodes, strategy
        self.precision, self.max_epochs, self.max_steps = precision, max_epochs, max_steps
        self.accumulate, self.clip_norm = accumulate, clip_norm
        self.checkpoint_every, self.keep_checkpoints = checkpoint_every, keep_checkpoints
        self.validate_every, self.early_stop_patience = validate_every, early_stop_patience
        self.log_every, self.activation_checkpointing = log_every, activation_checkpointing
        self.nonfinite = nonfinite
        self.deterministic, self.threads, self.timeout_minutes = deterministic, threads, timeout_minutes
        self._check()

    def _check(self) -> None:
        wrong = []
        counts = {
            "num_nodes": self.num_nodes,
            "max_epochs": self.max_epochs,
            "accumulate": self.accumulate,
            "checkpoint_every": self.checkpoint_every,
            "keep_checkpoints": self.keep_checkpoints,
            "log_every": self.log_every,
            "max_steps": self.max_steps,
            "validate_every": self.validate_every,
            "early_stop_patience": self.early_stop_patience,
            "threads": self.threads,
            "devices": None if self.devices == "auto" else self.devices,
        }
        for key, value in counts.items():
            if value is not None and (not isinstance(value, int) or value < 1):
                wrong.append(f"trainer.{key}: expected a whole number >= 1, got {value!r}")
        if self.clip_norm is not None and not (math.isfinite(self.clip_norm) and self.clip_norm > 0):
            wrong.append(f"trainer.clip_norm: expected a number > 0 or null, got {self.clip_norm!r}")
        if self.early_stop_patience is not None and self.validate_every is None:
            wrong.append("trainer.early_stop_patience: needs trainer.validate_every, which is null")
        if self.strategy == "single":
            if self.devices not in (1, "auto"):
                wrong.append(f"trainer.devices: {self.devices} devices need trainer=fsdp; trainer.strategy is single")
            if self.num_nodes != 1:
                wrong.append(f"trainer.num_nodes: {self.num_nodes} machines need trainer=fsdp; strategy is single")
            if self.activation_checkpointing:
                wrong.append("trainer.activation_checkpointing: is for fsdp; give model.gradient_checkpointing=true")
        elif self.precision == "16-mixed":
            wrong.append("trainer.precision: expected 32-true or bf16-mixed when sharded, got 16-mixed")
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            wrong.append("trainer.precision: 16-mixed needs a GPU; expected 32-true or bf16-mixed on the CPU")
        if self.nonfinite not in ("stop", "skip"):
            wrong.append(f"trainer.nonfinite: expected stop or skip, got {self.nonfinite!r}")
        if not self.timeout_minutes > 0:
            wrong.append(f"trainer.timeout_minutes: expected a number > 0, got {self.timeout_minutes!r}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    @property
    def on_gpu(self) -> bool:
        """Whether this run computes on CUDA.

        Raises:
            ConfigError: a GPU was asked for and there is none.
        """
        import torch

        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError(
                "trainer.accelerator: expected a CUDA device for gpu, found none; "
                "use trainer=cpu, or trainer.accelerator=cpu trainer.precision=32-true with trainer=fsdp"
            )
        return self.accelerator != "cpu" and torch.cuda.is_available()

    @property
    def local_devices(self) -> int:
        """Processes on this machine."""
        import torch

        if self.strategy == "single":
            return 1
        if self.devices == "auto":
            return torch.cuda.device_count() if self.on_gpu else max(1, (os.cpu_count() or 1))
        return int(self.devices)

    @property
    def world_size(self) -> int:
        """Processes over all machines."""
        return self.local_devices * self.num_nodes

    def lightning(self, *, folder: str, steps: int, loggers: list[Any], callbacks: list[Any]) -> Any:
        """The Lightning Trainer that runs ``steps`` optimizer steps in all; checkpoints and data order are ours."""
        from datetime import timedelta

        import lightning.pytorch as pl
        from lightning.pytorch.strategies import ModelParallelStrategy

        sharded = self.strategy == "fsdp"
        strategy: Any = "auto"
        if sharded:
            # "auto" sizes mean the number of nodes, and would shard nothing on one.
            strategy = ModelParallelStrategy(
                data_parallel_size=self.world_size,
                tensor_parallel_size=1,
                timeout=timedelta(minutes=self.timeout_minutes),
            )
        return pl.Trainer(
            accelerator="gpu" if self.on_gpu else "cpu",
            devices=self.local_devices,
            num_nodes=self.num_nodes,
            strategy=strategy,
            precision="32-true"
            if sharded
            else self.precision,  # sharded: MixedPrecisionPolicy, see tuna.models.sharding
            max_epochs=1,
            max_steps=steps,
            accumulate_grad_batches=self.accumulate,
            gradient_clip_val=self.clip_norm,
            val_check_interval=(self.validate_every or 10**9) * self.accumulate,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            logger=loggers,
            callbacks=callbacks,
            default_root_dir=folder,
            log_every_n_steps=self.log_every,
            deterministic=self.deterministic,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
