"""The cache is found again, damaged ones are rebuilt, and nothing about it is ever fatal."""

import logging
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest

from tests.data.make import tokenizer
from tuna.data.cache import TokenCache, default_folder, key_of, locked, tokenizer_hash
from tuna.data.tokens import Literals, Tokens


def _filled(path: Path) -> TokenCache:
    cache = TokenCache(path)
    for n in range(50):
        cache[key_of(f"text {n}")] = np.arange(n, dtype=np.int32)
    cache.save()
    return cache


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.npz"
    _filled(path)
    again = TokenCache(path)
    assert len(again) == 50
    assert again[key_of("text 7")].tolist() == list(range(7))
    assert again[key_of("text 0")].tolist() == []
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_damaged_files_are_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.npz"
    _filled(path)
    whole = path.read_bytes()
    rng = random.Random(0)
    damaged = [b"", b"junk", whole[: len(whole) // 2], whole[:-30]]
    for at in [*range(0, len(whole), 41), *range(len(whole) - 400, len(whole), 3)]:  # a flipped bit, everywhere
        damaged.append(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        cache = TokenCache(path)  # some bits of a zip archive mean nothing: then all of it is right
        assert len(cache) in (0, 50)
        assert all(cache[key_of(f"text {n}")].tolist() == list(range(n)) for n in range(len(cache)))
    path.write_bytes(whole[: len(whole) // 2])
    cache = TokenCache(path)
    ids = Tokens(tokenizer(), Literals([]), cache).ids("one two")
    cache.save()
    assert TokenCache(path)[key_of("one two")].tolist() == ids.tolist()
    assert "is damaged" in caplog.text


def test_a_file_whose_archive_is_sound_but_whose_ids_are_others_is_rebuilt(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    _filled(path)
    with np.load(path) as file:
        parts = dict(file)
    parts["ids"][7] += 1
    np.savez(path, **parts)
    assert len(TokenCache(path)) == 0
    np.savez(path, **{name: part for name, part in parts.items() if name != "digest"})  # of an earlier version
    assert len(TokenCache(path)) == 0


def test_pickles_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, keys=np.array([{"a": 1}], dtype=object), ends=np.zeros(1), ids=np.zeros(1))
    assert len(TokenCache(path)) == 0


def test_an_unwritable_folder_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.npz"
    with caplog.at_level(logging.WARNING), locked(path):
        _filled(path)
    assert "cannot be written" in caplog.text


def test_the_tokenizers_hash_is_of_what_it_does() -> None:
    one, same, other = tokenizer(), tokenizer(), tokenizer(bos=True)
    same(["a", "bb"], padding=True, truncation=True, max_length=4)  # leaves its mark in the backend
    same.name_or_path = "elsewhere"
    assert tokenizer_hash(one) == tokenizer_hash(same) != tokenizer_hash(other)


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNA_CACHE", "/x/y")
    assert str(default_folder()) == "/x/y"
    monkeypatch.delenv("TUNA_CACHE")
    assert str(default_folder()).endswith("/.cache/tuna/tokens")


def _hold(path: Path, order: "multiprocessing.Queue[str]", ready: "multiprocessing.synchronize.Event") -> None:
    with locked(path):
        ready.set()
        order.put("child")


def test_the_lock_is_for_one(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    context = multiprocessing.get_context("fork")
    order, ready = context.Queue(), context.Event()
    with locked(path):
        child = context.Process(target=_hold, args=(path, order, ready))
        child.start()
        assert not ready.wait(0.3)
    assert ready.wait(5)
    child.join(5)
    assert order.get(timeout=5) == "child"
