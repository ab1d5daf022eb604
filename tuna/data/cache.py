"""Token ids of texts, kept between runs: one .npz a (data, tokenizer), without pickle, replaced whole or not at all.

Entries are addressed by the text itself, so ranges, the held-out part, beta, max_length and other scores find the same
entries, and another template only adds its prompts.
"""

import hashlib
import json
import logging
import os
import tempfile
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
Ids = IntArray


def default_folder() -> Path:
    """$TUNA_CACHE, else ~/.cache/tuna/tokens."""
    return Path(os.environ.get("TUNA_CACHE") or "~/.cache/tuna/tokens").expanduser()


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of all that decides which ids a text gets; never of where the tokenizer lies."""
    digest = hashlib.sha256(f"{type(tokenizer).__name__} {tokenizers.__version__}".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    else:
        # Truncation and padding are set by whoever called last, and are not used here.
        parts = json.loads(backend.to_str())
        digest.update(json.dumps({**parts, "truncation": None, "padding": None}, sort_keys=True).encode())
    return digest.hexdigest()


def key_of(text: str) -> bytes:
    """16 bytes that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class TokenCache:
    """ids by key, in memory, with a file behind it. A damaged, missing or unwritable file is no fault: it is rebuilt.

    >>> cache = TokenCache(None)
    >>> cache.put(key_of("a"), np.array([7], np.int32))
    >>> cache.get(key_of("a"))
    array([7], dtype=int32)
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.changed = False
        self._ids: dict[bytes, Ids] = {}
        if path is not None and path.is_file():
            try:
                self._ids = _load(path)
            except Exception as error:  # damage can reach every part of zip's, zlib's and NumPy's readers
                log.warning("token cache %s is damaged or of another version (%.200s): tokenizing again", path, error)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, key: bytes) -> bool:
        return key in self._ids

    def get(self, key: bytes) -> Ids:
        """The ids of a text that is known."""
        return self._ids[key]

    def put(self, key: bytes, ids: Ids) -> None:
        """Remember the ids of a text."""
        self._ids[key] = ids
        self.changed = True

    def save(self) -> None:
        """Write the file when something is new. A folder that cannot be written costs a warning."""
        if self.path is None or not self.changed:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _save(self.path, self._ids)
        except OSError as error:
            log.warning(
                "token cache %s cannot be written (%s): the next run tokenizes again", self.path, error.strerror
            )
        self.changed = False


def _load(path: Path) -> dict[bytes, Ids]:
    with np.load(path, allow_pickle=False) as file:
        keys: npt.NDArray[np.uint8] = file["keys"]
        ends: npt.NDArray[np.int64] = file["ends"]
        ids: Ids = file["ids"]
        digest = file["digest"].tobytes()
    if digest != _digest(keys, ends, ids):
        raise ValueError("its hash is another")
    sizes = np.diff(ends, prepend=0)
    fits = keys.shape == (len(ends), 16) and ids.dtype == np.int32 and ids.ndim == 1 and (sizes >= 0).all()
    if not fits or (len(ends) and ends[-1] != len(ids)):
        raise ValueError("its parts do not fit together")
    raw = keys.tobytes()
    starts = [0, *ends.tolist()]
    return {raw[16 * i : 16 * i + 16]: ids[starts[i] : starts[i + 1]] for i in range(len(ends))}


def _digest(*parts: npt.NDArray[Any]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{part.dtype} {part.shape} ".encode())
        found.update(np.ascontiguousarray(part).data)
    return found.digest()


def _save(path: Path, entries: dict[bytes, Ids]) -> None:
    keys = np.frombuffer(b"".join(entries), np.uint8).reshape(-1, 16)
    ends = np.cumsum([len(ids) for ids in entries.values()], dtype=np.int64)
    ids = np.concatenate(list(entries.values())).astype(np.int32) if entries else np.zeros(0, np.int32)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, keys=keys, ends=ends, ids=ids, digest=np.frombuffer(_digest(keys, ends, ids), np.uint8))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """One process at a time for this cache file, so that the others find it filled; where locks fail, all go on."""
    if path is None:
        yield
        return
    with ExitStack() as stack:
        with suppress(RunError):  # a cache that cannot be written to is done without
            stack.enter_context(files.locked(path.with_suffix(".lock"), busy=""))
        yield
