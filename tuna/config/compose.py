"""Composing a config: Hydra, with the constructor's defaults under every YAML file that names a ``_target_``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from tuna.config import schema
from tuna.config.scale import register_resolvers
from tuna.errors import ConfigError

CONF = Path(__file__).parents[2] / "conf"


class SignatureSource(FileConfigSource):
    """Config files whose ``_target_`` nodes are completed by the constructor's arguments.

    So every argument stands in the composed config, can be overridden without ``+``, and is written down in one place.
    A file with a defaults list of its own builds on another file, which already brings them.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """The file's content over its constructor's defaults."""
        result = super().load_config(config_path)
        if isinstance(result.config, DictConfig) and "defaults" not in result.config:
            try:
                result.config = OmegaConf.create(_complete(OmegaConf.to_container(result.config, resolve=False)))
            except ConfigError as error:
                raise ConfigError(f"{Path(self.path) / config_path}: {error}") from None
        return result


# A launcher's worker process takes over the sources that are known and registers Hydra's own once more, which Hydra
# refuses where a class of another name holds the scheme (and lets pass, without effect, where the name is the same).
SignatureSource.__name__ = FileConfigSource.__name__


def _complete(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    given = {key: _complete(value) for key, value in node.items()}
    return schema.defaults(given["_target_"]) | given if isinstance(given.get("_target_"), str) else given


def install() -> None:
    """Make Hydra read files through SignatureSource, and know the resolvers; harmless when done before."""
    register_resolvers()
    Plugins.instance()  # registers Hydra's own sources first
    # Set directly, since register() refuses a second class for a scheme. So a user's -cd folder is read this way too.
    SourcesRegistry.instance().types["file"] = SignatureSource


def compose(
    overrides: Sequence[str] = (),
    *,
    config_dir: Path = CONF,
    config_name: str = "train",
    with_hydra: bool = False,
) -> DictConfig:
    """The config that ``python train.py <overrides>`` gets, for tests and notebooks; interpolations stay unresolved."""
    install()
    with hydra.initialize_config_dir(config_dir=str(config_dir.resolve()), version_base="1.3"):
        return hydra.compose(config_name, overrides=list(overrides), return_hydra_config=with_hydra)
