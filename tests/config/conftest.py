"""A package and a config folder of the tests' own, so that what is tested here does not depend on the real classes."""

from pathlib import Path

import pytest

SOURCE = '''
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from shop.words import Size as Width

LIMIT = 7
Colour = Literal["red", "green"]


class Base:
    def __init__(
        self, engine: "Engine", *, lambda_: float = 1.0, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None: ...


class Inherits(Base):
    """Takes its constructor from Base."""


class Required:
    def __init__(self, path: str, colour: Colour = "red", width: Width = "wide", limit: int = LIMIT) -> None: ...


@dataclass
class Data(Base):
    kind: ClassVar[str] = "x"
    size: int = 3
    names: list[str] = field(default_factory=list)
    extra: dict[str, Any] | None = field(default=None)
    hidden: int = field(init=False, default=0)


def function(a: int, b: float = -0.5) -> None: ...


class Computed:
    def __init__(self, a: int = max(1, 2)) -> None: ...
'''
RUN = """
def run(cfg):
    import sys
    from tuna.errors import ConfigError

    assert "torch" not in sys.modules or "pytest" in sys.modules
    print("RUN", cfg.name, cfg.thing.get("lambda"), cfg.seed)
    if cfg.seed == 13:
        raise ConfigError("seed: expected another\\nsize: and another")
    if cfg.seed == 14:
        raise ZeroDivisionError("a bug")
    if cfg.seed == 15:
        raise KeyboardInterrupt
    if cfg.seed == 18:
        raise IsADirectoryError(21, 'Is a directory', '.a.1.tmp', None, 'out/a.json')
    if cfg.seed == 17:
        import os, signal

        os.kill(os.getpid(), signal.SIGTERM)
    if cfg.seed == 19:
        import os, signal, time

        class Dropping:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)

        Dropping()
        time.sleep(5)
    if cfg.seed in (20, 21):
        import os, signal

        try:
            os.kill(os.getpid(), signal.SIGTERM if cfg.seed == 20 else signal.SIGINT)
        finally:
            None.close()
    if cfg.seed == 22:
        import os, signal

        class Slow(ConfigError):
            def __str__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                return "no time for that"

        raise Slow("seed")
    if cfg.seed == 16:
        raise SystemExit(7)
    return {"loss": cfg.seed / 8, "note": None}
"""
FILES = {
    "train.yaml": """
defaults:
  - _self_
  - model: tiny
  - thing: base
  - stage: one
  - experiment: null
  - override hydra/job_logging: none
name: null
seed: 0
runs_dir: runs
optimize: null
hydra:
  output_subdir: null
  run: {dir: .}
  sweep:
    dir: ${runs_dir}/${sweep_name:${name},${now:%Y%m%d-%H%M%S}}
    subdir: ${hydra.job.num}
""",
    "model/tiny.yaml": "# a small model\npath: tiny\n",
    "thing/base.yaml": "# with lambda\n_target_: shop.things.Base\n",
    "thing/data.yaml": "# a dataclass\n_target_: shop.things.Data\nsize: 4\n",
    "thing/required.yaml": "# needs a path\n_target_: shop.things.Required\n",
    "stage/one.yaml": "# @package _global_\nstage: {name: one, summary: the first}\n",
    "stage/two.yaml": "# @package _global_\ndefaults:\n  - override /thing: data\nthing:\n  size: ${scale:10,2}\n",
    "experiment/sweep.yaml": "# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 1,2\n",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config folder over the package ``shop``, which is on the path; the working folder is beside it."""
    from tuna.config import schema

    for name, text in {
        "things.py": SOURCE,
        "words.py": "Size = str | None\n",
        "__init__.py": "",
        "runs.py": RUN,
    }.items():
        (tmp_path / "shop").mkdir(exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)
    for name, text in FILES.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    schema.parameters.cache_clear()
    schema._read.cache_clear()
    return tmp_path / "conf"
