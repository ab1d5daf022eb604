"""Resolvers that the YAML files use.

``${scale:<paper>,<tiny>}``: the paper's value for every real model, the tiny one only when the final ``model.path`` is
an embedded model's name. ``${asset:<file>}``: the path of an embedded file. ``${sweep_name:<name>,<time>}``: a sweep's.
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


def _scale(paper: Any, tiny: Any, *, _root_: DictConfig) -> Any:
    return tiny if is_tiny(_root_) else paper


def _asset(name: str) -> str:
    return str(ASSETS / name)


def _sweep_name(name: str | None, time: str) -> str:
    return name or f"sweep-{time}"


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf; harmless when done before."""
    OmegaConf.register_new_resolver("scale", _scale, replace=True)
    OmegaConf.register_new_resolver("asset", _asset, replace=True)
    OmegaConf.register_new_resolver("sweep_name", _sweep_name, replace=True)
    OmegaConf.register_new_resolver("oc.env", refuse_environment, replace=True)
