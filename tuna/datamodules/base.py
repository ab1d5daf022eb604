"""What the datamodules share: files in, packed batches out."""

import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from tuna.data.batch import Group, PackedBatch
from tuna.data.cache import TokenCache, default_folder, locked, tokenizer_hash
from tuna.data.lists import AnswerList
from tuna.data.load import counted, load_sources, problem_text
from tuna.data.packing import Sharing
from tuna.data.parallel import Job, tokenize_all
from tuna.data.ranking import baselines, count_pairs
from tuna.data.record import Record
from tuna.data.split import by_keys, split, split_key
from tuna.datamodules.plan import HeldOutBatches, StepPlan, TrainBatches, costs
from tuna.datamodules.settings import DataSettings
from tuna.errors import ConfigError, DataError


@dataclass(slots=True)
class DataReport:
    """Counts of one datamodule. Tokens are those of kept groups, each prompt and response once."""

    # Of each: path, format, rows, rank_by, sha256, lists, weight, lists_per_epoch.
    sources: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0  # rows read, inside the ranges
    train_lists: int = 0
    held_out_lists: int = 0
    responses: int = 0  # of all kept lists, originals included
    pairs: int = 0  # pairs of different scores in training lists
    all_tied: int = 0  # kept lists without such a pair: cross-entropy only
    median_k: float = 0.0  # ranked responses per list (targets per list where nothing is ranked)
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> rows, responses or lists
    prompts_shortened: int = 0
    responses_cut: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    cache_hit: bool = False
    seconds: float = 0.0
    baselines: dict[str, Any] = field(default_factory=dict)  # held-out pair_accuracy of length-only and random
    notes: list[str] = field(default_factory=list)
    sha256: str = ""

    def lines(self) -> list[str]:
        """For printing, most needed first."""
        out = []
        for source in self.sources:
            by = f", rank_by {source['rank_by']}" if source.get("rank_by") else ""
            out.append(f"{source['path']} ({source['format']}{by}, {source['rows']} rows)")
            if source.get("weight", 1.0) != 1.0:
                mix = "{lists} lists, weight {weight:g}, {lists_per_epoch} per epoch"
                out[-1] += ": " + mix.format_map(source)
        out.append(f"lists: {self.train_lists} to train on, {self.held_out_lists} held out, median K {self.median_k:g}")
        if self.pairs or self.all_tied:
            out.append(f"pairs: {self.pairs}; lists without one: {self.all_tied} (cross-entropy only)")
        out.append(
            f"tokens: {self.prompt_tokens} prompt, {self.response_tokens} response; prompts shortened: "
            f"{self.prompts_shortened}, responses cut: {self.responses_cut}"
        )
        if self.dropped:
            out.append("dropped: " + counted(self.dropped))
        for name, interval in self.baselines.items():
            shown = f"{interval['mean']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
            out.append(f"held-out pair_accuracy, {name}: {shown} over {interval['lists']} lists")
        out.append(f"tokenized in {self.seconds:.1f} s{' (from the cache)' if self.cache_hit else ''}")
        return out + [f"note: {note}" for note in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """For run.json."""
        return {**asdict(self), "dropped": dict(self.dropped)}


class RecordDataModule(DataSettings, LightningDataModule):
    """Reads records, makes groups and deals them out. Call ``prepare`` before anything else.

    start_step: the optimizer step that train_dataloader begins with; set it to resume.
    """

    report: DataReport
    steps_per_epoch: int
    total_steps: int
    accumulate: int  # micro-steps per step
    sha256: str
    ends: frozenset[int]  # ids that end an answer
    train_records: list[Record]
    val_records: list[Record]
    train_groups: list[Group]
    train_sources: list[int]  # of each train group, which of all_sources it is of
    val_groups: list[Group]

    def __post_init__(self) -> None:
        LightningDataModule.__init__(self)
        super().__post_init__()
        self.start_step = 0
        self._plan: StepPlan | None = None
        self._rank = 0
        self.sharing = Sharing(self.share_prefix)

    def prepare(
        self,
        tokenizer: object,
        *,
        max_positions: int | None,
        world_size: int = 1,
        rank: int = 0,
        accumulate: int | None = None,
        micro_tokens: int = 2048,
        padded: bool = False,
        epochs: int = 1,
        seed: int = 0,
        on_gpu: bool = False,
    ) -> DataReport:
        """Read, check and tokenize everything; before weights load, which takes longer. Returns what was counted.

        max_positions: the most tokens that the model has positions for; None: no limit. accumulate: micro-steps per
        step; None: as few as keep a process's share of each within ``micro_tokens`` tokens. padded: whether the scorer
        computes each response in a padded row of its own, prompt and all. on_gpu: where batches go. Raises: ConfigError
        where there is no path, ``max_length`` is above max_positions, or batch_size does not fit the processes;
        DataError for files that cannot be read, malformed rows, and where no list (or no pair) is left; ModelError for
        the tokenizer.
        """
        self.to_read()  # a path, before anything else
        if max_positions is not None and self.max_length > max_positions:
            raise ConfigError(
                f"datamodule.max_length: expected at most {max_positions} (the model's positions), "
                f"got {self.max_length}"
            )
        StepPlan((), self.batch_size, accumulate or 1, world_size)  # its check, before the reading
        self.report = DataReport()
        train, held_out = self._read()
        self._tokenize(tokenizer, train, held_out)
        paths = ", ".join(source.path for source in self.all_sources)
        reasons = counted(self.report.dropped)
        if not self.train_groups:
            raise DataError(f"{paths}: no list is left to train on ({reasons or 'all are held out'})")
        if self.ranked and not any(count_pairs(group.scores) for group in self.train_groups):
            raise DataError(
                f"{paths}: no list has two answers with different scores, so there is nothing to rank"
                f"{reasons and f' ({reasons})'}; next: the same command with stage=sft, which needs no ranking"
            )
        mix = self.train_sources, [source.weight for source in self.all_sources]
        self._padded, self._micro_tokens, self._rank = padded, micro_tokens, rank
        self.sharing = Sharing(self.share_prefix, on_gpu)
        lengths = costs(self.train_groups, padded)
        plan = StepPlan(lengths, self.batch_size, accumulate or 1, world_size, epochs, seed, *mix)
        self._plan = plan if accumulate else plan.within(micro_tokens)
        self.accumulate = self._plan.accumulate
        self.steps_per_epoch, self.total_steps = self._plan.steps_per_epoch, self._plan.total_steps
        self._describe()
        return self.report

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        """This process's micro-batches of optimizer steps ``start_step`` to the last, all epochs in one pass."""
        plan = self._ready()
        rows = self.row_tokens, self.start_step, self.sharing
        return self._loader(TrainBatches(self.train_groups, plan, self._rank, *rows))

    def val_dataloader(self) -> DataLoader[PackedBatch] | list[Any]:
        """This process's share of the held-out groups; an empty list when nothing is held out."""
        return self._loader(self._held_out()) if self.val_groups else []

    def heaviest(self, steps: int, micro_tokens: int | None = None) -> PackedBatch:
        """This process's micro-batch with most tokens among the first ``steps``, as of another budget where given."""
        plan = self._ready()
        plan = plan if micro_tokens is None else replace(plan, tokens=None, accumulate=1).within(micro_tokens)
        step, micro = plan.heaviest(self._rank, steps)
        rows = self.row_tokens, 0, self.sharing
        return TrainBatches(self.train_groups, plan, self._rank, *rows)[step * plan.accumulate + micro]

    def records_at(self, step: int) -> list[list[Record]]:
        """This process's records of each micro-step of optimizer step ``step`` (from 0), as their groups stand."""
        plan = self._ready()
        shares = [plan.share(step, micro, self._rank) for micro in range(plan.accumulate)]
        return [[self.train_records[i] for i in share.groups] for share in shares]

    def held_out_records(self) -> list[list[Record]]:
        """This process's records of each batch of ``val_dataloader``, as their groups stand."""
        return [[self.val_records[i] for i in share.groups] for share in self._held_out().shares]

    def _held_out(self) -> HeldOutBatches:
        world_size = self._ready().world_size
        return HeldOutBatches(
            self.val_groups, self._micro_tokens, world_size, self._rank, self.row_tokens, self.sharing,
            padded=self._padded,
        )  # fmt: skip

    def _ready(self) -> StepPlan:
        if self._plan is None:
            raise RuntimeError("call prepare(tokenizer, ...) before asking for batches")
        return self._plan

    def _loader(self, dataset: TrainBatches | HeldOutBatches) -> DataLoader[PackedBatch]:
        # batch_size=None: an item is a batch already. Pinned, so that the copy to a GPU is not waited for.
        pinned = self.sharing.on_gpu
        return DataLoader(dataset, batch_size=None, shuffle=False, num_workers=self.num_workers, pin_memory=pinned)

    def _read(self) -> tuple[list[AnswerList], list[AnswerList]]:
        report = self.report
        loaded = load_sources(self.to_read(), self.bad_rows)
        for part in loaded:
            report.rows += part.rows
            report.dropped.update(part.reasons)
            report.notes += part.notes
            source = {"path": part.source.path, "format": part.format, "rows": part.rows}
            report.sources.append(source | {"rank_by": part.source.rank_by, "sha256": part.sha256})
        made = [self.lists_of(part, report.dropped) for part in loaded[: len(self.all_sources)]]
        lists = [item for part in made for item in part]
        origins = [n for n, part in enumerate(made) for _ in part]
        keys = [split_key(item.record) for item in lists]
        if self.val_path is not None:
            held_out = self.lists_of(loaded[-1], report.dropped)
            chosen, both = by_keys(keys, {split_key(item.record) for item in held_out})
            report.dropped += Counter({"list that val_path holds too": len(both)})
        else:
            chosen, others = split(keys, self.held_out)
            held_out = [lists[i] for i in others]
            if lists and not chosen:
                raise ConfigError(
                    f"datamodule.held_out: expected less than the {len(lists)} lists there are, got {self.held_out}"
                )
        self.train_sources = [origins[i] for i in chosen]  # until tokenizing drops some
        return self.trained([lists[i] for i in chosen], report.dropped), held_out

    def _tokenize(self, tokenizer: object, train: list[AnswerList], held_out: list[AnswerList]) -> None:
        report = self.report
        begin = time.perf_counter()
        path = self.cache_path(tokenizer_hash(tokenizer)[:16])
        lists = [*train, *held_out]
        with locked(path):
            cache = TokenCache(path)
            job = Job(tokenizer, self.template, self.template_args, self.max_length, self.ranked, self.turns)
            encoder = job.encoder(cache)
            groups, counts = tokenize_all(lists, job, encoder)
            cache.save()
        if counts.problems and self.bad_rows != "drop":
            raise DataError(problem_text(counts.problems, ", or datamodule.bad_rows=drop"))
        self.ends = encoder.ends
        report.notes += counts.told()
        report.cache_hit = counts.new_texts == 0
        report.seconds = time.perf_counter() - begin
        report.prompts_shortened, report.responses_cut = counts.shortened, counts.cut
        report.dropped.update(counts.dropped)
        border = len(train)
        self.train_groups = [group for index, group in groups if index < border]
        self.val_groups = [group for index, group in groups if index >= border]
        self.train_sources = [self.train_sources[index] for index, _ in groups if index < border]
        self.train_records = [lists[index].record for index, _ in groups if index < border]
        self.val_records = [lists[index].record for index, _ in groups if index >= border]

    def cache_path(self, name: str) -> Path:
        """A file of the token cache that is of this data and of ``name``."""
        folder = default_folder() if self.cache_dir is None else Path(self.cache_dir).expanduser()
        data = hashlib.sha256("".join(source["sha256"] for source in self.report.sources).encode()).hexdigest()
        return folder / f"{data[:16]}-{name}.npz"

    def _describe(self) -> None:
        report, groups = self.report, [*self.train_groups, *self.val_groups]
        report.train_lists, report.held_out_lists = len(self.train_groups), len(self.val_groups)
        report.prompt_tokens = sum(len(group.prompt) for group in groups)
        report.response_tokens = sum(group.num_tokens for group in groups) - report.prompt_tokens
        report.responses = sum(len(group.responses) for group in groups)
        sizes = [sum(s == s for s in group.scores) or sum(group.targets) for group in groups]
        report.median_k = float(statistics.median(sizes))
        ranked = [group for group in groups if any(s == s for s in group.scores)]
        report.all_tied = sum(count_pairs(group.scores) == 0 for group in ranked)
        report.pairs = sum(count_pairs(group.scores) for group in self.train_groups)
        if any(count_pairs(group.scores) for group in self.val_groups):
            report.baselines = {name: interval.to_dict() for name, interval in baselines(self.val_groups).items()}
        targets = sum(sum(group.targets) for group in self.train_groups)
        if not self.ranked and targets > report.train_lists:
            report.notes.append(
                f"{targets / report.train_lists:.1f} answers per list: a step of {self.batch_size} lists is of "
                f"{self.batch_size * targets / report.train_lists:.0f} answers; datamodule.targets=each makes every "
                "answer a list of its own, with as many more steps"
            )
        plan = self._ready()
        for n, (per_epoch, weight) in enumerate(zip(plan.per_epoch, plan.weights, strict=True)):
            report.sources[n] |= {"lists": self.train_sources.count(n), "weight": weight, "lists_per_epoch": per_epoch}
        # Where all weights are 1 the order hangs on no source.
        mix = [] if set(plan.weights) == {1.0} else [v for n in self.train_sources for v in (n, plan.weights[n])]
        report.sha256 = self.sha256 = _hash(self.train_groups, self.val_groups, mix)


def _hash(train: Sequence[Group], held_out: Sequence[Group], mix: Sequence[float]) -> str:
    """A hash of all in the data that the weights depend on: ids, scores, targets, order, mix, what is held out."""
    digest = hashlib.sha256(np.array(mix, np.float64).tobytes())
    for groups in (train, held_out):
        digest.update(np.array([len(groups)]).tobytes())
        for group in groups:
            parts = (group.prompt, *group.responses)
            digest.update(np.array([len(part) for part in parts], np.int64).tobytes())
            digest.update(np.concatenate(parts).tobytes())
            digest.update(np.array(group.scores, np.float64).tobytes() + bytes(group.targets))
            if not all(mask.all() for mask in group.masks):
                digest.update(np.concatenate(group.masks).tobytes())
    return digest.hexdigest()
