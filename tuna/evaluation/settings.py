"""The keys of conf/evaluate.yaml itself."""

import re
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from omegaconf import DictConfig

from tuna.config import checks
from tuna.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """What one measurement is asked to do.

    answers: FILE.jsonl of answers given already. label: the measured model's name in the results. folder: results go
    below it. seed: of bootstrap intervals and shuffled orders. limit: so many questions. dry_run: say what would be
    asked, and send nothing. max_cost (dollars), max_requests: never overrun, all runs into one results folder together.
    """

    answers: str | None = None
    label: str | None = None
    folder: str = "results"
    seed: int = 0
    limit: int | None = None
    dry_run: bool = False
    max_cost: float | None = None
    max_requests: int | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config.

        Raises:
            ConfigError: all wrong values, a line each.
        """
        low = {"limit": 1, "max_cost": 0, "max_requests": 0}
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings", low)
        label = values.get("label")
        if isinstance(label, str) and not re.fullmatch(r"[\w.+-]+", label):
            wrong.append(f"label: expected letters, digits and . _ + -, got {label!r}")
        answers = values.get("answers")
        if isinstance(answers, str) and not Path(answers).exists():
            wrong.append(f"answers: no such file: {answers}; next: ls {quote(str(Path(answers).parent))}")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return Settings(**values)
