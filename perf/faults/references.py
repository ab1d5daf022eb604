"""The reference model's pass before training, and models that two processes load and write: killed, damaged, stale."""

import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from perf.faults.base import Bench, Trial, wait_for
from perf.faults.training import SHARDED, _below
from tests.training.make import overrides, write_lists, write_model

PASSES, SHARDS = "reference passes", "models in two processes"
LISTS = 40


def _command(bench: Bench, name: str, **changes: object) -> list[str]:
    model, lists = bench.folder / "llama", bench.folder / "lists.jsonl"
    if not lists.exists():
        write_model(model)
        write_lists(lists, LISTS)
    return overrides(model, lists, bench.folder / "runs", **{"loss": "dpo", "name": name, **changes})


def _weights(bench: Bench, name: str) -> dict[str, Any]:
    folder = bench.folder / "runs" / name / "model"
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def _same(bench: Bench, one: str, other: str = "whole") -> None:
    mine, theirs = _weights(bench, one), _weights(bench, other)
    bench.expect(mine, "lost", f"no model of {one}")
    if not mine:
        return
    far = max((mine[name] - theirs[name]).abs().max().item() for name in theirs)
    bench.expect(far < 1e-5, "silent", f"weights differ by {far:g} from those of a run that nothing happened to")


def _store(bench: Bench) -> Path:
    [path] = (bench.folder / "runs" / "cache").glob("*-reference*.npz")
    return path


def _log(bench: Bench, name: str) -> str:
    path = bench.folder / "runs" / name / "log.txt"
    return path.read_text() if path.exists() else ""


def _slowly(steps: float) -> Callable[[], object]:
    """The pass stores after each eighth of its batches, and each takes so many seconds: a moment to be killed in."""

    def first() -> None:
        import time

        reference: Any = importlib.import_module("tuna.training.reference")
        reference._SAVED_EVERY, reference._ASKED_EVERY, check = 0.0, 1, reference.check_values

        def later(*words: Any) -> None:
            time.sleep(steps)
            check(*words)

        reference.check_values = later

    return first


def _pass_killed(bench: Bench, number: int, stored: bool) -> None:
    """Killed in the middle of the pass: what was stored is not scored again, and the run ends as one that was whole."""
    small = {"trainer__micro_tokens": 128}
    bench.run("train", *_command(bench, "whole", **small))
    shutil.rmtree(bench.folder / "runs" / "cache")
    cache = bench.folder / "runs" / "cache"

    def during(process: int, output: Path) -> None:
        there = (
            (lambda: any(cache.glob("*-reference*.npz"))) if stored else (lambda: any(cache.glob("*-reference*.lock")))
        )
        wait_for(there)
        os.kill(process, number)

    code = {9: -9, 2: 130, 15: 143}[number]
    bench.run("train", *_command(bench, "run", **small), code=code, during=during, first=_slowly(0.2))
    if number != signal.SIGKILL:
        status = json.loads((bench.folder / "runs/run/run.json").read_text())["status"]
        bench.expect(status == "interrupted", "message", f"status {status}")
    before = len(np.load(_store(bench))["ends"]) if stored else 0
    bench.run("train", *_command(bench, "run", resume="auto", **small))
    if stored:
        told = [line for line in _log(bench, "run").splitlines() if "reference" in line and "lists" in line]
        last = int(told[-1].partition(" lists")[0].rpartition("/")[2])
        bench.expect(last <= LISTS - before, "lost", f"{last} lists were scored though {before} were stored")
    _same(bench, "run")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def _fewer(path: Path) -> None:
    from tuna.data.cache import TokenCache

    cache = TokenCache(path)
    for key in list(cache)[::2]:
        del cache[key]
    cache.save()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in half": _cut, "empty": lambda path: path.write_bytes(b""), "with a bit flipped": _flip,
    "without half of its lists": _fewer, "a folder": _folder,
    "a pickle": lambda path: path.write_bytes(b"cos\nsystem\n(S'touch $TUNA_CANARY'\ntR."),
}  # fmt: skip


def _store_damaged(bench: Bench, damage: Callable[[Path], object]) -> None:
    """The pass is made again, where it has to be; the run is what it would have been."""
    bench.run("train", *_command(bench, "whole"))
    damage(_store(bench))
    bench.run("train", *_command(bench, "run"))
    _same(bench, "run")


def _stale(bench: Bench, what: str) -> None:
    """Something that shaped the values changes: those of before are not taken."""
    bench.run("train", *_command(bench, "before"))
    changes: dict[str, object] = {}
    if what == "other weights":
        write_model(bench.folder / "llama", initializer_range=0.3)
    elif what == "other lists":
        write_lists(bench.folder / "lists.jsonl", LISTS, seed=1)
    elif what == "another reference":
        write_model(bench.folder / "other", initializer_range=0.3)
        changes["loss__reference"] = bench.folder / "other"
    bench.run("train", *_command(bench, "run", **changes))
    shutil.rmtree(bench.folder / "runs" / "cache")
    bench.run("train", *_command(bench, "whole", **changes))
    _same(bench, "run")


