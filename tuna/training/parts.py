"""What a training run is made of, built and checked before any weights load."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna import runs as folders
from tuna.errors import ConfigError
from tuna.training import distributed


@dataclass(frozen=True, slots=True)
class Components:
    """What the config names, built and checked, before any weights load."""

    model: Any  # tuna.models.source.ModelConfig
    resolved: Any  # tuna.models.source.Resolved
    tokenizer: Any
    data: Any  # a tuna datamodule, prepared
    module: Any  # tuna.modules.scoring.ScoringModule
    loss: Any
    training: Any  # tuna.training.trainer.TrainerConfig
    loggers: Any  # tuna.tracking.loggers.Loggers
    config: dict[str, Any]
    template: str
    num_parameters: int
    total_steps: int


def prepare(cfg: DictConfig, built: dict[str, Any]) -> Components:
    """Find the model and read the data for what was built; all that can be wrong without weights is said here."""
    model, training, data = built["model"], built["trainer"], built["datamodule"]
    folders.check_writable(Path(cfg.runs_dir))
    if cfg.name and not cfg.resume:
        folders.check_free(Path(cfg.runs_dir) / cfg.name)
    resolved = model.resolve()
    built["module"].check_start(resolved, built["loss"])
    if cfg.evaluate is True and not built["module"].answers:
        raise ConfigError(f"evaluate: stage={cfg.stage.name} tunes a reward model, which writes no answers; use auto")
    tokenizer = model.tokenizer()
    if not resolved.on_hub:  # a hub id's weights come only when the data is right
        check_space(cfg, model, training, _count(resolved.weights_folder))
        built["module"].check_weights(model, resolved)
    distributed.on_first(
        lambda: data.prepare(
            tokenizer,
            max_positions=resolved.max_positions,
            world_size=training.world_size,
            rank=distributed.rank(),
            accumulate=training.accumulate,
            epochs=training.max_epochs,
            seed=cfg.seed,
        ),
        everywhere=True,
    )
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    steps = min(data.total_steps, training.max_steps or data.total_steps)
    if steps == 0:
        raise ConfigError("datamodule: nothing is left to train on; see datamodule.held_out, first and last")
    return Components(
        model=model,
        resolved=resolved,
        tokenizer=tokenizer,
        data=data,
        module=built["module"],
        loss=built["loss"],
        training=training,
        loggers=built["logger"],
        config={str(key): value for key, value in config.items()},
        template=_template(data.template, tokenizer),
        num_parameters=_count(resolved.weights_folder),
        total_steps=steps,
    )


def check_processes(training: Any) -> None:
    """Refuse a number of processes or a precision that the trainer's settings do not go with.

    Raises:
        ConfigError: what was started, and what the config says.
    """
    if distributed.launched():
        started = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))
        if started > 1 and training.strategy != "fsdp":
            raise ConfigError(
                f"trainer: {started} processes were started, but trainer.strategy is single; use trainer=fsdp"
            )
        if started != training.world_size:
            raise ConfigError(
                f"trainer.devices x trainer.num_nodes = {training.world_size}, but {started} processes were started"
            )
    elif training.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes: {training.num_nodes} machines need a launcher that reaches them: srun, or on each "
            f"torchrun --nnodes {training.num_nodes} --nproc-per-node {training.local_devices} --rdzv-backend c10d "
            "--rdzv-endpoint HOST:29500 train.py ... (docs/training.md)"
        )
    if training.precision == "16-mixed" and not training.on_gpu:
        raise ConfigError("trainer.precision: 16-mixed needs a GPU; expected 32-true or bf16-mixed on the CPU")


def check_space(cfg: DictConfig, model: Any, training: Any, parameters: int) -> None:
    """Refuse a run whose checkpoints and model will not fit on the disk; see tuna.runs.check_space."""
    trainable = parameters if model.lora is None else max(1, parameters // 20)
    folders.check_space(Path(cfg.runs_dir), parameters=parameters, trainable=trainable, keep=training.keep_checkpoints)


def _template(name: str, tokenizer: Any) -> str:
    """The template that "auto" stands for."""
    if name != "auto":
        return name
    return "chat" if getattr(tokenizer, "chat_template", None) else "alpaca"


def _count(folder: Path) -> int:
    """Parameters of the model in ``folder``, from the headers of its weight files."""
    from math import prod

    from tuna.models.folder import tensor_shapes

    return sum(prod(shape) for shape in tensor_shapes(folder).values())
