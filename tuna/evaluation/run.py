"""One measurement: check, ask, score, write. Called by evaluate.py with the composed config, and by tests."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from tuna.assets import is_asset
from tuna.config import checks
from tuna.config.compose import untyped
from tuna.config.schema import build_all
from tuna.console import clock_time
from tuna.data.files import write_jsonl
from tuna.errors import ConfigError, Faults, RunError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import GivenAnswers, read_answers
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices, Usage, dollars
from tuna.inference.server import check_keys
from tuna.inference.store import Store, key_of
from tuna.judges.base import unjudged
from tuna.models.paths import locate_all
from tuna.runs import check_writable, note_latest, read_json, read_run, versions, write_json

SCHEMA_VERSION = 1
SHOWN_ROWS = 40


@dataclass(frozen=True)
class Settings:
    """The keys of conf/evaluate.yaml itself, explained there: what one measurement is asked to do."""

    answers: str | None = None
    label: str | None = None
    folder: str = "results"
    seed: int = 0
    limit: Annotated[int, Ge(1)] | None = None
    dry_run: bool = False
    max_cost: Annotated[float, Ge(0)] | None = None
    max_requests: Annotated[int, Ge(0)] | None = None

    @staticmethod
    def read(cfg: DictConfig) -> "Settings":
        """From the composed config. Raises: ConfigError with one line for each wrong value."""
        values, wrong = checks.own_values(cfg, f"{__name__}.Settings")
        label, answers = values.get("label"), values.get("answers")
        if isinstance(label, str) and not re.fullmatch(r"[\w.+-]+( [\w.+-]+)*", label):
            wrong.append(f"label: expected letters, digits, single spaces and . _ + -, got {label!r}")
        if isinstance(answers, str) and not Path(answers).exists():
            wrong.append(f"answers: no such file: {answers}; next: ls {quote(str(Path(answers).parent))}")
        if wrong:
            raise ConfigError("\n".join(wrong))
        return Settings(**values)


def run(cfg: DictConfig) -> dict[str, float | None]:
    """Measure what ``cfg`` asks for; gives the scores.

    Raises: TunaError for a wrong setting or file, before weights load, or an early end, after results are written.
    """
    return measure(cfg)[1]


def measure(cfg: DictConfig) -> tuple[Path, dict[str, float | None]]:
    """The same; gives the results' folder too."""
    settings = Settings.read(cfg)
    benchmark, nodes, given = _prepare(cfg, settings)
    measured, shaped_by = _identities(settings, benchmark, nodes, given)
    place = f"{measured['name'].replace(' ', '_')}-{measured['fingerprint'][:8]}-{key_of(**shaped_by)[:8]}"
    folder = Path(settings.folder) / benchmark.name / place
    print(f"benchmark  {benchmark.name}{f', limit {settings.limit}' if settings.limit else ''}")
    print(f"measured   {measured['name']} ({measured['source']})")
    print(f"results    {folder}")

    def begin(store: Store) -> EvalContext:
        budget = Budget(store.journal("requests"), max_cost=settings.max_cost, max_requests=settings.max_requests)
        inference = Context(store, budget, prices := Prices.read(cfg.prices), settings.seed)
        asked: dict[str, Any] = {"answers": nodes.get("generation"), "verdicts": nodes.get("judge")}
        inference.check_ledger({k: each.price_in(prices) for k, each in asked.items() if hasattr(each, "price_in")})
        return EvalContext(nodes.get("model"), nodes.get("generation"), given, nodes, inference, settings.seed)

    there = folder / "store"
    if settings.dry_run:
        with tempfile.TemporaryDirectory() as empty, Store(there if there.is_dir() else Path(empty)) as store:
            estimate = benchmark.estimate(context := begin(store))
        for who, usage in estimate.items():
            if usage.requests or not context.here:
                print(f"to ask, {who}, at most about: {usage}")
        for work in context.here:
            print(f"to compute here: {work}")
        if context.here:
            print(f"time: {_pace(folder.parent, measured['fingerprint'], len(benchmark.asked))}")
        print("dry run: nothing was sent or computed")
        total = sum(estimate.values(), Usage())
        return folder, {"requests": float(total.requests), "cost": total.cost}
    path = folder / "results.json"
    written = read_json(path, {"status": str, "started": str, "scores": dict, "coverage": dict})
    if written.get("status") == "finished" and not _is_nothing(written):
        print("measured already; these are its results")
        note_latest(Path(settings.folder), folder)
        return folder, _show(path, written)
    with Store(there, keys="folder=...") as store:
        start = {
            "schema_version": SCHEMA_VERSION, "benchmark": benchmark.name, "model": measured, "settings": shaped_by,
            "started": written.get("started") or datetime.now().isoformat(timespec="seconds"),
        }  # fmt: skip
        if not written:
            write_json(path, {**start, "status": "running"})
        context = begin(store)
        result = benchmark.measure(context)
        used = {*(field.name for field in fields(Settings)), "benchmark", *nodes}
        config = {key: value for key, value in OmegaConf.to_container(cfg, resolve=True).items() if key in used}  # type: ignore[union-attr]
        results = {**start, **_results(settings, context, result), "config": config}
        write_jsonl(folder / "examples.jsonl", result.examples)
        write_json(path, results)
        note_latest(Path(settings.folder), folder)
    scores = _show(path, results)
    if context.inference.unfinished is not None:
        raise RunError(
            f"{context.inference.unfinished}\n{len(result.missing)} of {result.expected} are missing; the same command "
            "(with a larger budget, if that was it) asks for these alone"
        )
    if _is_nothing(results):
        raise RunError(
            f"none of {result.expected} questions has an answer and a verdict that count, so nothing was measured "
            f"({'; '.join(results['notes'][:2]) or 'see examples.jsonl'}). Next: look into "
            f"{folder}/examples.jsonl, then change what answers or judges"
        )
    return folder, scores


