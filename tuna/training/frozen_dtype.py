"""What becomes of the weights that LoRA leaves as they are: their type, by the device."""

from tuna.errors import ConfigError
from tuna.models.lora import parse_lora
from tuna.models.quantized import check_quantize
from tuna.models.source import ModelConfig
from tuna.training.trainer import TrainerConfig


def settle_frozen(model: ModelConfig, training: TrainerConfig) -> None:
    """Give ``model.frozen_dtype`` its value where it is null: float32 on the CPU, so that figures stay as they were.

    Raises: ConfigError where nothing is frozen, or the frozen weights cannot be quantized here.
    """
    if parse_lora(model.lora) is None:
        asked = [key for key in ("frozen_dtype", "quantize") if getattr(model, key) is not None]
        if asked:
            raise ConfigError(
                f"model.{asked[0]}: without model.lora no weight is frozen; next: model.lora=16, or leave it out"
            )
        return
    if model.frozen_dtype is None:
        half = training.on_gpu and training.precision != "16-mixed"
        model.frozen_dtype = "bfloat16" if half else "float32"
    if model.quantize:
        check_quantize(model, sharded=training.strategy == "fsdp")
