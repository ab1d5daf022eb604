"""Damaged, foreign and hostile checkpoints, and files of ours that hold anything."""

import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from perf.faults.base import CANARY, CANARY_VARIABLE, Bench, Trial, perform, wait_for
from tests.training.make import overrides, write_lists, write_model

STEP = 9
HOSTILE = f"cos\nsystem\n(S'touch ${CANARY_VARIABLE}'\ntR.".encode()


@cache
def _made() -> Path:
    """A folder with a model, lists, a run that was stopped behind step 9 and one that was not, and a finished one."""
    folder = Path(mkdtemp(prefix="tuna-faults-made-"))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_model(folder / "model")
    write_lists(folder / "lists.jsonl")

    def make(bench: Bench) -> None:
        words = _words(bench)
        bench.run("train", *words, "name=whole")
        bench.run("train", *words, "name=stopped", code=[0, -9], during=_killed_behind(bench.folder / "runs/stopped"))
        bench.run("train", *words, "name=stopped-too", "seed=1", code=[0, -9],
                  during=_killed_behind(bench.folder / "runs/stopped-too"))  # fmt: skip

    found = perform(Trial("made", "made", make), folder / "made")
    assert not found.broken, found.broken
    return folder


def _killed_behind(run: Path) -> Callable[[int, Path], object]:
    def kill(process: int, output: Path) -> None:
        assert wait_for(lambda: (run / "checkpoints" / f"step-{STEP}").exists())
        os.kill(process, 9)

    return kill


def _words(bench: Bench) -> list[str]:
    made = bench.folder.parent if bench.folder.name == "made" else _made()
    return overrides(made / "model", made / "lists.jsonl", bench.folder / "runs", trainer__max_epochs=4)


def _copied(bench: Bench, name: str = "stopped") -> Path:
    run = bench.folder / "runs" / name
    shutil.copytree(_made() / "made" / "runs" / name, run)
    return run


def _weights(run: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(run / "model" / "model.safetensors"))


def _same_end(bench: Bench, run: Path) -> None:
    """The run's weights are those of the run that nothing happened to."""
    if not (run / "model" / "model.safetensors").exists():
        bench.broken("lost", "no model was written")
        return
    mine, whole = _weights(run), _weights(_made() / "made" / "runs" / "whole")
    far = max((mine[name] - whole[name]).abs().max().item() for name in whole)
    bench.expect(far < 1e-5, "silent", f"weights differ by {far:g} from the run that was not stopped")


Damage = Callable[[Path], object]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(at: float, bit: int) -> Damage:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= bit
        path.write_bytes(data)

    return flip


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


KINDS: dict[str, Damage] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": _cut,
    "of noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "longer by a byte": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "a folder": _folder,
    "a hostile pickle": lambda path: path.write_bytes(HOSTILE),
    **{f"with a bit flipped at {at:.0%}": _flipped(at, bit) for at, bit in ((0.0, 1), (0.3, 4), (0.6, 16), (1.0, 128))},
}
FILES: dict[str, Callable[[Path], Path]] = {
    ".metadata": lambda step: step / ".metadata",
    "data": lambda step: max(step.glob("*.distcp"), key=lambda path: path.stat().st_size),
    "state.json": lambda step: step / "state.json",
}


def _damaged(file: str, kind: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        run = _copied(bench)
        path = FILES[file](run / "checkpoints" / f"step-{STEP}")
        before = path.read_bytes()
        KINDS[kind](path)
        harmless = file == "state.json" and path.is_file() and _state_equal(before, path.read_bytes())
        says = [f"resumed at step {STEP}"] if harmless else [f"step-{STEP}", "set aside", f"resumed at step {STEP - 3}"]
        bench.run("train", *_words(bench), "name=stopped", "resume=auto", code=0, says=says)
        _same_end(bench, run)

    return trial


def _state_equal(before: bytes, after: bytes) -> bool:
    try:
        return bool(json.loads(before) == json.loads(after))
    except ValueError:
        return False


def _state(folder: Path, **changes: object) -> None:
    from tuna.training.checkpoint_files import sealed

    path = folder / "state.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | changes)))


def _foreign(change: Callable[[Path], object], says: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        run = _copied(bench)
        change(run / "checkpoints")
        bench.run("train", *_words(bench), "name=stopped", "resume=auto", code=0, says=[says, "set aside"])
        _same_end(bench, run)

    return trial


def _another_runs(checkpoints: Path) -> None:
    step = checkpoints / f"step-{STEP}"
    shutil.rmtree(step)
    shutil.copytree(_made() / "made/runs/stopped-too/checkpoints" / step.name, step)


def _beyond(checkpoints: Path) -> None:
    shutil.copytree(checkpoints / f"step-{STEP}", checkpoints / "step-9999")
    _state(checkpoints / "step-9999", step=9999)


def _resealed(name: str, **told: Any) -> Callable[[Bench], object]:
    """A hostile pickle whose hash is right: whoever can write the one can write the other."""

    def trial(bench: Bench) -> None:
        from tuna.training.checkpoint_files import hashes

        run = _copied(bench)
        step = run / "checkpoints" / f"step-{STEP}"
        FILES[name](step).write_bytes(HOSTILE)
        _state(step, files=hashes(step, [path.name for path in step.iterdir() if path.name != "state.json"]))
        bench.run("train", *_words(bench), "name=stopped", "resume=auto", **told)

    return trial


def _beside_the_tensors(bench: Bench) -> None:
    import torch

    from tuna.training.checkpoint_files import Reader, hashes

    class Hostile:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(bench.folder / CANARY),))

    step = _copied(bench) / "checkpoints" / f"step-{STEP}"
    table = Reader(step).read_metadata()
    place = next(place for index, place in table.storage_data.items() if index.fqn.endswith(".lr"))
    torch.save(Hostile(), step / "other.distcp")
    place.relative_path, place.offset, place.length = "other.distcp", 0, (step / "other.distcp").stat().st_size
    (step / ".metadata").write_bytes(pickle.dumps(table))
    _state(step, files=hashes(step, [path.name for path in step.iterdir() if path.name != "state.json"]))
    bench.run("train", *_words(bench), "name=stopped", "resume=auto", code=1, says=[f"step-{STEP}: cannot be read"])