def _pace(folder: Path, fingerprint: str, count: int) -> str:
    """How long ``count`` questions take by the fastest measurement of the same model on this benchmark, in words."""
    known = []
    for file in folder.glob("*/results.json"):
        try:
            written = read_json(file, {"model": dict, "status": str, "started": str, "ended": str, "coverage": dict})
            seconds = datetime.fromisoformat(written["ended"]) - datetime.fromisoformat(written["started"])
            alike = written["status"] == "finished" and written["model"].get("fingerprint") == fingerprint
            known += [(written["coverage"]["N"] / max(seconds.total_seconds(), 1), file)] if alike else []
        except (RunError, KeyError, ValueError, TypeError):
            continue  # of another version, or damaged
    if not known or not count:
        return "not known; limit=20 measures a few first, and shows how fast it is"
    rate, file = max(known)
    return f"about {clock_time(count / rate)}, at the {rate:.1f} questions/s of {file}"


def _is_nothing(results: Mapping[str, Any]) -> bool:
    coverage = results.get("coverage", {})
    return bool(coverage.get("N")) and coverage.get("n") == 0


def _prepare(cfg: DictConfig, settings: Settings) -> tuple[Benchmark, dict[str, Any], GivenAnswers | None]:
    """The benchmark, the built config nodes and the given answers, all checked."""
    check_writable(Path(settings.folder), "folder")
    benchmark: Benchmark = build_all(cfg, "benchmark")["benchmark"]
    nodes = build_all(cfg, *(("model", "generation") if benchmark.uses_model else ()), *benchmark.needs())
    generation = nodes.get("generation")
    given = read_answers(settings.answers) if settings.answers else None
    answers = given is None and benchmark.uses_model and generation is not None and generation.kind == "local"
    if answers and untyped(cfg, "model.path"):
        # The embedded model is measured on a user's own questions only where it was asked for.
        for key in ("path", "questions", "root"):
            if (own := cfg.benchmark.get(key)) is not None and not is_asset(own):
                told = checks.untyped_model("model.path", f"benchmark.{key}={own}", nodes["model"].path, "model=tiny")
                raise ConfigError(told)
    faults = Faults()
    locate_all({name: node for name, node in nodes.items() if answers or name != "model"}, faults)
    with faults.kept():
        benchmark.prepare(settings.limit)
    faults.check()
    benchmark.check(given, generation)
    if text := unjudged(nodes.get("judge"), [question.record for question in benchmark.asked]):
        raise ConfigError(f"{text}; next: judge=openai, or judge=local judge.path=<a model>")
    if not settings.dry_run:
        check_keys({key: node for key, node in nodes.items() if given is None or key != "generation"})
    return benchmark, nodes, given


