"""Which part of a data set is read, where it has several splits; and the config keys that choose."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from tuna.errors import DataError

_SHARD = re.compile(r"[-_.]\d+-of-\d+$")
_NUMBER = re.compile(r"[-_.]?\d+$")
_FIRST_WORDS = {"train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation"}


def beside(key: str, name: str) -> str:
    """The config key ``name`` that belongs to the one that names a path.

    >>> beside("datamodule.sources[1].path", "split"), beside("datamodule.val_path", "split"), beside("input", "split")
    ('datamodule.sources[1].split', 'datamodule.val_split', 'input_split')
    """
    return key.removesuffix("path") + name if key.endswith("path") else f"{key}_{name}"


def split_of(stem: str) -> str:
    """The split that a file's name tells, without its ending; "" where it tells none.

    >>> split_of("train_prefs-00000-of-00002"), split_of("test"), split_of("val-3"), split_of("helpful_2")
    ('train_prefs', 'test', 'val', '')
    """
    bare = _SHARD.sub("", stem)
    if bare != stem:
        return bare
    bare = _NUMBER.sub("", stem)
    return bare if re.split(r"[-_.]", bare)[0].lower() in _FIRST_WORDS else ""


def pick(path: str, names: Collection[str], wanted: str | None, key: str) -> str:
    """The split ``wanted``; where that is None "train", or the only one. key: the config key that names ``path``.

    Raises: DataError that lists the splits and gives the key to set.

    >>> pick("a/b", ["train_sft", "train_prefs"], None, "datamodule.path")
    Traceback (most recent call last):
    tuna.errors.DataError: a/b: expected the name of a split, one of train_prefs, train_sft, got nothing;
    next: datamodule.split=train_prefs
    """
    if wanted is None and (len(names) == 1 or "train" in names):
        return "train" if "train" in names else next(iter(names))
    if wanted is not None and wanted in names:
        return wanted
    choices = sorted(names)
    got = "nothing" if wanted is None else repr(wanted)
    near = get_close_matches(wanted or "train_prefs", choices, n=1, cutoff=0) or [""]
    raise DataError(
        f"{path}: expected the name of a split, one of {', '.join(choices)}, got {got}; "
        f"next: {beside(key, 'split')}={near[0]}"
    )
