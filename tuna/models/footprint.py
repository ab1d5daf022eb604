"""Bytes that a forward and backward pass takes, without a weight: torch's fake tensors have shapes and no data."""

import copy
import math
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PretrainedConfig

from tuna.data.batch import PackedBatch
from tuna.data.packing import in_columns
from tuna.models.check import quiet
from tuna.models.lora import add_lora, parse_lora
from tuna.models.masks import BLOCKS, build_masks
from tuna.models.reward import head_names
from tuna.models.scorer import ResponseScorer, RewardScorer, padded_rows, unpack
from tuna.models.source import ModelConfig

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one process that holds the whole model. Each is linear in the number of layers."""

    weights: float
    gradients: float
    optimizer: float
    layer: float  # weights of the largest layer
    forward: float  # the most beside weights and optimizer state in the forward pass,
    early: float  # in the backward pass before half of the layers are done, the gradients so far included,
    late: float  # and after that

    @property
    def beside(self) -> float:
        """The most beside weights and optimizer state."""
        return max(self.forward, self.early, self.late, self.gradients)

    def extended(self, other: "Footprint", layers: int, more: int, all_layers: int) -> "Footprint":
        """From what ``layers`` layers take, and ``more`` layers (other), to what all do."""
        steps = (all_layers - more) / (more - layers)
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Footprint(*(large + steps * (large - small) for small, large in pairs))


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the most of each phase; what was there before is left out."""

    def __init__(self, before: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase, self.most = 0, [0, 0, 0]
        self.sizes = {each.untyped_storage()._cdata: 0 for each in (*before.parameters(), *before.buffers())}
        gradients = [each.grad for each in before.parameters() if each.grad is not None]
        self.sizes |= {each.untyped_storage()._cdata: each.nbytes for each in gradients}
        self.now = sum(self.sizes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                storage = tensor.untyped_storage()
                self.sizes[key] = storage.nbytes()
                self.now += self.sizes[key]
                weakref.finalize(storage, self._gone, key)
        self.most[self.phase] = max(self.most[self.phase], self.now)
        return made

    def _gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def watch(self, module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before a layer: once the gradient of what it reads is there, the rest of the backward pass follows."""
        states = args[0] if args else kwargs["hidden_states"]
        if states.requires_grad:
            states.register_hook(self._half_way)

    def _half_way(self, gradient: Tensor) -> None:
        self.phase = 2


def footprint(
    model: ModelConfig,
    batch: PackedBatch,
    *,
    reward: bool = False,
    prepare: Callable[[Any], None] = lambda model: None,
    state_bytes: Callable[[tuple[int, ...]], int] = lambda shape: 0,
    autocast: torch.dtype | None = None,
    by_row: bool = True,
    held: bool = False,
    period: int = 1,
) -> Footprint:
    """What a pass over ``batch`` takes, by one over fake tensors with a few layers, or two, from which all follow.

    reward: of a reward model. prepare: what is done to the Hugging Face model after it has its adapters (frozen types,
    checkpointed layers). state_bytes: of the optimizer, for a trained tensor of that shape. by_row: rows go through the
    model one by one, as on the CPU. held: gradients of an earlier pass are there. period: layers after which
    ``prepare`` repeats itself. Raises: what a model raises that does not run on fake tensors.
    """
    config = copy.deepcopy(model.resolve().config)
    text = config.get_text_config()
    layers, types = text.num_hidden_layers, getattr(text, "layer_types", None) or []
    repeats = next((p for p in range(1, len(types)) if types[p:] == types[:-p]), max(1, len(types)))
    few = math.lcm(repeats, period, 2)

    def traced(count: int) -> Footprint:
        _cut(text, count)
        return _traced(model, config, batch, reward, prepare, state_bytes, autocast, by_row=by_row, held=held)

    if 2 * few >= layers or getattr(text, "attention_types", None):
        return traced(layers)
    full = copy.deepcopy(text)
    small = traced(few)
    for key, value in vars(full).items():
        setattr(text, key, value)
    return small.extended(traced(2 * few), few, 2 * few, layers)


def cache_bytes(config: PretrainedConfig, tokens: int, itemsize: int) -> int:
    """Bytes of the keys and values that ``tokens`` tokens of one row leave for those after them: per layer and token
    2 x heads x a head's size x itemsize. A layer with a window keeps no more than that, one with a state of its own is
    left out.
    """
    text = config.get_text_config(decoder=True)
    if not hasattr(text, "num_attention_heads"):
        return 0
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    windows = {"full_attention": "", "sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    types = getattr(text, "layer_types", None) or ["sliding_attention"] * text.num_hidden_layers
    kept = (min(tokens, getattr(text, windows[kind], None) or tokens) for kind in types if kind in windows)
    return int(2 * heads * size * itemsize * sum(kept))


def _cut(text: Any, layers: int) -> None:
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == text.num_hidden_layers > 1:
            setattr(text, key, value[:layers])
    text.num_hidden_layers = layers


def _traced(
    model: ModelConfig, config: Any, batch: PackedBatch, reward: bool, prepare: Callable[[Any], None],
    state_bytes: Callable[[tuple[int, ...]], int], autocast: torch.dtype | None, *, by_row: bool, held: bool,
) -> Footprint:  # fmt: skip
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    built = _build(model, config, prepare, reward=reward)
    weights = sum(p.numel() * getattr(p, "stored", p.itemsize) for p in built.parameters())
    _give_shapes(built, fake)
    trained = [parameter for parameter in built.parameters() if parameter.requires_grad]
    layers: Any = next((m for m in built.modules() if isinstance(m, nn.ModuleList) and len(m) > 1), [built])
    given = _inputs(built, model, batch, by_row=by_row)
    with fake:
        for parameter in trained if held else ():
            parameter.grad = torch.empty_like(parameter)
        live = _Live(built)
        layers[len(layers) // 2].register_forward_pre_hook(live.watch, with_kwargs=True)
        with live, torch.autocast("cpu", autocast) if autocast else nullcontext():
            values = _score(built, model, given, fake, reward=reward)
            live.phase = 1
            values.sum().backward()
    return Footprint(
        weights=weights,
        gradients=sum(p.nbytes for p in trained),
        optimizer=sum(state_bytes(tuple(p.shape)) for p in trained),
        layer=max(sum(p.nbytes for p in each.parameters()) for each in layers),
        forward=live.most[0], early=live.most[1], late=live.most[2],
    )  # fmt: skip


def _build(model: ModelConfig, config: Any, prepare: Callable[[Any], None], *, reward: bool) -> Any:
    auto: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    config = copy.deepcopy(config)
    config.get_text_config().vocab_size = model.rows
    if reward:
        config.num_labels, config.pad_token_id, config.get_text_config().pad_token_id = 1, 0, 0
    with torch.random.fork_rng(devices=[]), quiet(), torch.device("meta"):  # peft cannot work on fake tensors
        built = auto.from_config(config, trust_remote_code=model.trust_remote_code, dtype=torch.float32)
        if lora := parse_lora(model.lora):
            add_lora(built, lora, trained=head_names(built) if reward else ())
        prepare(built)
        built.train()
    return built


def _give_shapes(built: Any, fake: FakeTensorMode) -> None:
    """Parameters and buffers as fake tensors of the CPU; tied ones stay tied."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    with fake:
        for module in built.modules():
            for name, old in module._parameters.items():
                if old is not None:
                    if old not in made:
                        made[old] = nn.Parameter(torch.empty_like(old, device="cpu"), old.requires_grad)
                    module._parameters[name] = made[old]
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else torch.empty_like(buffer, device="cpu")


@dataclass(frozen=True, slots=True)
class _Given:
    """What a scorer gives a model, made of a batch's values, which fake tensors do not have."""

    batch: PackedBatch
    rows: list[tuple[PackedBatch, Any]]  # packed: ids, and their mask or masks; else none
    ids: tuple[Tensor, Tensor]  # plain: padded ids, and what of them is real


def _inputs(built: Any, model: ModelConfig, batch: PackedBatch, *, by_row: bool) -> _Given:
    if model.scorer == "plain":
        return _Given(batch, [], padded_rows(*unpack(batch)[:2])[:2])
    kernel = "eager" if model.attention == "eager" or not built._supports_sdpa else BLOCKS if by_row else "sdpa"
    built.set_attn_implementation(kernel)
    size = batch.input_ids.shape[1]
    widths = ((batch.group_ids >= 0) * torch.arange(1, size + 1)).amax(1).tolist() if by_row else [size]
    rows = []
    for row, width in enumerate(widths):
        part = in_columns(batch, slice(row, row + 1) if by_row else slice(None), max(width, 1))
        rows.append((part, build_masks(part, built.config.get_text_config(), kernel, torch.float32)))
    return _Given(batch, rows, (batch.input_ids, batch.input_ids))


def _score(built: Any, model: ModelConfig, given: _Given, fake: FakeTensorMode, *, reward: bool) -> Tensor:
    """As the scorers do."""
    if model.scorer == "plain":
        ids, real = map(fake.from_tensor, given.ids)
        logits: Tensor = built(input_ids=ids, attention_mask=real, use_cache=False).logits
        return logits if reward else logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])
    kept: dict[str, Any] = {"projection_chunk": model.projection_chunk, "projection_memory": model.projection_memory}
    scorer: Any = (RewardScorer if reward else ResponseScorer)(built, **kept)
    scorer.hidden = lambda batch: _hidden(scorer, given, fake)
    values: Tensor = scorer(given.batch._each(fake.from_tensor))
    return values


def _hidden(scorer: Any, given: _Given, fake: FakeTensorMode) -> tuple[Tensor, type]:
    """Row by row, or all rows of the one part that there is."""
    outputs, size, kind = [], given.batch.input_ids.shape[1], object
    for part, masks in given.rows:
        output = scorer._backbone[0](
            input_ids=fake.from_tensor(part.input_ids), attention_mask=_fake_masks(masks, fake),
            position_ids=fake.from_tensor(part.position_ids), use_cache=False,
        )  # fmt: skip
        kind, states = type(output), output.last_hidden_state
        outputs.append(functional.pad(states, (0, 0, 0, size - states.shape[1])))
    return torch.cat(outputs), kind


def _fake_masks(masks: Any, fake: FakeTensorMode) -> Any:
    if isinstance(masks, dict):
        return {kind: _fake_masks(mask, fake) for kind, mask in masks.items()}
    made: Any = fake.from_tensor(masks)
    if blocks := getattr(masks, "tuna_blocks", None):
        made.tuna_blocks = [(size, prompt, fake.from_tensor(own)) for size, prompt, own in blocks]
    return made
