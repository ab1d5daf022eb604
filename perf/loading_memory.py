"""Host memory of loading and export under FSDP on CPU processes, as Tuna does it and as it did before, in one run.

    python perf/loading_memory.py                              (two processes, 106M random parameters, float32)
    python perf/loading_memory.py --dtype bfloat16 --processes 4
    python perf/loading_memory.py --model FOLDER

"whole" is the way before: every process loads the model whole, then keeps its share; process 0 gathers the whole state
dict and saves it. "slices" is the way of now. Each way runs in processes of its own. What is measured: each process's
largest resident set (VmHWM, the pages of mapped files included) minus what it held before the load. The bound is 1.3
times the process's share in float32, plus, for the load, nothing but the largest tensor; for the export, which begins
with the share loaded, the same from the same start. Shares and exported files of both ways are compared to the bit.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from tuna import assets
from tuna.models.export import TOKENIZER, export
from tuna.models.folder import stored_dtype
from tuna.models.loading import Sharding, load_scorer, shard
from tuna.models.lora import rebuilt
from tuna.models.source import ModelConfig

WAYS = ("whole", "slices")
FACTOR = 1.3


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--model", type=Path, help="Hugging Face folder of one weights file, in place of a random one")
    parser.add_argument("--width", type=int, default=768, help="hidden size of the random Llama")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the files")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    return parser.parse_args(arguments)


def write_model(
    folder: Path, *, width: int, layers: int, vocabulary: int, dtype: str = "float32", tied: bool = False
) -> None:
    """A random Llama with the tokenizer of the embedded model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=width // 64, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=tied,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    for name in TOKENIZER:
        if (start := Path(assets.path("tiny")) / name).is_file():
            shutil.copyfile(start, folder / name)


def measure(way: str, folder: Path, out: Path) -> dict[str, Any]:
    """One process's part: load and export one way; bytes above the start, and hashes of what it holds."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    load_scorer(ModelConfig("tiny"), sharding=Sharding(mesh))  # what is imported and kept once is no cost of a model
    model = ModelConfig(str(folder), scorer="plain")
    resolved = model.resolve()
    start = peak(reset=True)
    if way == "slices":
        scorer = load_scorer(model, sharding=Sharding(mesh))
    else:
        scorer = load_scorer(model)
        shard(scorer, mesh)
    found: dict[str, Any] = {"load": peak() - start}
    mine = [parameter.to_local() for parameter in scorer.parameters() if isinstance(parameter, DTensor)]
    found["shard"] = sum(tensor.nbytes for tensor in mine)
    found["largest"] = max(parameter.nbytes for parameter in scorer.parameters())
    digest = hashlib.sha256()
    for tensor in mine:
        digest.update(tensor.detach().numpy().tobytes())
    found["hash"] = digest.hexdigest()
    peak(reset=True)
    if way == "slices":
        export(scorer, out / "model", resolved=resolved)
    else:
        export_whole(scorer, out / "model", getattr(torch, stored_dtype(folder)))
    found["export"] = peak() - start
    dist.destroy_process_group()
    return found


def export_whole(scorer: Any, folder: Path, kind: torch.dtype) -> None:
    """The way before: process 0 gathers everything and lets a fresh model of the class save itself."""
    state: dict[str, Any] = get_model_state_dict(
        scorer, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    if dist.get_rank() == 0:
        fresh = rebuilt(scorer.model, kind, merged=frozenset())
        fresh.load_state_dict(
            {n.removeprefix("model."): t.to(kind) for n, t in state.items()}, strict=False, assign=True
        )
        fresh.tie_weights()
        fresh.save_pretrained(folder)
    dist.barrier()


def peak(*, reset: bool = False) -> int:
    """The largest resident set so far in bytes; ``reset`` makes it today's first."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def environments(processes: int) -> list[dict[str, str]]:
    """What torchrun would give each process of one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def run(way: str, processes: int, folder: Path, out: Path) -> list[dict[str, Any]]:
    """What each of several fresh processes measured."""
    out.mkdir()
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).resolve()), "worker", way, str(folder), str(out)]
    started = [subprocess.Popen(command, env=os.environ | settings | each) for each in environments(processes)]
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(f"{way}: a process failed")
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(processes)]


def main() -> None:
    """Print a line per way and process; exit with 1 where the bound or equality is missed."""
    if sys.argv[1:2] == ["worker"]:
        way, folder, out = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
        (out / f"{os.environ['RANK']}.json").write_text(json.dumps(measure(way, folder, out)))
        return
    asked, missed = options(), False
    with tempfile.TemporaryDirectory() as scratch:
        start = asked.model or Path(scratch) / "start"
        if not asked.model:
            write_model(start, width=asked.width, layers=asked.layers, vocabulary=asked.vocabulary, dtype=asked.dtype)
        found = {way: run(way, asked.processes, start, Path(scratch) / way) for way in asked.ways}
        files = {way: (Path(scratch) / way / "model" / "model.safetensors").read_bytes() for way in asked.ways}
    first = found[asked.ways[0]]
    total = sum(each["shard"] for each in first) // 4
    print(f"{total:,} parameters, {asked.processes} processes; MB above the start at the peak\n")
    print("| way | process | share | largest tensor | bound | load | export | load, bytes per parameter |")
    print("|---|---|---|---|---|---|---|---|")
    for way, ranks in found.items():
        for rank, each in enumerate(ranks):
            bound = FACTOR * each["shard"] + each["largest"]
            missed |= way == "slices" and max(each["load"], each["export"]) > bound
            numbers = (each["shard"], each["largest"], bound, each["load"], each["export"])
            cells = [f"{number / 1e6:.0f}" for number in numbers]
            print(f"| {way} | {rank} | {' | '.join(cells)} | {each['load'] / total:.2f} |")
    same = all([each["hash"] for each in ranks] == [each["hash"] for each in first] for ranks in found.values())
    same &= len(set(files.values())) == 1
    print(f"\nshares and exported files equal to the bit: {same}; within the bound: {not missed}")
    raise SystemExit(missed or not same)


if __name__ == "__main__":
    main()
