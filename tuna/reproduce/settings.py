"""The keys of conf/reproduce.yaml itself."""

from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig

from tuna.config import checks
from tuna.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """What one pipeline is asked to do.

    name: of the folder below ``folder``; null is the sizes' name. seeds: so many, from 0. jobs: steps at once. only:
    these steps and what they need. dry_run: print the commands, run none.
    """

    name: str | None = None
    folder: str = "reproduce"
    seeds: int = 1
    jobs: int | Literal["auto"] = "auto"
    only: list[str] | None = None
    dry_run: bool = False

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config.

        Raises:
            ConfigError: all wrong values, a line each.
        """
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings", {"seeds": 1, "jobs": 1})
        if wrong:
            raise ConfigError("\n".join(wrong))
        return Settings(**values)
