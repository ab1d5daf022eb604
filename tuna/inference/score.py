"""Given answers scored by a local model in packed rows: log-probabilities (``score_only``), and a PRM's rewards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers.utils.logging import disable_progress_bar

from tuna.data.batch import Group
from tuna.data.lists import Answer as Response
from tuna.data.packing import pack
from tuna.data.record import Record, was_cut
from tuna.data.tokenize import check_shown
from tuna.inference.answers import Answer, stored_answers
from tuna.inference.backend import store_in_blocks
from tuna.inference.context import Context
from tuna.inference.store import Journal, key_of
from tuna.models.device import device_named
from tuna.models.finite import check_values
from tuna.models.loading import load_scorer
from tuna.models.reward_loading import load_reward_scorer
from tuna.models.source import ModelConfig

BLOCK = 16
Lists = Sequence[tuple[Record, Sequence[Answer]]]


def score_answers(
    node: ModelConfig,
    records: Sequence[Record],
    answers: Sequence[Sequence[Answer]],
    context: Context,
    *,
    row_tokens: int,
    device: str = "auto",
) -> list[list[Answer]]:
    """Each answer with ``logprob`` and ``num_tokens``: end-of-sequence counted where the answer was complete.

    An answer that does not fit the model's positions is refused ("too long").
    """

    def put(answer: Answer, value: float, tokens: int) -> Answer:
        return replace(answer, logprob=value, num_tokens=tokens)

    journal = context.store.journal("answers")
    return _scored(
        journal, "scored", node, records, answers, lambda: _Scorer(node, load_scorer(node), device, row_tokens, put)
    )


def reward_answers(
    node: ModelConfig,
    records: Sequence[Record],
    answers: Sequence[Sequence[Answer]],
    context: Context,
    *,
    row_tokens: int,
    device: str = "auto",
) -> list[list[Answer]]:
    """Each answer with the ``reward`` that the reward model ``node`` gives it, in the store's journal "rewards".

    An answer that does not fit the model's positions is refused ("too long").
    """

    def put(answer: Answer, value: float, tokens: int) -> Answer:
        return replace(answer, reward=value)

    journal = context.store.journal("rewards")
    return _scored(
        journal,
        "reward",
        node,
        records,
        answers,
        lambda: _Scorer(node, load_reward_scorer(node), device, row_tokens, put),
    )


def _scored(
    journal: Journal,
    what: str,
    node: ModelConfig,
    records: Sequence[Record],
    answers: Sequence[Sequence[Answer]],
    load: Callable[[], "_Scorer"],
) -> list[list[Answer]]:
    """What the journal lacks is computed in blocks that share batches; the model is loaded for the first one."""
    check_shown(node.encoder(), records, [[_text(answer) for answer in given] for given in answers])
    base = {what: node.fingerprint, **node.shaped_by}
    keys = [
        key_of(
            **base, prompt=r.question, answers=[_key(a) for a in given], **({"own": r.template} if r.template else {})
        )
        for r, given in zip(records, answers, strict=True)
    ]
    scorer = cache(load)

    def make(block: Sequence[int]) -> Iterable[Mapping[str, Any]]:
        for scored in scorer()([(records[i], answers[i]) for i in block]):
            yield {"choices": [answer.to_dict() for answer in scored]}

    store_in_blocks(journal, keys, range(len(keys)), BLOCK, "scored lists", make)
    return [journal.read(key, stored_answers)[0] for key in keys]


def _key(answer: Answer) -> list[str | None]:
    return [answer.text, answer.finish_reason, *([answer.reasoning] if answer.reasoning else [])]


def _text(answer: Answer) -> Response:
    return Response(answer.text, not was_cut(answer.finish_reason), 0.0, reasoning=answer.reasoning)


class _Scorer:
    def __init__(
        self,
        node: ModelConfig,
        scorer: nn.Module,
        device: str,
        row_tokens: int,
        put: Callable[[Answer, float, int], Answer],
    ) -> None:
        disable_progress_bar()
        self.device = device_named(device)
        self.scorer = scorer.eval().to(self.device)
        self.encoder, self.row_tokens, self.put = node.encoder(), row_tokens, put
        self.source, self.positions = node.resolve().source, node.max_positions()

    @torch.inference_mode()
    def __call__(self, lists: Lists) -> list[list[Answer]]:
        groups, where = [], []
        scored = [list(given) for _, given in lists]
        for index, (record, given) in enumerate(lists):
            encoded = self.encoder.encode(self.encoder.write(record, [_text(answer) for answer in given]))
            kept: dict[bytes, list[int]] = {}  # places of equal answers: one number, which the batch cannot part
            for place, answer in enumerate(given):
                response = encoded.responses[place]
                if answer.unusable_reason or not encoded.scored[place].any():
                    scored[index][place] = replace(answer, refused=answer.unusable_reason or "empty answer")
                elif self.positions and len(encoded.prompt) + len(response) > self.positions:
                    scored[index][place] = replace(answer, refused="too long for the scoring model")
                else:
                    kept.setdefault(response.tobytes(), []).append(place)
            if kept:
                none, first = tuple(0.0 for _ in kept), [places[0] for places in kept.values()]
                ids, masks = tuple(encoded.responses[k] for k in first), tuple(encoded.scored[k] for k in first)
                groups.append(Group(record.id, encoded.prompt, ids, none, tuple(False for _ in kept), masks))
                where.append((index, list(kept.values())))
        if groups:
            values = self.scorer(pack(groups, row_tokens=self.row_tokens).to(str(self.device))).double().tolist()
            check_values(values, self.source, "log-probabilities or rewards")
            flat = iter(values)
            for (index, places), group in zip(where, groups, strict=True):
                for equal, length in zip(places, group.lengths, strict=True):
                    value = round(next(flat), 6)
                    for place in equal:
                        scored[index][place] = self.put(scored[index][place], value, length)
        return scored
