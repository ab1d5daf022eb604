"""Commands in processes of their own that need not import torch first: each is a fork of one that has imported all and
run nothing. It is as real as another process: a session of its own, signals, an exit code, output through a pipe.

So are the training processes that such a command starts: its ``sys.executable`` (``python()``) is a small program that
has ``-m tuna.training.launch`` run by a fork, and stands for it as a process: signals, death and exit code are one. For
all else it becomes Python. ``COLD`` in a command's environment leaves Python as it is.
"""

import atexit
import contextlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
MODULES = (  # not wandb, whose temporary folder is made at its import and goes when the first fork ends
    "openai", "tuna.entry", "tuna.training.fit", "tuna.ranking.run", "tuna.evaluation.run", "tuna.inference.generate",
    "transformers.models.llama.modeling_llama", "torch.distributed.run",
)  # fmt: skip
COLD = "TUNA_TESTS_COLD"
LAUNCHED = "tuna.training.launch"
# What stands for a fork: it hands over words, environment and streams, passes signals on, and ends as the fork does. It
# dies with its parent, and the fork with it.
_STAND_IN = """\
#!{python} -SE
import ctypes, json, os, signal, socket, sys
words = [word for word in sys.argv[1:] if word != "-u"]
if words[:2] != ["-m", {launched!r}]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
parent = os.getppid()
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit(1)
ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
ours.connect("\\0" + {address!r})
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: ours.send(str(number).encode()))
request = dict(module=words[1], words=words[2:], cwd=os.getcwd(), env=dict(os.environ), python=sys.argv[0])
socket.send_fds(ours, [json.dumps(request).encode()], [1, 2])
code = int(ours.recv(16) or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Warm:
    """A running command, with what the tests use of ``subprocess.Popen``."""

    def __init__(self, output: int, status: int) -> None:
        self.stdout = os.fdopen(output, encoding="utf-8", errors="replace")
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())
        self.returncode: int | None = None
        self._ended = threading.Thread(target=self._wait, daemon=True)
        self._ended.start()

    def _wait(self) -> None:
        self.returncode = int(self._status.readline() or -signal.SIGKILL)

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """To this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 60) -> tuple[str, None]:
        """All that it and its children wrote; ends when every one of them has ended."""
        text: list[str] = []
        reader = threading.Thread(target=lambda: text.append(self.stdout.read()), daemon=True)
        reader.start()
        for thread in (reader, self._ended):
            thread.join(timeout)
            if thread.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired("a warm process", timeout)
        self.stdout.close()
        return "".join(text), None


def start(program: Path, words: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Warm:
    """``python PROGRAM WORDS`` in ``cwd``; stderr goes where stdout goes."""
    out, into = os.pipe()
    status, told = os.pipe()
    request = {
        "program": str(program),
        "words": list(words),
        "cwd": str(cwd),
        "env": dict(os.environ) | dict(env or {}),
    }
    if COLD not in request["env"]:
        request["python"] = python()
    socket.send_fds(_server(), [json.dumps(request).encode()], [into, told])
    os.close(into)
    os.close(told)
    return Warm(out, status)


def several(program: Path, words: Sequence[str], sizes: tuple[int, int], timeout: float = 300) -> list[str]:
    """``program`` in sizes[1] processes of each of sizes[0] machines, as torchrun starts them; what each one wrote."""
    nodes, each = sizes
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "test"}
    common |= {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(nodes * each), "LOCAL_WORLD_SIZE": str(each)}
    started = []
    for rank in range(nodes * each):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank % each), "GROUP_RANK": str(rank // each)}
        started.append(start(program, words, env=common | own))
    outputs = [process.communicate(timeout)[0] for process in started]
    for process, output in zip(started, outputs, strict=True):
        assert process.returncode == 0, output[-6000:]
    return outputs


@cache
def python() -> str:
    """An executable for ``sys.executable``, which has training processes forked."""
    address = f"tuna-tests-{os.getpid()}"
    _server()
    folder = Path(tempfile.mkdtemp(prefix="tuna-warm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "python"
    made.write_text(_STAND_IN.format(python=sys.executable, launched=LAUNCHED, address=address), encoding="utf-8")
    made.chmod(0o755)
    return str(made)


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    # Who asks is heard of by the one, and whatever is started in its name by the other, an address.
    others = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    others.bind(f"\0tuna-tests-{os.getpid()}")
    others.listen(64)
    fds = [theirs.fileno(), others.fileno()]
    subprocess.Popen(
        [sys.executable, "-m", "tests.warm", *map(str, fds)], pass_fds=fds, cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}, start_new_session=True,
    )  # fmt: skip
    theirs.close()
    others.close()
    return ours


def _serve(channel: socket.socket, others: socket.socket) -> None:
    """Fork for each request until whoever asks has ended."""
    for name in MODULES:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([channel, others], [], [])
        asks = others.accept()[0] if others in ready else channel
        data, fds, _, _ = socket.recv_fds(asks, 1 << 20, 2)
        if not data and asks is channel:
            return
        if data and os.fork() == 0:
            channel.close()
            others.close()
            if asks is channel:
                _watch(json.loads(data), *fds)
            _keep(json.loads(data), fds, asks)
        for fd in fds:
            os.close(fd)
        if asks is not channel:
            asks.close()


def _keep(request: dict[str, Any], fds: list[int], stand_in: socket.socket) -> NoReturn:
    """Fork a training process; pass on the signals that its stand-in gets, kill it when that has died."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        stand_in.close()
        _become(request, *fds)
    for fd in fds:
        os.close(fd)
    ended = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([stand_in.fileno(), ended], [], [])
        if ended in ready:
            break
        os.kill(pid, int(stand_in.recv(16) or signal.SIGKILL))
    with contextlib.suppress(OSError):
        stand_in.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def _watch(request: dict[str, Any], output: int, status: int) -> NoReturn:
    """Fork the command; tell its process id, then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _become(request, output)
    os.close(output)
    os.write(status, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(status, f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], output: int, errors: int | None = None) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output, 1)
    os.dup2(output if errors is None else errors, 2)
    for fd in {output, output if errors is None else errors}:
        os.close(fd)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ |= request["env"]
    sys.executable = request.get("python", sys.executable)
    module: str | None = request.get("module")
    sys.argv = [module or request["program"], *request["words"]]
    sys.path[0] = request["cwd"] if module else str(Path(request["program"]).parent)
    code: int | None = 0
    try:
        if module:
            warnings.filterwarnings("ignore", f"{module!r} found in sys.modules")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(request["program"], run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int | None) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:]))
