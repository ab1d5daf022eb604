"""Two processes shard one model and compare with the unsharded one: ``torchrun ... FOLDER OUT CASE,CASE [FOLDER ...]``.

Not a test module: test_sharding.py starts it. Each case writes its figures to OUT/<case>-<rank>.json.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from tests.models.packing import packed, random_lists
from tuna.models.export import export
from tuna.models.loading import Sharding, load_reward_scorer, load_scorer
from tuna.models.source import ModelConfig

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "packed": ({}, {}),
    "checkpointed": ({}, {"checkpoint_activations": True}),
    "plain": ({"scorer": "plain"}, {}),
    "bf16": ({}, {"precision": "bf16-mixed", "checkpoint_activations": True}),
    "lora": ({"lora": 2}, {}),
    "lora_ends": ({"lora": {"r": 2, "target_modules": ["q_proj", "lm_head", "embed_tokens"]}}, {}),
    "reward": ({}, {"checkpoint_activations": True}),
}


def run(scorer: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    batch = packed(random_lists(2, 64), [[0, 1], [2, 3, 4]])
    logprobs = scorer(batch)
    (logprobs / batch.lengths * torch.linspace(-1, 2, len(batch.lengths))).sum().backward()
    gradients = {}
    for name, parameter in scorer.named_parameters():
        if parameter.grad is not None:
            gradient: Any = parameter.grad
            gradients[name] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return logprobs.detach(), gradients


def case(name: str, folder: str, out: Path) -> None:
    """One case on one starting folder; figures and export go to ``out``."""
    options, sharding = CASES[name]
    model = ModelConfig(path=folder, **options)
    torch.manual_seed(0)
    load = load_reward_scorer if name == "reward" else load_scorer
    whole = load(model)
    torch.manual_seed(0)
    scorer = load(model, sharding=Sharding(init_device_mesh("cpu", (2,)), **sharding))
    wanted, gradients = run(whole)
    got, sharded = run(scorer)
    got, sharded = run_again(scorer, got, sharded)
    norm = sum(float(g.norm()) ** 2 for g in gradients.values()) ** 0.5
    off = [float((sharded[n] - g).norm()) / (1e-5 * float(g.norm()) + 1e-7 * norm) for n, g in gradients.items()]
    figures = {
        "loss": float(((got - wanted).abs() / torch.maximum(wanted.abs(), wanted.abs().mean())).max()),
        "gradient": max(off),
        "gradient_relative": sum(float((sharded[n] - g).norm()) ** 2 for n, g in gradients.items()) ** 0.5 / norm,
        "same_names": sharded.keys() == gradients.keys(),
        "share": sum(cast(DTensor, p).to_local().numel() for p in scorer.parameters())
        / sum(p.numel() for p in whole.parameters()),
        "dtypes": sorted({str(p.dtype) for p in scorer.parameters()}),
        "outside": [n for n, p in scorer.named_parameters() if not hasattr(p, "to_local")],
    }
    (out / f"{name}-{dist.get_rank()}.json").write_text(json.dumps(figures))
    if name == "lora_ends":  # a step, so that the merge is not of zeros
        for each, folder in ((whole, "lora_whole"), (scorer, name)):
            torch.optim.SGD((p for p in each.parameters() if p.requires_grad), lr=0.1).step()
            export(each, out / folder / "model", resolved=model.resolve())
        return
    export(scorer, out / name / "model", resolved=model.resolve())


def run_again(scorer: nn.Module, got: Tensor, gradients: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """A second step finds what the first left: resharded weights, no stale buffers."""
    scorer.zero_grad()
    again, second = run(scorer)
    torch.testing.assert_close(again, got)
    for name, gradient in gradients.items():
        torch.testing.assert_close(second[name], gradient, msg=name)
    return again, second


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for start, out, cases in zip(sys.argv[1::3], sys.argv[2::3], sys.argv[3::3], strict=True):
        for each in cases.split(","):
            case(each, start, Path(out))
    dist.destroy_process_group()
