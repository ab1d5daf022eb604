"""Composing a config: Hydra, with the constructor's defaults under every YAML file that names a ``_target_``.

Resolvers: ``${scale:<paper>,<tiny>}``, the tiny value only where ``model.path`` is embedded. ``${asset:<file>}``.
``${held_out:<file>}``, an asset beside embedded training data at the tiny scale, else null. ``${untyped:<value>}``, one
that nobody asked for. ``${label_of_model:<model>,<label>,<other>}``, a label if the run starts from that model of the
hub or a folder of its name. ``${label_of_data:<key>,<label>,<other>}``, one unless the key names embedded data.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus, run_job
from hydra.plugins.config_source import ConfigResult
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from tuna.assets import FOLDER, is_asset, is_embedded
from tuna.config import schema
from tuna.config.arguments import refuse_environment
from tuna.errors import ConfigError

select = OmegaConf.select
CONF = (Path(__file__).parents[1] / "conf").resolve()  # in a checkout a link to conf/ at the top


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


def _complete(node: object) -> Any:
    if not isinstance(node, dict):
        return node
    given = {key: _complete(value) for key, value in node.items()}
    return schema.defaults(given["_target_"]) | given if isinstance(given.get("_target_"), str) else given


def _label_of_model(model: str, label: str, other: str, *, _root_: DictConfig) -> str:
    name = Path(str(select(_root_, "model.path"))).name
    return label if name.lower() == Path(model).name.lower() else other


def install() -> None:
    """Make Hydra read files through SignatureSource, and know the resolvers; harmless when done before."""
    resolvers: dict[str, Callable[..., Any]] = {
        "scale": lambda paper, tiny, *, _root_: tiny if is_tiny(_root_) else paper,
        "asset": lambda name: str(FOLDER / name),
        "held_out": lambda name, *, _root_: str(FOLDER / name) if on_embedded(_root_) else None,
        "untyped": lambda value: value,
        "sweep_name": lambda name, time: name or f"sweep-{time}",
        "label_of_model": _label_of_model,
        "label_of_data": lambda key, label, other, *, _root_: other if is_asset(select(_root_, key)) else label,
        "oc.env": refuse_environment,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    Plugins.instance()  # registers Hydra's own sources first
    # Set directly, since register() refuses a second class for a scheme. So a user's -cd folder is read this way too.
    SourcesRegistry.instance().types["file"] = SignatureSource


def compose(
    overrides: Sequence[str] = (), *, config_dir: Path = CONF, config_name: str = "train", with_hydra: bool = False
) -> DictConfig:
    """The config that ``python train.py <overrides>`` gets, for tests and notebooks; interpolations stay unresolved."""
    install()
    with hydra.initialize_config_dir(config_dir=str(config_dir.resolve()), job_name=config_name, version_base="1.3"):
        return hydra.compose(config_name, overrides=list(overrides), return_hydra_config=with_hydra)


def run_composed(cfg: DictConfig, task: Callable[[DictConfig], Any], config_dir: Path) -> Any:
    """What ``task`` gives for a composed config, called as Hydra does it (folder, logging, callbacks), without
    composing once more.
    """
    OmegaConf.set_struct(cfg, True)
    with read_write(cfg):
        cfg.hydra.mode = RunMode.RUN
    callbacks = Callbacks(cfg)
    with hydra.initialize_config_dir(config_dir=str(config_dir.resolve()), version_base="1.3"):
        context = HydraContext(GlobalHydra.instance().config_loader(), callbacks)
    callbacks.on_run_start(config=cfg, config_name=cfg.hydra.job.config_name)
    done = run_job(task, cfg, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context)
    callbacks.on_run_end(config=cfg, config_name=cfg.hydra.job.config_name, job_return=done)
    if done.status is JobStatus.FAILED:
        raise done._return_value  # return_value would announce it in words of Hydra's own
    return done._return_value


def is_tiny(cfg: DictConfig) -> bool:
    """Whether the tiny values hold: ``scale`` says so, or is "auto" and the model is embedded.

    >>> is_tiny(OmegaConf.create({"scale": "auto", "model": {"path": "tiny"}}))
    True
    """
    asked = select(cfg, "scale") or "auto"
    return is_embedded(select(cfg, "model.path")) if asked == "auto" else bool(asked == "tiny")


def own_data(cfg: DictConfig) -> list[str]:
    """The files that are trained on and are none of the package's own."""
    sources = select(cfg, "datamodule.sources")
    paths = [source.get("path") for source in sources] if sources else [select(cfg, "datamodule.path")]
    return [str(path) for path in paths if path is not None and not is_asset(path)]


def on_embedded(cfg: DictConfig) -> bool:
    """Whether a model of the tiny values is trained on the package's own data, so that the embedded tasks fit it."""
    return is_tiny(cfg) and not own_data(cfg)


def untyped(cfg: DictConfig, key: str) -> bool:
    """Whether ``key`` still has the value of our YAML files, and neither a command line nor a user's file names one.

    >>> cfg = OmegaConf.create({"model": {"path": "${untyped:tiny}", "template": "auto"}})
    >>> untyped(cfg, "model.path"), untyped(cfg, "model.template")
    (True, False)
    """
    parent, _, last = key.rpartition(".")
    node = select(cfg, parent)
    written: Any = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
    return str(written.get(last)).startswith("${untyped:")
