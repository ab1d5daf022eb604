"""Given answers scored by a local model in packed rows: log-probabilities (``score_only``), and a PRM's rewards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from tuna.data.batch import Group
from tuna.data.lists import Answer as Response
from tuna.data.packing import Sharing, pack
from tuna.data.record import Record, was_cut
from tuna.data.tokenize import check_shown
from tuna.inference.answers import Answer, stored_answers
from tuna.inference.backend import store_in_blocks
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.models.loading import device_named, load_reward_scorer, load_scorer
from tuna.models.source import ModelConfig
from tuna.models.weights import check_values

BLOCK = 16


def score_answers(
    node: ModelConfig,
    records: Sequence[Record],
    answers: Sequence[Sequence[Answer]],
    context: Context,
    *,
    row_tokens: int,
    device: str = "auto",
    rewards: bool = False,
) -> list[list[Answer]]:
    """Each answer with ``logprob`` and ``num_tokens``, end-of-sequence counted where it was complete; with its
    ``reward`` where ``node`` is a reward model. One that does not fit the model's positions is refused.
    """
    check_shown(node.encoder(), records, [[_text(answer) for answer in given] for given in answers])
    journal = context.store.journal("rewards" if rewards else "answers")
    base = {"reward" if rewards else "scored": node.fingerprint, **node.shaped_by}
    keys = []
    for record, given in zip(records, answers, strict=True):
        own = {"own": record.template} if record.template else {}
        keys.append(key_of(**base, prompt=record.question, answers=[_key(a) for a in given], **own))
    scorer = cache(lambda: _Scorer(node, device, row_tokens, rewards))  # loaded for the first block

    def make(block: Sequence[int]) -> Iterable[Mapping[str, Any]]:
        for scored in scorer()([(records[i], answers[i]) for i in block]):
            yield {"choices": [answer.to_dict() for answer in scored]}

    store_in_blocks(journal, keys, range(len(keys)), BLOCK, "scored lists", make)
    return [journal.read(key, stored_answers)[0] for key in keys]


reward_answers = partial(score_answers, rewards=True)


def _key(answer: Answer) -> list[str | None]:
    return [answer.text, answer.finish_reason, *([answer.reasoning] if answer.reasoning else [])]


def _text(answer: Answer) -> Response:
    return Response(answer.text, not was_cut(answer.finish_reason), 0.0, reasoning=answer.reasoning)


class _Scorer:
    def __init__(self, node: ModelConfig, device: str, row_tokens: int, rewards: bool) -> None:
        disable_progress_bar()
        self.device = device_named(device)
        self.scorer = (load_reward_scorer if rewards else load_scorer)(node).eval().to(self.device)
        self.encoder, self.row_tokens, self.rewards = node.encoder(), row_tokens, rewards
        self.source, self.positions = node.resolve().source, node.max_positions()

    @torch.inference_mode()
    def __call__(self, lists: Sequence[tuple[Record, Sequence[Answer]]]) -> list[list[Answer]]:
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
            share = Sharing(on_gpu=self.device.type == "cuda")(groups)
            batch = pack(groups, row_tokens=self.row_tokens, share=share).to(str(self.device))
            values = self.scorer(batch).double().tolist()
            check_values(values, self.source, "log-probabilities or rewards")
            flat = iter(values)
            for (index, places), group in zip(where, groups, strict=True):
                for equal, length in zip(places, group.lengths, strict=True):
                    value = round(next(flat), 6)
                    found = {"reward": value} if self.rewards else {"logprob": value, "num_tokens": length}
                    for place in equal:
                        scored[index][place] = replace(scored[index][place], **found)
        return scored
