"""Answers from a local model in blocks of instructions, each block whole or not at all: the sampler and local teacher.

Blocks are cut from the input order and share batches, so a block that was interrupted is made again whole, with the
same numbers; what the store has of whole blocks is not made again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer, apart, stored_answers
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.ranking.diversity import DiverseSet, rule_problems

if TYPE_CHECKING:
    from tuna.inference.generate import Generator
    from tuna.models.source import ModelConfig

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass
class BlockSampler:
    """N answers an instruction by drawing from a model, with or without the diversity rule.

    block: instructions that share batches. tau: see DiverseSet; null draws without the rule.

    Raises:
        ConfigError: values out of range.
    """

    temperature: float
    max_tokens: int
    block: int
    device: Device
    dtype: Dtype
    tau: float | None = None
    trials: int = 0
    temperature_step: float = 0.0

    def __post_init__(self) -> None:
        wrong = []
        if not self.temperature > 0:
            wrong.append(f"temperature: expected a number above 0, got {self.temperature}")
        for key in ("max_tokens", "block"):
            if getattr(self, key) < 1:
                wrong.append(f"{key}: expected 1 or more, got {getattr(self, key)}")
        wrong += rule_problems(self.tau, self.trials, self.temperature_step)
        if wrong:
            raise ConfigError("\n".join(wrong))

    def settings(self) -> dict[str, Any]:
        """What shapes an answer, beside the model, the seed and the instruction."""
        found: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        rule = {"tau": self.tau, "trials": self.trials, "temperature_step": self.temperature_step}
        return found if self.tau is None else found | rule

    def collect(self, node: "ModelConfig", records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers a record; draws only blocks of which the store lacks something."""
        journal = context.store.journal("answers")
        model = {"model": node.fingerprint, **node.shaped_by}
        keys = [
            key_of(
                **self.settings(),
                **model,
                seed=context.seed,
                n=n,
                record=record.id,
                prompt=record.question,
            )
            for record in records
        ]
        blocks = [range(at, min(at + self.block, len(records))) for at in range(0, len(records), self.block)]
        missing = [block for block in blocks if any(keys[i] not in journal for i in block)]
        done = len(records) - sum(len(block) for block in missing)
        progress = Progress("answers", len(records), done)
        if missing:
            from tuna.data.tokenize import check_shown
            from tuna.inference.generate import Generator

            check_shown(node.encoder(), [records[i] for block in missing for i in block])
            generator = Generator(node, max_tokens=self.max_tokens, device=self.device, dtype=self.dtype)
            for block in missing:
                made = self.draw(generator, [records[i] for i in block], n, context.seed)
                for i, answers in zip(block, made, strict=True):
                    if keys[i] not in journal:
                        journal.append({"key": keys[i], "choices": [answer.to_dict() for answer in answers]})
                progress.update(len(block))
            progress.close()
        return [journal.read(key, stored_answers)[0] for key in keys]

    def draw(self, generator: "Generator", records: Sequence[Record], n: int, seed: int) -> list[list[Answer]]:
        """``n`` answers a record of one block: rounds of draws until no set misses any."""
        from tuna.inference.generate import Draw
        from tuna.inference.noise import noise_key

        prompts = [generator.prompt(record) for record in records]
        sets = [DiverseSet(n, self.tau, self.trials) for _ in records]
        while wanted := list(_wanted(sets)):
            draws = [
                Draw(
                    which,
                    noise_key(seed, records[which].id, place, trial),
                    self.temperature + trial * self.temperature_step,
                )
                for which, place, trial in wanted
            ]
            drawn: dict[int, dict[int, Answer]] = {}
            for (which, place, trial), answer in zip(wanted, generator.draw(prompts, draws), strict=True):
                hot = None if trial == 0 else round(self.temperature + trial * self.temperature_step, 6)
                drawn.setdefault(which, {})[place] = replace(apart(answer), temperature=hot)
            for which, answers in drawn.items():
                sets[which].offer(answers)
        return generator.as_written(records, [each.finish() for each in sets])


def _wanted(sets: Sequence[DiverseSet]) -> Iterator[tuple[int, int, int]]:
    """(which set, place, trial) of all that is missing."""
    for which, each in enumerate(sets):
        for place, trial in each.missing():
            yield which, place, trial
