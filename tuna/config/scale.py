"""Resolvers that the YAML files use.

``${scale:<paper>,<tiny>}``: the paper's value for every real model, the tiny one only when the final ``model.path`` is
an embedded model's name. ``${asset:<file>}``: the path of an embedded file. ``${held_out:<file>}``: the same beside
embedded training data at the tiny scale, null beside anybody's own. ``${untyped:<value>}``: a value nobody asked
for, which ``untyped`` tells from the same one typed. ``${sweep_name:<name>,<time>}``: a sweep's.
``${label_of_model:<model>,<label>,<other>}``: a row's label, which holds if the run starts from that model of the hub
or a folder of its name. ``${label_of_data:<key>,<label>,<other>}``: one that holds unless the key names embedded data.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna import assets
from tuna.config.secrets import refuse_environment

EMBEDDED = assets.MODELS
ASSETS = Path(__file__).parents[1] / "assets"


def is_embedded(path: object) -> bool:
    """Whether ``model.path`` names one of the models that Tuna carries (a folder of that name is ``./tiny``).

    >>> is_embedded("tiny"), is_embedded("./tiny"), is_embedded("runs/tiny")
    (True, False, False)
    """
    return path in EMBEDDED


def is_tiny(cfg: DictConfig) -> bool:
    """Whether the tiny values hold: ``scale`` says so, or is "auto" and the model is embedded.

    >>> is_tiny(OmegaConf.create({"scale": "auto", "model": {"path": "tiny"}}))
    True
    """
    asked = OmegaConf.select(cfg, "scale") or "auto"
    return bool(asked == "tiny" or (asked == "auto" and is_embedded(OmegaConf.select(cfg, "model.path"))))


def is_asset(path: object) -> bool:
    """Whether a path lies among the package's own small files."""
    try:
        return isinstance(path, str) and Path(path).expanduser().resolve().is_relative_to(ASSETS.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, ~ of nobody, a NUL in it: who reads it says so
        return False


def own_data(cfg: DictConfig) -> list[str]:
    """The files that are trained on and are none of the package's own."""
    sources = OmegaConf.select(cfg, "datamodule.sources")
    paths = [source.get("path") for source in sources] if sources else [OmegaConf.select(cfg, "datamodule.path")]
    return [str(path) for path in paths if path is not None and not is_asset(path)]


def untyped(cfg: DictConfig, key: str) -> bool:
    """Whether ``key`` still has the value of our YAML files, and neither a command line nor a user's file names one.

    >>> cfg = OmegaConf.create({"model": {"path": "${untyped:tiny}", "template": "auto"}})
    >>> untyped(cfg, "model.path"), untyped(cfg, "model.template")
    (True, False)
    """
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    written = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
    return isinstance(written, dict) and str(written.get(last)).startswith("${untyped:")


def _scale(paper: Any, tiny: Any, *, _root_: DictConfig) -> Any:
    return tiny if is_tiny(_root_) else paper


def _asset(name: str) -> str:
    return str(ASSETS / name)


def _held_out(name: str, *, _root_: DictConfig) -> str | None:
    return _asset(name) if is_tiny(_root_) and not own_data(_root_) else None


def _untyped(value: Any) -> Any:
    return value


def _sweep_name(name: str | None, time: str) -> str:
    return name or f"sweep-{time}"


def _label_of_model(model: str, label: str, other: str, *, _root_: DictConfig) -> str:
    name = Path(str(OmegaConf.select(_root_, "model.path"))).name
    return label if name.lower() == Path(model).name.lower() else other


def _label_of_data(key: str, label: str, other: str, *, _root_: DictConfig) -> str:
    return other if is_asset(OmegaConf.select(_root_, key)) else label


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf; harmless when done before."""
    OmegaConf.register_new_resolver("scale", _scale, replace=True)
    OmegaConf.register_new_resolver("asset", _asset, replace=True)
    OmegaConf.register_new_resolver("held_out", _held_out, replace=True)
    OmegaConf.register_new_resolver("untyped", _untyped, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("label_of_model", _label_of_model, replace=True)
    OmegaConf.register_new_resolver("label_of_data", _label_of_data, replace=True)
    OmegaConf.register_new_resolver("oc.env", refuse_environment, replace=True)
