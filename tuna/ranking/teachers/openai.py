"""A teacher behind any OpenAI-compatible server: N sampled answers an instruction, with token log-probabilities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuna.console import Progress
from tuna.data.record import Record
from tuna.inference.answers import Answer, stored_answers
from tuna.inference.context import Context
from tuna.inference.cost import Usage, about_tokens, at_most_tokens
from tuna.inference.engine import Request
from tuna.inference.served import ServedModel
from tuna.inference.server import Server, StopRun
from tuna.inference.store import key_of


@dataclass
class OpenAITeacher(ServedModel):
    """Samples answers from a server.

    model: as the server names it. endpoint: chat, or completions (base models; the paper's text-davinci-003).
    template: the prompt of completions, alpaca or none; a chat gets the conversation as it is.
    temperature: the paper's is 1. max_tokens: of one answer. token_limit: the limit's name in requests; OpenAI's newer
    models want max_completion_tokens. answer_tokens: expected length of an answer, for the estimate. extra_body:
    further fields of each request. price: dollars a million [input, output] tokens, null: from conf/prices.

    Raises:
        ConfigError: all values out of range, and a missing key.
    """

    model: str = "gpt-4.1"

    node: ClassVar[str] = "teacher"

    @property
    def name(self) -> str:
        """What the answers' ``source`` says."""
        return self.model

    def identity(self) -> dict[str, Any]:
        """What shapes an answer, for keys and for the store's identity."""
        return {"teacher": "openai", **self.shaped_by()}

    def key(self, record: Record, n: int) -> str:
        """The key of this instruction's answers."""
        return key_of(**self.identity(), prompt=self.prompt(record), n=n)

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """What is still to be asked, roughly."""
        missing = {k: r for r in records if len(self._stored(k := self.key(r, n), context)) < n}
        prompt = sum(about_tokens(self.prompt(record)) for record in missing.values())
        answers = len(missing) * n * self.answer_tokens
        price = self.price_in(context.prices)
        return Usage(len(missing), prompt, answers, price.of(prompt, answers) if price else None)

    def answer(self, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers a record, fewer where the server gave fewer; asks only for what the store lacks."""
        journal = context.store.journal("answers")
        keys = [self.key(record, n) for record in records]
        found = {key: self._stored(key, context) for key in dict.fromkeys(keys)}
        missing = {k: r for k, r in zip(keys, records, strict=True) if len(found[k]) < n}
        progress = Progress("answers", len(found), len(found) - len(missing))
        gives_logprobs = len(missing) < len(found)

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            nonlocal gives_logprobs
            answers = self.read(body)
            usable = [a for a in answers if a.unusable_reason is None]
            gives_logprobs |= any(a.logprob is not None or a.unscored is not None for a in usable)
            if usable and not gives_logprobs:
                raise StopRun(self._no_logprobs())
            wanted = n if request.payload.get("n") else 1
            line = {"key": request.key, "part": request.part, "choices": [a.to_dict() for a in answers[:wanted]]}
            journal.append({**line, "usage": body.get("usage"), "model": body.get("model")})
            missing = self._missing(request.key, n, context)
            progress.update(int(not missing))
            if len(answers) < wanted:
                self.one_by_one = True  # it ignores n: ask for the others one at a time, and for all from now on
                return [self._request(request.key, request.row, 1, part) for part in missing]
            return ()

        requests = [r for key, record in missing.items() for r in self._requests(key, record, n, context)]
        server = Server(self, self.endpoint, self.model)
        context.ask(server, _late(requests, self, n), self.price_in(context.prices), done, progress)
        found |= {key: self._stored(key, context) for key in missing}
        return [found[key][:n] for key in keys]

    def _stored(self, key: str, context: Context) -> list[Answer]:
        lines = context.store.journal("answers").read(key, lambda line: (int(line["part"]), stored_answers(line)))
        return [answer for _, answers in sorted(lines, key=lambda line: line[0]) for answer in answers]

    def _requests(self, key: str, record: Record, n: int, context: Context) -> list[Request]:
        missing = self._missing(key, n, context)
        if len(missing) < n:  # an earlier run was stopped between the answers of one instruction
            return [self._request(key, record, 1, part) for part in missing]
        return [self._request(key, record, n, 0)]

    def _missing(self, key: str, n: int, context: Context) -> list[int]:
        """Which of the ``n`` answers the store lacks; a line holds as many as it has choices, from its part on."""
        lines = context.store.journal("answers").read(key, lambda line: (int(line["part"]), len(line["choices"])))
        have = {part + k for part, count in lines for k in range(count)}
        return [part for part in range(n) if part not in have]

    def _request(self, key: str, record: Record, n: int, part: int) -> Request:
        asked = self.payload(record, self.max_tokens, self.temperature, n)
        # top_logprobs: the alternatives are of no use here, but llama-cpp-python gives no logprobs without it
        asked |= {"logprobs": True, "top_logprobs": 0} if self.endpoint == "chat" else {"logprobs": 1}
        return Request(key, part, asked, at_most_tokens(self.prompt(record)), self.max_tokens * n, record)

    def _no_logprobs(self) -> str:
        return (
            f"teacher: {self.base_url or 'the server'} gives no token log-probabilities for {self.model!r}, which "
            "Eq. 3 needs. Next: another model, teacher.endpoint=completions, llama-cpp-python with --logits_all true, "
            "or have a local model score given answers (ranker=probabilistic score_only=true)"
        )


def _late(requests: Sequence[Request], teacher: OpenAITeacher, n: int) -> Iterable[Request]:
    """The requests; once the server has shown that it ignores n, as requests for the first answer alone."""
    for request in requests:
        if teacher.one_by_one and request.payload.get("n"):
            for part in range(n):
                yield teacher._request(request.key, request.row, 1, part)
        else:
            yield request
