"""Training that computes no numbers, and what happens around it: processes, signals, data workers, folders."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from perf.faults.base import Bench, Trial, files_of, wait_for
from tests.training.make import overrides, write_lists, write_model
from tests.training.poison import BAD, change, nan_gradient, nan_loss, one_bad

NUMBERS, AROUND = "non-finite training", "processes, signals and folders"
MODEL = "runs/*/model/model.safetensors"
SHARDED = {
    "trainer": "fsdp", "trainer__accelerator": "cpu", "trainer__devices": 2, "trainer__precision": "32-true",
    "trainer__max_epochs": 500,
}  # fmt: skip


def _command(bench: Bench, model: Path, lists: Path, **changes: object) -> list[str]:
    return overrides(model, lists, bench.folder / "runs", **{"name": "run", **changes})


def _plain(bench: Bench, **changes: object) -> list[str]:
    """A sound model and sound lists; made once in a trial."""
    model, lists = bench.folder / "llama", bench.folder / "lists.jsonl"
    if not lists.exists():
        write_model(model)
        write_lists(lists)
    return _command(bench, model, lists, **changes)


def _run(bench: Bench) -> dict[str, Any]:
    """run.json, which has to be JSON without NaN and Infinity."""
    path = bench.folder / "runs" / "run" / "run.json"
    if not path.exists():
        return {}
    wrong: list[str] = []
    found = json.loads(path.read_text(), parse_constant=wrong.append)
    bench.expect(not wrong, "message", f"run.json holds {wrong}")
    return dict(found)


def _ended(bench: Bench, status: str) -> None:
    """The run has this status; nothing unsound was saved, and a model only by a run that finished."""
    run = bench.folder / "runs" / "run"
    bench.expect(_run(bench).get("status") == status, "message", f"status {_run(bench).get('status')}, not {status}")
    bench.expect((run / "model").exists() == (status == "finished"), "lost", "a model, or none, against the status")
    for path in run.glob("model/*.safetensors"):
        finite = all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())
        bench.expect(finite, "silent", "the model holds NaN")
    for path in run.glob("checkpoints/step-*/state.json"):
        state: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
            from torch.distributed.checkpoint.filesystem import FileSystemReader
            from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

            _load_state_dict(state, FileSystemReader(path.parent), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
        tensors = [value for value in state.get("model", {}).values() if isinstance(value, torch.Tensor)]
        bench.expect(tensors and all(t.isfinite().all() for t in tensors), "silent", f"{path.parent.name} holds NaN")


def _high_rate(bench: Bench, **changes: object) -> None:
    says = ["error: step ", "module.lr=100000 and another name=", "nonfinite=skip"]
    bench.run("train", *_plain(bench, module__lr=1e6, **changes), code=1, says=says)
    _ended(bench, "failed")


def _poisoned(bench: Bench, make: Callable[[Path], Path], mode: str, **changes: object) -> None:
    """One record of 31 makes NaN: the run names it, or leaves its step out."""
    model, lists = make(bench.folder / "model"), one_bad(bench.folder / "lists.jsonl")
    once = {"datamodule__held_out": 0, "trainer__max_epochs": 1, "trainer__checkpoint_every": 1, **changes}
    if mode != "skip":
        bench.run("train", *_command(bench, model, lists, **once), code=1, says=[f"lists.jsonl:{BAD + 1} (id {BAD})"])
        _ended(bench, "failed")
    if mode == "stop":
        return
    skip = _command(bench, model, lists, trainer__nonfinite="skip", resume="auto", **once)
    bench.run("train", *skip, says=["skipped", "1 of 4 steps"])
    _ended(bench, "finished")
    bench.expect(len(_run(bench).get("skipped_steps", [])) == 1, "silent", "skipped_steps")
    if mode == "both":  # as if the run had begun with it
        other = bench.folder / "other"
        bench.run("train", *[f"runs_dir={other}" if word.startswith("runs_dir=") else word for word in skip])
        same = [*files_of(bench.folder, MODEL).values()] == [
            *files_of(bench.folder, MODEL.replace("runs", "other", 1)).values()
        ]
        bench.expect(same, "silent", "another model than that of a run that skipped from the start")


def _nan_start(bench: Bench, tensor: str, value: float, **changes: object) -> None:
    model = change(write_model(bench.folder / "llama"), tensor, value)
    command = _command(bench, model, write_lists(bench.folder / "lists.jsonl"), **changes)
    bench.run("train", *command, code=1, says=["the weights hold NaN or infinity", tensor.removeprefix("model.")])
    _ended(bench, "failed")


def _nan_held_out(bench: Bench, **changes: object) -> None:
    model, bad = nan_loss(bench.folder / "model"), one_bad(bench.folder / "bad.jsonl")
    lists = one_bad(bench.folder / "lists.jsonl", bad=None, seed=1)
    command = _command(bench, model, lists, datamodule__held_out=0, datamodule__val_path=bad, **changes)
    bench.run("train", *command, code=1, says=["the held-out loss is nan", f"bad.jsonl:{BAD + 1} (id {BAD})"])
    _ended(bench, "failed")


def _nan_answers(bench: Bench, words: Sequence[str]) -> None:
    model, lists = nan_loss(bench.folder / "model"), one_bad(bench.folder / "lists.jsonl", count=14)
    told = [word.replace("MODEL", str(model)).replace("LISTS", str(lists)) for word in words[1:]]
    bench.run(words[0], *told, code=1, says=["expected finite log-probabilities, got nan"])


def _beta(bench: Bench, words: Sequence[str]) -> None:
    bench.run(words[0], *words[1:], code=1, says=["beta: expected 0 to 5"])


def _whole(bench: Bench, **changes: object) -> dict[str, bytes]:
    """The model of a run that nothing happened to."""
    words = [f"runs_dir={bench.folder / 'whole'}" if w.startswith("runs_dir=") else w for w in _plain(bench, **changes)]
    bench.run("train", *words)
    return files_of(bench.folder / "whole", "run/model/model.safetensors")


def _goes_on(bench: Bench, whole: dict[str, bytes], **changes: object) -> None:
    bench.run("train", *_plain(bench, resume="auto", **changes))
    _ended(bench, "finished")
    same = files_of(bench.folder / "runs", "run/model/model.safetensors") == whole
    bench.expect(same, "silent", "another model than that of a run that was never stopped")


def _at(bench: Bench, moment: str) -> bool:
    """Wait for a moment of the run."""
    run = bench.folder / "runs" / "run"

    def there() -> bool:
        if moment.startswith("step"):
            return (run / "log.txt").exists() and f"{moment}/" in (run / "log.txt").read_text()
        return any(run.glob(moment))

    return wait_for(there, 200.0)


def _signal(bench: Bench, number: signal.Signals, moment: str, group: bool = False, **changes: object) -> None:
    """The signal at a moment; the run goes on by resume=auto to the same model."""
    whole = _whole(bench, **changes)

    def during(process: int, output: Path) -> None:
        _at(bench, moment)
        (os.killpg if group else os.kill)(process, number)

    codes = [0, 128 + number, *([-number] if number != signal.SIGINT else [])]  # by the signal before main answers it
    ended = bench.run("train", *_plain(bench, **changes), code=codes, during=during)
    if ended.code > 0:
        bench.expect("interrupted: " in ended.output, "message", "does not say interrupted")
        status = _run(bench).get("status", "interrupted")  # it may not have begun
        bench.expect(status == "interrupted", "message", f"status {status}")
    _goes_on(bench, whole, **changes) if ended.code else None


def _below(process: int) -> list[int]:
    """Child processes."""
    with contextlib.suppress(OSError):
        return [
            int(w) for task in Path(f"/proc/{process}/task").iterdir() for w in (task / "children").read_text().split()
        ]
    return []


def _descendants(process: int) -> Iterator[int]:
    for child in _below(process):
        yield child
        yield from _descendants(child)


def _workers(bench: Bench, number: int, then: str) -> None:
    """A data worker is killed, or stopped and the run continued or interrupted."""
    changes = {"datamodule__num_workers": number, "trainer__max_epochs": 10}
    whole = _whole(bench, **changes)

    def during(process: int, output: Path) -> None:
        _at(bench, "step 5")
        worker = next(iter(_below(process)), 0)
        if not worker:
            bench.broken("message", "no data worker to be found")
            return
        os.kill(worker, signal.SIGKILL if then == "killed" else signal.SIGSTOP)
        if then == "continued":
            wait_for(lambda: False, 2.0)
            os.kill(worker, signal.SIGCONT)
        elif then == "interrupted":
            wait_for(lambda: False, 1.0)
            os.kill(process, signal.SIGINT)

    code = {"killed": 1, "continued": 0, "interrupted": 130}[then]
    says = ["a data worker ended", "resume=auto datamodule.num_workers=0"] if then == "killed" else []
    bench.run("train", *_plain(bench, **changes), code=code, says=says, during=during)
    if then == "continued":
        same = files_of(bench.folder / "runs", "run/model/model.safetensors") == whole
        bench.expect(same, "silent", "another model")
    else:
        _goes_on(bench, whole, **{**changes, "datamodule__num_workers": 0})


def _removed(bench: Bench, what: str, moment: str, **changes: object) -> None:
    run = bench.folder / "runs" / "run"

    def during(process: int, output: Path) -> None:
        _at(bench, moment)
        shutil.rmtree(run / what, ignore_errors=True)

    says = ["was removed or renamed while the run wrote to it"] if what == "." else ["next: "]
    bench.run("train", *_plain(bench, trainer__max_epochs=60, **changes), code=1, says=says, during=during)


def _in_the_way(bench: Bench, name: str, kind: str) -> None:
    """Something else lies where the run wants to write."""
    place = bench.folder / "runs" / "run" / name
    place.parent.mkdir(parents=True)
    place.mkdir() if kind == "folder" else place.write_text("mine")
    bench.run("train", *_plain(bench), code=1, says=["runs/run", "error: "])


def _immutable(bench: Bench, what: str) -> None:
    """EPERM for everybody, root included, where the file system has chattr +i."""
    run = bench.folder / "runs" / "run"

    def during(process: int, output: Path) -> None:
        _at(bench, "step 3")
        os.system(f"chattr +i {run / what} 2>/dev/null")

    try:
        command = _plain(bench, trainer__max_epochs=20)
        bench.run("train", *command, code=1, says=["next: ", "resume=auto"], during=during)
    finally:
        os.system(f"chattr -R -i {run} 2>/dev/null")


def _sharded(bench: Bench, what: str) -> None:
    """Two processes: one is killed or stopped, all are interrupted, or their loss is NaN."""
    says = {
        "killed": ["was ended by SIGKILL; memory ran out most likely", "resume=auto"],
        "stopped": ["waited 0.1 minutes (trainer.timeout_minutes)", "resume=auto"],
        "interrupted": ["interrupted: "],
        "rate": ["error: step "],
    }[what]
    changes = {**SHARDED, "trainer__timeout_minutes": 0.1 if what == "stopped" else 30}
    if what == "rate":
        changes["module__lr"] = 1e6

    def during(process: int, output: Path) -> None:
        if what == "rate":
            return
        _at(bench, "step 3")
        workers = [child for launcher in _below(process) for child in _below(launcher)]
        if what == "interrupted":
            os.kill(process, signal.SIGINT)
        else:
            os.kill(workers[-1], signal.SIGKILL if what == "killed" else signal.SIGSTOP)

    code = 130 if what == "interrupted" else 1
    ended = bench.run("train", *_plain(bench, **changes), code=code, says=says, during=during, seconds=240)
    _ended(bench, "interrupted" if what == "interrupted" else "failed")
    bench.expect(ended.output.count("error: ") == (code == 1), "message", "more than one message")


def _numbers() -> Iterator[Trial]:
    ways: dict[str, dict[str, Any]] = {
        "plain": {},
        "early stopping": {"trainer__validate_every": 1, "trainer__early_stop_patience": 1},
        "accumulate and no clipping": {"trainer__accumulate": 4, "trainer__clip_norm": None},
    }
    for stage in ("sft", "tuna_c", "prm"):
        for precision in ("32-true", "bf16-mixed"):
            for way, changes in ways.items():
                run = partial(_high_rate, stage=stage, trainer__precision=precision, **changes)
                yield Trial(NUMBERS, f"lr 1e6, {stage}, {precision}, {way}", run)
    for make, word in ((nan_loss, "loss"), (nan_gradient, "gradient")):
        for mode in ("stop", "skip", "both"):
            for accumulate in (1, 2):
                run = partial(_poisoned, make=make, mode=mode, trainer__accumulate=accumulate)
                sample = (word, mode, accumulate) == ("loss", "skip", 1)
                yield Trial(NUMBERS, f"a record with a NaN {word}, {mode}, accumulate {accumulate}", run, sample)
    for stage in ("sft", "tuna_c", "prm"):
        for tensor, value in (("model.norm.weight", float("nan")), ("model.embed_tokens.weight", float("-inf"))):
            run = partial(_nan_start, tensor=tensor, value=value, stage=stage)
            yield Trial(NUMBERS, f"a start with {value} in {tensor}, {stage}", run)
    for patience in (None, 1):
        every = 2 if patience else None
        run = partial(_nan_held_out, trainer__validate_every=every, trainer__early_stop_patience=patience)
        yield Trial(NUMBERS, f"a held-out record with a NaN loss, patience {patience}", run)
    model = ["model.path=MODEL", "model.template=none"]
    for name, words in {
        "samples": ["rank", "input=LISTS", "output=out.jsonl", *model, "sampler.max_tokens=3"],
        "teacher": ["rank", "input=LISTS", "output=out.jsonl", "ranker=probabilistic", "teacher.path=MODEL",
                    "teacher.template=none", "teacher.max_tokens=3"],
        "agreement": ["evaluate", "benchmark=agreement", "benchmark.path=LISTS", *model],
    }.items():  # fmt: skip
        yield Trial(NUMBERS, f"a model that computes NaN, {name}", partial(_nan_answers, words=words))
    for beta in ("1000", "-1", "1e308"):
        words = ["train", "stage=tuna_p", f"datamodule.beta={beta}"]
        yield Trial(NUMBERS, f"beta {beta}, train", partial(_beta, words=words))
        words = ["rank", "ranker=probabilistic", f"ranker.beta={beta}"]
        yield Trial(NUMBERS, f"beta {beta}, rank", partial(_beta, words=words))


def _around() -> Iterator[Trial]:
    moments = {
        "before the first step": "log.txt", "at step 3": "step 3", "at step 8": "step 8",
        "while a checkpoint is written": "checkpoints/step-6.tmp", "while the model is written": "model.tmp",
        "while the embedded tasks are answered": "model",
    }  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM):
        for name, moment in moments.items():
            sample = number == signal.SIGINT and moment == "step 3"
            changes: dict[str, Any] = {"evaluate": True} if moment == "model" else {}
            run = partial(_signal, number=number, moment=moment, **changes)
            yield Trial(AROUND, f"{number.name} {name}", run, sample)
    run = partial(_signal, number=signal.SIGINT, moment="step 3", group=True, datamodule__num_workers=2)
    yield Trial(AROUND, "SIGINT to the data workers too", run)
    for then in ("killed", "continued", "interrupted"):
        for count in (1, 2):
            name = {"killed": "killed", "continued": "stopped and continued", "interrupted": "stopped, then SIGINT"}[
                then
            ]
            yield Trial(AROUND, f"one of {count} data workers {name}", partial(_workers, number=count, then=then))
    for logger in ("csv", "none"):
        yield Trial(
            AROUND, f"run folder removed, logger={logger}", partial(_removed, what=".", moment="step 4", logger=logger)
        )
    yield Trial(AROUND, "checkpoints removed", partial(_removed, what="checkpoints", moment="step 4"))
    for name, kind in ((".lock", "folder"), ("checkpoints", "file"), ("metrics.csv", "folder"), ("log.txt", "folder")):
        yield Trial(AROUND, f"a {kind} in the place of {name}", partial(_in_the_way, name=name, kind=kind))
    for what in (".", "checkpoints", "run.json", "metrics.csv"):
        yield Trial(AROUND, f"{what if what != '.' else 'the run folder'} immutable", partial(_immutable, what=what))
    for what in ("killed", "interrupted", "stopped", "rate"):
        name = {"rate": "lr 1e6"}.get(what, f"one {what}" if what != "interrupted" else "SIGINT")
        yield Trial(AROUND, f"two sharded processes, {name}", partial(_sharded, what=what))


TRIALS = [*_numbers(), *_around()]
