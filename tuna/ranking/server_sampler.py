"""The sampler of a model that a server holds (vLLM and others): the diversity rule, request by request.

The answers of a round (the first draws, then the resamples) are one request, or one each where the server ignores
``n``. Each reply is stored at once; what is to be drawn next follows from what the store has, so a run that was killed
goes on where it was.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuna.console import Progress
from tuna.data.record import Record
from tuna.inference.answers import Answer, stored_answers
from tuna.inference.context import Context
from tuna.inference.cost import Usage, about_tokens, at_most_tokens
from tuna.inference.engine import Request
from tuna.inference.served import ServedModel
from tuna.inference.server import Server
from tuna.inference.store import key_of
from tuna.ranking.diversity import DiverseSet, rule_problems

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass(frozen=True, slots=True)
class _Round:
    """What one request draws: for which record, in which trial (0 is the first draw), for which places of its set."""

    record: Record
    trial: int
    places: tuple[int, ...]


@dataclass
class ServerSampler(ServedModel):
    """Draws from a server that holds the model being tuned.

    model: as the server names it. endpoint: completions with the prompt template it was tuned with (template: alpaca or
    none), or chat where that is its tokenizer's chat template. temperature: of the first draw; each new trial adds
    temperature_step. tau: highest ROUGE-L between two answers, exclusive; null draws without the rule. trials:
    resamples before the least similar one tried is kept. max_tokens: of one answer. send_seed: give each request a seed
    of its own, made from (seed, instruction, trial, place); servers that know none ignore it. token_limit: the limit's
    name in requests. answer_tokens: expected length of an answer, for the estimate. extra_body: further fields of each
    request. price: dollars a million [input, output] tokens, null: from conf/prices.

    Raises:
        ConfigError: all values out of range.
    """

    endpoint: Literal["chat", "completions"] = "completions"
    tau: float | None = 0.8
    trials: int = 3
    temperature_step: float = 0.1
    send_seed: bool = True

    node: ClassVar[str] = "sampler"

    def check(self) -> list[str]:
        """All that is wrong, a line each."""
        return super().check() + rule_problems(self.tau, self.trials, self.temperature_step)

    @property
    def needs_model(self) -> bool:
        """Whether it uses the config's ``model``: the server has its own."""
        return False

    def name(self, model: "ModelConfig | None") -> str:
        """What the answers' ``source`` says."""
        return self.model

    def identity(self, model: "ModelConfig | None", seed: int) -> dict[str, Any]:
        """What shapes the answers, for keys and for the store's identity: the model by the server's name for it."""
        rule = {"tau": self.tau, "trials": self.trials, "temperature_step": self.temperature_step}
        seeded = {"send_seed": self.send_seed, "seed": seed}
        return {"sampler": "openai", **self.shaped_by(), **seeded, **(rule if self.tau is not None else {})}

    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of this instruction's answers."""
        return key_of(**self.identity(None, seed), n=n, record=record.id, prompt=self.prompt(record))

    def lacks(self, record: Record, n: int, context: Context) -> str:
        """Why a record has no whole set: the reason it was set aside, empty where it was not fully asked."""
        return context.aside.get(self.key(record, n, context.seed), "")

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """What is still to be asked, roughly; resamples come on top."""
        missing = [r for r in records if self._progress(self.key(r, n, context.seed), n, context)[2]]
        prompt = sum(about_tokens(self.prompt(record)) for record in missing)
        answers = len(missing) * n * self.answer_tokens
        price = self.price_in(context.prices)
        return Usage(len(missing), prompt, answers, price.of(prompt, answers) if price else None)

    def answer(
        self, model: "ModelConfig | None", records: Sequence[Record], n: int, context: Context
    ) -> list[list[Answer]]:
        """``n`` answers a record, none where the set is not whole; asks only for what the store lacks."""
        journal = context.store.journal("answers")
        keys = [self.key(record, n, context.seed) for record in records]
        missing = {k: r for k, r in zip(keys, records, strict=True) if self._progress(k, n, context)[2]}
        progress = Progress("sampled sets", len(keys), len(keys) - len(missing))

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            drawn: _Round = request.row
            answers = self.read(body)[: len(drawn.places)]
            if drawn.trial:
                answers = [replace(answer, temperature=self._temperature(drawn.trial)) for answer in answers]
            journal.append(
                {"key": request.key, "part": request.part, "trial": drawn.trial, "places": drawn.places[: len(answers)],
                 "choices": [a.to_dict() for a in answers], "usage": body.get("usage"), "model": body.get("model")}
            )  # fmt: skip
            if rest := drawn.places[len(answers) :]:
                self.one_by_one = True  # it ignores n
                return self._requests(request.key, replace(drawn, places=rest))
            _, trial, places = self._progress(request.key, n, context)
            progress.update(int(not places))
            if places and trial > drawn.trial:
                return self._requests(request.key, _Round(drawn.record, trial, places))
            return ()

        server = Server(self, self.endpoint, self.model)
        first = self._first(missing, n, context)
        context.ask(server, first, self.price_in(context.prices), done, progress)
        sets = [self._progress(key, n, context) for key in keys]
        return [[] if places else made.finish() for made, _, places in sets]

    def _temperature(self, trial: int) -> float:
        return round(self.temperature + trial * self.temperature_step, 6)

    def _progress(self, key: str, n: int, context: Context) -> tuple[DiverseSet, int, tuple[int, ...]]:
        """The set as far as the store has it, and the trial and places to draw next: no places, and it is whole."""
        lines = context.store.journal("answers").read(key, _drawn)
        stored = {place: answer for line in lines for place, answer in line.items()}
        made = DiverseSet(n, self.tau, self.trials)
        while missing := made.missing():
            trial = missing[0][1]
            if lacking := tuple(place for place, _ in missing if (trial, place) not in stored):
                return made, trial, lacking
            made.offer({place: stored[trial, place] for place, _ in missing})
        return made, 0, ()

    def _first(self, missing: dict[str, Record], n: int, context: Context) -> Iterator[Request]:
        """The requests to begin with, each made when its turn comes: the server may have shown that it ignores n."""
        for key, record in missing.items():
            _, trial, places = self._progress(key, n, context)
            yield from self._requests(key, _Round(record, trial, places))

    def _requests(self, key: str, wanted: _Round) -> list[Request]:
        """One request for all places of a round, or one each."""
        cut = [(place,) for place in wanted.places] if self.one_by_one else [wanted.places]
        return [self._request(key, replace(wanted, places=places)) for places in cut]

    def _request(self, key: str, wanted: _Round) -> Request:
        temperature = self._temperature(wanted.trial)
        asked = self.payload(wanted.record, self.max_tokens, temperature, len(wanted.places))
        part = (wanted.trial << 16) + wanted.places[0]
        if self.send_seed:
            asked["seed"] = int(key_of(key=key, part=part)[:7], 16)
        prompt = at_most_tokens(self.prompt(wanted.record))
        return Request(key, part, asked, prompt, self.max_tokens * len(wanted.places), wanted)


def _drawn(line: dict[str, Any]) -> dict[tuple[int, int], Answer]:
    """(trial, place) -> answer, of a line of the store."""
    trial, answers = int(line["trial"]), stored_answers(line)
    return {(trial, int(place)): answer for place, answer in zip(line["places"], answers, strict=True)}
