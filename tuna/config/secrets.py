"""A composed config may hold no secret, and nothing that brings one out of the environment: it is printed and kept."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from tuna.errors import ConfigError
from tuna.secrets import HIDDEN, is_variable, learn, secret_in

INSTEAD = "put it into an environment variable and name that one: judge.api_key_env=OPENAI_API_KEY"
ENVIRONMENT = (
    "${oc.env:...} is refused, since what it gives is written to files; name the variable of a key "
    "(judge.api_key_env=OPENAI_API_KEY), let the shell fill in anything else"
)
_READS = ("oc.env", "env")


def problems(cfg: DictConfig) -> list[str]:
    """Keys that hold a literal secret, or reach for the environment; no value is in the messages."""
    learn(OmegaConf.to_container(cfg, resolve=False))
    return list(
        dict.fromkeys(message for key, holder, last in _leaves(cfg) if (message := _problem(key, holder, last)))
    )


def refuse_environment(*_: Any) -> None:
    """Stands for the resolver ``oc.env``, however it is reached.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(ENVIRONMENT)


def _problem(key: str, holder: Any, last: Any) -> str | None:
    node = holder._get_node(last)
    raw = node._value()
    shown = key if secret_in(key) is None else HIDDEN
    if isinstance(raw, str) and "${" in raw:
        if _reaches_environment(raw):
            return f"{shown}: {ENVIRONMENT}"
        try:
            raw = holder[last]
        except OmegaConfBaseException:
            return None  # another check's
    if raw is None or isinstance(raw, DictConfig | ListConfig):
        return None
    if str(last).endswith("_env") and isinstance(raw, str) and not is_variable(raw):
        return f"{shown}: expected the name of an environment variable, got {HIDDEN}; never the key itself"
    if secret_in(f"{key}={raw}") is not None:
        return (
            f"{shown}={HIDDEN}: a literal key or password is refused, since configs are printed and written to files; "
            f"{INSTEAD}"
        )
    return None


def _reaches_environment(text: str) -> bool:
    """Whether one of the interpolations in ``text`` names the environment's resolver, or hides its resolver's name."""
    try:
        return any(name in _READS or "${" in name for name in _resolvers(parse(text)))
    except OmegaConfBaseException:
        return False  # no interpolation, and an error as soon as it is taken for one


def _resolvers(tree: Any) -> Iterator[str]:
    if isinstance(tree, OmegaConfGrammarParser.InterpolationResolverContext):
        yield str(tree.resolverName().getText())  # type: ignore[no-untyped-call]
    for child in getattr(tree, "children", None) or ():
        yield from _resolvers(child)


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value that is no mapping or list: its dotted key, what holds it, and its key there."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    if node._is_interpolation():
        return
    keys: Any = node if isinstance(node, DictConfig) else range(len(node))
    for last in keys:
        child = node._get_node(last)
        key = f"{prefix}.{last}" if prefix else str(last)
        if isinstance(child, DictConfig | ListConfig) and not (child._is_none() or child._is_interpolation()):
            yield from _leaves(child, key)
        else:
            yield key, node, last
