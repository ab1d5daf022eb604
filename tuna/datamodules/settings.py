"""The constructor arguments that the datamodules share, checked once. No defaults here: the constructors hold them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from tuna.data.columns import check_columns, format_of
from tuna.data.importers import check_format
from tuna.data.lists import AnswerList, ranked_list, target_list
from tuna.data.load import Loaded, Source
from tuna.data.record import Record
from tuna.data.templates import TEMPLATES
from tuna.errors import ConfigError

RULES = ("score", "eq3")
SourceDict = Mapping[str, Any]
_SHARED = ("rank_by", "format", "original", "split", "subset", "columns")  # a source takes these from its datamodule


@dataclass(frozen=True, slots=True)
class Settings:
    """See the datamodules for what each key means. rank_by None: nothing is ranked."""

    path: str | None
    split: str | None
    subset: str | None
    sources: tuple[Source, ...]
    val_path: str | None
    val_split: str | None
    format: str
    columns: Mapping[str, Any] | None
    rank_by: str | None
    beta: float
    min_gap: float
    original: str
    rank_original: str
    num_candidates: int | None
    targets: str
    bad_rows: str
    first: int | None
    last: int | None
    held_out: float
    batch_size: int
    row_tokens: int
    max_length: int
    template: str
    template_args: dict[str, Any] | None
    num_workers: int
    cache_dir: str | None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Settings":
        """Check a constructor's ``locals()``.

        Raises: ConfigError with one line a fault.
        """
        names = [f.name for f in fields(cls)]
        values: dict[str, Any] = {"rank_by": None, "beta": 1.0, "min_gap": 0.0, "rank_original": "none", "targets": ""}
        values["num_candidates"] = values["template_args"] = None
        values |= {name: arguments[name] for name in names if name in arguments}
        if values["targets"] == "original":  # the name that "last" had before conversations
            values["targets"] = "last"
        faults = _faults(values) + _reading_faults(values, "")
        given = values.pop("sources")
        sources: list[Source] = []
        if given is not None:
            for n, source in enumerate(given):
                sources += _source(source, f"sources[{n}]", values, faults)
            if any(values[key] is not None for key in ("path", "first", "last")):
                faults.append("sources: expected no path, first or last beside it, got both; put them into the sources")
        elif values["path"] is not None:
            keys = ("path", "first", "last", *_SHARED)
            sources = [Source(**{key: values[key] for key in keys})]
        if faults:
            raise ConfigError("\n".join(faults))
        return cls(**values, sources=tuple(sources))

    @property
    def ranked(self) -> bool:
        """Whether there is a ranking at all, or targets only (SFT)."""
        return any(source.rank_by is not None for source in self.sources)

    def list_of(self, record: Record, loaded: Loaded, dropped: Counter[str]) -> AnswerList | None:
        """The answers of one record of a source, by the source's rule; None where nothing useful is left."""
        rank_by = loaded.source.rank_by
        if rank_by is None:
            return target_list(record, dropped, self.targets == "all", loaded.original_best)
        return ranked_list(
            record,
            dropped,
            rank_by=rank_by,
            beta=self.beta,
            min_gap=self.min_gap,
            rank_original=self.rank_original,
            original_best=loaded.original_best,
        )

    def validation(self) -> Source:
        """The source behind ``val_path``: the same rules, no range, a split of its own."""
        return Source(
            self.val_path or "",
            self.rank_by,
            format=self.format,
            original=self.original,
            split=self.val_split,
            subset=self.subset if self.val_path == self.path else None,
            columns=self.columns,
            key="datamodule.val_path",
        )


def _source(given: Any, key: str, values: Mapping[str, Any], faults: list[str]) -> list[Source]:
    known = [f.name for f in fields(Source) if f.name != "key"]
    if not isinstance(given, Mapping) or not isinstance(given.get("path"), str):
        faults.append(f"{key}: expected an object with {', '.join(known)} (path is a must), got {given!r}")
        return []
    for name in given:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            faults.append(
                f"{key}.{name}: expected one of {', '.join(known)}" + (f"; nearest: {near[0]}" if near else "")
            )
    source = {name: values[name] for name in _SHARED}
    # A source of a datamodule that ranks nothing has no rule, whatever it says.
    source |= {
        k: v for k, v in given.items() if k in known and v is not None and not (k == "rank_by" and _unranked(values))
    }
    faults += _range_faults(source, key + ".") + _reading_faults(source, key + ".")
    if source["rank_by"] not in (None, *RULES):
        faults.append(f"{key}.rank_by: expected one of {', '.join(RULES)}, got {source['rank_by']!r}")
    weight = source.get("weight", 1.0)
    if not _is_number(weight) or weight <= 0:
        faults.append(f"{key}.weight: expected a number above 0 (times per epoch), got {weight!r}")
    return [Source(**source, key=f"datamodule.{key}.path")]


def _reading_faults(values: Mapping[str, Any], prefix: str) -> list[str]:
    """How the file is read: its format, or the columns that stand for one."""
    faults = []
    try:
        check_format(values["format"], f"{prefix}format")
        check_columns(values["columns"], f"{prefix}columns")
    except ConfigError as error:
        faults.append(str(error))
    else:
        if values["columns"] is not None and values["format"] not in ("auto", format_of(values["columns"])):
            faults.append(f"{prefix}format: expected none beside columns, which say it all, got {values['format']!r}")
    for key in ("split", "subset"):
        if not isinstance(values[key], str | None):
            faults.append(f"{prefix}{key}: expected a name, got {values[key]!r}")
    return faults


def _unranked(values: Mapping[str, Any]) -> bool:
    return values["rank_by"] is None


def _faults(values: Mapping[str, Any]) -> list[str]:
    faults = _range_faults(values, "")
    choices = {
        "rank_by": (None, *RULES),
        "rank_original": ("none", "best", "worst"),
        "targets": ("", "last", "assistant", "all"),
        "bad_rows": ("error", "drop"),
        "template": TEMPLATES,
    }
    for key, allowed in choices.items():
        if values[key] not in allowed:
            faults.append(f"{key}: expected one of {', '.join(str(a) for a in allowed if a)}, got {values[key]!r}")
    for key, low in {"batch_size": 1, "row_tokens": 8, "max_length": 8, "num_workers": 0}.items():
        value = values[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            faults.append(f"{key}: expected a whole number of {low} or more, got {value!r}")
    wanted = values["num_candidates"]
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 2):
        faults.append(f"num_candidates: expected a whole number of 2 or more, or null, got {wanted!r}")
    if not _is_number(values["beta"]) or not 0 <= values["beta"] <= 10:
        faults.append(f"beta: expected a number from 0 to 10, got {values['beta']!r}")
    if not _is_number(values["min_gap"]) or values["min_gap"] < 0:
        faults.append(f"min_gap: expected a number of 0 or more, got {values['min_gap']!r}")
    held = values["held_out"]
    if not _is_number(held) or held < 0 or (held > 1 and held % 1):
        faults.append(f"held_out: expected a count (0, 1, 2, ...) or a share between 0 and 1, got {held!r}")
    if not isinstance(values["original"], str) or not values["original"]:
        faults.append(f"original: expected error, best, none or a file, got {values['original']!r}")
    if values["val_split"] is not None and values["val_path"] is None:
        faults.append(f"val_split: expected val_path beside it, got {values['val_split']!r} alone")
    return faults


def _range_faults(values: Mapping[str, Any], prefix: str) -> list[str]:
    faults = []
    for key in ("first", "last"):
        value = values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            faults.append(f"{prefix}{key}: expected a whole number of 1 or more, got {value!r}")
    return faults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
