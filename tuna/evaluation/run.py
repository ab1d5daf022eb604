"""One measurement: check, ask, score, write. Called by evaluate.py with the composed config, and by tests."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.config.build import build_all
from tuna.config.checks import untyped_model
from tuna.config.scale import is_asset, untyped
from tuna.data.files import write_jsonl
from tuna.errors import ConfigError, RunError
from tuna.evaluation.base import Benchmark, Result
from tuna.evaluation.desk import Desk
from tuna.evaluation.given import GivenAnswers, read_answers
from tuna.evaluation.results import SCHEMA_VERSION, lines_of, model_name, run_of
from tuna.evaluation.settings import Settings
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices, Usage, dollars
from tuna.inference.server import check_keys
from tuna.inference.store import Store, key_of
from tuna.judges.base import unjudged
from tuna.runs import check_writable, read_json, versions, write_json

_QUESTIONS = ("path", "questions", "root")  # keys of benchmarks that name a user's own


@dataclass
class _Job:
    """A measurement, checked."""

    settings: Settings
    benchmark: Benchmark
    model: Any
    generation: Any
    given: GivenAnswers | None
    nodes: dict[str, Any]
    prices: Prices
    measured: dict[str, Any]
    shaped_by: dict[str, Any]
    folder: Path
    config: dict[str, Any]

    def desk(self, store: Store) -> Desk:
        settings = self.settings
        budget = Budget(store.journal("requests"), max_cost=settings.max_cost, max_requests=settings.max_requests)
        context = Context(store, budget, self.prices, settings.seed)
        asked = [("answers", self.generation), ("verdicts", self.nodes.get("judge"))]
        priced = {name: node.price_in(self.prices) for name, node in asked if hasattr(node, "price_in")}
        context.check_ledger(priced)
        return Desk(
            self.model, self.generation, self.given, self.nodes, context, limit=settings.limit, seed=settings.seed
        )


def run(cfg: DictConfig) -> dict[str, float | None]:
    """Measure what ``cfg`` asks for; gives the scores.

    Raises:
        TunaError: a wrong setting or file, before any weights load; a server, key or budget that ends it early, after
            what is there has been written.
    """
    job = _prepare(cfg)
    for line in _first_lines(job):
        print(line)
    if job.settings.dry_run:
        return _dry_run(job)
    written = read_json(job.folder / "results.json", {"status": str, "started": str, "scores": dict, "coverage": dict})
    if written.get("status") == "finished" and not _is_nothing(written):
        print("measured already; these are its results")
        return _show_again(job, written)
    with Store(job.folder / "store") as store:
        start = {"schema_version": SCHEMA_VERSION, "benchmark": job.benchmark.name, "model": job.measured}
        started = written.get("started") or datetime.now().isoformat(timespec="seconds")
        if not written:
            write_json(job.folder / "results.json", {**start, "status": "running", "started": started})
        desk = job.desk(store)
        result = job.benchmark.measure(desk)
        results = {**start, **_results(job, desk, result), "started": started}
        write_jsonl(job.folder / "examples.jsonl", map(desk.told, result.examples))
        write_json(job.folder / "results.json", results)
    scores = _show(job, results)
    if desk.context.unfinished is not None:
        raise RunError(
            f"{desk.context.unfinished}\n{len(result.missing)} of {result.expected} are missing; the same command "
            "(with a larger budget, if that was it) asks for these alone"
        )
    if _is_nothing(results):
        raise RunError(
            f"none of {result.expected} questions has an answer and a verdict that count, so nothing was measured "
            f"({'; '.join(results['notes'][:2]) or 'see examples.jsonl'}). Next: look into "
            f"{job.folder}/examples.jsonl, then change what answers or judges"
        )
    return scores


def _is_nothing(results: Mapping[str, Any]) -> bool:
    coverage = results.get("coverage", {})
    return bool(coverage.get("N")) and coverage.get("n") == 0


def _prepare(cfg: DictConfig) -> _Job:
    settings = Settings.read(cfg)
    check_writable(Path(settings.folder), "folder")
    benchmark: Benchmark = build_all(cfg, "benchmark")["benchmark"]
    needed = benchmark.needs()
    built = build_all(cfg, *(("model", "generation") if benchmark.uses_model() else ()), *needed)
    nodes = {key: built[key] for key in needed}
    given = read_answers(settings.answers) if settings.answers else None
    if given is None and "model" in built and built["generation"].kind == "local":
        _refuse_toys(cfg, built["model"].path)
    benchmark.prepare(settings.limit)
    benchmark.check(given, built.get("generation"))
    if text := unjudged(nodes.get("judge"), benchmark.judged()):
        raise ConfigError(f"{text}; next: judge=openai, or judge=local judge.path=<a model>")
    if not settings.dry_run:
        check_keys({**nodes, **({} if given else {"generation": built.get("generation")})})
    measured, shaped_by = _identities(settings, benchmark, built, given)
    place = f"{measured['name']}-{measured['fingerprint'][:8]}-{key_of(**shaped_by)[:8]}"
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    used = {*Settings.__dataclass_fields__, "benchmark", *built}
    config = {str(key): value for key, value in plain.items() if key in used}
    prices = Prices.read(cfg.prices)
    folder = Path(settings.folder) / benchmark.name / place
    return _Job(
        settings, benchmark, built.get("model"), built.get("generation"), given, nodes, prices, measured, shaped_by,
        folder, config,
    )  # fmt: skip


def _refuse_toys(cfg: DictConfig, embedded: str) -> None:
    """The embedded model is measured on a user's own questions only where it was asked for."""
    own = [key for key in _QUESTIONS if (path := cfg.benchmark.get(key)) is not None and not is_asset(path)]
    if own and untyped(cfg, "model.path"):
        raise ConfigError(
            untyped_model("model.path", f"benchmark.{own[0]}={cfg.benchmark[own[0]]}", embedded, "model=tiny")
        )


