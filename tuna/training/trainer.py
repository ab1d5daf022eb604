"""How a run trains: processes, precision, accumulation, clipping, checkpoints. The config node ``trainer``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

import lightning.pytorch as pl
import torch
from annotated_types import Ge, Gt, Lt
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.runs import RunFolder

Count = Annotated[int, Ge(1)]


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """What of a run is not data, model or loss; ``lightning(...)`` makes the Lightning Trainer of it.

    strategy: "single" is one process, "fsdp" is PyTorch's fully_shard (FSDP2) over devices x num_nodes processes.
    shard_over: "all" processes share one model, or those of each "node" (machine), which then has a copy of its own: in
    a step gradients alone cross the network. precision: the compute type; trained weights and optimizer state are
    float32 always. micro_tokens: how many tokens a process has in one forward and backward pass at most, a longer list
    aside; null is 2048 on the CPU, 8192 on a GPU. accumulate: how many passes make an optimizer step; null is as few as
    micro_tokens lets. clip_norm: largest gradient norm, null for none. checkpoint_every: optimizer steps
    between two checkpoints. validate_every: optimizer steps between two looks at held-out lists; null is before and
    after only. log_every: optimizer steps between two lines; a short run has ten all the same. early_stop_patience:
    validations without a better val/loss after which training ends, null for never. nonfinite: "stop" ends the run at
    the first loss or gradient that is NaN or infinite; "skip" leaves such a step out, 1 in 20 of the run's steps at
    most, one at least.
    activation_checkpointing: true keeps of each layer what it reads and recomputes it in the backward pass; 0.5 does so
    in half of the layers; "selective" keeps the results of matrix products and attention too. No result changes.
    check_memory: refuse a run whose forecast is more than the device has; false says so and goes on. timeout_minutes:
    for which processes wait for each other before they give up.

    accelerator: auto is a CUDA device where there is one. devices: processes on each machine, one per GPU; auto is all
    GPUs, or all cores of a CPU. num_nodes: machines. max_epochs: passes over the lists. max_steps: optimizer steps at
    most; null is all of the epochs. keep_checkpoints: how many of the newest stay, of 12 bytes per trained parameter; 0
    is one until the run is finished, and none then. deterministic: PyTorch's deterministic algorithms alone. threads:
    of the CPU; null is PyTorch's own number.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count | Literal["auto"] = 1
    num_nodes: Count = 1
    strategy: Literal["single", "fsdp"] = "single"
    shard_over: Literal["all", "node"] = "all"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    max_epochs: Count = 1
    max_steps: Count | None = None
    micro_tokens: Count | None = None
    accumulate: Count | None = None
    clip_norm: Annotated[float, Gt(0)] | None = 1.0
    checkpoint_every: Count = 50
    keep_checkpoints: Annotated[int, Ge(0)] = 2
    validate_every: Count | None = None
    early_stop_patience: Count | None = None
    log_every: Count = 10
    nonfinite: Literal["stop", "skip"] = "stop"
    activation_checkpointing: bool | Annotated[float, Gt(0), Lt(1)] | Literal["selective"] = False
    check_memory: bool = True
    deterministic: bool = False
    threads: Count | None = None
    timeout_minutes: Annotated[float, Gt(0)] = 30.0

    def __post_init__(self) -> None:
        single, wrong = self.strategy == "single", []
        if self.early_stop_patience is not None and self.validate_every is None:
            wrong.append("early_stop_patience: needs trainer.validate_every, which is null")
        if single and self.devices not in (1, "auto"):
            wrong.append(f"devices: {self.devices} devices need trainer=fsdp; trainer.strategy is single")
        if single and self.num_nodes != 1:
            wrong.append(f"num_nodes: {self.num_nodes} machines need trainer=fsdp; trainer.strategy is single")
        if single and self.shard_over != "all":
            wrong.append("shard_over: is for several machines; it needs trainer=fsdp")
        if not single and self.precision == "16-mixed":
            wrong.append("precision: expected 32-true or bf16-mixed when sharded, got 16-mixed")
        if wrong:
            raise ConfigError("\n".join(wrong))

    @property
    def on_gpu(self) -> bool:
        """Whether this run computes on CUDA; a ConfigError where a GPU was asked for and there is none."""
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError(
                "trainer.accelerator: expected a CUDA device for gpu, found none; "
                "use trainer=cpu, or trainer.accelerator=cpu trainer.precision=32-true with trainer=fsdp"
            )
        return self.accelerator != "cpu" and torch.cuda.is_available()

    @property
    def local_devices(self) -> int:
        """Processes on this machine."""
        if self.strategy == "single":
            return 1
        if self.devices == "auto":
            return torch.cuda.device_count() if self.on_gpu else os.cpu_count() or 1
        return self.devices

    @property
    def kept(self) -> int:
        """Checkpoints that stand while the run is not finished."""
        return max(1, self.keep_checkpoints)

    @property
    def world_size(self) -> int:
        """Processes over all machines."""
        return self.local_devices * self.num_nodes

    @property
    def mesh_sizes(self) -> tuple[int, int]:
        """Processes as Lightning's mesh has them: (copies of the model, processes that share one), or (all, 1)."""
        return (self.num_nodes, self.local_devices) if self.shard_over == "node" else (self.world_size, 1)

    def part_of(self, mesh: DeviceMesh) -> DeviceMesh:
        """What of Lightning's mesh the model is sharded over: of two dimensions, fully_shard shards over the second."""
        return mesh if self.shard_over == "node" else mesh["data_parallel"]

    @property
    def notes(self) -> list[str]:
        """What the user should know of the settings on this machine."""
        native = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # absent in builds without oneDNN
        if self.on_gpu or self.precision != "bf16-mixed" or native is None or native():
            return []
        return [
            "this CPU has no bf16 instructions, so trainer.precision=bf16-mixed is many times slower here than "
            "trainer.precision=32-true"
        ]

    @property
    def micro_budget(self) -> int:
        """What ``micro_tokens`` stands for."""
        return self.micro_tokens or (8192 if self.on_gpu else 2048)

    def lightning(self, target: RunFolder, steps: int, accumulate: int, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
        """The Lightning Trainer of ``steps`` optimizer steps in all; checkpoints, logs and data order are ours."""
        sharded, wait = self.strategy == "fsdp", timedelta(minutes=self.timeout_minutes)
        strategy: str | ModelParallelStrategy = "auto"
        if sharded:  # "auto" sizes mean the number of nodes, and would shard nothing on one
            strategy = ModelParallelStrategy(*self.mesh_sizes, timeout=wait)
        return pl.Trainer(
            accelerator="gpu" if self.on_gpu else "cpu", devices=self.local_devices, num_nodes=self.num_nodes,
            strategy=strategy, max_epochs=1, max_steps=steps,
            # sharded: MixedPrecisionPolicy, see tuna.models.loading
            precision="32-true" if sharded else self.precision, deterministic=self.deterministic,
            accumulate_grad_batches=accumulate, gradient_clip_val=self.clip_norm,
            val_check_interval=(self.validate_every or 10**9) * accumulate, check_val_every_n_epoch=None,
            num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=list(callbacks),
            default_root_dir=target.path, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
