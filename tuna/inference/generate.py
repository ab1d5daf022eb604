"""Batched sampling from a Hugging Face causal LM: prompts once, noise by key, log-probabilities of what was drawn."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from tuna.console import Progress
from tuna.data.batch import BoolArray, IntArray
from tuna.data.encode import Encoder
from tuna.data.lists import Answer as Text
from tuna.data.record import Record, was_cut
from tuna.data.tokenize import shorten
from tuna.errors import ModelError
from tuna.inference.answers import Answer
from tuna.inference.elementary import ElementaryResult, marked, record_of
from tuna.models.loading import device_named, dtype_named, load_model
from tuna.models.source import ModelConfig
from tuna.models.weights import check_values, check_weights

_LOW = 0xFFFFFFFF
_GOLDEN = 0x9E3779B1
_GROUP = 256  # tokens


def noise_key(*parts: object) -> tuple[int, int]:
    """Two 32-bit words from what names a sample.

    >>> noise_key(0, "q1", 2, 0) == noise_key(0, "q1", 2, 0), noise_key(0, "q1", 2, 0) == noise_key(0, "q1", 20, 0)
    (True, False)
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finalizer on 32-bit words held in int64."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & _LOW
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & _LOW
    return x ^ (x >> 16)


def uniform(keys: Sequence[tuple[int, int]] | Tensor, step: int, device: torch.device | str = "cpu") -> Tensor:
    """Two numbers [R, 2] between 0 and 1, float64, of keys [R, 2] and a step; the same on every device."""
    key = torch.as_tensor(keys, dtype=torch.int64, device=device)
    column = torch.arange(2, dtype=torch.int64, device=device)
    row = _mix((key[:, :1] + step * _GOLDEN) & _LOW)
    bits = _mix((_mix(column ^ row) + key[:, 1:]) & _LOW)
    return (bits.double() + 0.5) / (_LOW + 1)