def _identities(
    settings: Settings, benchmark: Benchmark, nodes: Mapping[str, Any], given: GivenAnswers | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is measured, and what shapes its figures."""
    shaped_by: dict[str, Any] = {"benchmark": benchmark.identity(), "limit": settings.limit, "seed": settings.seed}
    shaped_by |= {key: node.identity() for key, node in nodes.items() if key not in ("model", "generation")}
    run = None
    if not benchmark.uses_model:
        kind, name, source, fingerprint = "none", benchmark.title(nodes), benchmark.name, key_of(**shaped_by)
    elif given is not None:
        kind, name, source, fingerprint = "answers", Path(given.path).stem, given.path, given.sha256
        if nodes["generation"].reasoning == "keep":
            shaped_by["reasoning"] = "keep"
    else:
        model, generation = nodes["model"], nodes["generation"]
        kind = generation.kind
        name, source, fingerprint = generation.measured(model)
        shaped_by["generation"] = {**model.shaped_by, **generation.identity()}
        if kind == "local":
            name, run = named(model.path)
    measured = {
        "name": settings.label or name, "source": source, "fingerprint": fingerprint, "kind": kind,
        "run": str(run) if run else None,
    }  # fmt: skip
    return measured, shaped_by


def _results(settings: Settings, context: EvalContext, result: Result) -> dict[str, Any]:
    unsettled, budget = result.unsettled + context.unanswered, context.inference.budget
    coverage = context.coverage(result)
    incomplete = unsettled or context.inference.unfinished is not None or _is_nothing({"coverage": coverage})
    notes = [*result.notes, *context.notes, *context.inference.notes]
    if unsettled:
        notes.append(f"{unsettled} have no answer or verdict that can be read; the same command asks again")
    if settings.limit:
        notes.append(f"a quick look: limit={settings.limit}")
    if budget.requests:
        notes.append(f"{budget.requests:,} requests sent, {dollars(budget.spent)}")
    return {
        "status": "incomplete" if incomplete else "finished", "scores": result.scores, "primary": result.primary,
        "lower_is_better": list(result.lower_is_better),
        "intervals": {name: [each.low, each.high] for name, each in result.intervals.items() if each.lists},
        "baselines": result.baselines, "tables": result.tables, "coverage": coverage, "notes": notes,
        "versions": versions(), "ended": datetime.now().isoformat(timespec="seconds"),
    }  # fmt: skip


def _show(path: Path, results: Mapping[str, Any]) -> dict[str, float | None]:
    try:
        print("\n".join(lines_of(results)))
        scores: dict[str, float | None] = results["scores"]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise RunError(
            f"{path}: expected what evaluate.py writes ({type(error).__name__}: {error}); next: move the file away and "
            "run the same command, which computes them from the stored answers"
        ) from None
    print(f"written: {path}, examples.jsonl")
    return scores


def named(path: str) -> tuple[str, Path | None]:
    """What a model is called in results (its run's name, else its folder's, or a hub id's last part); the run folder.

    >>> named("tiny"), named("owner/model-7b"), named("/models/llama/")
    (('tiny', None), ('model-7b', None), ('llama', None))
    """
    folder = Path(path).expanduser()  # a run's, or its model/
    for run in (folder, folder.parent):
        if folder.is_dir() and (run / "run.json").is_file():
            return str(read_run(run).get("name", run.name)).replace("/", "-"), run
    return path.rstrip("/").rpartition("/")[2] or "model", None


def lines_of(results: Mapping[str, Any]) -> list[str]:
    """The figures as a person reads them."""
    coverage, found = results["coverage"], []
    for name, value in results["scores"].items():
        line = f"{'*' if name == results['primary'] else ' '} {name:<24} {_number(value):>9}"
        if name in results["intervals"]:
            line += "  [{}, {}]".format(*map(_number, results["intervals"][name]))
        baselines = results["baselines"].get(name, {})
        found.append(line + "".join(f"  {who} {_number(other)}" for who, other in baselines.items()))
    without = {*coverage["missing"], *coverage.get("empty", ())}
    line = f"answered: {coverage['N'] - len(without)} of {coverage['N']}"
    for what in ("missing", "empty", "cut", "shortened"):
        if ids := coverage.get(what):
            line += f"; {what}: {', '.join(ids[:5])}" + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    found.append(line)
    for name, rows in results["tables"].items():
        if rows and len(rows) <= SHOWN_ROWS:
            found += ["", f"{name}:", *table(rows)]
    return [*found, *(f"note: {note}" for note in results["notes"])]


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in columns.

    >>> table([{"task": "plural", "n": 15, "accuracy": 0.5}, {"task": "add", "n": 3, "accuracy": None}])
    ['  task    n  accuracy', '  plural  15   0.5000', '  add      3        -']
    """
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [name, *(_number(row.get(name)) for row in rows)]
        width, text = max(map(len, cells)), all(isinstance(row.get(name), str) for row in rows)
        columns.append([cell.ljust(width) if text else cell.rjust(width) for cell in cells])
    return ["  " + "  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
