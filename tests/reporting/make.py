"""Runs, rankings and results as train.py, rank.py and evaluate.py leave them, with figures chosen by the tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuna.config.compose import compose
from tuna.reporting.run import run


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_run(
    root: Path,
    name: str,
    *,
    system: str | None = None,
    tables: Sequence[int | str] = (),
    stage: str = "tuna_c",
    seed: int = 0,
    status: str = "finished",
    start: str = "tiny",
    data: str = "lists.jsonl",
    lists: int = 600,
    loss: Mapping[str, Any] | None = None,
    datamodule: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    experiment = {"name": stage, "system": system, "tables": list(tables)} if system else None
    config = {
        "name": name, "seed": seed, "resume": None, "runs_dir": str(root), "scale": "auto", "evaluate": "auto",
        "model": {"path": start}, "datamodule": {"path": data, "batch_size": 16, **(datamodule or {})},
        "loss": {"lambda": 1.0, "margin": 0.1, **(loss or {})}, "trainer": {"max_epochs": 1, "log_every": 10},
        "logger": {"csv": True, "group": name}, "stage": {"name": stage}, "experiment": experiment,
    }  # fmt: skip
    content = {
        "schema_version": 1, "name": name, "status": status, "stage": stage, "config": config,
        "ended": f"2026-01-01T00:00:{seed:02}", "metrics": dict(metrics or {}),
        "parents": {"data": {"train_lists": lists}},
        "baselines": {"length": {"mean": 0.58}, "random": {"mean": 0.5}},
    }  # fmt: skip
    write(root / name / "run.json", content)
    return root / name


def make_result(
    root: Path,
    benchmark: str,
    model: str,
    score: float | None,
    *,
    run: Path | None = None,
    primary: str = "accuracy",
    settings: Mapping[str, Any] | None = None,
    interval: Sequence[float] | None = None,
    status: str = "finished",
    examples: Sequence[Mapping[str, Any]] = (),
    covered: tuple[int, int] = (10, 10),
    fingerprint: str = "",
    **more: Any,
) -> Path:
    shaped = {"benchmark": {"benchmark": benchmark, **(settings or {})}, "seed": 0, "generation": {"template": "auto"}}
    model_is = {"name": model, "fingerprint": fingerprint or f"{model:0<64}", "kind": "local"}
    content = {
        "schema_version": 1, "benchmark": benchmark, "status": status,
        "model": {**model_is, "run": str(run) if run else None},
        "settings": shaped, "scores": {primary: score}, "primary": primary, "lower_is_better": [],
        "intervals": {primary: list(interval)} if interval else {}, "baselines": {}, "tables": {},
        "coverage": {"n": covered[0], "N": covered[1], "missing": []}, "notes": [], "ended": "2026-01-01T00:00:00",
        **more,
    }  # fmt: skip
    name = "-".join([model, *(f"{key}{value}" for key, value in (settings or {}).items())])
    path = write(root / benchmark / name / "results.json", content)
    if examples:
        path.with_name("examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples))
    return path


def make_ranking(root: Path, name: str, *, lengths: Sequence[float] = (6, 5, 4, 3), **config: Any) -> Path:
    content = {
        "identity": {"source": {"ranker": "contextual"}, "ranking": {"judge": "checker"}}, "lists": 500, "unusable": 0,
        "missing": 0, "usage": {"requests": 1000, "prompt_tokens": 600_000, "completion_tokens": 50_000, "cost": 2.0},
        "ranking": {"lists": 500, "answers": 2000, "size": 4, "lengths": list(lengths), "length_correlation": 0.4},
        "config": {"name": name, "seed": 0, "folder": str(root), "ranker": {"n": 4}, **config},
    }  # fmt: skip
    return write(root / f"{name}.report.json", content)


def report(folder: Path, *words: str) -> dict[str, Any]:
    """The report on ``folder``'s runs, rankings and results, into ``folder``/report: its report.json."""
    places = [f"{key}={folder / key}" for key in ("runs", "rankings", "results") if (folder / key).is_dir()]
    run(compose([*places, f"output={folder / 'report'}", *words], config_name="report"))
    return dict(json.loads((folder / "report" / "report.json").read_text()))


def example(number: int, text: str, accuracy: float) -> dict[str, Any]:
    return {
        "id": f"q{number}", "task": "plural", "instruction": f"Question {number}?", "prediction": text,
        "references": [f"answer {number}"], "scores": {"accuracy": accuracy},
    }  # fmt: skip
