"""A model of 7B's shape: LoRA over frozen bf16 weights on one card; all weights, by shards, over several."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from transformers import LlamaConfig, LlamaForCausalLM

from perf.gpu.base import Row, Setting, lists_of, loss_of, or_out_of_memory, timed
from perf.gpu.speed import flops, matmul_rate
from tuna.data.packing import pack
from tuna.models.loading import shard
from tuna.models.lora import Lora, add_lora
from tuna.models.scorer import ResponseScorer

SEVEN = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096}  # fmt: skip
TINY = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 4096}  # fmt: skip


def steps(setting: Setting, scorer: ResponseScorer, count: int = 4) -> Row:
    """Optimizer steps of AdamW on lists of K = 4, prompts as long as responses: the last one's time, and the memory."""
    prompt, vocab = setting.pick(256, 6), int(scorer.model.config.vocab_size)
    groups = lists_of(setting.pick(6, 2), 4, prompt, prompt, vocab, spread=0.2)
    batch = pack(groups, row_tokens=setting.pick(4096, 64)).to(setting.device)
    optimizer = torch.optim.AdamW([p for p in scorer.parameters() if p.requires_grad], 1e-5)
    losses: list[float] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with setting.autocast(torch.bfloat16):
            loss = loss_of(scorer, batch)[0]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))

    seconds = [timed(setting, step) for _ in range(setting.pick(count, 2))]
    return {
        "seconds": seconds[-1], "tokens": batch.real_tokens, "tokens_per_second": batch.real_tokens / seconds[-1],
        "memory_gb": setting.held(peak=True), "losses": losses, "finite": all(x == x for x in losses),
    }  # fmt: skip


def lora(setting: Setting) -> Iterator[Row]:
    """Frozen bf16 weights, float32 adapters, gradient checkpointing."""
    row: Row = {"what": "LoRA, r = 16"}
    with or_out_of_memory(row):
        with torch.device(setting.device):
            torch.manual_seed(0)
            model: Any = LlamaForCausalLM._from_config(LlamaConfig(**setting.pick(SEVEN, TINY)), dtype=torch.bfloat16)
            add_lora(model, Lora(r=16))
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        scorer = ResponseScorer(model.train())
        row |= {"parameters": sum(p.numel() for p in model.parameters())} | steps(setting, scorer)
        # no gradients of frozen weights, and each layer forward once more: as much as with gradients and without it
        share = flops(model, row["tokens"], row["tokens"]) / row["seconds"] / 1e12 / matmul_rate(setting)
        row |= {"share_of_matmul_rate": share, "refused": sorted(scorer.refused)}
    yield row


def shards(setting: Setting) -> Iterator[Row]:
    """All weights in float32 with AdamW's state, over all cards of this machine; bf16 layers, checkpointing."""
    cards = torch.cuda.device_count() if setting.device == "cuda" else 2
    if cards < 2:
        yield {"what": "all weights, by shards", "status": f"needs two cards or more, found {cards}"}
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "row.json")
        flags = ["--device", setting.device, *(["--tiny"] if setting.tiny else []), "--shard", str(path)]
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(cards)]
        subprocess.run([*launch, "-m", "perf.gpu", *flags], check=True)
        yield {"what": "all weights, by shards", "cards": cards} | json.loads(path.read_text())


def shard_worker(setting: Setting, path: Path) -> None:
    """One process of ``shards``; the first writes the row."""
    rank, cuda = int(os.environ["RANK"]), setting.device == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if cuda else "gloo")
    mesh = init_device_mesh(setting.device, (dist.get_world_size(),))
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(LlamaConfig(**setting.pick(SEVEN, TINY)))
    scorer = ResponseScorer(model.train())
    shard(scorer, mesh, precision="bf16-mixed", checkpoint_activations=True)
    scorer.to_empty(device=setting.device)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            parameter.fill_(1.0) if "norm" in name else parameter.normal_(0.0, 0.02)
    rotary = model.model.rotary_emb  # its buffers are in no file: made anew
    rotary.__init__(model.config)
    rotary.to(setting.device)
    row = {"parameters": sum(p.numel() for p in model.parameters())} | steps(setting, scorer)
    if rank == 0:
        path.write_text(json.dumps(row))
    dist.destroy_process_group()
