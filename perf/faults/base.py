"""A fault trial: what it is, how the command under it runs, and what counts as broken.

The commands are the real ones with real signals. They run in a fork of this process, which has imported torch and the
package once: a trial takes a second in place of ten.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# A secret of this environment, as a server's client needs one. No file and no output may hold 8 characters of it.
SECRET_NAME, SECRET = "OPENAI_API_KEY", "sk-Zq8Vt3LmX0pW7bRnK2dY5cHe"
CANARY = "executed"  # a file of this name in the trial's folder is what a hostile file's code would leave
CANARY_VARIABLE = "TUNA_CANARY"  # its path, for hostile code that cannot know the folder
_HELD = (signal.SIGTERM,)  # while a step is forked: a new Python would not have reproduce.py's answer to it
BROKEN = ("traceback", "silent", "executed", "key", "code", "message", "slow", "lost")


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its exit code (negative: by that signal), stdout and stderr in one, and seconds."""

    code: int
    output: str
    seconds: float


@dataclass
class Bench:
    """Where one trial works: an empty folder, and what is found broken there.

    Every command is checked for a traceback at once; keys and executed code are looked for at the end.
    """

    folder: Path
    found: list[tuple[str, str]] = field(default_factory=list)

    def broken(self, how: str, what: str) -> None:
        """Note that something is broken; how: one of BROKEN."""
        assert how in BROKEN, how
        self.found.append((how, what))

    def expect(self, true: object, how: str, what: str) -> None:
        """Note ``what`` as broken unless ``true``."""
        if not true:
            self.broken(how, what)

    def run(
        self,
        program: str,
        *words: object,
        code: int | Sequence[int] = 0,
        says: Sequence[str] = (),
        never: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        during: Callable[[int, Path], object] | None = None,
        seconds: float = 120.0,
        first: Callable[[], object] | None = None,
    ) -> Ended:
        """Run ``python PROGRAM.py WORDS`` in the folder and hold it to what is expected.

        program: train, rank, evaluate, report or reproduce, whose steps run in forks, too. first: called in the
        command's process before it begins: sets a limit or another clock, which hold for the steps as well. code: of
        exit; several: one of them. says, never: texts that the output has to hold, or must not. during: called in this
        process with the command's process id and the file that its output goes to, as soon as it has started; it may
        send signals. seconds: the longest it may take.
        """
        ended = _forked(self.folder, program, [str(word) for word in words], env or {}, during, seconds, first)
        codes = [code] if isinstance(code, int) else list(code)
        told = f"{program} {' '.join(map(str, words))[:80]}: ...{ended.output.strip()[-300:]!r}"
        self.expect("Traceback (most recent call last)" not in ended.output, "traceback", told)
        self.expect(ended.code in codes, "code", f"exit code {ended.code} in place of {codes}: {told}")
        self.expect(ended.seconds < seconds, "slow", f"{ended.seconds:.0f} s: {told}")
        for text in says:
            self.expect(text in ended.output, "message", f"does not say {text!r}: {told}")
        for text in never:
            self.expect(text not in ended.output, "message", f"says {text!r}: {told}")
        return ended

    def close(self) -> None:
        """Look for executed code and for the key, in whole or in part, in every file of the folder."""
        self.expect(not (self.folder / CANARY).exists(), "executed", "code of a hostile file ran")
        parts = [SECRET[start : start + 8].encode() for start in range(3, len(SECRET) - 7)]
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 50_000_000:
                if "planted" in path.parts or path.name.startswith("planted"):  # the trial's own input
                    continue
                with contextlib.suppress(OSError):
                    data = path.read_bytes()
                    self.expect(not any(p in data for p in parts), "key", f"{path.relative_to(self.folder)} holds it")


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault. kind: the row of the table that it counts in. name: says what is broken, in a few words.

    run: breaks it in the bench's folder, and calls the commands. sample: whether ``make test`` runs it too: one or two
    of each kind, quick ones.
    """

    kind: str
    name: str
    run: Callable[[Bench], object]
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial: nothing broken, or how and what."""

    trial: Trial
    seconds: float
    broken: tuple[tuple[str, str], ...]


