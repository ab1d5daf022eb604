"""The keys of conf/reproduce.yaml itself."""

from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from tuna.config import checks, schema
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
        known = schema.parameters(f"{__name__}.Settings")
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        values: dict[str, Any] = {key: plain[key] for key in known if key in plain}
        wrong = [text for key, value in values.items() if (text := checks.wrong_value(key, value, known[key].expected))]
        for key in ("seeds", "jobs"):
            if isinstance(values.get(key), int) and values[key] < 1:
                wrong.append(f"{key}: expected 1 or more, got {values[key]}")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return Settings(**values)
