"""Instruction tuning: each record's original response as target (Eq. 2), its candidates too with targets=all."""

from collections.abc import Sequence
from typing import Any, Literal

from tuna.datamodules.base import RecordDataModule
from tuna.datamodules.settings import Settings


class AlpacaDataModule(RecordDataModule):
    """Instruction tuning: each record's original response as target (Eq. 2), its candidates too with targets=all.

    Args:
        path: a data file, folder or hub id; short for one source.
        split: of a data set with several; null is train, or the only one. subset: a hub data set's configuration.
        sources: several, each ``{path, first, last, weight, split, ...}``; what is not given is taken
            from here. weight: how often per epoch each of its lists is seen (0.5: half of them, in turn).
        val_path: held-out lists of their own; else ``held_out`` lists (count or share), by a hash of the question.
        val_split: of ``val_path``, where that has several.
        format: an importer's name, or auto.
        columns: for any other layout, ``{instruction: q, responses: outs}``: our words and the file's columns.
        targets: last, the answer to the last turn (original is its old name); assistant, every assistant turn of a
            conversation; or all: the last answer, and the candidates as further targets (Alpaca-Mul).
        first: rows from the start of the file. last: rows from its end.
        original: where a record lacks ``output``: error, or a FILE of Alpaca rows.
        bad_rows: error lists all malformed rows and stops; drop counts them.
        batch_size: groups an optimizer step, over all processes and accumulation.
        row_tokens: tokens a packed row holds at most (a longer group makes it longer).
        max_length: tokens of prompt plus response at most.
        template: auto (the chat template where there is one, else alpaca), alpaca, chat or none.
        template_args: variables of the chat template, such as {enable_thinking: false}.
        num_workers: processes that pack batches ahead; the batches do not depend on it.
        cache_dir: where token ids are kept; $TUNA_CACHE, else ~/.cache/tuna/tokens.

    Raises: ConfigError with one line for each value out of range.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        split: str | None = None,
        subset: str | None = None,
        sources: Sequence[dict[str, Any]] | None = None,
        val_path: str | None = None,
        val_split: str | None = None,
        format: str = "auto",
        columns: dict[str, Any] | None = None,
        targets: Literal["last", "assistant", "all", "original"] = "last",
        first: int | None = None,
        last: int | None = None,
        original: str = "error",
        bad_rows: Literal["error", "drop"] = "error",
        held_out: int | float = 0.02,
        batch_size: int = 128,
        row_tokens: int = 1024,
        max_length: int = 512,
        template: Literal["auto", "alpaca", "chat", "none"] = "auto",
        template_args: dict[str, Any] | None = None,
        num_workers: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(Settings.of(locals()))
