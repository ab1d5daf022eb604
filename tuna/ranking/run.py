"""One collection: check, estimate, collect, write. Called by rank.py with the composed config, and by tests."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.config.build import build_all
from tuna.config.scale import EMBEDDED
from tuna.data.files import sha256_file, write_jsonl
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError, RunError
from tuna.ranking.collection import Collected, Parts, Ranker
from tuna.ranking.context import Context, used
from tuna.ranking.cost import Budget, Prices, Usage, dollars
from tuna.ranking.instructions import EMBEDDED_FILE, Shard, read_instructions
from tuna.ranking.report import describe_lists, draw
from tuna.ranking.server import check_keys
from tuna.ranking.settings import Places, Settings
from tuna.ranking.store import Store, key_of
from tuna.ranking.watched import watched
from tuna.runs import read_json, versions, write_json


@dataclass
class _Job:
    """A collection, checked."""

    settings: Settings
    ranker: Ranker
    parts: Parts
    prices: Prices
    records: list[Record]
    identity: dict[str, Any]
    places: Places
    name: str
    config: dict[str, Any]


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
        tell(figures, context.stopped is None)
    if context.stopped is not None:
        raise RunError(
            f"{context.stopped}\n{collected.missing} of {len(job.records)} instructions are missing in "
            f"{job.places.output}; the same command (with a larger budget, if that was it) asks for these alone"
        )
    return figures


def _watched(cfg: DictConfig, job: _Job) -> AbstractContextManager[Callable[[dict[str, float], bool], None]]:
    """Weights & Biases, where ``logger`` asks for it."""
    return watched(
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
    parts = Parts(**nodes, seed=settings.seed, score_only=settings.score_only)
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
    records = Shard.parse(settings.shard).take(everything)
    if not records:
        raise ConfigError(f"shard: {settings.shard} of {len(everything)} instructions is empty")
    if settings.score_only:
        _check_answers(records)
    if not settings.dry_run:
        check_keys(nodes)
    source, ranking = ranker.identities(parts)
    source = {**source, "instructions": _instructions_hash(everything)}
    name = f"{source['ranker']}-{key_of(**source)[:8]}"
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    used_nodes = {*Settings.__dataclass_fields__, "ranker", *nodes}
    config = {str(key): value for key, value in plain.items() if key in used_nodes}
    identity = {"source": source, "ranking": ranking}
    return _Job(settings, ranker, parts, prices, records, identity, Places.of(settings, name), name, config)


def _instructions_hash(records: Sequence[Record]) -> str:
    return key_of(rows=[[r.id, *r.question, [c.text for c in r.responses]] for r in records])[:16]


def _check_answers(records: Sequence[Record]) -> None:
    short = [r.where for r in records if len(r.responses) < 2]
    if short:
        raise DataError(
            f"{short[0]}: responses: expected two answers or more to rank (score_only), and in {len(short)} rows"
        )


def _context(job: _Job, store: Store) -> Context:
    budget = Budget(store.journal("requests"), max_cost=job.settings.max_cost, max_requests=job.settings.max_requests)
    return Context(store, budget, job.prices, job.settings.seed)


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
    write_jsonl(places.output, collected.rows)
    if collected.unusable:
        write_jsonl(places.unusable, collected.unusable)
    else:
        places.unusable.unlink(missing_ok=True)
    real = Usage()
    for journal, price in job.ranker.prices(job.parts, context).items():
        if context.store.folder.joinpath(f"{journal}.jsonl").exists():
            real = real + used((line for line in context.store.journal(journal) if "usage" in line), price)
    listed = describe_lists(collected.rows)
    shard = Shard.parse(job.settings.shard)
    flip_rate = collected.flips / collected.pairs if collected.pairs else None
    report = {
        "identity": job.identity, "lists": len(collected.rows), "unusable": len(collected.unusable),
        "missing": collected.missing, "flip_rate": flip_rate, "ranking": listed.to_dict(),
        **({"dropped": collected.dropped} if collected.dropped else {}),
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
    if context.stopped is None:
        stage = "tuna_p" if job.identity["source"]["ranker"] == "probabilistic" else "tuna_c"
        print(f"next: python train.py stage={stage} datamodule.path={job.places.output}")