def pick(logits: Tensor, temperature: Tensor, keys: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Token ids [R] drawn from softmax(logits / T), and their log-probabilities [R] at T = 1, float64.

    The inverse of the cumulative distribution, in two stages: a group of 256 neighbors by the first number of
    :func:`uniform`, a token within it by the second. So a shift of logits by rounding, as another batch shape brings,
    moves few edges (1 token in 100,000 is another then for SmolLM2; in one stage it would be 1 in 2,500).

    logits: [R, V]. temperature: [R, 1]; 0 takes the likeliest token. keys: [R, 2].

    >>> ids, logprobs = pick(torch.tensor([[0.0, 2.0, -math.inf]]), torch.ones(1, 1), torch.tensor([[1, 2]]), 0)
    >>> ids.tolist(), round(float(logprobs), 4)
    ([1], -0.1269)
    """
    scaled = pad(logits.double(), (0, -logits.shape[-1] % _GROUP), value=-math.inf)
    scaled -= scaled.amax(-1, keepdim=True)
    weights = scaled.exp()
    total, greedy = weights.sum(-1), temperature.squeeze(1) <= 0
    if greedy.all():
        ids = scaled.argmax(-1)
    else:
        if (temperature != 1).any():
            weights = (scaled / temperature.clamp(min=1e-8)).exp_()
        groups, numbers = weights.unflatten(-1, (-1, _GROUP)), uniform(keys, step, logits.device)
        group = _first_above(groups.sum(-1), numbers[:, :1])
        chosen = groups[torch.arange(len(group), device=group.device), group]
        ids = group * _GROUP + _first_above(chosen, numbers[:, 1:])
        ids = torch.where(greedy, scaled.argmax(-1), ids) if greedy.any() else ids
    ids = ids.clamp(max=logits.shape[-1] - 1)
    return ids, scaled.gather(1, ids[:, None]).squeeze(1) - total.log()


def _first_above(weights: Tensor, number: Tensor) -> Tensor:
    """Where [R] the cumulative sum of weights [R, N] first exceeds this share [R, 1] of its end, at no weight 0."""
    cumulative = weights.cumsum(-1)
    found = torch.searchsorted(cumulative, number * cumulative[:, -1:], right=True).squeeze(1)
    return found.clamp(max=weights.shape[-1] - 1)  # beyond the end: not a number, which check_values tells


RESCORED = 16  # answers scored at once
LEAVING = 1 / 8  # of a batch that must have ended before it leaves


@dataclass(frozen=True, slots=True)
class Draw:
    """One answer to draw: for which prompt, with which noise, how hot (0 is greedy)."""

    prompt: int
    key: tuple[int, int]
    temperature: float


class Generator:
    """A loaded model that answers with at most ``max_tokens`` tokens.

    device "auto": CUDA where there is one. dtype "auto": float32 on the CPU, else the stored one. Raises: ModelError
    where the model cannot be loaded.
    """

    def __init__(self, node: ModelConfig, *, max_tokens: int, device: str = "auto", dtype: str = "auto") -> None:
        disable_progress_bar()
        resolved = node.resolve()
        place = device_named(device)
        check_weights(node)
        kind = dtype_named(dtype, place, resolved.weights_folder)
        model = load_model(node, dtype=kind).to(place).eval()
        self._use(model, node.encoder(), max_tokens, resolved.source, resolved.max_positions)

    @classmethod
    def over(cls, model: PreTrainedModel, encoder: Encoder, *, max_tokens: int) -> "Generator":
        """A generator over a model that is loaded, as it is."""
        made = cls.__new__(cls)
        made._use(model, encoder, max_tokens, str(model.config.name_or_path), None)
        return made

    def _use(self, model: Any, encoder: Encoder, max_tokens: int, source: str, positions: int | None) -> None:
        self.model, self.encoder, self.max_tokens = model, encoder, max_tokens
        self.tokenizer: Any = encoder.tokenizer
        self.device: torch.device = model.device
        self.source, self.positions = source, positions
        given = model.generation_config.eos_token_id
        self.ends = {*encoder.ends, *([given] if isinstance(given, int) else given or [])}

    def prompt(self, record: Record, *, cut: bool = True) -> list[int]:
        """A record's prompt as ids; where answers would not fit, cut as in training, or ModelError without ``cut``."""
        fitting, ids = self._fitting(record), self.encoder.prompt(record)
        if fitting is record or cut:
            return [int(i) for i in self.encoder.prompt(fitting)]
        raise ModelError(f"a prompt of {len(ids)} tokens does not fit the model's {self.positions} positions")

    def fits(self, record: Record) -> bool:
        """Whether a record's prompt is whole, with room for an answer."""
        return self._fitting(record) is record

    def _fitting(self, record: Record) -> Record:
        if self.positions is None:
            return record
        room = self.positions - min(self.max_tokens, self.positions // 2)
        return record if len(self.encoder.prompt(record)) <= room else shorten(record, self.encoder, room)

    @torch.inference_mode()
    def draw(
        self,
        prompts: Sequence[Sequence[int]],
        draws: Sequence[Draw],
        tell: Callable[[int, int, int], object] = lambda ended, tokens, most: None,
    ) -> list[Answer]:
        """Answers with the log-probability of their tokens, the end-of-sequence included, at temperature 1. Rows that
        have ended leave the batch when an eighth of it has. Raises: ModelError where a log-probability is not finite.

        tell: is given, after each step, the answers that have ended, the tokens so far and the most still to come.
        """
        used = sorted({draw.prompt for draw in draws})
        place = {prompt: row for row, prompt in enumerate(used)}
        logits, cache, mask = self._prefill([prompts[p] for p in used])
        select = torch.tensor([place[draw.prompt] for draw in draws], device=self.device)
        cache.batch_select_indices(select)
        logits, mask = logits[select], mask[select]
        temperature = torch.tensor([[draw.temperature] for draw in draws], dtype=torch.float64, device=self.device)
        keys = torch.tensor([draw.key for draw in draws], dtype=torch.int64, device=self.device)
        position = mask.sum(1)
        alive = torch.arange(len(draws), device=self.device)
        done = torch.zeros(len(draws), dtype=torch.bool, device=self.device)
        tokens: list[list[int]] = [[] for _ in draws]
        total = torch.zeros(len(draws), dtype=torch.float64, device=self.device)
        ends = torch.tensor(sorted(self.ends), device=self.device)
        for step in range(self.max_tokens):
            drawn, chosen = pick(logits, temperature, keys, step)
            total[alive] += torch.where(done, 0.0, chosen)
            for row, token, over in zip(alive.tolist(), drawn.tolist(), done.tolist(), strict=True):
                if not over:
                    tokens[row].append(token)
            done = done | torch.isin(drawn, ends)
            if self.positions is not None:
                done = done | (position + 1 > self.positions - 1)
            left = int((~done).sum())
            tell(len(draws) - left, sum(map(len, tokens)), left * (self.max_tokens - step - 1))
            if left == 0 or step + 1 == self.max_tokens:
                break
            if len(done) - left >= LEAVING * len(done):
                keep = (~done).nonzero().squeeze(1)
                cache.batch_select_indices(keep)
                alive, done, drawn, mask = alive[keep], done[keep], drawn[keep], mask[keep]
                temperature, keys, position = temperature[keep], keys[keep], position[keep]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            output = self.model(
                input_ids=drawn[:, None], attention_mask=mask, position_ids=position[:, None], past_key_values=cache,
                use_cache=True,
            )  # fmt: skip
            logits, position = output.logits[:, -1], position + 1
        values = total.tolist()
        check_values(values, self.source, "log-probabilities")
        return [self._answer(ids, value) for ids, value in zip(tokens, values, strict=True)]

    @torch.inference_mode()
    def next_logprobs(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Natural-log probabilities [P, V], float64, of the token that follows each prompt."""
        found = self._prefill(prompts)[0].double().log_softmax(-1)
        check_values(found.amax(1).tolist(), self.source, "log-probabilities")
        return found

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Any, Tensor]:
        """Last logits [P, V], the cache, and the mask [P, W] of prompts padded on the left."""
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        output = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
        )
        return output.logits[:, -1], output.past_key_values, mask

    def _answer(self, ids: list[int], logprob: float) -> Answer:
        ended = bool(ids) and ids[-1] in self.ends
        text = str(self.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)).strip()
        text = text.encode("utf-8", "replace").decode()
        return Answer(text, round(logprob, 6), len(ids), "stop" if ended else "length", tokens=tuple(ids))

    @torch.inference_mode()
    def as_written(self, records: Sequence[Record], sets: Sequence[Sequence[Answer]]) -> list[list[Answer]]:
        """Answers with the log-probability of their texts, where that is not the one of the tokens drawn.

        A text can be spelled in several ways, and white space at its ends is dropped; what trains on it, and scores it,
        sees the tokenizer's own spelling and the template's own ending. A thought that the template shows counts too.
        """
        out = [list(answers) for answers in sets]
        wrong: list[tuple[int, int, IntArray, BoolArray]] = []  # row, place, ids, which of them are scored
        for row, (record, answers) in enumerate(zip(records, sets, strict=True)):
            fitting = self._fitting(record)
            given = self.encoder.prompt(fitting).tolist()
            texts = [Text(a.text, not was_cut(a.finish_reason), reasoning=a.reasoning) for a in answers]
            encoded = self.encoder.encode(self.encoder.write(fitting, texts))
            for place, (ids, mask) in enumerate(zip(encoded.responses, encoded.scored, strict=True)):
                if not mask.any() or (answers[place].reasoning and self.encoder.chat is None):
                    continue  # an empty answer, or one whose thought no template shows
                end = len(mask) - int(mask[::-1].argmax())
                drawn = [*given, *(answers[place].tokens or ())]
                if [*encoded.prompt.tolist(), *ids[:end].tolist()] != drawn:
                    scored = np.concatenate([np.zeros(len(encoded.prompt), bool), mask])
                    wrong.append((row, place, np.concatenate([encoded.prompt, ids]), scored))
        for at in range(0, len(wrong), RESCORED):
            rows, places, ids_of, scored_of = zip(*wrong[at : at + RESCORED], strict=True)
            for row, place, mask, value in zip(rows, places, scored_of, self._logprobs(ids_of, scored_of), strict=True):
                count = int(mask.sum())
                out[row][place] = replace(out[row][place], logprob=round(value, 6), num_tokens=count, unscored=None)
        return out

    def _logprobs(self, ids_of: Sequence[IntArray], scored_of: Sequence[BoolArray]) -> list[float]:
        """Summed log-probability of each row's scored tokens."""
        rows = [torch.from_numpy(ids).long() for ids in ids_of]
        ids = pad_sequence(rows, batch_first=True).to(self.device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(self.device)
        scored = pad_sequence([torch.from_numpy(each) for each in scored_of], batch_first=True).to(self.device)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        token = logits.double().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        found: list[float] = token.masked_fill(~scored[:, 1:], 0.0).sum(-1).tolist()
        check_values(found, self.source, "log-probabilities")
        return found


def longest_first(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The order in which prompts are answered in batches: a lack of memory shows at once."""
    return sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))


def greedy_answers(
    model: PreTrainedModel,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int = 64,
    max_tokens: int = 48,
    progress: Progress | None = None,
) -> list[str]:
    """Greedy continuations of prompts of ids, as text; the model's mode is as before when it returns."""
    generator = Generator.over(model, encoder, max_tokens=max_tokens)
    order, texts = longest_first(prompts), [""] * len(prompts)
    training = model.training
    model.train(False)
    for batch in (order[at : at + batch_size] for at in range(0, len(order), batch_size)):
        draws = [Draw(place, (0, 0), 0.0) for place in range(len(batch))]
        tell = [progress.within(len(batch))] if progress else []
        for i, answer in zip(batch, generator.draw([prompts[i] for i in batch], draws, *tell), strict=True):
            texts[i] = answer.text
        if progress:
            progress.update(len(batch))
    model.train(training)
    return texts


def measure_elementary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Mapping[str, Any]],
    *,
    template: str = "chat",
    progress: Progress | None = None,
) -> ElementaryResult:
    """Answers questions, such as ``tuna.inference.elementary.held_out_records()``, greedily and marks the answers, as
    ``evaluate.py benchmark=elementary`` does.
    """
    encoder = Encoder(tokenizer, template)
    prompts = [encoder.prompt(record_of(record)).tolist() for record in records]
    return marked(records, greedy_answers(model, encoder, prompts, progress=progress))