def _reference_damaged(bench: Bench, what: str) -> None:
    """Told before the run begins, by the reference's path."""
    other = write_model(bench.folder / "other")
    weights = other / "model.safetensors"
    ways: dict[str, Callable[[], object]] = {
        "missing": weights.unlink, "cut in half": partial(_cut, weights), "removed": partial(shutil.rmtree, other),
        "without a tokenizer": (other / "tokenizer.json").unlink,
    }  # fmt: skip
    ways[what]()
    bench.run("train", *_command(bench, "run", loss__reference=other), code=1, says=["other", "error: "])
    bench.expect(not (bench.folder / "runs" / "run").exists(), "slow", "it came to a run folder")


def _two_passes(bench: Bench) -> None:
    """Two runs of one reference at once: one scores, the other one waits and reads."""
    second = Bench(bench.folder)

    def during(process: int, output: Path) -> None:
        wait_for(lambda: any((bench.folder / "runs" / "cache").glob("*-reference*.lock")))
        second.run("train", *_command(bench, "other"))
        bench.found += second.found

    bench.run("train", *_command(bench, "run"), during=during, first=_slowly(0.1))
    bench.expect("all stored" in _log(bench, "other"), "lost", "the second run scored again")
    _same(bench, "run", "other")


# Models in two processes


def _sharded(bench: Bench, name: str, **changes: object) -> list[str]:
    return _command(bench, name, **{**SHARDED, "loss": "tuna", "trainer__max_epochs": 1, **changes})


def _split(bench: Bench) -> Path:
    """The start as several files with an index."""
    from transformers import AutoModelForCausalLM

    _command(bench, "any")
    folder = bench.folder / "llama"
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="16KB")
    return folder


def _file(bench: Bench, what: str) -> None:
    """A file of the start is missing or damaged: named, once, before two processes start."""
    folder = _split(bench)
    files = sorted(folder.glob("model-*.safetensors"))
    assert len(files) > 2, files
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    if what == "missing":
        files[1].unlink()
    elif what == "cut in half":
        _cut(files[1])
    elif what == "empty":
        files[1].write_bytes(b"")
    elif what == "a pointer of Git LFS":
        files[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif what == "another file's copy":
        files[1].write_bytes(files[2].read_bytes())
    elif what == "an index without a file":
        content["weight_map"] = {name: file for name, file in content["weight_map"].items() if file != files[1].name}
        index.write_text(json.dumps(content))
    elif what == "an index that is cut":
        _cut(index)
    ended = bench.run("train", *_sharded(bench, "run"), code=1, says=["error: ", "llama"])
    bench.expect(ended.output.count("error: ") == 1, "message", "more than one message")
    bench.expect(not (bench.folder / "runs" / "run").exists(), "slow", "it came to a run folder")


def _killed(bench: Bench, moment: str, who: str) -> None:
    """A process of two is killed as the model is loaded or written; nothing half is left, and the run goes on."""
    bench.run("train", *_sharded(bench, "whole"), seconds=240)
    run = bench.folder / "runs" / "run"

    def during(process: int, output: Path) -> None:
        wait_for(lambda: any(run.glob(moment)), 200.0)
        workers = [child for launcher in _below(process) for child in _below(launcher)]
        targets = {"first": workers[:1], "second": workers[-1:], "command": [process], "interrupt": [process]}[who]
        for target in targets:
            os.kill(target, signal.SIGINT if who == "interrupt" else signal.SIGKILL)

    code = {"command": [-9, 0], "interrupt": [130, 0]}.get(who, [1, 0])
    bench.run("train", *_sharded(bench, "run"), code=code, during=during, seconds=240)
    model = run / "model"
    whole = not model.exists() or {p.name for p in model.iterdir()} >= {"config.json", "model.safetensors"}
    bench.expect(whole, "lost", f"half a model: {[*model.iterdir()] if model.exists() else []}")
    bench.run("train", *_sharded(bench, "run", resume="auto"), seconds=240)
    _same(bench, "run")


def _trials() -> Iterator[Trial]:
    for number, stored in (
        (signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGINT, True), (signal.SIGTERM, True),
    ):  # fmt: skip
        name = f"{number.name} in the middle, {'some' if stored else 'nothing'} stored"
        yield Trial(PASSES, name, partial(_pass_killed, number=number, stored=stored))
    for name, damage in DAMAGES.items():
        run = partial(_store_damaged, damage=damage)
        yield Trial(PASSES, f"stored values that are {name}", run)
    for what in ("other weights", "other lists", "another reference"):
        yield Trial(PASSES, f"{what} than those of the stored values", partial(_stale, what=what))
    for what in ("missing", "cut in half", "without a tokenizer", "removed"):
        yield Trial(PASSES, f"a reference that is {what}", partial(_reference_damaged, what=what), what == "removed")
    yield Trial(PASSES, "two at once", _two_passes)
    for what in ("missing", "cut in half", "empty", "a pointer of Git LFS", "another file's copy",
                 "an index without a file", "an index that is cut"):  # fmt: skip
        name = what if what.startswith("an ") and "index" in what else f"a file of the start is {what}"
        yield Trial(SHARDS, name, partial(_file, what=what), what == "missing")
    for name, moment, who in (
        ("one killed as they load", "run.json", "second"), ("one killed as they write", "model.tmp", "first"),
        ("the command killed as they write", "model.tmp", "command"),
    ):  # fmt: skip
        yield Trial(SHARDS, name, partial(_killed, moment=moment, who=who))


TRIALS = [*_trials()]
