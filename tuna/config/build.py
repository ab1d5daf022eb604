"""From a config node to the object it names: ``_target_`` is the class, every other key a constructor argument."""

import importlib
import inspect
import keyword
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.errors import ConfigError


def build(node: DictConfig) -> Any:
    """Call the class that ``node._target_`` names with the node's other keys.

    A key that Python reserves takes a trailing underscore: ``lambda`` is the argument ``lambda_``.

    Raises:
        ConfigError: the class cannot be imported, or the constructor refuses a value.

    >>> build(OmegaConf.create({"_target_": "tuna.losses.tuna.Tuna", "lambda": 5})).lambda_
    5.0
    """
    arguments = OmegaConf.to_container(node, resolve=True)
    assert isinstance(arguments, dict)
    target = str(arguments.pop("_target_"))
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"_target_: expected an importable class, got {target!r} ({error})") from error
    named = {key + "_" * keyword.iskeyword(key): value for key, value in ((str(k), v) for k, v in arguments.items())}
    known = inspect.signature(cls).parameters
    unknown = [key for key in named if key not in known]
    if unknown:
        raise ConfigError(f"{target} takes no argument {', '.join(unknown)}; it takes {', '.join(known)}")
    return cls(**named)


def build_all(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """Build the nodes of ``cfg`` under ``keys``.

    Raises:
        ConfigError: what every constructor refuses, in one message.
    """
    built, wrong = {}, []
    for key in keys:
        try:
            built[key] = build(cfg[key])
        except ConfigError as error:
            # Constructors do not know which node of the config they stand in: they name the argument alone.
            wrong += [line if line.startswith(f"{key}.") else f"{key}.{line}" for line in str(error).splitlines()]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return built
