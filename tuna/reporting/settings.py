"""The keys of conf/report.yaml."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from tuna.config import checks
from tuna.errors import ConfigError

FOLDERS = ("runs", "rankings", "results")


@dataclass(frozen=True)
class Settings:
    """What one report is made of.

    runs, rankings, results: a folder or a list of folders. output: where the report goes. name, title: of the report.
    baseline: the system that differences are taken to. questions: how many of each benchmark are shown with all
    answers. paper: a JSON file with cells of the paper's tables, shown apart; null shows what the paper's text says.
    """

    runs: str | list[str] = "runs"
    rankings: str | list[str] = "rankings"
    results: str | list[str] = "results"
    output: str = "report"
    name: str = "report"
    title: str = "Tuna, measured"
    baseline: str = "Alpaca"
    questions: int = 20
    paper: str | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config.

        Raises:
            ConfigError: all wrong values, a line each; a folder was named that does not exist.
        """
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings", {"questions": 0})
        if isinstance(values.get("paper"), str) and not Path(values["paper"]).is_file():
            wrong.append(f"paper: expected a JSON file, there is none at {values['paper']}")
        if wrong:
            raise ConfigError("\n".join(wrong))
        settings = Settings(**values)
        for key in FOLDERS:
            given, usual = settings.folders(key), Settings().folders(key)
            wrong += [f"{key}: {folder}: no such folder" for folder in given if not folder.is_dir() and given != usual]
        if Path(settings.output).is_file():
            wrong.append(f"output: expected a folder, {settings.output} is a file")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return settings

    def folders(self, key: str) -> list[Path]:
        """The folders under ``runs``, ``rankings`` or ``results``.

        >>> Settings(runs=["a", "b"]).folders("runs")
        [PosixPath('a'), PosixPath('b')]
        """
        value = getattr(self, key)
        return [Path(folder) for folder in ([value] if isinstance(value, str) else value)]
