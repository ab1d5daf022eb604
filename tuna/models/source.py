"""The config node ``model``: which model, and how it is scored. Files are looked at here; weights are not read."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from tuna.config.types import checked
from tuna.data.encode import Encoder
from tuna.errors import ModelError, NoModelError
from tuna.models import folder as files
from tuna.models.lora import parse_lora
from tuna.models.paths import locate


@dataclass(frozen=True)
class Resolved:
    """A model that was found and whose files are all there; its weights have not been read."""

    source: str  # folder or hub id
    folder: Path  # where config and tokenizer lie (a hub id's snapshot)
    config: PretrainedConfig
    revision: str | None = None
    on_hub: bool = False
    checked: set[bool] = field(default_factory=set, compare=False)  # by check_weights, as a reward model or not

    @cached_property
    def weights_folder(self) -> Path:
        """The folder with the weights too; of a hub id they are downloaded now, once."""
        if not self.on_hub:
            return self.folder
        return _snapshot(self.source, self.revision, (*files.SMALL_FILES, "*.safetensors"))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of config and weights, never of the path; see tuna.models.folder.fingerprint."""
        return files.fingerprint(self.weights_folder)

    @property
    def architecture(self) -> str:
        """The name of the model's class, or of its type where the config names none."""
        return str((self.config.architectures or [self.config.model_type])[0])

    @property
    def max_positions(self) -> int | None:
        """Longest sequence the model has positions for; None where nothing limits it."""
        text = self.config.get_text_config()
        values = (getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len"))
        return next((value for value in values if isinstance(value, int) and value > 0), None)


@checked
@dataclass
class ModelConfig:
    """Which model to start from and how to score with it.

    path: an embedded name (tiny, tiny_base, tiny_prm_base, tiny_teacher), a run folder, a Hugging Face folder or a hub
    id. revision: branch, tag or commit of a hub id. trust_remote_code: run code that comes with the model. template: of
    prompts; auto is chat where the tokenizer has a chat template, else alpaca. template_args: variables of the chat
    template, such as {enable_thinking: false}; date is the day that a template shows. lora: null, or a rank, or {r,
    alpha, dropout, target_modules}. resize: add rows to the embedding and the head where the tokenizer has ids beyond
    them; without it such a model is refused. attention: auto goes by device, precision and row length. scorer: packed
    rows; plain is one padded row per response with its prompt, for models that take no mask. frozen_dtype: of the
    weights that LoRA leaves as they are; null is bfloat16 on a GPU and float32 on the CPU. quantize: nf4 keeps the
    linear layers of these in 4 bits (QLoRA), by bitsandbytes. gradient_checkpointing: as
    trainer.activation_checkpointing=true. export_dtype: of the exported weights; auto is the starting model's.
    projection_chunk: targets projected to the vocabulary at a time. projection_memory: MB that may be kept of the
    projection's gradient, from the forward to the backward pass; what is beyond is computed twice.
    Raises: ConfigError where a value is out of its range.
    """

    path: Annotated[str, MinLen(1)] = "tiny"
    revision: str | None = None
    trust_remote_code: bool = False
    template: Literal["auto", "alpaca", "chat", "none"] = "auto"
    template_args: dict[str, Any] | None = None
    lora: dict[str, Any] | int | bool | None = None
    attention: Literal["auto", "sdpa", "eager", "flex"] = "auto"
    scorer: Literal["packed", "plain"] = "packed"
    frozen_dtype: Literal["float32", "bfloat16"] | None = None
    quantize: Literal["nf4"] | None = None
    gradient_checkpointing: bool = False
    export_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    projection_chunk: Annotated[int, Ge(1)] = 512
    projection_memory: Annotated[int, Ge(0)] = 1024
    resize: bool = False

    def __post_init__(self) -> None:
        parse_lora(self.lora)

    def resolve(self) -> Resolved:
        """Find the model and check its files without reading weights.

        Raises: ModelError where nothing is there, or config, tokenizer or the weights' headers are missing or unfit.
        """
        return self._resolved

    @cached_property
    def _resolved(self) -> Resolved:
        found = locate(self.path)
        on_hub = found is None
        patterns = (*files.SMALL_FILES, "*.py") if self.trust_remote_code else files.SMALL_FILES
        folder = _snapshot(self.path, self.revision, patterns) if found is None else found
        config = files.read_config(folder, self.trust_remote_code)
        files.check_tokenizer(folder)
        if on_hub:
            return Resolved(self.path, folder, config, self.revision, on_hub)
        files.stored_tensors(folder)
        return Resolved(str(folder), folder, config)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The folder's tokenizer, unchanged; ModelError where it cannot be read, or an id has no embedding row."""
        folder = self.resolve().folder
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=self.trust_remote_code)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the Rust of tokenizers panics with a class of its own
            raise ModelError(
                f"{folder}: transformers cannot read its tokenizer ({files.explain(error)}); copy its files anew from "
                "where the model comes from"
            ) from error
        assert isinstance(tokenizer, PreTrainedTokenizerBase)
        files.check_special_ids(folder, tokenizer, self._rows_for(tokenizer))
        return tokenizer

    def encoder(self) -> Encoder:
        """Questions and answers as this model sees them; raises as ``tokenizer`` and Encoder do."""
        return Encoder(self.tokenizer(), self.template, self.template_args)

    @property
    def shaped_by(self) -> dict[str, Any]:
        """The part of this node that decides how a question is written, for keys of a store."""
        return {"template": self.template} | ({"template_args": self.template_args} if self.template_args else {})

    @property
    def halves(self) -> bool:
        """Whether what is frozen becomes bfloat16; null is settled where the device is known."""
        return self.frozen_dtype == "bfloat16"

    @property
    def by_slices(self) -> bool:
        """Whether one process, too, reads weights tensor by tensor, so that none is there in float32 as well."""
        return self.halves and not self.quantize

    @property
    def frozen_lines(self) -> list[str]:
        """What the log says of frozen weights; nothing where there are none."""
        if self.frozen_dtype is None:
            return []
        quantized = f"linear layers in {self.quantize}, the rest " if self.quantize else ""
        return [f"frozen weights: {quantized}in {self.frozen_dtype}; adapters in float32"]

    @cached_property
    def rows(self) -> int:
        """Rows that the embedding must have for the tokenizer, at least the config's; raises as ``tokenizer`` does."""
        return self._rows_for(self.tokenizer())

    def _rows_for(self, tokenizer: PreTrainedTokenizerBase) -> int:
        source, rows = self.resolve().source, int(self.resolve().config.get_text_config().vocab_size)
        if not tokenizer.vocab_size:
            raise ModelError(f"{source}: its tokenizer has no tokens but special ones; copy its files anew")
        token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if largest < rows:
            return rows
        if not self.resize:
            raise ModelError(
                f"{source}: the tokenizer's largest id is {largest} ({token!r}), but the embedding has {rows} rows; "
                "give the tokenizer that the model was trained with, or let train.py add rows by model.resize=true"
            )
        return largest + 1

    def max_positions(self) -> int | None:
        """Longest sequence, in tokens, that the model has positions for; None where nothing limits it."""
        return self.resolve().max_positions

    @property
    def fingerprint(self) -> str:
        """Hash of config and weights, never of the path."""
        return self.resolve().fingerprint


def _snapshot(hub_id: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    """A local copy of the hub repository's files that match ``patterns``; the cache serves when there is no network."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:
        at = f" at revision {revision}" if revision else ""
        raise NoModelError(
            hub_id,
            f"no such folder here, and the hub gave no model of that name{at} ({type(error).__name__}); check the "
            "spelling, the network, and `hf auth login` for a gated model",
        ) from error
