"""What can be wrong with a run's folder and files, found before torch and the libraries around it are imported."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna import runs
from tuna.data.load import read_ahead
from tuna.datamodules.settings import settings_of
from tuna.errors import Faults
from tuna.models.paths import locate


def look(cfg: DictConfig) -> None:
    """Read the data, which ``tuna.training.run`` then finds read. Raises: TunaError, with all that is wrong."""
    faults = Faults()
    if cfg.get("push_to_hub") is not None:
        from tuna.training import hub

        with faults.kept():
            hub.check(cfg)
    with faults.kept():
        runs.check_writable(Path(cfg.runs_dir))
        if cfg.name and not cfg.resume:
            runs.check_free(Path(cfg.runs_dir) / cfg.name)
    with faults.kept():
        locate(cfg.model.path)
    node: Any = OmegaConf.to_container(cfg.datamodule, resolve=True)
    if str(node["_target_"]).startswith("tuna.datamodules."):  # a class of the user's own may read other files
        with faults.kept():
            settings = settings_of(node)
            read_ahead(settings.to_read(), settings.bad_rows)
    faults.check()
