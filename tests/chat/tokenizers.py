"""Tiny tokenizers of the kinds that people have, trained in memory on the package's own texts.

Each builder below returns a ``PreTrainedTokenizerFast`` without a chat template, the same object at every call of one
process (do not change it; ``copy.deepcopy`` first), in well under a second, with 600 to 1200 ids::

    llama3()        byte-level BPE, Llama 3's split, ignore_merges; <|begin_of_text|> in front; eos <|eot_id|>
    qwen()          byte-level BPE, Qwen's split, NFC; no bos; <think> and <tool_call> are added but not special
    deepseek()      byte-level BPE, digits and Han split first; <|User|>, <|Assistant|> are added but not special
    smol()          byte-level BPE, GPT-2's split; ChatML's tokens; eos <|im_end|>
    base()          as smol(), a base model's: eos <|endoftext|>, though <|im_end|> exists
    gpt2()          as smol(), without any chat token: eos and bos <|endoftext|>, none in front
    gemma()         SentencePiece BPE, spaces replaced and no prefix space; runs of line breaks are added tokens
    llama2()        SentencePiece BPE, a prefix space after every special token (Prepend, the "legacy" form)
    mistral()       SentencePiece BPE, Metaspace "first": a prefix space at the start of the text only; [INST] special
    zephyr()        SentencePiece BPE, Metaspace "always": as llama2(), but none in front of a space
    phi3()          as llama2(), and the chat tokens swallow the white space behind them (rstrip); eos <|endoftext|>
    unigram()       SentencePiece Unigram with byte fallback: its model makes <s> and </s> out of plain text
    plain_first()   as mistral(), without chat tokens
"""

# ruff: noqa: RUF001  (the full-width bars are DeepSeek's)

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tuna import assets

SPACE = "▁"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_HAN = r"[一-龥぀-ゟ゠-ヿ]+"
_SENTENCES = (
    "User: Who wrote the letter?\n\nAssistant: The baker's daughter wrote it, 23 days ago.",
    "def add(a, b):\n    total = a + b\n    return total\n\n\nif ready:\n        print(add(1, 2))\n",
    '{"name": "weather", "arguments": {"city": "Lisbon", "days": 3}}',
    "Café, naïve, jalapeño; 「猫」は窓の外を見ている。 今天天气很好, 我们去公园。 مرحبا بالعالم שלום 🙂 👩‍🔬",
    "### Instruction:\nName a river.\n\n### Response:The Tagus.",
    'if (a < b) { print("<b>one</b> | <p>two</p>"); } // [x] {y: 0}',
)


@cache
def _corpus() -> tuple[str, ...]:
    rows = [json.loads(line) for line in assets.path("instructions/train").read_text("utf-8").splitlines()[::8]]
    said = [text for row in rows for text in (row["instruction"], row["input"], row["output"]) if text]
    return (*said, *_SENTENCES * 8)


def _split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _bytes_after(*splits: Any) -> Any:
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


_SPLITS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "llama3": lambda: _bytes_after(_split(_LLAMA3)),
    "qwen": lambda: _bytes_after(_split(_QWEN)),
    "deepseek": lambda: _bytes_after(_split(r"\p{N}{1,3}"), _split(_HAN), _split(_LLAMA3)),
}


def _pieces(trained: Tokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    model = json.loads(trained.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), [(a, b) for a, b in model["merges"]]


@cache
def _byte_pieces(kind: str) -> tuple[list[str], list[tuple[str, str]]]:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = _SPLITS[kind]()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        _corpus(), trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, show_progress=False)
    )
    return _pieces(trained)


@cache
def _sentence_pieces() -> tuple[list[str], list[tuple[str, str]]]:
    """Merges as SentencePiece learns them: words with their space in front, runs of spaces, never over a line break."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = _split(f"{SPACE}+[^{SPACE}]*")
    lines = (SPACE + line.replace(" ", SPACE) for text in _corpus() for line in text.split("\n"))
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    return _pieces(trained)


@cache
def _unigram_pieces() -> list[tuple[str, float]]:
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "first")
    lines = [line for text in _corpus() for line in text.split("\n")]
    trainer = trainers.UnigramTrainer(vocab_size=700, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(lines, trainer)
    found = json.loads(trained.to_str())["model"]["vocab"]
    return [(piece, score) for piece, score in found if piece != "<unk>"]


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def _wrap(backend: Tokenizer, added: Sequence[AddedToken | str], bos_in_front: bool = False, **named: str) -> Any:
    """The tokenizer as transformers has it. ``added`` in order of their ids; a plain string is a special token."""
    tokens = [AddedToken(t, normalized=False, special=True) if isinstance(t, str) else t for t in added]
    for token in tokens:  # one by one: the order of the ids
        (backend.add_special_tokens if token.special else backend.add_tokens)([token])
    if bos_in_front:
        bos = named["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **named)


def _text(content: str, **flags: bool) -> AddedToken:
    """An added token that is not special."""
    return AddedToken(content, normalized=False, special=False, **flags)


def _byte_level(kind: str, ignore_merges: bool = False) -> Tokenizer:
    pieces, merges = _byte_pieces(kind)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    backend.pre_tokenizer = _SPLITS[kind]()
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentence_bpe(first: Sequence[str], unk: str = "<unk>") -> Tokenizer:
    """SentencePiece's BPE: the special tokens stand first in its vocabulary, then the bytes."""
    pieces, merges = _sentence_pieces()
    vocab = {piece: number for number, piece in enumerate([*first, *_BYTES, *pieces])}
    return Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=unk, fuse_unk=True, byte_fallback=True))


