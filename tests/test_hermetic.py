"""tests/conftest.py: what keeps the suite on this machine."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuna.data.cache import default_folder


@pytest.mark.parametrize("name", ["connect", "connect_ex"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_no_test_leaves_this_machine(name: str, family: int, kind: int) -> None:
    host = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"  # for documentation; nobody has them
    with socket.socket(family, kind) as sock, pytest.raises(RuntimeError, match=f"tried to reach {host}"):
        getattr(sock, name)((host, 80))
    with pytest.raises(RuntimeError, match="tried to reach"):
        socket.create_connection((host, 80), timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_and_unix_sockets_work(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        sock.connect((host, server.getsockname()[1]))
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock:
        server.bind("s")
        server.listen()
        assert sock.connect_ex("s") == 0


def test_hubs_are_offline_and_the_cache_is_the_sessions() -> None:
    assert {os.environ[name] for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")} == {"1"}
    assert os.environ["WANDB_MODE"] == "offline"
    assert default_folder().is_dir() and default_folder().is_relative_to(tempfile.gettempdir())


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, tests.conftest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "transformers", "wandb", "datasets", "tuna"} & set(done.stdout.split())
