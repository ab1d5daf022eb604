"""One collection: check, estimate, collect, write. Called by rank.py with the composed config, and by tests."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from tuna.config.build import build_all
from tuna.config.checks import untyped_model
from tuna.config.scale import EMBEDDED, is_asset, untyped
from tuna.data.files import sha256_file, write_jsonl
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError, RunError
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices, Usage, dollars
from tuna.inference.server import check_keys
from tuna.inference.store import Store, key_of
from tuna.judges.base import unjudged
from tuna.ranking.collection import Collected, Components, Ranker
from tuna.ranking.instructions import EMBEDDED_FILE, Shard, read_instructions
from tuna.ranking.next_line import next_line
from tuna.ranking.outputs import check_places, note_written
from tuna.ranking.report import describe_lists, draw
from tuna.ranking.settings import OutputPaths, Settings
from tuna.runs import read_json, versions, write_json
from tuna.tracking.collection import tracked_by_wandb

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class _Job:
    """A collection, checked."""

    settings: Settings
    ranker: Ranker
    parts: Components
    prices: Prices
    records: list[Record]
    identity: dict[str, Any]
    places: OutputPaths
    name: str
    config: dict[str, Any]
    notes: list[str]
    tuned: "ModelConfig | None"  # whose answers are ranked, or that was typed: None where nobody can know


def run(cfg: DictConfig) -> dict[str, float]:
    """Collect what ``cfg`` asks for; gives the figures that are printed.

    Raises:
        TunaError: a wrong setting or input, before anything is sent; a server, key or budget that ends the collection
            early, after what is there has been written.
    """
    job = _prepare(cfg)
    _first_lines(job)
    if job.settings.dry_run:
        return _dry_run(job)
    with Store(job.places.store) as store, _watched(cfg, job) as tell:
        store.identify(job.identity["source"], job.identity["ranking"], rerank=job.settings.rerank)
        context = _context(job, store)
        estimate = _first_estimate(job, context)
        collected = job.ranker.collect(job.records, job.parts, context)
        figures = _write(job, context, collected, estimate)
        fault = _fault(job, context, collected)
        tell(figures, fault is None)
    if fault is not None:
        raise RunError(fault)
    print(next_line(job.places, job.settings, job.identity["source"]["ranker"], collected.rows, job.tuned))
    return figures


def _fault(job: _Job, context: Context, collected: Collected) -> str | None:
    """Why this is no success: something is still to be asked, or there is no list at all."""
    left = context.unfinished
    if left is not None or collected.missing:
        return (
            f"{left or 'the run ended early'}\n{collected.missing} of {len(job.records)} instructions are missing in "
            f"{job.places.output}; the same command (with a larger budget, if that was it) asks for these alone"
        )
    if collected.rows:
        return None
    reason, count = Counter(str(row["reason"]) for row in collected.unusable).most_common(1)[0]
    return (
        f"no list came of {len(job.records)} instructions: {reason} ({count} of them); all replies are kept in "
        f"{job.places.unusable}. Next: look there, then change what answers or ranks (another judge, teacher or model, "
        "a higher max_tokens) under another output=..."
    )


def _watched(cfg: DictConfig, job: _Job) -> AbstractContextManager[Callable[[dict[str, float], bool], None]]:
    """Weights & Biases, where ``logger`` asks for it."""
    return tracked_by_wandb(
        build_all(cfg, "logger")["logger"],
        places=job.places,
        name=job.settings.name or job.name,
        config=job.config,
        ranker=job.ranker,
        parts=job.parts,
        source=job.settings.input,
    )


def _prepare(cfg: DictConfig) -> _Job:
    settings = Settings.read(cfg)
    ranker: Ranker = build_all(cfg, "ranker")["ranker"]
    prices = Prices.read(cfg.prices)
    nodes = build_all(cfg, *ranker.needs(settings.score_only))
    if "sampler" in nodes and not nodes["sampler"].needs_model:
        nodes.pop("model", None)  # the server has its own
    _refuse_toys(cfg, settings, nodes)
    parts = Components(**nodes, seed=settings.seed, score_only=settings.score_only)
    if settings.input is None and not ranker.embedded(parts):
        raise ConfigError(
            f"input: missing; only the embedded models ({', '.join(EMBEDDED)}) come with instructions. "
            "Next: input=FILE (JSONL, JSON, CSV or Parquet with instruction, or a hub id; docs/data.md)"
        )
    if settings.score_only and settings.input is None:
        raise ConfigError("score_only: needs input=FILE with answers (responses) to rank")
    everything = read_instructions(
        settings.input,
        first=settings.first,
        last=settings.last,
        split=settings.input_split,
        subset=settings.input_subset,
        columns=settings.input_columns,
    )
    records = Shard.parse(settings.shard).take(everything.records)
    if not records:
        raise ConfigError(f"shard: {settings.shard} of {len(everything.records)} instructions is empty")
    if settings.score_only:
        _check_answers(records)
    notes = [*everything.notes, *_check_judge(parts.judge, records)]
    if not settings.dry_run:
        check_keys(nodes)
    source, ranking = ranker.identities(parts)
    source = {**source, "instructions": _instructions_hash(everything.records)}
    name = f"{source['ranker']}-{key_of(**source)[:8]}"
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    used_nodes = {*Settings.__dataclass_fields__, "ranker", *nodes}
    config = {str(key): value for key, value in plain.items() if key in used_nodes}
    identity = {"source": source, "ranking": ranking}
    places = OutputPaths.of(settings, name)
    check_places(places, settings.input, dry_run=settings.dry_run)
    return _Job(
        settings, ranker, parts, prices, records, identity, places, name, config, notes,
        _tuned(cfg, settings, parts),
    )  # fmt: skip


def _refuse_toys(cfg: DictConfig, settings: Settings, nodes: Mapping[str, Any]) -> None:
    """An embedded model answers a user's own instructions only where it was asked for."""
    if settings.input is None or is_asset(settings.input):
        return
    for node, asked in (("model", "model=tiny"), ("teacher", "teacher.path=tiny_teacher")):
        if node in nodes and untyped(cfg, f"{node}.path"):
            path = f"{node}.path"
            raise ConfigError(untyped_model(path, f"input={settings.input}", nodes[node].path, asked))


