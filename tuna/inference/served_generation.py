"""Greedy answers of a model behind an OpenAI-compatible server: vLLM on several GPUs, or anybody's API."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuna.console import Progress
from tuna.evaluation.base import Question
from tuna.inference.answers import Answer, read_choice, stored_answer
from tuna.inference.context import Context
from tuna.inference.cost import Usage, about_tokens, at_most_tokens
from tuna.inference.engine import Request
from tuna.inference.served import Served
from tuna.inference.server import Server
from tuna.inference.store import key_of

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class ServedGeneration(Served):
    """Asks a server, at temperature 0.

    model: as the server names it. endpoint: chat (the server applies the chat template), or completions. template: the
    prompt of completions, alpaca or none. temperature: null sends none (some models refuse it). token_limit: the
    limit's name in requests. tokenizer: a folder whose tokenizer counts tokens where a benchmark limits its prompts;
    null counts a token for three bytes, which is more than there are. answer_tokens: expected length of an answer, for
    the estimate. extra_body: further fields of each request. price: dollars a million [input, output] tokens, null:
    from conf/prices. reasoning: strip takes off what an answer holds before its last </think>, keep leaves it.

    Raises:
        ConfigError: all values out of range.
    """

    temperature: float | None = 0.0
    tokenizer: str | None = None
    reasoning: Literal["strip", "keep"] = "strip"

    kind: ClassVar[str] = "server"
    node: ClassVar[str] = "generation"

    def identity(self) -> dict[str, Any]:
        """What shapes the figures: a tokenizer that counts decides on prompts."""
        kept = {"reasoning": "keep"} if self.reasoning == "keep" else {}
        return {**self.shaped_by(), "tokenizer": self.tokenizer, **kept}

    def shaped_by(self) -> dict[str, Any]:
        """What shapes the answer to a prompt."""
        return {"generation": "openai", **super().shaped_by()}

    def measured(self, model: "ModelConfig") -> tuple[str, str, str]:
        """Name, source and fingerprint of what is measured; a server tells no more than the model's name."""
        return self.model.rstrip("/").rpartition("/")[2], self.model, key_of(**self.shaped_by())

    def counter(self, model: "ModelConfig") -> Callable[[str], int]:
        """Tokens of a text, never too few."""
        if self.tokenizer is None:
            return lambda text: -(-len(text.encode()) // 3)
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(self.tokenizer)
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """What is still to be asked, roughly."""
        journal = context.store.journal("answers")
        left = [q for q in questions if self._key(q, max_tokens) not in journal]
        prompt = sum(about_tokens(self.prompt(question.record)) for question in left)
        answers = len(left) * min(self.answer_tokens, max_tokens)
        price = self.price_in(context.prices)
        return Usage(len(left), prompt, answers, price.of(prompt, answers) if price else None)

    def _key(self, question: Question, max_tokens: int) -> str:
        asked = {"task": question.task, "id": question.id, "prompt": self.prompt(question.record)}
        return key_of(**self.shaped_by(), max_tokens=max_tokens, **asked)

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer a question as the server wrote it, None where it refused or the run was stopped.

        Asks only for what the store lacks.
        """
        journal = context.store.journal("answers")
        keys = [self._key(question, max_tokens) for question in questions]
        missing = {k: q for k, q in zip(keys, questions, strict=True) if k not in journal}
        progress = Progress("answers", len(keys), len(keys) - len(missing))

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            answer = self.read(body, read_choice)[0]
            journal.append({"key": request.key, **answer.to_dict(), "usage": body.get("usage")})
            progress.update(1)
            return ()

        def request(key: str, question: Question) -> Request:
            asked = self.payload(question.record, max_tokens, self.temperature)
            return Request(key, 0, asked, at_most_tokens(self.prompt(question.record)), max_tokens)

        requests = (request(key, question) for key, question in missing.items())
        context.ask(Server(self, self.endpoint, self.model), requests, self.price_in(context.prices), done, progress)
        return [found[0] if (found := journal.read(key, stored_answer)) else None for key in keys]
