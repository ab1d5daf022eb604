"""trainer.nonfinite: a loss, gradient or weight that is no number stops the run, or the step is left out."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.errors import RunError
from tuna.training.run import run


def test_smoke(llama: Path, lists: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as e:
        run(compose(overrides(llama, lists, tmp_path, name="run2", module__lr=1, module__weight_decay=1e30, trainer__checkpoint_every=1)))
    print(e.value)
    with pytest.raises(RunError) as e:
        run(compose(overrides(llama, lists, tmp_path, name="run3", module__lr=1, module__weight_decay=1e30, trainer__checkpoint_every=10)))
    print(e.value)
    assert 0
