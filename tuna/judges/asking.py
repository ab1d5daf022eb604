"""What a judge is asked, in which form it has to reply, and the settings that say so."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.judges import lists
from tuna.judges.prompt import Prompt
from tuna.judges.reading import OF_KIND, Form, Read
from tuna.judges.structured import read_schema, verdict_schema


@checked
@dataclass
class Asking:
    """The prompt that is put to a judge, and how replies to it are read."""

    prompt_: str | None = None  # table9, pairwise, rubric or a Jinja file; null: table9 for lists, pairwise for pairs
    read_: Literal["rank", "choice", "score", "json"] | None = None  # the form of a reply; null: by the prompt's kind
    scale: tuple[int, int] = (1, 5)  # the lowest and the highest score
    schema: str | dict[str, Any] | None = None  # read=json: a JSON schema, or its file; null: the verdict alone
    field: str | None = None  # read=json: the property that holds the verdict; null: rank, choice or score
    probabilities: Literal["auto"] | bool = "auto"  # of marks; auto: where judge.prompt is pointwise or pairwise
    least_mass: Annotated[float, Interval(ge=0, le=1)] = 0.5  # the probability that all marks must have together
    pairs: Literal["all", "swiss", "sorted"] = "all"  # which pairs of a list a pairwise prompt compares
    comparisons: Annotated[int, Ge(1)] | None = None  # of pairs of one list at most; null: as pairs says
    orders: Literal[1, 2] = 1  # 2 asks about a list in both orders; two answers are always compared in both
    keep_reference: bool = False  # the judge's own answer becomes one more candidate

    @property
    def direct_only(self) -> bool:
        """Whether a reply is to be the mark alone."""
        return False

    @cached_property
    def _given(self) -> Prompt | None:
        """The prompt that was named; None: Table 9's, and the pairwise one."""
        return None if self.prompt_ is None else Prompt.load(self.prompt_)

    @cached_property
    def _form(self) -> Form:
        """How replies to that prompt are read. Raises ConfigError."""
        if self._given is None:
            return lists.RANK
        kind, read = self._given.kind, self._reads
        chances = {True: True, False: False, "auto": None}[self.probabilities]
        marks = kind != "listwise" and not (self.probabilities == "auto" and self._writes)
        own = self.prompt_ == "table9" or self.keep_reference
        schema, name = None, self.field or OF_KIND[kind]
        if read == "json":
            schema = read_schema(self.schema or verdict_schema(kind, self.scale), name)
        return Form(
            kind, read, self.scale, schema, name, self.direct_only, chances if marks else False, self.least_mass, own
        )

    @property
    def _reads(self) -> Read:
        assert self._given is not None
        return self.read_ or OF_KIND[self._given.kind]

    @property
    def _writes(self) -> bool:
        """Whether probabilities cannot be had, since the judge writes what only its text says."""
        return False

    def check(self) -> None:
        """Raise ConfigError for a prompt that cannot be used, and for settings that it has no use for."""
        kind = self._given.kind if self._given is not None else "listwise"
        low, high = self.scale
        ranked = "(judge.prompt=rubric, pairwise, or a file that mentions response, or a and b)"
        allowed = (OF_KIND[kind], "json") if self._given is not None else (None,)
        wrong = {
            f"scale: expected two whole numbers from 0 to 999, the lower first, got [{low}, {high}]": not (
                0 <= low < high <= 999
            ),
            f"read: expected {' or '.join(map(str, allowed))} with a {kind} prompt, got {self.read_}": (
                self.read_ is not None and self.read_ not in allowed
            ),
            "schema, field: of use with read=json only": (self.schema or self.field) and self.read_ != "json",
            f"probabilities: expected a prompt whose reply ends in one mark {ranked}": (
                self.probabilities is True and kind == "listwise"
            ),
            f"orders, keep_reference: of use where a list is ranked at once, not with a {kind} prompt": (
                kind != "listwise" and (self.orders != 1 or self.keep_reference)
            ),
            "pairs, comparisons: of use with a pairwise prompt (judge.prompt=pairwise or a file with a and b)": (
                kind != "pairwise" and (self.pairs != "all" or self.comparisons is not None)
            ),
        }
        if found := [message for message, holds in wrong.items() if holds]:
            raise ConfigError("\n".join(found))
        _ = self._form