def _identities(
    settings: Settings, benchmark: Benchmark, built: dict[str, Any], given: GivenAnswers | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is measured, and what shapes its figures."""
    shaped_by: dict[str, Any] = {"benchmark": benchmark.identity(), "limit": settings.limit, "seed": settings.seed}
    shaped_by |= {key: node.identity() for key, node in built.items() if key not in ("model", "generation")}
    run = None
    if not benchmark.uses_model():
        kind, name, source = "none", benchmark.name, benchmark.name
        fingerprint = key_of(**shaped_by)
    elif given is not None:
        kind, name, source, fingerprint = "answers", Path(given.path).stem, given.path, given.sha256
        if built["generation"].reasoning == "keep":
            shaped_by["reasoning"] = "keep"
    else:
        model, generation = built["model"], built["generation"]
        kind = generation.kind
        name, source, fingerprint = generation.measured(model)
        if kind == "local":  # then it is the model's path
            name = model_name(name)
        shaped_by["generation"] = {**model.shaped_by, **generation.identity()}
        run = run_of(model.path) if kind == "local" else None
    measured = {
        "name": settings.label or name, "source": source, "fingerprint": fingerprint, "kind": kind,
        "run": str(run) if run else None,
    }  # fmt: skip
    return measured, shaped_by


def _first_lines(job: _Job) -> list[str]:
    limit = f", limit {job.settings.limit}" if job.settings.limit else ""
    return [
        f"benchmark  {job.benchmark.name}{limit}",
        f"measured   {job.measured['name']} ({job.measured['source']})",
        f"results    {job.folder}",
    ]


def _dry_run(job: _Job) -> dict[str, float | None]:
    with tempfile.TemporaryDirectory() as empty:
        there = (job.folder / "store").is_dir()
        with Store(job.folder / "store" if there else Path(empty)) as store:
            estimate = job.benchmark.estimate(job.desk(store))
    total = Usage()
    for who, usage in estimate.items():
        print(f"to ask, {who}, at most about: {usage}")
        total = total + usage
    print("dry run: nothing was sent")
    return {"requests": float(total.requests), "cost": total.cost}


def _results(job: _Job, desk: Desk, result: Result) -> dict[str, Any]:
    unsettled = result.unsettled + desk.unanswered
    coverage = _coverage(result, desk)
    incomplete = unsettled > 0 or desk.context.unfinished is not None or _is_nothing({"coverage": coverage})
    notes = [*result.notes, *desk.notes, *desk.context.notes]
    if unsettled:
        notes.append(f"{unsettled} have no answer or verdict that can be read; the same command asks again")
    if job.settings.limit:
        notes.append(f"a quick look: limit={job.settings.limit}")
    if desk.context.budget.requests:
        notes.append(f"{desk.context.budget.requests:,} requests sent, {dollars(desk.context.budget.spent)}")
    return {
        "status": "incomplete" if incomplete else "finished", "settings": job.shaped_by, "scores": result.scores,
        "primary": result.primary, "lower_is_better": list(result.lower_is_better),
        "intervals": {name: list(interval) for name, interval in result.intervals.items()},
        "baselines": result.baselines, "tables": result.tables,
        "coverage": coverage,
        "notes": notes, "config": job.config, "versions": versions(),
        "ended": datetime.now().isoformat(timespec="seconds"),
    }  # fmt: skip


def _coverage(result: Result, desk: Desk) -> dict[str, Any]:
    """How many of how many questions count, and which have no answer; whose is empty or was cut by the token limit."""
    lost = {*result.missing, *desk.lost}
    found = {"n": result.expected - len(lost), "N": result.expected, "missing": result.missing}
    return found | {key: ids for key, ids in (("empty", desk.empty), ("cut", desk.cut)) if ids}


def _show_again(job: _Job, written: dict[str, Any]) -> dict[str, float | None]:
    try:
        return _show(job, written)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{job.folder}/results.json: expected what evaluate.py writes ({type(error).__name__}: {error}); "
            "next: move the file away and run the same command, which computes them from the stored answers"
        ) from None


def _show(job: _Job, results: dict[str, Any]) -> dict[str, float | None]:
    for line in lines_of(results):
        print(line)
    print(f"written: {job.folder}/results.json, examples.jsonl")
    scores: dict[str, float | None] = results["scores"]
    return scores
