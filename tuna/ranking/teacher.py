"""Teachers: N sampled answers per instruction with their log-probabilities, of a model here or served."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.local import LocalModel
from tuna.inference.served import ServedModel
from tuna.inference.store import key_of
from tuna.ranking.sampler import Answerer, LocalAnswerer


@checked
@dataclass
class LocalTeacher(LocalModel, LocalAnswerer):
    """Draws answers from a local model, or scores given ones."""

    path: str = "tiny_teacher"
    temperature: Annotated[float, Gt(0)] = 1.0  # of the first draw of an answer; the paper's is 1
    tau: Annotated[float, Interval(gt=0, le=1)] | None = None  # ROUGE-L of two answers is below it; null: no rule
    trials: Annotated[int, Ge(0)] = 0  # resamples before the least similar one tried is kept
    temperature_step: Annotated[float, Ge(0)] = 0.0  # what each new trial adds to the temperature
    row_tokens: int = 2048  # tokens per packed row where given answers are scored

    role: ClassVar[str] = "teacher"

    def score(
        self, records: Sequence[Record], answers: Sequence[Sequence[Answer]], context: Context
    ) -> list[list[Answer]]:
        """The answers with this model's summed log-probability and token count."""
        from tuna.inference.score import score_answers

        return score_answers(self.model, records, answers, context, row_tokens=self.row_tokens, device=self.device)


@checked
@dataclass
class OpenAITeacher(ServedModel, Answerer):
    """Samples answers from a server. temperature: the paper's is 1. max_tokens: tokens of one answer at most."""

    model: str = "gpt-4.1"
    temperature: Annotated[float, Ge(0)] = 1.0
    max_tokens: Annotated[int, Ge(1)] = 512

    node: ClassVar[str] = "teacher"
    send_seed = False
    logprobs = True

    def identity(self, seed: int) -> dict[str, Any]:
        """What shapes an answer, for keys and for the store's identity."""
        return {"teacher": "openai", **self.shaped_by(), "max_tokens": self.max_tokens}

    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of a record's answers."""
        return key_of(**self.identity(seed), prompt=self.prompt(record), n=n)
