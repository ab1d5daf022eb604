"""Given answers' log-probabilities under a local model, by the packed scorer: ``score_only=true``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from tuna.data.batch import Group
from tuna.data.lists import Answer as Response
from tuna.data.packing import pack
from tuna.data.record import Record
from tuna.data.templates import template_named
from tuna.data.tokenize import Encoder
from tuna.models.loading import load_scorer
from tuna.models.source import Model
from tuna.ranking.answers import Answer
from tuna.ranking.context import Context
from tuna.ranking.progress import Progress
from tuna.ranking.store import key_of

BLOCK = 16


def score_answers(
    node: Model,
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
    journal = context.store.journal("answers")
    base = {"scored": node.fingerprint, "template": node.template}
    keys = [
        key_of(**base, prompt=[r.instruction, r.input], answers=[[a.text, a.finish_reason] for a in given])
        for r, given in zip(records, answers, strict=True)
    ]
    blocks = [range(at, min(at + BLOCK, len(keys))) for at in range(0, len(keys), BLOCK)]
    missing = [block for block in blocks if any(not journal.get(keys[i]) for i in block)]
    if missing:
        progress = Progress("scored lists", len(keys), len(keys) - sum(map(len, missing)))
        score = _Scorer(node, device, row_tokens)
        for block in missing:
            for i, scored in zip(block, score([(records[i], answers[i]) for i in block]), strict=True):
                if not journal.get(keys[i]):
                    journal.append({"key": keys[i], "choices": [answer.to_dict() for answer in scored]})
            progress.update(len(block))
        progress.close()
    return [[Answer(**choice) for choice in journal.get(key)[0]["choices"]] for key in keys]


class _Scorer:
    def __init__(self, node: Model, device: str, row_tokens: int) -> None:
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        disable_progress_bar()
        self.scorer = load_scorer(node).eval().to(self.device)
        tokenizer: Any = node.tokenizer()
        self.encoder = Encoder(tokenizer)
        self.template = template_named(node.template, tokenizer)
        self.positions = node.max_positions()
        self.row_tokens = row_tokens

    @torch.inference_mode()
    def __call__(self, lists: Sequence[tuple[Record, Sequence[Answer]]]) -> list[list[Answer]]:
        groups, where = [], []
        scored = [list(given) for _, given in lists]
        for index, (record, given) in enumerate(lists):
            prompt = self.encoder.prompt(self.template(record))
            kept, ids = [], []
            for place, answer in enumerate(given):
                response = self.encoder.response(Response(answer.text, answer.finish_reason != "length", 0.0, False))
                if answer.useless or not len(response):
                    scored[index][place] = replace(answer, refused=answer.useless or "empty answer")
                elif self.positions is not None and len(prompt) + len(response) > self.positions:
                    scored[index][place] = replace(answer, refused="too long for the scoring model")
                else:
                    kept.append(place)
                    ids.append(response)
            if kept:
                none = tuple(0.0 for _ in kept)
                groups.append(Group(record.id, prompt, tuple(ids), none, tuple(False for _ in kept)))
                where.append((index, kept))
        if groups:
            values = self.scorer(pack(groups, row_tokens=self.row_tokens).to(str(self.device))).double().tolist()
            flat = iter(values)
            for (index, kept), group in zip(where, groups, strict=True):
                for place, response in zip(kept, group.responses, strict=True):
                    scored[index][place] = replace(
                        scored[index][place], logprob=round(next(flat), 6), num_tokens=len(response)
                    )
        return scored
