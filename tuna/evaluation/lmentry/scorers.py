"""LMentry's official scorers, run where they lie: in the clone that the user names, in processes of their own.

So the house's process imports none of the clone's code: no module name, logging setup or working directory is shared.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tuna.errors import ConfigError, RunError
from tuna.evaluation.lmentry.data import CLONE, Example
from tuna.evaluation.lmentry.tasks import CORE, SCORER

WORKER = Path(__file__).with_name("worker.py")
Mark = tuple[int, int]  # score, certainty: 0 or 1 each


class Scorers:
    """The scorers of one clone. truncate: mark a prediction's first sentence only, as its owners do for base models."""

    def __init__(self, clone: Path, *, truncate: bool = False) -> None:
        self.clone = clone.absolute()
        self.truncate = truncate

    def sha256(self) -> str:
        """Hash of the scorers' source."""
        digest = hashlib.sha256()
        for path in sorted((self.clone / "lmentry" / "scorers").glob("*.py")):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def check(self) -> None:
        """Import them once.

        Raises:
            ConfigError: they cannot be imported, with the command that mends it.
        """
        with _Worker(self.clone):
            pass

    def mark(
        self, examples: Sequence[Example], predictions: Sequence[str], processes: int, done: Callable[[int], None]
    ) -> list[Mark]:
        """Score and certainty of each prediction, in order. done: called with how many more are marked.

        Raises:
            RunError: a scorer failed.
        """
        marks: list[Mark] = [(0, 0)] * len(examples)
        failed = threading.Event()

        def share(first: int) -> None:
            try:
                with _Worker(self.clone) as worker:
                    for index in range(first, len(examples), processes):
                        if failed.is_set():
                            return
                        marks[index] = worker.ask(examples[index], predictions[index], self.truncate)
                        done(1)
            except BaseException:
                failed.set()  # the other shares need not go to their ends
                raise

        processes = max(1, min(processes, len(examples)))
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(share, range(processes)))
        return marks


class _Worker:
    """One process that scores, a line at a time; ends with the block."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        # -P: nothing beside the script shadows a package; -B: the clone stays as it is; UTF-8 whatever the locale.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-B", str(WORKER), str(clone)], cwd=clone, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUTF8": "1"},
        )  # fmt: skip

    def __enter__(self) -> "_Worker":
        said = self._read()
        if "error" in said:
            self.__exit__()
            raise ConfigError(_import_problem(self.clone, said))
        lacking = sorted(set(CORE) - set(said["scorers"]))
        if lacking:
            self.__exit__()
            raise ConfigError(
                f"benchmark.root={self.clone}: expected scorers for {len(CORE)} tasks, got none for "
                f"{', '.join(lacking[:5])}; next: {CLONE}"
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what it had not read
            self.process.stdin.close()

    def ask(self, example: Example, prediction: str, truncate: bool) -> Mark:
        """Score and certainty of one prediction."""
        assert self.process.stdin is not None
        asked = {
            "scorer": SCORER[example.task], "prediction": prediction, "example": example.raw, "truncate": truncate,
        }  # fmt: skip
        with contextlib.suppress(BrokenPipeError):  # its last words say why
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        said = self._read()
        if isinstance(said, list) and len(said) == 2 and all(value in (0, 1) for value in said):
            return int(said[0]), int(said[1])
        got = said.get("error") if isinstance(said, dict) else said
        raise RunError(
            f"{example.key}: LMentry's scorer gave {got!r}, expected a score and a certainty of 0 or 1 each; next: "
            f"look at {self.clone / 'lmentry' / 'scorers'}"
        )

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with status {self.process.wait()}"}


def _import_problem(clone: Path, said: dict[str, Any]) -> str:
    missing = str(said.get("missing") or "")
    if missing and missing.partition(".")[0] != "lmentry":
        return (
            f"benchmark.root={clone}: its scorers need the package {missing}, which is not installed; next: "
            "pip install 'tuna-ranking[lmentry]'"
        )
    return f"benchmark.root={clone}: its scorers cannot be imported ({said['error']}); next: {CLONE}"