def _all_damaged(bench: Bench) -> None:
    run = _copied(bench)
    for step in (STEP, STEP - 3):
        _cut(FILES["data"](run / "checkpoints" / f"step-{step}"))
    bench.run("train", *_words(bench), "name=stopped", "resume=auto", code=0, says=["the run starts at step 0"])
    _same_end(bench, run)


def _interrupted(number: int) -> Callable[[Bench], object]:
    """Ctrl-C while torch writes the checkpoint of that step."""

    def trial(bench: Bench) -> None:
        run = bench.folder / "runs" / "run"

        def press(process: int, output: Path) -> None:
            wait_for(lambda: list((run / "checkpoints").glob(f"step-{number}*")))
            os.kill(process, signal.SIGINT)

        words = [*_words(bench), "name=run", "trainer.keep_checkpoints=9"]
        bench.run("train", *words, code=130, says=["interrupted"], never=["free some space"], during=press)
        status = json.loads((run / "run.json").read_text())["status"]
        bench.expect(status == "interrupted", "message", f"status {status}")
        bench.run("train", *words, "resume=auto", code=0)
        _same_end(bench, run)

    return trial


def _no_folder(*words: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        (bench.folder / "file").touch()
        bench.run("train", *_words(bench), *words, "runs_dir=file/runs", code=1, says=["file"])

    return trial


CONTENTS = {
    "a list": "[1, 2]", "a number": "3", "null": "null", "empty": "", "cut": '{"status": "runn', "deep": "[" * 50_000,
    "bytes that are no text": "\udcff", "a config that is text": '{"status": "failed", "config": "x", "parents": 3}',
    "a status that is a list": '{"status": [], "started": 5}',
}  # fmt: skip


def _odd_file(name: str, content: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        run = _copied(bench)
        (run / name).write_text(CONTENTS[content], errors="surrogateescape")
        bench.run("train", *_words(bench), "name=stopped", "resume=auto", code=1, says=[f"stopped/{name}"])

    return trial


def _odd_neighbor(content: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        run = _copied(bench)
        odd = bench.folder / "runs" / "odd"
        odd.mkdir()
        (odd / "run.json").write_text(CONTENTS[content], errors="surrogateescape")
        bench.run("train", *_words(bench), "resume=auto", code=0, says=["odd/run.json", "left alone"])
        _same_end(bench, run)
        bench.run("report", "runs=runs", "output=report", code=[0, 1])

    return trial


def _odd_job(content: str) -> Callable[[Bench], object]:
    def trial(bench: Bench) -> None:
        words = [*_words(bench), "-m", "seed=0,1", "name=sweep", "trainer.max_steps=1"]
        job = bench.folder / "runs" / "sweep" / "0"
        job.mkdir(parents=True)
        (job / "job.json").write_text(CONTENTS[content], errors="surrogateescape")
        bench.run("train", *words, code=1, says=["sweep/0/job.json"])

    return trial


TRIALS = [
    *(Trial("damaged checkpoints", f"{file} is {kind}", _damaged(file, kind), sample=(file, kind) == ("data", "empty"))
      for file in FILES for kind in KINDS),
    Trial("damaged checkpoints", "of another seed's run",
          _foreign(_another_runs, "it belongs to another run")),
    Trial("damaged checkpoints", "a step beyond the plan", _foreign(_beyond, "expected a step of this run's")),
    Trial("damaged checkpoints", "all of them", _all_damaged),
    Trial("damaged checkpoints", "hostile .metadata, its hash right",
          _resealed(".metadata", code=0, says=["os.system, which no", "set aside"]), sample=True),
    Trial("damaged checkpoints", "hostile data, its hash right",
          _resealed("data", code=1, says=[f"step-{STEP}: cannot be read"])),
    Trial("damaged checkpoints", "a hostile learning rate", _beside_the_tensors),
    *(
        Trial("damaged checkpoints", f"Ctrl-C while step {step} is written", _interrupted(step))
        for step in range(3, 13, 3)
    ),
    Trial("our own JSON files", "runs_dir below a file", _no_folder()),
    Trial("our own JSON files", "runs_dir of a sweep below a file", _no_folder("-m", "seed=0,1", "name=sweep")),
    *(Trial("our own JSON files", f"run.json holds {content}", _odd_file("run.json", content),
            sample=content == "a list") for content in CONTENTS),
    *(Trial("our own JSON files", f"a neighbor's run.json holds {content}", _odd_neighbor(content))
      for content in CONTENTS),
    *(Trial("our own JSON files", f"job.json holds {content}", _odd_job(content)) for content in CONTENTS),
]  # fmt: skip