def _tuned(cfg: DictConfig, settings: Settings, parts: Components) -> "ModelConfig | None":
    """The model that the lists are for: the one that answers, or another that was named; embedded lists have theirs."""
    if parts.model is not None:
        return cast("ModelConfig", parts.model)
    if untyped(cfg, "model.path") and not (settings.input is None or is_asset(settings.input)):
        return None
    return cast("ModelConfig", build_all(cfg, "model")["model"])


def _instructions_hash(records: Sequence[Record]) -> str:
    return key_of(rows=[[r.id, *r.question, [c.text for c in r.responses]] for r in records])[:16]


def _check_answers(records: Sequence[Record]) -> None:
    short = [r.where for r in records if len(r.responses) < 2]
    if short:
        raise DataError(
            f"{short[0]}: responses: expected two answers or more to rank (score_only), and in {len(short)} rows"
        )


def _check_judge(judge: Any, records: Sequence[Record]) -> list[str]:
    """What is to be noted of the questions that the judge cannot judge; none of them is nothing to begin with."""
    text = unjudged(judge, records)
    if text and not any(judge.can_judge(record) for record in records):
        raise ConfigError(f"{text}; next: judge=openai, or judge=local judge.path=<a model>")
    return [f"{text}; these get no list"] if text else []


def _context(job: _Job, store: Store) -> Context:
    budget = Budget(store.journal("requests"), max_cost=job.settings.max_cost, max_requests=job.settings.max_requests)
    context = Context(store, budget, job.prices, job.settings.seed)
    context.check_ledger(job.ranker.prices(job.parts, context))
    return context


def _first_lines(job: _Job) -> None:
    settings, source = job.settings, job.identity["source"]
    shard = f", shard {settings.shard}" if settings.shard else ""
    what = {
        k: v for k, v in source.items() if k in ("teacher", "sampler", "model", "n", "temperature", "tau", "score_only")
    }
    print(f"instructions: {settings.input or EMBEDDED_FILE} ({len(job.records):,} rows{shard})")
    print(f"answers: {_told(what)}")
    print(f"ranking: {_told(job.identity['ranking'])}")
    print(f"output: {job.places.output}")
    for note in job.notes:
        print(f"note: {note}")


def _told(settings: dict[str, Any]) -> str:
    """Settings on one line; a model's fingerprint by its first eight letters."""
    short = {key: value[:8] if key == "model" and len(str(value)) == 64 else value for key, value in settings.items()}
    return ", ".join(f"{key} {value}" for key, value in short.items() if value not in (None, False))


