"""tuna.signals: what a signal does where no command answers it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEFORE = "with ended_cleanly():\n    os.kill(os.getpid(), signal.SIGTERM)"
FORK = "with ended_cleanly() as ending:\n    ending.answered = True\n" \
    "    if os.fork() == 0:\n        os.kill(os.getpid(), signal.SIGTERM)\n        os._exit(3)\n" \
    "    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) + 100)"  # fmt: skip


@pytest.mark.parametrize(("code", "ends"), [(BEFORE, -signal.SIGTERM), (FORK, 100 - signal.SIGTERM)])
def test_outside_of_a_commands_own_part_it_ends_in_silence(code: str, ends: int) -> None:
    words = [sys.executable, "-c", f"import os, signal, sys\nfrom tuna.signals import ended_cleanly\n{code}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (ends, "")


@pytest.mark.parametrize(
    "words", [["train.py"], ["-m", "tuna", "rank"], ["-m", "tuna.data", "a.jsonl"], ["tuna_ranking.py"]]
)
def test_ctrl_c_while_a_command_is_imported_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "omegaconf.py").write_text(
        "import os, signal, weakref\n"
        "class Gone: pass\n"
        "gone = Gone()\n"
        "weakref.finalize(gone, os.kill, os.getpid(), signal.SIGINT)\n"
        "del gone\n"  # Python drops what is raised now
        "import time; time.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


ANSWERED = (
    "begin()\nwith ended_cleanly() as ending:\n    ending.answered = True\n    try:\n"
    "        os.kill(os.getpid(), signal.SIGINT)\n    except KeyboardInterrupt:\n        print('caught')\n"
    "    ending.answered = False\n    os.kill(os.getpid(), signal.SIGINT)\nprint('lost')"
)


def test_a_command_answers_ctrl_c_itself_and_what_was_printed_is_not_lost() -> None:
    words = [sys.executable, "-c", f"import os, signal\nfrom tuna.signals import begin, ended_cleanly\n{ANSWERED}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "caught\n", "interrupted\n")


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    code = "import signal\nfrom tuna.signals import begin\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nbegin()\n"
    words = [sys.executable, "-c", f"{code}assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"]
    subprocess.run(words, timeout=60, check=True)
