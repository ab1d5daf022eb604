"""``tuna chat``: questions typed a line at a time, and the model's answers."""

import io
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig

from tuna.config import checks
from tuna.config.schema import build_all
from tuna.data.fields import FieldError, check_text
from tuna.data.messages import asked
from tuna.data.record import Message, Record, was_cut
from tuna.errors import ConfigError, DataError
from tuna.inference.local import Device, Dtype


@dataclass(frozen=True)
class Settings:
    """The keys of conf/chat.yaml itself, explained there."""

    max_tokens: Annotated[int, Ge(1)] = 256
    temperature: Annotated[float, Ge(0)] = 0.0
    seed: Annotated[int, Ge(0)] = 0
    device: Device = "auto"
    dtype: Dtype = "auto"

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config. Raises: ConfigError with one line for each wrong value."""
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return Settings(**values)


def run(cfg: DictConfig) -> dict[str, float]:
    """Answer the lines of stdin until they end, by Ctrl-D or Ctrl-C; an empty line begins a new conversation.

    Raises: TunaError for a wrong setting or a model that cannot answer, before its weights load.
    """
    settings = Settings.read(cfg)
    model: Any = build_all(cfg, "model")["model"]
    from tuna.models.reward import writer

    encoder = writer(model).encoder()
    told = "the conversation goes on" if encoder.chat else "it has no chat template: each line is a question by itself"
    _say(f"{model.path}, template {encoder.name}; {told}, an empty line begins anew, Ctrl-D ends")
    from tuna.inference.generate import Draw, Generator, noise_key

    generator = Generator(model, max_tokens=settings.max_tokens, device=settings.device, dtype=settings.dtype)
    turns: list[Message] = []
    answers = 0
    for line in _lines():
        turns = [*turns, {"role": "user", "content": line}] if encoder.chat and line else []
        if not line:
            continue
        record = Record(str(answers), **(asked(turns) if turns else {"instruction": line}))
        draw = Draw(0, noise_key(settings.seed, answers), settings.temperature)
        try:
            (answer,) = generator.draw([generator.prompt(record)], [draw], _counting)
        except FieldError as error:
            raise DataError(f"{model.path}: {error}") from None
        _clear()
        if not generator.fits(record):
            begins = "; an empty line begins anew" if encoder.chat else ""
            _say(f"(shortened to fit the model's {generator.positions} positions{begins})")
        print(answer.text, flush=True)
        if was_cut(answer.finish_reason):
            _say(f"(cut at max_tokens={settings.max_tokens})")
        turns = [*turns, {"role": "assistant", "content": answer.text}] if turns else []
        answers += 1
    return {"answers": float(answers)}


def _lines() -> Iterator[str]:
    """What is typed, without white space around it; Ctrl-C ends as Ctrl-D does. Raises: DataError for bytes that are
    no text."""
    asks = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    try:
        for number in itertools.count(1):
            if asks:
                print("> ", end="", file=sys.stderr, flush=True)
            if not (line := sys.stdin.readline()):
                break
            try:
                yield check_text(line.strip(), f"line {number}")
            except FieldError as error:
                raise DataError(f"stdin: {error}; next: write it as UTF-8") from None
    except KeyboardInterrupt:
        pass
    if asks:
        _say("")


def _say(text: str) -> None:
    """What is no answer goes to stderr, so that the answers can be piped."""
    print(text, file=sys.stderr, flush=True)


def _counting(ended: int, tokens: int, most: int) -> None:
    if sys.stderr.isatty():
        print(f"\r... {tokens} tokens", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print(f"\r{'':24}\r", end="", file=sys.stderr, flush=True)
