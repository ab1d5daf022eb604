"""Whether the embedding has a row for every id of the tokenizer."""

from pathlib import Path

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from tuna.errors import ModelError
from tuna.models.folder import read_object


def rows_of(config: PretrainedConfig) -> int:
    """Rows of the embedding of a model of this config."""
    rows: int = config.get_text_config().vocab_size
    return rows


def check_special_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Raises ModelError where config.json or generation_config.json names a token beyond the embedding's ``rows``."""
    for path in (folder / "config.json", folder / "generation_config.json"):
        held = read_object(path) if path.is_file() else {}
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            given = held.get(key)
            for each in given if isinstance(given, list) else [given]:
                unset = each is None or (each == -1 and key == "pad_token_id")  # as the first Llamas have it
                if not unset and (type(each) is not int or not 0 <= each < rows):
                    raise ModelError(
                        f"{path}: {key}: expected an id below the embedding's {rows} rows, got {each!r:.40}; set the "
                        f"tokenizer's, {getattr(tokenizer, key)}"
                    )


def rows_needed(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, source: str, *, resize: bool) -> int:
    """How many rows the embedding must have: those of the config, or more where ``resize`` may add them.

    Args:
        tokenizer: as its folder has it; added tokens count.
        config: the model's.
        source: the model's folder or hub id, for the error.
        resize: ``model.resize``.

    Raises:
        ModelError: the tokenizer has an id that the embedding has no row for, and ``resize`` is not set.
    """
    rows = rows_of(config)
    if not tokenizer.vocab_size:
        raise ModelError(f"{source}: its tokenizer has no tokens but special ones; copy its files anew")
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest < rows:
        return rows
    if not resize:
        raise ModelError(
            f"{source}: the tokenizer's largest id is {largest} ({token!r}), but the embedding has {rows} rows; "
            "give the tokenizer that the model was trained with, or let train.py add rows by model.resize=true"
        )
    return largest + 1
