"""A small tokenizer made in memory, and rows, for the tests of data and datamodules."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tuna.data.batch import Group
from tuna.data.record import Record
from tuna.data.templates import alpaca

CHAT = (
    "{% for m in messages %}<s>[{{ m['role'] }}] {{ m['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>[assistant] {% endif %}"
)


@functools.cache
def _backend(bos: bool) -> str:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([alpaca(Record("0", "one two three", "four")).text] * 3, trainer)
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return str(core.to_str())


def tokenizer(*, bos: bool = False, chat: bool = False, pad_is_eos: bool = False) -> Any:
    """Byte-level BPE of 400 entries: <pad> 0, <s> 1, </s> 2. bos: it puts <s> before a text by itself."""
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=Tokenizer.from_str(_backend(bos)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>" if pad_is_eos else "<pad>",
        chat_template=CHAT if chat else None,
    )


def row(index: int, responses: list[tuple[str, float]] | None = None, **more: Any) -> dict[str, Any]:
    """A record's JSON."""
    given = [(f"good {index}", 1.0), (f"bad {index}", 0.0)] if responses is None else responses
    texts = [{"text": text, "score": score, "logprob": -3.0 * score - 1, "num_tokens": 4} for text, score in given]
    return {
        "id": str(index),
        "instruction": f"Do {index}.",
        "input": "",
        "output": f"out {index}",
        "responses": texts,
    } | more


def write(path: Path, rows: list[Any]) -> str:
    """A JSONL file; strings go in as they are."""
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def random_groups(rng: np.random.Generator, count: int, longest: int = 30) -> list[Group]:
    """Groups of one to six responses with random ids, scores with ties and NaN."""
    groups = []
    for n in range(count):
        k = int(rng.integers(1, 7))
        responses = tuple(rng.integers(3, 400, rng.integers(1, longest)).astype(np.int32) for _ in range(k))
        scores = tuple(float(s) for s in rng.choice([0.0, 1.0, 2.0, np.nan], k))
        targets = tuple(bool(t) for t in rng.integers(0, 2, k))
        prompt = rng.integers(3, 400, rng.integers(1, longest)).astype(np.int32)
        groups.append(Group(str(n), prompt, responses, scores, targets))
    return groups
