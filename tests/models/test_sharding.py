"""FSDP2 on two CPU processes equals one process, holds half each, and exports the same folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perf.loading_memory import FACTOR, write_model
from tests import warm
from tests.models.sharded_worker import CASES
from tuna.errors import ConfigError
from tuna.models.folder import tensor_shapes
from tuna.models.loading import load_scorer, shard
from tuna.models.source import ModelConfig

ROOT = Path(__file__).parents[2]
ENDS = ["packed", "lora_ends"]  # to which it matters whether both ends of the model are one tensor


@pytest.mark.once
def test_two_processes_equal_one(make_llama: Callable[..., Path], tmp_path: Path) -> None:
    runs = []
    for name, cases in (("tied", [*CASES]), ("free", ENDS)):
        start = make_llama(name, tie_word_embeddings=name == "tied")
        (out := tmp_path / f"{name}-out").mkdir()
        runs.append((start, out, cases))
    words = [word for start, out, cases in runs for word in (str(start), str(out), ",".join(cases))]
    warm.several(ROOT / "tests" / "models" / "sharded_worker.py", words, (1, 2))
    for start, out, cases in runs:
        for case in cases:
            check_case(case, start, out)


def check_case(case: str, start: Path, out: Path) -> None:
    """What both ranks found, and what was exported."""
    for rank in (0, 1):
        figures = json.loads((out / f"{case}-{rank}.json").read_text())
        assert figures["same_names"] and not figures["outside"], (case, figures)
        assert figures["dtypes"] == ["torch.float32"], (case, figures)
        assert 0.45 < figures["share"] < 0.55, (case, figures)
        if case == "bf16":
            assert figures["loss"] < 0.05 and figures["gradient_relative"] < 0.1, (case, figures)
        else:
            assert figures["loss"] < 1e-5 and figures["gradient"] <= 1, (case, figures)
    if case == "reward":  # the backbone as it was, and the head that both processes drew
        backbone = {name: shape for name, shape in tensor_shapes(start).items() if name != "lm_head.weight"}
        assert tensor_shapes(out / case / "model") == backbone | {"score.weight": (1, 32)}
        return
    if case == "lora_ends":  # what the unsharded model exports, moved in both ends, and tied no longer
        whole, sharded = (load_file(out / name / "model" / "model.safetensors") for name in ("lora_whole", case))
        torch.testing.assert_close(sharded, whole, rtol=1e-4, atol=1e-4)
        first = load_file(start / "model.safetensors")
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert (whole[name] - first.get(name, first["model.embed_tokens.weight"])).abs().max() > 1e-3
        return
    assert tensor_shapes(out / case / "model") == tensor_shapes(start)
    # LoRA's B starts at zero, so the merge is the start too
    assert ModelConfig(path=str(out / case / "model")).fingerprint == ModelConfig(path=str(start)).fingerprint


def test_other_precisions_are_refused(make_llama: Callable[..., Path]) -> None:
    scorer = load_scorer(ModelConfig(path=str(make_llama())))
    with pytest.raises(ConfigError, match="16-mixed"):
        shard(scorer, None, precision="16-mixed")  # type: ignore[arg-type]
    assert not any(isinstance(p, torch.distributed.tensor.DTensor) for p in scorer.parameters())


@pytest.mark.once
def test_no_process_holds_a_model_whole(tmp_path: Path) -> None:
    """perf/loading_memory.py on a smaller model: its whole would be more than twice what is allowed."""
    write_model(tmp_path / "start", width=512, layers=8, vocabulary=4096)
    words = ["worker", "slices", str(tmp_path / "start"), str(tmp_path)]
    warm.several(ROOT / "perf" / "loading_memory.py", words, (1, 2))
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        bound = FACTOR * found["shard"] + found["largest"] + 12e6  # libraries' own
        assert max(found["load"], found["export"]) < bound < 2 * found["shard"], (rank, found)
    exported, start = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "start"))
    assert exported.keys() == start.keys()
    assert all(torch.equal(exported[name], start[name]) for name in start)