def _from_pieces(prefixed: bool) -> Any:
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefixed else steps)


_LLAMA2 = ("<unk>", "<s>", "</s>")
_LLAMA2_NAMED = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def _prepended() -> Tokenizer:
    backend = _sentence_bpe(_LLAMA2)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    backend.decoder = _from_pieces(prefixed=True)
    return backend


def _metaspace(scheme: str) -> Tokenizer:
    backend = _sentence_bpe(_LLAMA2)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)
    backend.decoder = _from_pieces(prefixed=True)
    return backend


@cache
def llama3() -> Any:
    added = [
        "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>",
        "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
    ]  # fmt: skip
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|finetune_right_pad_id|>"}
    return _wrap(_byte_level("llama3", ignore_merges=True), added, bos_in_front=True, **named)


@cache
def qwen() -> Any:
    backend = _byte_level("qwen")
    backend.normalizer = normalizers.NFC()
    inner = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
    added: list[AddedToken | str] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *map(_text, inner)]
    return _wrap(backend, added, eos_token="<|im_end|>", pad_token="<|endoftext|>")


@cache
def deepseek() -> Any:
    start, end, pad = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
    inner = ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")
    named = {"bos_token": start, "eos_token": end, "pad_token": pad}
    return _wrap(_byte_level("deepseek"), [start, end, pad, *map(_text, inner)], bos_in_front=True, **named)


@cache
def smol() -> Any:
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return _wrap(_byte_level("gpt2"), added, eos_token="<|im_end|>", pad_token="<|endoftext|>")


@cache
def base() -> Any:
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return _wrap(_byte_level("gpt2"), added, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@cache
def gpt2() -> Any:
    return _wrap(_byte_level("gpt2"), ["<|endoftext|>"], bos_token="<|endoftext|>", eos_token="<|endoftext|>")


@cache
def gemma() -> Any:
    first = ("<pad>", "<eos>", "<bos>", "<unk>")
    backend = _sentence_bpe(first)
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = _from_pieces(prefixed=False)
    lines = [_text("\n" * many) for many in range(1, 9)]
    added: list[AddedToken | str] = [*first, *lines, "<start_of_turn>", "<end_of_turn>"]
    named = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return _wrap(backend, added, bos_in_front=True, **named)


@cache
def llama2() -> Any:
    return _wrap(_prepended(), _LLAMA2, bos_in_front=True, **_LLAMA2_NAMED)


@cache
def mistral() -> Any:
    return _wrap(_metaspace("first"), [*_LLAMA2, "[INST]", "[/INST]"], bos_in_front=True, **_LLAMA2_NAMED)


@cache
def plain_first() -> Any:
    return _wrap(_metaspace("first"), _LLAMA2, bos_in_front=True, **_LLAMA2_NAMED)


@cache
def zephyr() -> Any:
    return _wrap(_metaspace("always"), _LLAMA2, bos_in_front=True, pad_token="</s>", **_LLAMA2_NAMED)


@cache
def phi3() -> Any:
    chat = ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
    swallowing = [AddedToken(token, rstrip=True, normalized=False, special=True) for token in chat]
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return _wrap(_prepended(), [*_LLAMA2, "<|endoftext|>", *swallowing], bos_in_front=False, **named)


@cache
def unigram() -> Any:
    first = [(piece, 0.0) for piece in _LLAMA2]
    vocab = [*first, *((piece, -100.0) for piece in _BYTES), *_unigram_pieces()]
    backend = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "first", split=False)
    backend.decoder = _from_pieces(prefixed=True)
    return _wrap(backend, _LLAMA2, bos_in_front=True, **_LLAMA2_NAMED)