def _estimate(job: _Job, context: Context) -> dict[str, Usage]:
    return dict(job.ranker.estimate(job.records, job.parts, context))


def _first_estimate(job: _Job, context: Context) -> dict[str, Usage]:
    """What the first run into this store expected to use, to stand beside what all runs used."""
    path = context.store.folder / "estimate.json"
    if not path.exists():
        write_json(path, {who: usage.to_dict() for who, usage in _estimate(job, context).items()})
    return {who: Usage(**values) for who, values in read_json(path).items()}


def _dry_run(job: _Job) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as empty:
        folder = job.places.store if job.places.store.is_dir() else Path(empty)
        with Store(folder) as store:
            context = _context(job, store)
            estimate = _estimate(job, context)
            spent = context.budget.spent
    total = Usage()
    for who, usage in estimate.items():
        print(f"to ask, {who}, at most about: {usage}")
        total = total + usage
    if spent:
        print(f"spent so far: {dollars(spent)}")
    answers = int(getattr(job.ranker, "n", 4))
    print(f"people comparing every pair of answers instead: {dollars(job.prices.human(len(job.records), answers))}")
    print("dry run: nothing was sent")
    return {"requests": total.requests, "cost": -1.0 if total.cost is None else total.cost}


def _write(job: _Job, context: Context, collected: Collected, estimate: dict[str, Usage]) -> dict[str, float]:
    """The output, what is unusable, the report; then the lines that sum up."""
    places = job.places
    write_jsonl(places.output, collected.rows, ready=lambda sha256: note_written(places, sha256))
    if collected.unusable:
        write_jsonl(places.unusable, collected.unusable)
    else:
        places.unusable.unlink(missing_ok=True)
    real = context.used(job.ranker.prices(job.parts, context))
    listed = describe_lists(collected.rows)
    shard = Shard.parse(job.settings.shard)
    flip_rate = collected.flips / collected.pairs if collected.pairs else None
    report = {
        "identity": job.identity, "lists": len(collected.rows), "unusable": len(collected.unusable),
        "missing": collected.missing, "flip_rate": flip_rate, "ranking": listed.to_dict(),
        **({"dropped": collected.dropped} if collected.dropped else {}),
        **({"failed": dict(Counter(context.failed.values()))} if context.failed else {}),
        **({"notes": [*job.notes, *context.notes]} if job.notes or context.notes else {}),
        "estimate": {who: usage.to_dict() for who, usage in estimate.items()}, "usage": real.to_dict(),
        "requests_sent": context.budget.requests, "spent": context.budget.spent,
        "output_sha256": sha256_file(places.output), "config": job.config, "versions": versions(),
    }  # fmt: skip
    if shard.count > 1:
        report["shard"] = {"index": shard.index, "count": shard.count, "ids": [record.id for record in job.records]}
    write_json(places.report, report)
    if collected.rows:
        draw(listed, places.figure, job.name)
    for line in listed.lines():
        print(line)
    _last_lines(job, context, collected, estimate, real, flip_rate)
    return {
        "lists": len(collected.rows), "unusable": len(collected.unusable), "missing": collected.missing,
        "requests": context.budget.requests, "spent": context.budget.spent,
    }  # fmt: skip


def _last_lines(
    job: _Job, context: Context, collected: Collected, estimate: dict[str, Usage], real: Usage, flip_rate: float | None
) -> None:
    if flip_rate is not None:
        print(f"flip rate: {flip_rate:.1%} of {collected.pairs:,} pairs when the order was turned round")
    if collected.dropped:
        counts = ", ".join(f"{reason}: {count:,}" for reason, count in collected.dropped.items())
        print(f"answers left out: {sum(collected.dropped.values()):,} ({counts})")
    if collected.unusable:
        reasons = [str(row["reason"]) for row in collected.unusable]
        common = max(set(reasons), key=reasons.count)
        print(f"unusable: {len(reasons)} (most often: {common}): {job.places.unusable}")
    if context.budget.requests:
        total = sum((usage for usage in estimate.values()), Usage())
        print(f"estimated: {total}")
        print(
            f"used, over all runs: {real}; {context.budget.requests:,} sent, "
            f"{dollars(context.budget.spent)} with those that failed"
        )
