"""A run of train.py on this device: uninterrupted, and stopped and resumed; what it exports; what that answers."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from perf.gpu.base import Row, Setting
from tuna import assets
from tuna.config.compose import compose
from tuna.data.batch import Group
from tuna.data.encode import Encoder
from tuna.data.lists import ranked_list
from tuna.data.load import Source, load_source
from tuna.data.packing import pack
from tuna.data.tokenize import tokenize
from tuna.inference.generate import greedy_answers
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig
from tuna.training.checkpoint import Checkpoints
from tuna.training.run import run

STOPS_AT = 4  # steps
LISTS = "rankings/contextual.jsonl"


def training(setting: Setting) -> Iterator[Row]:
    """The embedded tiny model on the embedded ranked lists."""
    with tempfile.TemporaryDirectory(prefix="tuna-gpu-") as folder:
        command = [
            "stage=tuna_c", "model=tiny", f"datamodule.path={assets.path(LISTS)}", "datamodule.last=60",
            "datamodule.val_path=null", "datamodule.held_out=4", "datamodule.batch_size=8", "trainer.max_steps=7",
            f"trainer.checkpoint_every={STOPS_AT}", "logger=csv", "evaluate=false", f"runs_dir={folder}",
            f"trainer={'gpu' if setting.device == 'cuda' else 'cpu'}", f"datamodule.cache_dir={folder}/cache",
        ]  # fmt: skip
        whole = run(compose([*command, "name=whole"]))
        yield {"what": "training", "before": whole.get("val/loss"), "target": "trains", "reached": "val/loss" in whole}
        _stop([*command, "name=stopped"])
        resumed = run(compose([*command, "name=stopped", "resume=auto"]))
        one, other = (load_file(Path(folder, name, "model", "model.safetensors")) for name in ("whole", "stopped"))
        off = max(float((one[key].float() - other[key].float()).norm() / one[key].float().norm()) for key in one)
        yield {
            "what": "resume", "weights_off": off, "losses": [whole["val/loss"], resumed["val/loss"]],
            "target": "trains", "reached": off < 1e-3,
        }  # fmt: skip
        yield from exported(setting, Path(folder, "whole"))


def _stop(command: list[str]) -> None:
    """The same run, stopped as by Ctrl-C once a checkpoint is saved."""
    save = Checkpoints.save

    def save_then_stop(*given: Any) -> None:
        save(*given)
        raise KeyboardInterrupt

    with mock.patch.object(Checkpoints, "save", save_then_stop), suppress(KeyboardInterrupt):
        run(compose(command))


def exported(setting: Setting, folder: Path) -> Iterator[Row]:
    """The exported model: scored packed here and plainly by transformers, and asked on both devices."""
    node = ModelConfig(path=str(folder))
    encoder = node.encoder()
    groups = _groups(encoder)
    scorer = load_scorer(node).to(setting.device).eval()
    read: Any = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    model = read.to(setting.device).eval()
    with torch.no_grad():
        got = scorer(pack(groups, row_tokens=2048).to(setting.device)).cpu()
        rows = [(group.prompt.tolist(), r.tolist()) for group in groups for r in group.responses]
        wanted = torch.tensor([_logprob(model, prompt, response, setting.device) for prompt, response in rows])
    off = float((got - wanted).norm() / wanted.norm())
    yield {"what": "export", "logprobs_off": off, "target": "trains", "reached": off < 1e-3}
    prompts = [group.prompt.tolist() for group in groups]
    here = greedy_answers(model, encoder, prompts, max_tokens=8)
    there = greedy_answers(model.to("cpu"), encoder, prompts, max_tokens=8)
    same = sum(a == b for a, b in zip(here, there, strict=True)) / len(here)
    yield {"what": "sampling", "greedy_answers_as_on_the_cpu": same, "target": "trains", "reached": same >= 0.9}


def _groups(encoder: Encoder, count: int = 16) -> list[Group]:
    records = load_source(Source(str(assets.path(LISTS)), last=count)).records
    lists = [found for record in records if (found := ranked_list(record, Counter())) is not None]
    return [group for _, group in tokenize(lists, encoder, 256, ranked=True)[0]]


def _logprob(model: Any, prompt: list[int], response: list[int], device: str) -> float:
    logits = model(input_ids=torch.tensor([prompt + response], device=device), use_cache=False).logits[0]
    tokens = torch.tensor(response, device=device)[:, None]
    return float(logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, tokens).sum())
