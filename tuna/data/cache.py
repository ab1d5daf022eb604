"""Token ids of texts, kept between runs: one .npz per (data, tokenizer), without pickle, replaced whole or not at all.

An entry's key is its text, so that other ranges, held-out parts and scores find the same entries.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from tuna import files
from tuna.data.batch import IntArray
from tuna.errors import RunError

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """$TUNA_CACHE, else ~/.cache/tuna/tokens."""
    return Path(os.environ.get("TUNA_CACHE") or "~/.cache/tuna/tokens").expanduser()


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of all that decides which ids a text gets; never of where the tokenizer lies."""
    digest = hashlib.sha256(f"{type(tokenizer).__name__} {tokenizers.__version__}".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    unused = {"truncation": None, "padding": None}  # set by whoever called last
    parts = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str()) | unused
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()


def key_of(text: str) -> bytes:
    """16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class TokenCache(dict[bytes, IntArray]):
    """Token ids by ``key_of`` their text, with a file behind it (path None: none); a damaged file is no error."""

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path
        if path is not None and path.is_file():
            try:
                self.update(_load(path))
            except Exception as error:  # damage can reach every part of zip's, zlib's and NumPy's readers
                log.warning("token cache %s is damaged or of another version (%.200s): tokenizing again", path, error)
        self._saved = len(self)

    def save(self) -> None:
        """Write the file when something is new. A folder that cannot be written costs a warning."""
        if self.path is None or len(self) == self._saved:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _save(self.path, self)
        except OSError as error:
            log.warning("token cache %s cannot be written (%s): it is made again next time", self.path, error.strerror)
        self._saved = len(self)


def _load(path: Path) -> dict[bytes, IntArray]:
    with np.load(path, allow_pickle=False) as file:
        keys, ends, ids = file["keys"], file["ends"].tolist(), file["ids"]
        if file["digest"].tobytes() != _digest(keys, file["ends"], ids):  # covers shapes and types too
            raise ValueError("its hash is another")
    return {key.tobytes(): ids[start:end] for key, start, end in zip(keys, [0, *ends[:-1]], ends, strict=True)}


def _digest(*parts: npt.NDArray[Any]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{part.dtype} {part.shape} ".encode())
        found.update(np.ascontiguousarray(part).data)
    return found.digest()


def _save(path: Path, entries: dict[bytes, IntArray]) -> None:
    keys = np.frombuffer(b"".join(entries), np.uint8).reshape(-1, 16)
    ends = np.cumsum([len(ids) for ids in entries.values()], dtype=np.int64)
    ids = np.concatenate(list(entries.values())).astype(np.int32)
    with files.whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, keys=keys, ends=ends, ids=ids, digest=np.frombuffer(_digest(keys, ends, ids), np.uint8))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time for this cache file, so that the others find it filled; where locks fail, all go on."""
    with ExitStack() as stack:
        with suppress(RunError):  # a cache that cannot be written to is done without
            stack.enter_context(files.locked(path.with_suffix(".lock"), busy=""))
        yield
