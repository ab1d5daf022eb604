"""The reference model's log-probabilities, scored once per model and data, before training: a second model is never in
memory with the one that is tuned.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tuna.console import clock_time
from tuna.data.batch import Group, IntArray
from tuna.data.cache import TokenCache, locked
from tuna.datamodules.plan import HeldOutBatches
from tuna.errors import ConfigError
from tuna.models.loading import Sharding, load_scorer
from tuna.models.source import ModelConfig
from tuna.models.weights import check_values, check_weights
from tuna.training import distributed, shims

if TYPE_CHECKING:
    from tuna.training.run import Components

log = logging.getLogger("tuna")
_SAID_EVERY, _SAVED_EVERY = 10.0, 60.0  # seconds
_ASKED_EVERY = 8  # batches after which all processes agree whether to store what they have


def reference_of(loss: Any, model: ModelConfig) -> ModelConfig | None:
    """The config node of the model that ``loss`` is relative to, or None where it is relative to none. The starting
    model is taken without adapters.
    """
    if not getattr(loss, "needs_reference", False):
        return None
    plain: dict[str, Any] = {"lora": None, "gradient_checkpointing": False}  # what is frozen stays in its type
    if loss.reference is None:
        return replace(model, **plain)
    return replace(model, path=loss.reference, revision=None, resize=False, **plain)


def check_reference(loss: Any, model: ModelConfig, tokenizer: Any) -> None:
    """Refuse, before weights load, a reference that is not there (ModelError) or reads other ids (ConfigError)."""
    node = reference_of(loss, model)
    if node is None or loss.reference is None:
        return
    resolved = node.resolve()
    if not resolved.on_hub:
        check_weights(node)
    theirs, ours = node.tokenizer().get_vocab(), tokenizer.get_vocab()
    if theirs != ours:
        other = next((token for token in ours if theirs.get(token) != ours[token]), None) or next(iter(theirs))
        raise ConfigError(
            f"loss.reference: {loss.reference} has another tokenizer than {model.path} (token {other!r} is "
            f"{ours.get(other)} here and {theirs.get(other)} there), so its log-probabilities would be of other texts; "
            "next: a reference of the same family, or leave loss.reference out, which is the starting model"
        )


def attach(parts: "Components") -> None:
    """Give every group of the run its ``reference``: read what is stored beside the token cache, score the rest.

    Every process has to call it. What is scored is stored about every minute, so a run that was ended goes on there.
    Raises: ModelError where the reference cannot be loaded or gives values that are not finite.
    """
    node = reference_of(parts.loss, parts.model)
    if node is None:
        return
    data = parts.data
    groups = {_key(group): group for group in (*data.train_groups, *data.val_groups)}
    with ExitStack() as stack:
        precision = parts.training.precision + ("-bfloat16" if node.halves else "")
        path = data.cache_path(f"{node.resolve().fingerprint[:16]}-{precision}-reference")
        if distributed.rank() == 0:
            stack.enter_context(locked(path))
        store = TokenCache(path if distributed.rank() == 0 else None)
        known: dict[bytes, IntArray] = distributed.agree(dict(store) if distributed.rank() == 0 else {})
        missing = {key: group for key, group in groups.items() if key not in known}
        if missing:
            known |= _score(parts, node, missing, store)
        elif distributed.rank() == 0:
            log.info(f"reference {node.path}: {len(groups):,} lists, all stored in {path}")
    data.train_groups = [_with(group, known) for group in data.train_groups]
    data.val_groups = [_with(group, known) for group in data.val_groups]


def _key(group: Group) -> bytes:
    """16 bytes that stand for what the model reads of a group, and for what of it is scored."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (group.prompt, *group.responses, *group.masks):
        digest.update(f"{part.dtype}{len(part)} ".encode() + part.tobytes())
    return digest.digest()


def _with(group: Group, known: dict[bytes, IntArray]) -> Group:
    return replace(group, reference=tuple(known[_key(group)].view(np.float32).tolist()))


def _score(
    parts: "Components", node: ModelConfig, missing: Mapping[bytes, Group], store: TokenCache
) -> dict[bytes, IntArray]:
    """What the packed scorer gives for each group, by key: float32 in the bits of int32, as the cache keeps them."""
    training, data, keys, groups = parts.training, parts.data, list(missing), list(missing.values())
    processes, first = distributed.world_size(), distributed.rank() == 0
    if training.strategy == "fsdp" and processes > 1:
        mesh = training.part_of(shims.mesh_of(training.on_gpu, training.mesh_sizes))
        scorer = load_scorer(node, sharding=Sharding(mesh, training.precision), frozen=True).eval()
    else:
        scorer = load_scorer(node, frozen=True).eval().to("cuda" if training.on_gpu else "cpu")
    device = "cuda" if training.on_gpu else "cpu"
    batches = HeldOutBatches(
        groups, training.micro_budget, processes, distributed.rank(), data.row_tokens, data.sharing
    )
    found: dict[bytes, IntArray] = {}
    began = said = saved = time.monotonic()
    done = 0
    for number, share in enumerate(batches.shares, start=1):
        batch = batches[number - 1].to(device)
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=training.precision == "bf16-mixed"):
            values = scorer(batch).float().cpu()
        check_values(values.tolist(), node.path, "log-probabilities")
        owner = batch.response_group.cpu()
        mine = {keys[i]: values[owner == g].numpy().view(np.int32) for g, i in enumerate(share.groups)}
        found |= mine
        done = min(len(groups), done + len(batch.weights) * processes)
        now = time.monotonic()
        asked = number % _ASKED_EVERY == 0 and distributed.agree(now - saved >= _SAVED_EVERY)
        if asked or number == len(batches):
            for other in distributed.gather(found):
                store.update(other)
            found, saved = {}, now
            if first:
                store.save()
        if first and (now - said >= _SAID_EVERY or number == len(batches)):
            left = (now - began) / number * (len(batches) - number)
            log.info(f"reference {node.path}: {done:,}/{len(groups):,} lists, {clock_time(left)} left")
            said = now
    return dict(store)
