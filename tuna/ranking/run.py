"""One collection: check, estimate, collect, write. Called by rank.py with the composed config, and by tests."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from tuna.assets import MODELS, is_asset
from tuna.config.checks import untyped_model
from tuna.config.compose import untyped
from tuna.config.schema import build_all
from tuna.data.files import sha256_file, write_jsonl
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError, Faults, RunError
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices, Usage, dollars
from tuna.inference.served import Served
from tuna.inference.server import check_keys
from tuna.inference.store import Store, key_of
from tuna.judges.base import unjudged
from tuna.models.paths import locate_all
from tuna.ranking.collection import Collected, Components, Ranker
from tuna.ranking.outputs import OutputPaths, check_places, next_line, note_written
from tuna.ranking.report import describe_lists, draw
from tuna.ranking.sampler import LocalAnswerer
from tuna.ranking.settings import EMBEDDED_FILE, Settings
from tuna.runs import numbers, read_json, versions, write_json
from tuna.tracking.loggers import Loggers
from tuna.tracking.wandb_run import WandbRun, data_file, starting_model

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
    identity: dict[str, dict[str, Any]]
    places: OutputPaths
    name: str
    config: dict[str, Any]
    notes: list[str]
    tuned: "ModelConfig | None"

    def context(self, store: Store) -> Context:
        settings = self.settings
        budget = Budget(store.journal("requests"), max_cost=settings.max_cost, max_requests=settings.max_requests)
        context = Context(store, budget, self.prices, settings.seed)
        context.check_ledger(self.ranker.prices(self.parts, context))
        return context


def run(cfg: DictConfig) -> dict[str, float]:
    """Collect what ``cfg`` asks for; gives the figures that are printed. Raises TunaError for a wrong setting or input
    before anything is sent; for a server, key or budget that ends it early, once what is there has been written.
    """
    return collect(cfg)[1]


def collect(cfg: DictConfig) -> tuple[OutputPaths, dict[str, float]]:
    """The same; gives the places of output and report too."""
    job = _prepare(cfg)
    settings, places = job.settings, job.places
    _first_lines(job)
    if settings.dry_run:
        return places, _dry_run(job)
    loggers: Loggers = build_all(cfg, "logger")["logger"]
    if loggers.tensorboard or loggers.mlflow:
        raise ConfigError("logger: a collection is shown by Weights & Biases alone; next: logger=wandb, or logger=none")
    with Store(places.store) as store, _tracked_by_wandb(loggers, job) as tracked:
        store.identify(job.identity["source"], job.identity["ranking"], rerank=settings.rerank)
        context = job.context(store)
        estimate = _first_estimate(job, context)
        collected = job.ranker.collect(job.records, job.parts, context)
        figures = _write(job, context, collected, estimate)
        tracked.log_summary(figures)
        tracked.produce(lambda: data_file(str(places.output), sha256_file(places.output), figures))
        if (fault := _fault(job, context, collected)) is not None:
            raise RunError(fault)
    print(next_line(places, settings, job.ranker.kind, collected.rows, job.tuned))
    return places, figures


@contextmanager
def _tracked_by_wandb(loggers: Loggers, job: _Job) -> Iterator[WandbRun]:
    """The collection as a W&B run: with those of train.py, the whole graph: model -> ranked lists -> model."""
    from tuna.models.source import ModelConfig

    source, name = job.settings.input, job.settings.name or job.name
    place = str(job.places.output.resolve()).encode()
    run_id = f"{name}-{hashlib.sha256(place).hexdigest()[:8]}".replace("/", "-")
    tags = ["rank", type(job.ranker).__name__]
    run = loggers.start_wandb(job.places.store, name=name, run_id=run_id, job_type="rank", config=job.config, tags=tags)
    status = "failed"
    try:
        asked = [getattr(each, "model", None) for each in (job.parts, job.parts.teacher, job.parts.judge)]
        for node in [*asked, getattr(job.ranker, "reward_model", None)]:
            if isinstance(node, ModelConfig):
                run.use(lambda node=node: starting_model(node.resolve()))  # type: ignore[misc]
        if source is not None and Path(source).is_file():
            run.use(lambda: data_file(source, sha256_file(source), {}))
        yield run
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        run.finish(status)


def _prepare(cfg: DictConfig) -> _Job:
    settings = Settings.read(cfg)
    ranker: Ranker = build_all(cfg, "ranker")["ranker"]
    prices = Prices.read(cfg.prices)
    nodes = build_all(cfg, *ranker.needs(settings.score_only))
    if isinstance(nodes.get("sampler"), Served):
        nodes.pop("model", None)  # the server has its own
    _refuse_toys(cfg, settings, nodes)
    parts = Components(**nodes, seed=settings.seed, score_only=settings.score_only)
    if settings.input is None and not ranker.embedded(parts):
        raise ConfigError(
            f"input: missing; only the embedded models ({', '.join(MODELS)}) come with instructions. "
            "Next: input=FILE (JSONL, JSON, CSV or Parquet with instruction, or a hub id; docs/data.md)"
        )
    if settings.score_only and settings.input is None:
        raise ConfigError("score_only: needs input=FILE with answers (responses) to rank")
    faults = Faults()
    locate_all({**nodes, "ranker": ranker}, faults)
    with faults.kept():
        everything = settings.instructions()
    faults.check()
    index, count = settings.part
    records = everything.records[index - 1 :: count]
    if not records:
        raise ConfigError(f"shard: {settings.shard} of {len(everything.records)} instructions is empty")
    if short := [r.where for r in records if settings.score_only and len(r.responses) < 2]:
        raise DataError(
            f"{short[0]}: responses: expected two answers or more to rank (score_only), and in {len(short)} rows"
        )
    notes = list(everything.notes)
    if text := unjudged(parts.judge, records):
        if not any(parts.judge.can_judge(record) for record in records):
            raise ConfigError(f"{text}; next: judge=openai, or judge=local judge.path=<a model>")
        notes.append(f"{text}; these get no list")
    if not settings.dry_run:
        check_keys(nodes)
    source, ranking = ranker.identities(parts)
    rows = [[r.id, *r.question, [c.text for c in r.responses]] for r in everything.records]
    source["instructions"] = key_of(rows=rows)[:16]
    name = f"{source['ranker']}-{key_of(**source)[:8]}"
    places = OutputPaths.of(settings, name)
    check_places(places, settings.input, dry_run=settings.dry_run)
    plain = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    config = {key: plain[key] for key in plain if key in {*Settings.__dataclass_fields__, "ranker", *nodes}}
    identity = {"source": source, "ranking": ranking}
    tuned = _tuned(cfg, settings, parts)
    return _Job(settings, ranker, parts, prices, records, identity, places, name, config, notes, tuned)


def _refuse_toys(cfg: DictConfig, settings: Settings, nodes: Mapping[str, Any]) -> None:
    """An embedded model answers a user's own instructions only where it was asked for."""
    if settings.input is None or is_asset(settings.input):
        return
    for node, asked in (("model", "model=tiny"), ("teacher", "teacher.path=tiny_teacher")):
        if node in nodes and untyped(cfg, f"{node}.path"):
            raise ConfigError(untyped_model(f"{node}.path", f"input={settings.input}", nodes[node].path, asked))


