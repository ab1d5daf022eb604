"""The small config folder and program of the config tests, and sweeps of it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.conftest import shop  # noqa: F401
from tuna.config.help import Program
from tuna.console import STARTED_AS
from tuna.entry import main

PROGRAM = Program(run="shop.runs:run", config_name="train", purpose="A trial.", examples=(), results="Here.")
Type = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def sweep(shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Type:  # noqa: F811
    """Type ``x.py -m ...``; gives the exit code, the jobs that ran ("name seed"), and all that was printed."""
    for name in ("TUNA_DEBUG", "HYDRA_FULL_ERROR", "RANK", "WORLD_SIZE", STARTED_AS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["x.py"])

    def type_it(*words: str) -> tuple[int, list[str], str]:
        code = 0
        try:
            main(PROGRAM, ["-m", "hydra/hydra_logging=none", *words], config_dir=shop)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        ran = [line.split() for line in out.splitlines() if line.startswith("RUN ")]
        return code, [f"{name} {seed}" for _, name, _, seed in ran], out + err

    return type_it
