"""Proxy ranking (Section 3.1's PRM): the model being tuned answers N times, a reward model orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuna.config.scale import is_embedded
from tuna.data.record import Record
from tuna.errors import ConfigError, ModelError
from tuna.inference.answers import Answer, candidate, given_answers, output_row
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.inference.local import Device
from tuna.ranking.collection import Collected, Components
from tuna.runs import read_run

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig

_MAKE_ONE = (
    "python train.py stage=prm name=prm, with model.path= and datamodule.path= of your own, then ranker.path=runs/prm"
)
Template = Literal["auto", "alpaca", "chat", "none"]


@dataclass
class Proxy:
    """Samples from cfg.model by cfg.sampler, or takes given answers (score_only=true), and orders them by reward.

    path: the reward model: a run of stage prm, a Hugging Face sequence-classification folder with one label, or a hub
    id; revision: of a hub id. template: of what it reads; auto is the run's own, else chat where the tokenizer has a
    chat template, else alpaca. template_args: variables of the chat template; null: the run's own.
    scorer: as model.scorer. n: answers per instruction. row_tokens: tokens per packed row.

    Raises:
        ConfigError: values out of range, or no reward model is named.
    """

    path: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    template: Template = "auto"
    template_args: dict[str, Any] | None = None
    scorer: Literal["packed", "plain"] = "packed"
    n: int = 4
    row_tokens: int = 2048
    device: Device = "auto"

    def __post_init__(self) -> None:
        wrong = []
        if self.path is None:
            wrong.append(
                "path: missing; give ranker.path=<a run of stage prm, or a reward model's folder or hub id>. "
                f"Next, where there is none yet: {_MAKE_ONE}"
            )
        if self.n < 2:
            wrong.append(f"n: expected 2 or more, got {self.n}")
        if self.row_tokens < 8:
            wrong.append(f"row_tokens: expected 8 or more, got {self.row_tokens}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    @cached_property
    def reward_model(self) -> "ModelConfig":
        """The config node of the reward model.

        Raises:
            ModelError: there is no such model, or it is none.
        """
        from tuna.models.reward_source import check_reward_model
        from tuna.models.source import ModelConfig

        trained = self._trained()
        node = ModelConfig(
            str(self.path), self.revision, self.trust_remote_code, trained.get("template", self.template),
            self.template_args or trained.get("template_args"), scorer=self.scorer,
        )  # fmt: skip
        try:
            found = node.resolve()
        except ModelError as error:
            raise ModelError(
                f"{str(error).replace('model.path=', 'ranker.path=', 1)}; next, where there is none yet: {_MAKE_ONE}"
            ) from None
        check_reward_model(found)
        return node

    def _trained(self) -> dict[str, Any]:
        """How the run wrote its prompts: rewards mean something only for those, whatever the tokenizer's template."""
        if self.template != "auto":
            return {}
        run = read_run(Path(str(self.path)).expanduser())
        found = run.get("config", {}).get("datamodule")
        return found if isinstance(found, dict) else {}

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return () if score_only else ("sampler", "model")

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return parts.model is not None and is_embedded(parts.model.path)

    def identities(self, parts: Components) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of what answers, and of what ranks."""
        source = {"ranker": "proxy", "score_only": parts.score_only}
        if not parts.score_only:
            source |= {"n": self.n, **parts.sampler.identity(parts.model, parts.seed)}
        model = self.reward_model
        return source, {"judge": "reward model", "model": model.fingerprint, **model.shaped_by}

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        return {} if parts.score_only else {"answers": parts.sampler.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What the sampler asks a server for; a reward model asks nobody."""
        sampled = Usage() if parts.score_only else parts.sampler.estimate(records, self.n, context)
        return {"sampler": sampled} if sampled.requests else {}

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists, best first."""
        from tuna.inference.score import reward_answers

        collected = Collected()
        if parts.score_only:
            answers = [given_answers(record) for record in records]
        else:
            answers = parts.sampler.answer(parts.model, records, self.n, context)
        there = [(record, found) for record, found in zip(records, answers, strict=True) if found]
        rewarded = reward_answers(
            self.reward_model, [record for record, _ in there], [found for _, found in there], context,
            row_tokens=self.row_tokens, device=self.device,
        )  # fmt: skip
        scored = {record.id: found for (record, _), found in zip(there, rewarded, strict=True)}
        source = None if parts.score_only else parts.sampler.name(parts.model)
        for record in records:
            if record.id not in scored:
                collected.lacks(record, parts.sampler.lacks(record, self.n, context))
            else:
                self._list(record, scored[record.id], source, collected)
        return collected

    def _list(self, record: Record, found: Sequence[Answer], source: str | None, collected: Collected) -> None:
        """``score`` is minus the position, 0 the best; equal answers, scored once, share one, as equal rewards do."""
        usable = [answer for answer in found if answer.unusable_reason is None]
        left_out = [
            {"text": answer.text, "reason": answer.unusable_reason}
            for answer in found
            if answer.unusable_reason is not None
        ]
        if len(usable) < 2:
            collected.set_aside(record, "fewer than two usable answers", left_out)
            return
        rewards = sorted({reward(answer) for answer in usable}, reverse=True)
        given = {c.text: c.source for c in record.responses}
        rows = [
            candidate(answer, float(-rewards.index(reward(answer))), source or given.get(answer.text) or "given")
            for answer in sorted(usable, key=reward, reverse=True)
        ]
        extra = {"dropped": left_out} if left_out else {}
        collected.add(output_row(record, rows, **extra))


def reward(answer: Answer) -> float:
    """The reward of an answer that has one."""
    assert answer.reward is not None
    return answer.reward
