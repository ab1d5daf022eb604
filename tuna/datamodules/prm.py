"""Lists for a reward model: the candidates alone, lists without a pair left out, prompts as reward models read them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from tuna.data.lists import AnswerList
from tuna.data.load import Loaded
from tuna.data.ranking import count_pairs
from tuna.datamodules.base import RecordDataModule
from tuna.datamodules.settings import Settings


class PRMDataModule(RecordDataModule):
    """Ranked lists for a reward model; a response that has no score takes no part, nor does a list without a pair.

    Args:
        path: a data file, folder or hub id; short for one source.
        split: of a data set with several; null is train, or the only one. subset: a hub data set's configuration.
        sources: several, each ``{path, rank_by, first, last, weight, split, ...}``; what is not given is taken
            from here. weight: how often per epoch each of its lists is seen (0.5: half of them, in turn).
        val_path: held-out lists of their own; else ``held_out`` lists (count or share), by a hash of the question.
        val_split: of ``val_path``, where that has several.
        format: an importer's name, or auto.
        columns: for any other layout, ``{instruction: q, responses: outs}``: our words and the file's columns.
        rank_by: score, or eq3 = logprob / num_tokens ** beta (Eq. 3).
        beta: length exponent of Eq. 3; the paper's value is 1.3.
        min_gap: scores closer than this are ties.
        first: rows from the start of the file. last: rows from its end.
        original: where ``output`` stands that a record lacks; needed for rank_original only.
        rank_original: none, or the original response as one more candidate, best or worst of its list.
        num_candidates: train on so many of a list's candidates (the paper's N), chosen by a hash of question and
            answer, those of 2 among those of 3; held-out lists stay whole. null takes all.
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
        rank_by: Literal["score", "eq3"] = "score",
        beta: float = 1.3,
        min_gap: float = 0.0,
        first: int | None = None,
        last: int | None = None,
        original: str = "none",
        rank_original: Literal["none", "best", "worst"] = "none",
        num_candidates: int | None = None,
        bad_rows: Literal["error", "drop"] = "error",
        held_out: int | float = 0.02,
        batch_size: int = 64,
        row_tokens: int = 1024,
        max_length: int = 512,
        template: Literal["auto", "alpaca", "chat", "none"] = "auto",
        template_args: dict[str, Any] | None = None,
        num_workers: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__(Settings.of(locals()))

    def _lists(self, loaded: Loaded) -> list[AnswerList]:
        kept = []
        for item in super()._lists(loaded):
            answers = tuple(replace(a, target=False) for a in item.answers if a.score == a.score)
            if count_pairs([a.score for a in answers]):
                kept.append(replace(item, answers=answers))
            else:
                self.report.dropped["list whose answers are all tied"] += 1
        return kept
