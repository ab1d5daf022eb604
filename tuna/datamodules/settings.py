"""The arguments of the datamodules, and the answer list that each makes of a record. Imports no torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval, MinLen

from tuna.config.types import checked, wrong_value
from tuna.console import nearest
from tuna.data.columns import check_columns, format_of
from tuna.data.importers import check_format
from tuna.data.lists import AnswerList, ranked_list, shortened, target_list
from tuna.data.load import Loaded, Source
from tuna.data.record import Record
from tuna.errors import ConfigError

_SHARED = ("rank_by", "format", "original", "split", "subset", "columns")  # a source takes these from its datamodule
_OWN = ("path", "first", "last", "weight")


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class DataSettings:
    """The arguments that all datamodules have.

    Args:
        path: a data file, folder or hub id; short for one source.
        split: of a data set with several; null is train, or the only one. subset: a hub data set's configuration.
        sources: several, each ``{path, rank_by, first, last, weight, split, ...}``; what is not given is taken
            from here. weight: how often per epoch each of its lists is seen (0.5: half of them, in turn).
        val_path: a file of held-out lists of their own.
        held_out: without val_path, how many lists are held out (a whole number, or a share below 1), by a hash of the
            question.
        val_split: of ``val_path``, where that has several.
        format: an importer's name, or auto.
        columns: for any other layout, ``{instruction: q, responses: outs}``: our words and the file's columns.
        first: rows from the start of the file. last: rows from its end.
        original: where ``output`` is missing: error, best (its best candidate), none, or a FILE of Alpaca rows.
        bad_rows: error lists all malformed rows and stops; drop counts them.
        batch_size: groups per optimizer step, over all processes and accumulation.
        row_tokens: tokens a packed row holds at most (a longer group makes it longer).
        share_prefix: whether a row has each prompt once; auto: on a GPU only where this saves enough tokens.
        max_length: tokens of prompt plus response at most.
        template: auto (the chat template where there is one, else alpaca), alpaca, chat or none.
        template_args: variables of the chat template, such as {enable_thinking: false}.
        num_workers: processes that pack batches ahead; the batches do not depend on it.
        cache_dir: where token ids are kept; $TUNA_CACHE, else ~/.cache/tuna/tokens.

    Raises: ConfigError with one line for each wrong value.
    """

    path: str | None = None
    split: str | None = None
    subset: str | None = None
    sources: Sequence[dict[str, Any]] | None = None
    val_path: str | None = None
    val_split: str | None = None
    format: str = "auto"
    columns: dict[str, Any] | None = None
    first: Annotated[int, Ge(1)] | None = None
    last: Annotated[int, Ge(1)] | None = None
    original: Annotated[str, MinLen(1)] = "error"
    bad_rows: Literal["error", "drop"] = "error"
    held_out: Annotated[int, Ge(0)] | Annotated[float, Interval(ge=0, le=1)] = 0.02
    batch_size: Annotated[int, Ge(1)] = 128
    row_tokens: Annotated[int, Ge(8)] = 1024
    share_prefix: bool | Literal["auto"] = "auto"
    max_length: Annotated[int, Ge(8)] = 512
    template: Literal["auto", "alpaca", "chat", "none"] = "auto"
    template_args: dict[str, Any] | None = None
    num_workers: Annotated[int, Ge(0)] = 0
    cache_dir: str | None = None

    ranked: ClassVar[bool] = False  # whether lists are ranked, or responses are targets only

    def __post_init__(self) -> None:
        faults = list(_reading_faults("", self.format, self.columns))
        if self.val_split is not None and self.val_path is None:
            faults.append(f"val_split: expected val_path with it, got {self.val_split!r} alone")
        self.all_sources: tuple[Source, ...] = ()
        if self.sources is not None:
            self.all_sources = tuple(s for n, given in enumerate(self.sources) for s in self._source(n, given, faults))
            if (self.path, self.first, self.last) != (None, None, None):
                faults.append("sources: expected no path, first or last beside it, got both; put them into the sources")
        elif self.path is not None:
            self.all_sources = (Source(self.path, first=self.first, last=self.last, **self._shared()),)
        if faults:
            raise ConfigError("\n".join(faults))

    @property
    def turns(self) -> bool:
        """Whether every assistant turn of a conversation is a target."""
        return getattr(self, "targets", None) == "assistant"

    def list_of(self, record: Record, loaded: Loaded, dropped: Counter[str]) -> AnswerList | None:
        """The answers of one record of a source; None where nothing useful is left, counted in ``dropped``."""
        raise NotImplementedError

    def lists_of(self, loaded: Loaded, dropped: Counter[str]) -> list[AnswerList]:
        """The answers of each record where something useful is left."""
        found = (self.list_of(record, loaded, dropped) for record in loaded.records)
        return [item for item in found if item is not None]

    def trained(self, lists: Sequence[AnswerList], dropped: Counter[str]) -> list[AnswerList]:
        """What is trained on of the lists that are not held out."""
        return list(lists)

    def validation(self) -> Source:
        """The source behind ``val_path``: the same rules, no range, a split of its own."""
        own = {"split": self.val_split, "subset": self.subset if self.val_path == self.path else None}
        return Source(self.val_path or "", **self._shared() | own, key="datamodule.val_path")

    def to_read(self) -> list[Source]:
        """All that is read, the held-out file last where there is one. Raises: ConfigError where there is no path."""
        if not self.all_sources:
            raise ConfigError("datamodule.path: expected a data file, got nothing; next: datamodule.path=FILE")
        return [*self.all_sources, *([] if self.val_path is None else [self.validation()])]

    def _shared(self) -> dict[str, Any]:
        return {key: getattr(self, key, None) for key in _SHARED}

    def _source(self, number: int, given: object, faults: list[str]) -> Iterator[Source]:
        key, known = f"sources[{number}]", (*_OWN, *_SHARED)
        if not isinstance(given, Mapping) or not isinstance(given.get("path"), str):
            faults.append(f"{key}: expected an object with {', '.join(known)} (path is a must), got {given!r}")
            return
        expected = {f.name: f.type for f in fields(RankSettings)} | {"weight": Annotated[float, Gt(0)]}
        values = self._shared()
        for name, value in given.items():
            if name not in known:
                faults.append(f"{key}.{name}: expected one of {', '.join(known)}{nearest(str(name), known)}")
            elif value is not None and (fault := wrong_value(f"{key}.{name}", value, expected[name])):
                faults.append(fault)
            elif value is not None and (name != "rank_by" or self.ranked):  # where nothing is ranked there is no rule
                values[name] = value
        faults += _reading_faults(f"{key}.", values["format"], values["columns"])
        yield Source(**values, key=f"datamodule.{key}.path")


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class TargetSettings(DataSettings):
    """The arguments of instruction tuning. They are those of DataSettings and one more.

    Args:
        targets: last, the answer to the last turn (original is its old name); assistant, every assistant turn of a
            conversation; all: the last answer, and the candidates as further targets (Alpaca-Mul); each: the same, each
            a list of its own, so that a step has ``batch_size`` answers, as if they were rows of the file.
    """

    targets: Literal["last", "assistant", "all", "each", "original"] = "last"

    def list_of(self, record: Record, loaded: Loaded, dropped: Counter[str]) -> AnswerList | None:
        """The record's targets."""
        return target_list(record, dropped, self.targets in ("all", "each"), loaded.original_best)

    def lists_of(self, loaded: Loaded, dropped: Counter[str]) -> list[AnswerList]:
        """A list per record, or per answer."""
        lists = super().lists_of(loaded, dropped)
        if self.targets != "each":
            return lists
        return [replace(item, answers=(answer,)) for item in lists for answer in item.answers]


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class RankSettings(DataSettings):
    """The arguments of ranked lists. They are those of DataSettings and the following.

    Args:
        rank_by: score, eq3 = logprob / num_tokens ** beta (Eq. 3), or judge_score, the judge's mark.
        beta: length exponent of Eq. 3; the paper's value is 1.3.
        min_gap: scores closer than this are ties.
        rank_original: none, or the original response as one more candidate, best or worst of its list.
        num_candidates: train on this many of a list's candidates (the paper's N), chosen by a hash of question and
            answer, those of 2 among those of 3; held-out lists stay whole. null takes all.
    """

    rank_by: Literal["score", "eq3", "judge_score"] = "score"
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.3  # LARGEST_BETA
    min_gap: Annotated[float, Ge(0)] = 0.0
    rank_original: Literal["none", "best", "worst"] = "none"
    num_candidates: Annotated[int, Ge(2)] | None = None

    ranked: ClassVar[bool] = True

    def list_of(self, record: Record, loaded: Loaded, dropped: Counter[str]) -> AnswerList | None:
        """The record's candidates, ordered by the rule of their source, and its original response."""
        if loaded.source.rank_by is None:  # a preview has found no rule in the file
            return target_list(record, dropped, False, loaded.original_best)
        return ranked_list(
            record, dropped, rank_by=loaded.source.rank_by, beta=self.beta, min_gap=self.min_gap,
            rank_original=self.rank_original, original_best=loaded.original_best,
        )  # fmt: skip

    def trained(self, lists: Sequence[AnswerList], dropped: Counter[str]) -> list[AnswerList]:
        """The lists with ``num_candidates`` candidates; held-out ones stay whole, so that runs can be compared."""
        if self.num_candidates is None:
            return list(lists)
        ranks = self.rank_original != "none"
        return [shortened(item, self.num_candidates, dropped, beside=ranks) for item in lists]


def settings_of(node: Mapping[str, Any]) -> DataSettings:
    """The settings in a datamodule's config node; keys that they do not have are left out."""
    cls = RankSettings if "rank_by" in node else TargetSettings
    return cls(**{f.name: node[f.name] for f in fields(cls) if f.name in node})


def _reading_faults(prefix: str, format: str, columns: Any) -> Iterator[str]:
    try:
        check_format(format, f"{prefix}format")
        check_columns(columns, f"{prefix}columns")
        if columns is not None and format not in ("auto", format_of(columns)):
            yield f"{prefix}format: expected none beside columns, which say it all, got {format!r}"
    except ConfigError as error:
        yield str(error)
