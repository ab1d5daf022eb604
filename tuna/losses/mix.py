"""Several losses at once, each times its weight."""

from typing import Any

from omegaconf import OmegaConf

from tuna.config.schema import build
from tuna.errors import ConfigError
from tuna.losses.base import Loss, ScoredLists, Term


class Mix:
    """L = sum over the losses of weight * L; their parts are logged as NAME_rank, NAME_ce and so on.

    losses: the losses by name, as ``+loss@loss.losses.NAME=dpo`` puts one there. weights: of the losses by name, 1
    where none is given. Raises: ConfigError for a weight of no loss, or losses with different references.
    """

    def __init__(self, *, losses: dict[str, Any] | None = None, weights: dict[str, float] | None = None) -> None:
        if not losses:
            raise ConfigError("losses: expected one or more; next: loss=mix +loss@loss.losses.a=dpo")
        self.losses: dict[str, Loss] = {name: build(OmegaConf.create(node)) for name, node in losses.items()}
        self.weights = dict.fromkeys(losses, 1.0) | (weights or {})
        if unknown := self.weights.keys() - losses.keys():
            raise ConfigError(f"weights: expected names of losses ({', '.join(losses)}), got {', '.join(unknown)}")
        relative: list[Any] = [loss for loss in self.losses.values() if getattr(loss, "needs_reference", False)]
        self.needs_reference = bool(relative)
        graded: list[Any] = [loss for loss in self.losses.values() if getattr(loss, "needs_grades", False)]
        self.needs_grades = bool(graded)
        asked = {loss.labels for loss in graded}
        self.labels = next((labels for labels in ("scores", "auto") if labels in asked), "ranks")
        self.reference = next(iter({loss.reference for loss in relative}), None) if relative else None
        if len({loss.reference for loss in relative}) > 1:
            raise ConfigError("losses: expected one reference for all of them")

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """All parts, NAME_rank and so on."""
        found = {}
        for name, loss in self.losses.items():
            for part, term in loss(lists).items():
                found[f"{name}_{part}"] = Term(term.sum, self.weights[name] * term.coefficient, term.per)
        return found