def perform(trial: Trial, folder: Path) -> Result:
    """Run one trial in ``folder``, which is made and has to be empty."""
    folder.mkdir(parents=True)
    bench, start = Bench(folder), time.monotonic()
    try:
        trial.run(bench)
    except Exception:
        bench.broken("message", f"the trial itself failed: {traceback.format_exc(limit=-3)}")
    bench.close()
    return Result(trial, time.monotonic() - start, tuple(bench.found))


def files_of(folder: Path, *patterns: str) -> dict[str, bytes]:
    """The content of the files that match, by their path: to compare two runs."""
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _forked(
    folder: Path,
    program: str,
    words: list[str],
    env: Mapping[str, str],
    during: Callable[[int, Path], object] | None,
    seconds: float,
    first: Callable[[], object] | None,
) -> Ended:
    _warm()
    output = folder.parent / f"{folder.name}.output"
    start = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _child(folder, program, words, {**_environment(folder), **env}, output, first)  # never returns
    try:
        if during is not None:
            during(process, output)
        code = _wait(process, start + 2 * seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):  # whatever it has started
            os.killpg(process, signal.SIGKILL)
    text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    return Ended(code, text, time.monotonic() - start)


def _child(
    folder: Path,
    program: str,
    words: list[str],
    env: Mapping[str, str],
    output: Path,
    first: Callable[[], object] | None = None,
) -> None:
    """What the fork does: be ``python PROGRAM.py WORDS`` in ``folder``, then leave without this process's own ends."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
        os.chdir(folder)
        os.environ |= env
        sys.argv = [f"{program}.py", *words]
        if first is not None:
            first()
        if program == "reproduce":
            vars(importlib.import_module("tuna.reproduce.run"))["subprocess"] = _Forking
        runpy.run_path(str(ROOT / f"{program}.py"), run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("Traceback (most recent call last): KeyboardInterrupt outside of main", file=sys.stderr)
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class _Forked:
    """What reproduce.py uses of ``subprocess.Popen``, for a step of its, in a fork."""

    def __init__(self, words: Sequence[str], stdout: Any, env: Mapping[str, str], **_: object) -> None:
        self.code: int | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        self.pid = os.fork()
        if self.pid == 0:
            _child(Path.cwd(), Path(words[1]).stem, list(words[2:]), env, Path(stdout.name).absolute())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def terminate(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)


class _Forking:
    """Stands for the module ``subprocess`` there."""

    Popen, STDOUT = _Forked, None


def _environment(folder: Path) -> dict[str, str]:
    return {
        SECRET_NAME: SECRET,
        CANARY_VARIABLE: str(folder / CANARY),
        "TUNA_CACHE": str(folder / "cache"),
        "WANDB_MODE": "disabled",
        "TOKENIZERS_PARALLELISM": "false",  # its threads do not outlive a fork
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def _wait(process: int, end: float) -> int:
    for _ in _ticks(end):
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
    os.killpg(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _ticks(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield
        time.sleep(0.01)


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> bool:
    """Whether something became true within ``seconds``."""
    return any(true() for _ in _ticks(time.monotonic() + seconds))


def _warm() -> None:
    """Import what every command imports, once, in the process that is forked."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    import torch

    torch.set_num_threads(1)
    programs = ("train", "rank", "evaluate", "report", "reproduce")
    parts = ("training.fit", "ranking.run", "evaluation.run", "evaluation.elementary", "reproduce.run", "judges.asked")
    libraries = ("openai.resources.chat.completions", "matplotlib.backends.backend_agg", "hydra._internal.hydra")
    for name in (*programs, *(f"tuna.{part}" for part in parts), *libraries):
        importlib.import_module(name)
