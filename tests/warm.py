"""Commands in processes of their own that need not import torch first: each is a fork of one that has imported all and
run nothing. It is as real as another process: a session of its own, signals, an exit code, output through a pipe.
"""

import atexit
import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
MODULES = (  # not wandb, whose temporary folder is made at its import and goes when the first fork ends
    "openai", "tuna.entry", "tuna.training.fit", "tuna.ranking.run", "tuna.evaluation.run", "tuna.inference.generate",
    "transformers.models.llama.modeling_llama",
)  # fmt: skip


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
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    subprocess.Popen(
        [sys.executable, "-m", "tests.warm", str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}, start_new_session=True,
    )  # fmt: skip
    theirs.close()
    return ours


def _serve(channel: socket.socket) -> None:
    """Fork for each request until whoever asks has ended."""
    for name in MODULES:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, fds, _, _ = socket.recv_fds(channel, 1 << 20, 2)
        if not data:
            return
        if os.fork() == 0:
            channel.close()
            _watch(json.loads(data), *fds)
        for fd in fds:
            os.close(fd)


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


def _become(request: dict[str, Any], output: int) -> NoReturn:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115 (until the process ends)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ |= request["env"]
    sys.argv = [request["program"], *request["words"]]
    sys.path[0] = str(Path(request["program"]).parent)
    code: int | None = 0
    try:
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
    _serve(socket.socket(fileno=int(sys.argv[1])))
