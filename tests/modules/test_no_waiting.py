"""A step on a GPU asks the device for no value: here it runs on tensors that have none.

torch's fake tensors have shapes and no data. What would make a processor wait for a GPU (``item``, ``tolist``,
``if tensor``, a shape that depends on values) has nothing to read there and raises.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tests.models.architectures import CONFIGS
from tuna.data.batch import Group
from tuna.data.packing import pack
from tuna.models import attention, scorer
from tuna.models.masks import FLEX, VARLEN
from tuna.models.scorer import ResponseScorer, RewardScorer
from tuna.modules.prm import PRM
from tuna.modules.ranking import Ranking
from tuna.modules.scoring import ScoringModule

pytestmark = pytest.mark.once  # nothing here hangs on how kernels round

CONF = Path(__file__).parents[2] / "conf" / "loss"
LOSSES = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "mix")  # of these


def group(count: int, reference: bool = True) -> Group:
    ids = [np.arange(3, 9 + k, dtype=np.int32) for k in range(count + 1)]
    scores = (*(float(k) for k in range(count - 1)), float("nan"))  # the last is the original
    targets = (*(False for _ in range(count - 1)), True)
    return Group(
        "", ids[0], tuple(ids[1:]), scores, targets, reference=tuple(-9.0 for _ in range(count)) if reference else ()
    )


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeTensorMode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            attention, "compiled_flex", lambda: lambda q, k, v, **options: q + k.sum(1, True) + v.sum(1, True)
        )
        patch.setattr(attention, "FLEX_FROM", 0)
        patch.setattr(scorer, "choose", lambda *args, **given: attention.choose(*args, **given | {"device": "cuda"}))
        for kind in (ResponseScorer, RewardScorer):
            patch.setattr(kind, "hidden", kind._hidden)  # rows together, and no check of kernels
        yield FakeTensorMode(allow_non_fake_inputs=True)


def module_with(kind: type[ScoringModule], fake: FakeTensorMode) -> Any:
    """The module with a scorer."""
    module: Any = kind()
    with fake:
        if kind is PRM:
            config = LlamaConfig(**CONFIGS["llama"].to_dict() | {"num_labels": 1})
            module.scorer = RewardScorer(LlamaForSequenceClassification(config))
        else:
            module.scorer = ResponseScorer(LlamaForCausalLM(LlamaConfig(**CONFIGS["llama"].to_dict())))
    return module


@pytest.fixture(scope="module")
def modules(fake: FakeTensorMode) -> dict[str, Any]:
    return {kind.__name__: module_with(kind, fake) for kind in (Ranking, PRM)}


def step(module: Any, fake: FakeTensorMode, share: bool) -> None:
    """One micro-step forward and backward, and a validation step, as under bf16-mixed."""
    with fake:
        batch = pack([group(4), group(3)], row_tokens=64, share=share)._each(fake.from_tensor)
        with torch.autocast("cpu", torch.bfloat16):
            loss: Tensor = module.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.scorer.parameters(), 1.0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            module.validation_step(batch, 0)


class Given(torch.nn.Module):
    """A scorer whose log-probabilities are its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(torch.full((7,), -5.0))

    def forward(self, batch: Any) -> Tensor:
        return self.values * 1.0


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_has_the_device_waited_for(name: str, fake: FakeTensorMode) -> None:
    module: Any = Ranking()
    with fake:
        module.scorer = Given()
    module.loss = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    step(module, fake, share=True)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(("kind", "name"), [("PRM", "pairwise"), ("Ranking", "tuna")])
def test_no_module_has_the_device_waited_for(
    kind: str, name: str, share: bool, fake: FakeTensorMode, modules: dict[str, Any]
) -> None:
    modules[kind].loss = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    step(modules[kind], fake, share)
    used = modules[kind].scorer.model.config._attn_implementation
    assert used == (FLEX if share else VARLEN)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
    ],
)
def test_what_would_wait_is_seen(ask: Callable[[Tensor], Any], fake: FakeTensorMode) -> None:
    module: Any = Ranking()
    with fake:
        module.scorer = Given()
    module.loss = lambda lists: ask(lists.logprobs)
    with pytest.raises(Exception, match=r"(?i)dynamic|data.?dependent|\.item|aten"):
        step(module, fake, share=True)
