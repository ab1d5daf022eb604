"""A suite that needs nobody: hubs and Weights & Biases offline, a token cache of its own, no network but loopback.

A test may set the variables otherwise by ``monkeypatch``. Subprocesses inherit them; the block on sockets they do not.
"""

import ipaddress
import logging
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from absl import logging as absl_logging  # what rouge-score logs with

# Some tests fork, after which the threads of tokenizers would wait for one another.
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "offline", "TOKENIZERS_PARALLELISM": "false"
}  # fmt: skip
_UNDO = pytest.StashKey[Callable[[], None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported, in every process of xdist."""
    patch = pytest.MonkeyPatch()
    # When Hydra sets logging up anew, absl's handler closes the stream it was made with, unless that is the real one.
    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
    for name, value in OFFLINE.items():
        patch.setenv(name, value)
    cache = tempfile.mkdtemp(prefix="tuna-tests-")
    patch.setenv("TUNA_CACHE", cache)
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.SIG_IGN:  # as in the background of a shell; what is tested here, or started, answers Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def undo() -> None:
        signal.signal(signal.SIGINT, heard)
        patch.undo()
        shutil.rmtree(cache, ignore_errors=True)

    config.stash[_UNDO] = undo


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the process as it was."""
    if undo := config.stash.get(_UNDO, None):
        undo()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """None stands between the tests and 127.0.0.1."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_log_of_another_test() -> Iterator[None]:
    """A handler that a test leaves behind would write to what pytest captured for that test, which is closed."""
    before = list(logging.root.handlers)
    yield
    for handler in list(logging.root.handlers):
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            logging.root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_secrets_of_another_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from tuna import secrets

    monkeypatch.setattr(secrets, "_named", set())
    secrets.refresh()
    yield
    secrets.refresh()


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
            raise RuntimeError(f"a test tried to reach {address[0]}; tests stay on this machine (tests/conftest.py)")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
