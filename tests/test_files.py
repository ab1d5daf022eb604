"""Text files: whole or not at all, and masked; the lock."""

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tuna import secrets
from tuna.errors import RunError
from tuna.files import locked, replacing, write_text

HOLD = """import sys, time
from pathlib import Path
from tuna.files import locked
with locked(Path(sys.argv[1]), busy=''):
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_file_is_the_old_one_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_secrets_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "Zq8Vt3LmX0pW7bRn")
    secrets.refresh()
    write_text(tmp_path / "a.txt", "key: Zq8Vt3LmX0pW\n")
    assert (tmp_path / "a.txt").read_text() == "key: <hidden>\n"


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="somebody is there"), locked(lock, busy="somebody is there", patience=0):
            pass
        other.kill()
    with locked(lock, busy="somebody is there", patience=10):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_used(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with locked(tmp_path / ".lock", busy=""):
        pass
    assert "has no locks (Function not implemented)" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=r"cannot write to it \(File exists\)"),
        locked(tmp_path / "file/.lock", busy=""),
    ):
        pass
