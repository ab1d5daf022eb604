"""What encoding makes of a question and its answers: texts that share a head, then ids."""

from dataclasses import dataclass

from tuna.data.batch import BoolArray, IntArray
from tuna.data.lists import Answer
from tuna.data.record import Record


@dataclass(frozen=True, slots=True)
class Encoded:
    """A question with its answers, K of them, as ids.

    prompt: [P], what all of them share. responses: K arrays [L_k]; prompt + response is the whole conversation as the
    chat template writes it, with its ending where the answer was complete. scored: K arrays [L_k], the tokens that the
    model itself writes in use: from the first after the prompt that it is given to the one that ends its turn.
    """

    prompt: IntArray
    responses: tuple[IntArray, ...]
    scored: tuple[BoolArray, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows an answer: tokens after the one that ends the turn, and whether that one has to be added."""

    after: int
    add_eos: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A question with its answers as text: each whole text is ``head`` and its own rest.

    The head ends where a special token begins, since no token reaches over that; it is tokenized once.
    """

    record: Record
    answers: tuple[Answer, ...]
    bos: bool
    head: str
    prompt: str
    rests: tuple[str, ...]
    endings: tuple[str | None, ...]  # what the template writes after the answer; None: the answer was cut

    @property
    def texts(self) -> list[str]:
        """All that is to be tokenized."""
        return [*([self.head] if self.head else []), self.prompt, *self.rests]
