"""One ranking step (forward + backward), packed and plain, both ways in one run: time, memory, equality.

    python perf/ranking_step.py --model FOLDER --data RANKED.jsonl        (CPU, 2 groups a step)
    python perf/ranking_step.py ... --device cuda --dtype bf16 --groups 16
    python perf/ranking_step.py ... --pairs                (two answers of a list; TRL's CPO too, where it is installed)

Each way runs in a process of its own; the steps alternate, so that noise on the machine hits both. Without --model a
random model of SmolLM2-135M's shape, without --data made-up lists with the lengths of real ones. What is measured:
the batch whose token ratio is nearest the median over the lists in file order; 3 warm-ups, median of 10 steps, no
optimizer, no gradient checkpointing; memory = the process's peak minus what it held after loading.
"""

import argparse
import importlib.util
import json
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuna.data.batch import Group, PackedBatch
from tuna.data.encode import Encoder
from tuna.data.lists import ranked_list
from tuna.data.load import Source, load_source
from tuna.data.packing import pack
from tuna.data.tokenize import tokenize

WAYS = ("plain", "packed")
TRL = "TRL's CPO"
# (device kind) -> (least speed-up, as a share of the token ratio or as it is; most memory, as a share of plain)
TARGETS = {"cpu": (0.85, 0.6), "cuda": (3.5, 0.4)}
SMOLLM2 = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="Hugging Face folder or hub id")
    parser.add_argument("--data", help="ranked lists, any format that Tuna reads")
    parser.add_argument("--groups", type=int, default=2, help="groups a step")
    parser.add_argument(
        "--row-tokens", type=int, default=1024, help="tokens a packed row, at most (a longer group makes it longer)"
    )
    parser.add_argument("--max-length", type=int, default=512, help="tokens of prompt + response, at most")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32", help="bf16: autocast")
    parser.add_argument("--attention", default="auto", help="of the packed way: auto, sdpa, eager, flex")
    parser.add_argument("--chunk", type=int, default=512, help="targets projected at a time")
    parser.add_argument(
        "--projection-memory", type=int, default=1024, help="MB kept of the projection's gradient; 0: recomputed"
    )
    parser.add_argument("--layers", type=int, default=30, help="of the random model")
    parser.add_argument("--warmups", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--pairs", action="store_true", help="two answers of each list, and TRL beside")
    parser.add_argument("--worker", choices=(*WAYS, TRL), help=argparse.SUPPRESS)
    parser.add_argument("--batch", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# --- the batch


def real_groups(asked: argparse.Namespace) -> list[Group]:
    """The lists of --data, tokenized with the tokenizer of --model and the Alpaca template."""
    from transformers import AutoTokenizer

    if not asked.model:
        sys.exit("--data needs --model, whose tokenizer reads it")
    dropped: Counter[str] = Counter()
    records = load_source(Source(asked.data)).records
    lists = [found for record in records if (found := ranked_list(record, dropped)) is not None]
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    encoder = Encoder(tokenizer, "alpaca")
    return [group for _, group in tokenize(lists, encoder, asked.max_length, ranked=True)[0]]


def made_up_groups(asked: argparse.Namespace, count: int = 200) -> list[Group]:
    """Random tokens with the lengths of 500 real lists: prompts of median 52 tokens, 5 responses of median 80."""
    draw = np.random.default_rng(0)

    def tokens(middle: float, spread: float, least: int, most: int) -> np.ndarray:
        length = int(np.clip(middle * math.exp(spread * draw.standard_normal()), least, most))
        return draw.integers(0, SMOLLM2["vocab_size"], length).astype(np.int32)

    most = asked.max_length
    return [
        Group(
            str(number),
            tokens(57, 0.4, 33, most // 2),
            tuple(tokens(75, 0.95, 2, most // 2) for _ in range(5)),
            (*(float(score) for score in draw.permutation(4)), math.nan),
            (False,) * 4 + (True,),
        )
        for number in range(count)
    ]


def representative(groups: list[Group], count: int, row_tokens: int) -> tuple[list[Group], float]:
    """The batch nearest the median of token ratio and size, and the token ratio of all batches together."""
    batches = [groups[at : at + count] for at in range(0, len(groups) - count + 1, count)]
    sizes = []
    for batch in batches:
        packed = pack(batch, row_tokens=row_tokens)
        sizes.append((packed.plain_tokens, packed.real_tokens))
    ratios = np.array([plain / real for plain, real in sizes])
    plain = np.array([plain for plain, _ in sizes])
    far = np.abs(np.log(ratios / np.median(ratios))) + np.abs(np.log(plain / np.median(plain)))
    return batches[int(far.argmin())], float(plain.sum() / sum(real for _, real in sizes))


# --- one way, in a process of its own


def build_scorer(asked: argparse.Namespace) -> Any:
    """The scorer of ``asked.worker`` with float32 weights on the device."""
    from tuna.models.loading import load_scorer
    from tuna.models.scorer import PlainScorer, ResponseScorer
    from tuna.models.source import ModelConfig

    way: Any = "packed" if asked.worker == "packed" else "plain"  # TRL takes the bare model
    if asked.model:
        model = ModelConfig(
            path=asked.model, scorer=way, attention=asked.attention, projection_chunk=asked.chunk,
            projection_memory=asked.projection_memory,
        )  # fmt: skip
        scorer: Any = load_scorer(model)
    else:
        from transformers import AutoModelForCausalLM, LlamaConfig

        torch.manual_seed(0)
        config = LlamaConfig(**{**SMOLLM2, "num_hidden_layers": asked.layers})
        auto: Any = AutoModelForCausalLM
        causal = auto.from_config(config)
        kept = {"projection_chunk": asked.chunk, "projection_memory": asked.projection_memory}
        packed = ResponseScorer(causal, attention=asked.attention, **kept)
        scorer = PlainScorer(causal) if way == "plain" else packed
    if way == "plain":
        scorer.model.set_attn_implementation("sdpa")
    scorer.to(asked.device)
    for parameter in scorer.parameters():
        parameter.sum().item()  # a weight that is mapped from the file counts as loaded only once it was read
    return scorer


def step(scorer: Any, batch: PackedBatch, asked: argparse.Namespace) -> dict[str, float]:
    """Forward and backward of the paper's loss: wall-clock and processor seconds, and the loss."""
    from tuna.losses.base import ScoredLists, total
    from tuna.losses.tuna import Tuna

    scorer.zero_grad(set_to_none=True)
    start, used = time.perf_counter(), time.process_time()
    with torch.autocast(asked.device, dtype=torch.bfloat16, enabled=asked.dtype == "bf16"):
        logprobs = scorer(batch)
    lists = ScoredLists(logprobs, batch.lengths, batch.scores, batch.targets, batch.response_group, batch.weights)
    loss: Any = total(Tuna()(lists), lists, batch.totals)
    loss.backward()
    value = float(loss.detach())  # waits for the device
    if asked.device == "cuda":
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - used, "loss": value}


def trl_step(model: Any, groups: list[Group], asked: argparse.Namespace) -> Callable[[], dict[str, float]]:
    """Forward and backward of TRL's concatenated forward and CPO loss."""
    from perf.gpu.base import Setting
    from perf.gpu.speed import trl_step as of_trl

    dtype = torch.bfloat16 if asked.dtype == "bf16" else torch.float32
    run: Any = of_trl(Setting(asked.device), model, groups, dtype)

    def timed() -> dict[str, float]:
        start, used = time.perf_counter(), time.process_time()
        run()
        if asked.device == "cuda":
            torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - used, "loss": math.nan}

    return timed


class Memory:
    """Bytes held now, and the most since the last ``reset``."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def now(self) -> int:
        """Bytes held."""
        return torch.cuda.memory_allocated() if self.cuda else self._status("VmRSS")

    def peak(self) -> int:
        """The most since the last reset."""
        return torch.cuda.max_memory_allocated() if self.cuda else self._status("VmHWM")

    def reset(self) -> None:
        """Let the peak start anew."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux

    @staticmethod
    def _status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def work(asked: argparse.Namespace) -> None:
    """Load, then run a step for each line on standard input; one JSON line each, the last with memory and norm."""
    torch.set_num_threads(asked.threads)
    groups = pickle.loads(Path(asked.batch).read_bytes())
    scorer = build_scorer(asked)
    batch = pack(groups, row_tokens=asked.row_tokens).to(asked.device)
    theirs = trl_step(scorer.model, groups, asked) if asked.worker == TRL else None
    memory = Memory(asked.device)
    memory.reset()
    held = memory.now()
    tell = sys.__stdout__
    assert tell is not None
    print(json.dumps({"held": held}), file=tell, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        print(json.dumps(theirs() if theirs else step(scorer, batch, asked)), file=tell, flush=True)
    squares = [float(p.grad.double().norm()) ** 2 for p in scorer.parameters() if p.grad is not None]
    peak = memory.peak()
    print(json.dumps({"bytes": peak - held, "gradient_norm": math.sqrt(sum(squares))}), file=tell, flush=True)


# --- all ways


def ways_of(asked: argparse.Namespace) -> tuple[str, ...]:
    """Those of one run."""
    return (*WAYS, TRL) if asked.pairs and importlib.util.find_spec("trl") else WAYS


def measure(asked: argparse.Namespace, groups: list[Group]) -> dict[str, dict[str, Any]]:
    """Run all ways, step by step in turn."""
    ways = ways_of(asked)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.pickle"
        path.write_bytes(pickle.dumps(groups))
        command = [sys.executable, __file__, *sys.argv[1:], "--batch", str(path)]
        running = {way: subprocess.Popen([*command, "--worker", way], stdin=-1, stdout=-1, text=True) for way in ways}
        figures: dict[str, dict[str, Any]] = {way: {"seconds": [], "cpu_seconds": []} for way in ways}
        try:
            for way in ways:
                answer(running[way])
            for number in range(asked.warmups + asked.steps):
                for way in ways:
                    got = answer(running[way], "step")
                    figures[way]["loss"] = got["loss"]
                    if number >= asked.warmups:
                        for key in ("seconds", "cpu_seconds"):
                            figures[way][key].append(got[key])
            for way in ways:
                figures[way] |= answer(running[way], "end")
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    return figures


def answer(process: "subprocess.Popen[str]", line: str | None = None) -> dict[str, Any]:
    """Send a line, wait for the next line of JSON."""
    assert process.stdin is not None and process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    for got in process.stdout:
        if got.startswith("{"):
            return dict(json.loads(got))
    sys.exit("a worker ended early; its error is above")


def compare(asked: argparse.Namespace, groups: list[Group], ratio_of_all: float, figures: Any) -> dict[str, Any]:
    """The ratios, and whether each target is reached."""
    batch = pack(groups, row_tokens=asked.row_tokens)
    seconds = {way: statistics.median(figures[way]["seconds"]) for way in WAYS}
    ratio = batch.plain_tokens / batch.real_tokens
    speedup = seconds["plain"] / seconds["packed"]
    busy = {way: statistics.median(figures[way]["cpu_seconds"]) for way in figures}
    others = {
        way: {
            "speedup": statistics.median(figures[way]["seconds"]) / seconds["packed"],
            "cpu_speedup": busy[way] / busy["packed"],
            "memory_ratio": figures["packed"]["bytes"] / figures[way]["bytes"],
        }
        for way in figures
        if way not in WAYS
    }
    memory = figures["packed"]["bytes"] / figures["plain"]["bytes"]
    off = {
        key: abs(figures["packed"][key] - figures["plain"][key]) / abs(figures["plain"][key])
        for key in ("loss", "gradient_norm")
    }
    least, most = TARGETS[asked.device]
    reached = speedup / ratio if asked.device == "cpu" else speedup
    allowed = 1e-5 if asked.dtype == "float32" else 2e-2
    rows, width = batch.input_ids.shape
    return {
        "model": asked.model or "random model of SmolLM2-135M's shape", "data": asked.data or "made-up lists",
        "device": asked.device, "dtype": asked.dtype, "groups": asked.groups, "row_tokens": asked.row_tokens,
        "chunk": asked.chunk, "projection_memory": asked.projection_memory, "threads": asked.threads,
        "torch": torch.__version__,
        "plain_tokens": batch.plain_tokens, "packed_tokens": batch.real_tokens, "rows": rows, "row_length": width,
        "token_ratio": ratio, "token_ratio_all_batches": ratio_of_all, "seconds": seconds, "speedup": speedup,
        "cpu_speedup": busy["plain"] / busy["packed"],
        "speedup_share_of_token_ratio": speedup / ratio, "memory_ratio": memory, "difference": off,
        "others": others,
        "verdicts": {
            f"speed-up >= {least}" + (" of the token ratio" if asked.device == "cpu" else ""): reached >= least,
            f"memory <= {most}": memory <= most,
            f"equal to {allowed}": max(off.values()) <= allowed,
        },
        "figures": figures,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print what ``compare`` found."""
    plain, packed = (found["figures"][way] for way in WAYS)
    print(
        "{model}, {data}: {groups} groups a step; {device}, {dtype}, torch {torch}, {threads} threads".format(**found)
    )
    print(
        "tokens    plain {plain_tokens}, packed {packed_tokens} in {rows} row(s) of up to {row_length}".format(**found)
    )
    print("          ratio {token_ratio:.2f} (all batches: {token_ratio_all_batches:.2f})".format(**found))
    print("time      plain {plain:.2f} s, packed {packed:.2f} s".format(**found["seconds"]), end=": ")
    print("{speedup:.2f}x, {speedup_share_of_token_ratio:.2f} of the token ratio".format(**found))
    print("          {cpu_speedup:.2f}x in processor time, which a busy machine disturbs less".format(**found))
    for way in WAYS:
        print(f"          {way}: " + " ".join(f"{value:.2f}" for value in found["figures"][way]["seconds"]))
    print(f"memory    plain {plain['bytes'] / 1e6:.0f} MB, packed {packed['bytes'] / 1e6:.0f} MB", end=": ")
    print("{memory_ratio:.2f}".format(**found))
    for way, figure in found["others"].items():
        print(
            f"{way:9} {{speedup:.2f}}x, {{cpu_speedup:.2f}}x in processor time, memory {{memory_ratio:.2f}}".format(
                **figure
            )
        )
    for key, off in found["difference"].items():
        print(f"equality  {key} {plain[key]:.7f} / {packed[key]:.7f}: off by {off:.1e}")
    for name, good in found["verdicts"].items():
        print(f"{'reached' if good else 'MISSED':9} {name}")


def main() -> None:
    """Measure, print, write."""
    asked = options()
    if asked.worker:
        work(asked)
        return
    groups = real_groups(asked) if asked.data else made_up_groups(asked)
    if asked.pairs:
        two: dict[str, Any] = {"scores": (0.0, -1.0), "targets": (True, False), "reference": ()}
        groups = [
            replace(group, responses=group.responses[:2], scored=group.scored[:2], **two)
            for group in groups
            if len(group.responses) > 1
        ]
    chosen, ratio_of_all = representative(groups, asked.groups, asked.row_tokens)
    found = compare(asked, chosen, ratio_of_all, measure(asked, chosen))
    show(found)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