def _tuned(cfg: DictConfig, settings: Settings, parts: Components) -> "ModelConfig | None":
    """The model that the lists are for: the one that answers, or another that was named; embedded lists have theirs."""
    if parts.model is not None:
        return cast("ModelConfig", parts.model)
    if untyped(cfg, "model.path") and not (settings.input is None or is_asset(settings.input)):
        return None
    return cast("ModelConfig", build_all(cfg, "model")["model"])


def _first_lines(job: _Job) -> None:
    settings, source, ranking = job.settings, job.identity["source"], job.identity["ranking"]
    shard = f", shard {settings.shard}" if settings.shard else ""
    shown = ("teacher", "sampler", "model", "n", "temperature", "tau", "score_only")
    print(f"instructions: {settings.input or EMBEDDED_FILE} ({len(job.records):,} rows{shard})")
    for title, values in (("answers", {key: source[key] for key in source if key in shown}), ("ranking", ranking)):
        short = {key: value[:8] if key == "model" and len(str(value)) == 64 else value for key, value in values.items()}
        short |= {key: " and ".join(map(str, value)) for key, value in values.items() if isinstance(value, list)}
        print(f"{title}: {', '.join(f'{key} {value}' for key, value in short.items() if value not in (None, False))}")
    print(f"output: {job.places.output}")
    for note in job.notes:
        print(f"note: {note}")


def _first_estimate(job: _Job, context: Context) -> dict[str, Usage]:
    """What the first run into this store expected to use, to stand beside what all runs used."""
    path = context.store.folder / "estimate.json"
    if not path.exists():
        estimate = job.ranker.estimate(job.records, job.parts, context)
        write_json(path, {who: asdict(usage) for who, usage in estimate.items()})
    return first_usage(path)


