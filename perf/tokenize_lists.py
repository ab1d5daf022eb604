"""How long 52K lists of five answers take from file to groups, a line a stage, cold and from the cache.

    python perf/tokenize_lists.py FOLDER_WITH_A_TOKENIZER [--lists 52000]

The lists are synthetic, with Alpaca-like lengths or above (log-normal; two in five with an input), one original and
four candidates each. The goal is under one minute on two cores. The stages one by one are those of one process; the
whole is shared out over processes where there are lists enough.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from transformers import AutoTokenizer

from tuna.data.cache import TokenCache
from tuna.data.encode import Encoder
from tuna.data.lists import ranked_list
from tuna.data.load import Source, load_source
from tuna.data.tokenize import tokenize
from tuna.datamodules.ranked import ProbabilisticDataModule

T = TypeVar("T")


def write(path: Path, lists: int, seed: int = 0) -> None:
    """Synthetic lists: words drawn with Zipf's frequencies from a made-up vocabulary, punctuation now and then."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(8000)]
    chances = 1 / np.arange(1, len(words) + 1)
    chances /= chances.sum()

    def text(median: float, spread: float) -> str:
        size = int(np.clip(rng.lognormal(np.log(median), spread), 2, 400))
        drawn = [words[k] for k in rng.choice(len(words), size, p=chances)]
        return " ".join(drawn).capitalize() + "."

    with path.open("w", encoding="utf-8") as file:
        for index in range(lists):
            responses = [
                {"text": text(20, 0.9), "logprob": -float(rng.gamma(4, 10)), "num_tokens": int(rng.integers(5, 200))}
                for _ in range(4)
            ]
            given = text(10, 0.8) if rng.random() < 0.4 else ""
            row = {"id": str(index), "instruction": text(8, 0.4), "input": given, "output": text(20, 0.9)}
            file.write(json.dumps({**row, "responses": responses}) + "\n")


def timed(name: str, call: Callable[[], T]) -> T:
    """Call and print the seconds, and the processor's: of this process, and of those that it started."""
    begin, before = time.perf_counter(), os.times()
    value = call()
    own, others = (sum(os.times()[at : at + 2]) - sum(before[at : at + 2]) for at in (0, 2))
    print(f"| {name} | {time.perf_counter() - begin:.1f} | {own:.1f} | {others:.1f} |", flush=True)
    return value


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("--lists", type=int, default=52_000)
    parser.add_argument("--max_length", type=int, default=512)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lists.jsonl"
        write(path, options.lists)
        size = path.stat().st_size / 1e6
        print(f"{options.lists} lists of 1 + 4 answers, {size:.0f} MB, {len(os.sched_getaffinity(0))} cores\n")
        print("| stage | seconds | processor, this process | others |\n|---|---|---|---|")
        stages(path, tokenizer, options.max_length)
        module = ProbabilisticDataModule(path=str(path), cache_dir=folder, max_length=options.max_length)
        for name in ("whole, cold", "whole, cached"):
            timed(name, lambda: module.prepare(tokenizer, max_positions=None))
        print("\n" + "\n".join(module.report.lines()))
        first = timed("pack the first pass", lambda: next(iter(module.train_dataloader())))
        print(f"packing waste {1 - first.real_tokens / first.input_ids.numel():.3f}")


def stages(path: Path, tokenizer: Any, max_length: int) -> None:
    """The parts one by one, cold."""
    loaded = timed("read, import, check", lambda: load_source(Source(str(path), "eq3")))
    found = timed("rank", lambda: [ranked_list(r, Counter(), rank_by="eq3") for r in loaded.records])
    lists = [item for item in found if item is not None]
    encoder = Encoder(tokenizer, cache=TokenCache(path.with_suffix(".npz")))
    timed("tokenize, join, cut", lambda: tokenize(lists, encoder, max_length, ranked=True))
    timed("write the cache", encoder.tokens.cache.save)
    timed("read the cache", lambda: TokenCache(path.with_suffix(".npz")))


if __name__ == "__main__":
    main()