def first_usage(path: Path) -> dict[str, Usage]:
    """What an estimate.json says of whom. Raises: RunError where it is not as we write it."""
    names, found = asdict(Usage()).keys(), read_json(path)
    for who, values in found.items():
        given = values if isinstance(values, dict) and values.keys() == names else {}
        if not given or not numbers(*(value for key, value in given.items() if (key, value) != ("cost", None))):
            told = f"{path}: {who}: expected {', '.join(names)}, got {values!r:.60}"
            raise RunError(f"{told}; next: move the file away, and the same command estimates anew")
    return {who: Usage(**values) for who, values in found.items()}


def _dry_run(job: _Job) -> dict[str, float]:
    store = job.places.store
    with tempfile.TemporaryDirectory() as empty, Store(store if store.is_dir() else Path(empty)) as opened:
        context = job.context(opened)
        estimate = job.ranker.estimate(job.records, job.parts, context)
        spent = context.budget.spent
    for who, usage in estimate.items():
        print(f"to ask, {who}, at most about: {usage}")
    for who, asked in (("sampler", job.parts.sampler), ("teacher", job.parts.teacher)):
        if isinstance(asked, LocalAnswerer) and not job.settings.score_only:
            print(f"to compute here, {who}: {asked.backend.memory(job.records, asked.max_tokens, job.ranker.n)}")
    if spent:
        print(f"spent so far: {dollars(spent)}")
    people = job.prices.human(len(job.records), job.ranker.n)
    print(f"people comparing every pair of answers instead: {dollars(people)}")
    print("dry run: nothing was sent")
    total = sum(estimate.values(), Usage())
    return {"requests": total.requests, "cost": -1.0 if total.cost is None else total.cost}


def _write(job: _Job, context: Context, collected: Collected, estimate: dict[str, Usage]) -> dict[str, float]:
    """The output, what is unusable, the report; then the lines that sum up."""
    places, budget = job.places, context.budget
    write_jsonl(places.output, collected.rows, ready=lambda sha256: note_written(places, sha256))
    if collected.unusable:
        write_jsonl(places.unusable, collected.unusable)
    else:
        places.unusable.unlink(missing_ok=True)
    used = context.used(job.ranker.prices(job.parts, context))
    listed = describe_lists(collected.rows)
    index, count = job.settings.part
    counts = {"lists": len(collected.rows), "unusable": len(collected.unusable), "missing": collected.missing}
    flip_rate = collected.flips / collected.pairs if collected.pairs else None
    maybe: dict[str, Any] = {
        "dropped": collected.dropped, "failed": dict(Counter(context.failed.values())),
        "notes": [*job.notes, *context.notes],
    }  # fmt: skip
    if count > 1:
        maybe["shard"] = {"index": index, "count": count, "ids": [record.id for record in job.records]}
    report: dict[str, Any] = {
        "identity": job.identity, **counts, "coverage": dict(collected.coverage),
        "flip_rate": flip_rate, "ranking": asdict(listed),
        **{key: value for key, value in maybe.items() if value},
        "estimate": {who: asdict(usage) for who, usage in estimate.items()}, "usage": asdict(used),
        "requests_sent": budget.requests, "spent": budget.spent,
        "output_sha256": sha256_file(places.output), "config": job.config, "versions": versions(),
    }  # fmt: skip
    write_json(places.report, report)
    if collected.rows:
        draw(listed, places.figure, job.name)
    print("\n".join(listed.lines()))
    if flip_rate is not None:
        print(f"flip rate: {flip_rate:.1%} of {collected.pairs:,} pairs when the order was turned round")
    if collected.coverage["cut"] or collected.coverage["empty"]:
        of = "of {answers:,} answers, {cut:,} did not end by themselves and {empty:,} are empty"
        print(of.format_map(collected.coverage))
    if shortened := collected.coverage["shortened"]:
        print(f"{shortened:,} answers are to questions that were shortened, to fit the model's positions")
    if collected.dropped:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in collected.dropped.items())
        print(f"answers left out: {sum(collected.dropped.values()):,} ({reasons})")
    if collected.unusable:
        print(f"unusable: {len(collected.unusable)} (most often: {collected.commonest[0]}): {places.unusable}")
    if budget.requests:
        print(f"estimated: {sum(estimate.values(), Usage())}")
        spent = dollars(budget.spent)
        print(f"used, over all runs: {used}; {budget.requests:,} sent, {spent} with those that failed")
    return {**counts, "requests": budget.requests, "spent": budget.spent}


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
    reason, count = collected.commonest
    return (
        f"no list came of {len(job.records)} instructions: {reason} ({count} of them); all replies are kept in "
        f"{job.places.unusable}. Next: look there, then change what answers or ranks (another judge, teacher or model, "
        "a higher max_tokens) under another output=..."
    )
