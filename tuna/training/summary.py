"""What a run says of itself: its first lines, and in the end the before/after table."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.config.commands import Unsayable, command
from tuna.config.scale import is_tiny
from tuna.runs import RunFolder
from tuna.training import samples
from tuna.training.outcome import ROWS, Outcome, baselines_of, interval_of


def first_lines(cfg: DictConfig, parts: Any, target: RunFolder, start_step: int) -> list[str]:
    """Scale, starting model, data, learning rate, batch, where the run goes."""
    training, data = parts.training, parts.data
    scale = "tiny (values for the embedded models)" if is_tiny(cfg) else "the paper's values"
    processes = f"{training.world_size} processes, " if training.world_size > 1 else ""
    return [
        f"stage   {cfg.stage.name}: {cfg.stage.summary}",
        f"scale   {scale}",
        f"model   {parts.resolved.source} ({parts.num_parameters / 1e6:.1f}M parameters)",
        f"        stage {cfg.stage.name} starts from {cfg.stage.start}",
        *[f"        {line}" for line in parts.module.start_lines(parts.resolved, cfg.seed)],
        *[f"        {line}" if n else f"data    {line}" for n, line in enumerate(data.report.lines())],
        f"train   lr {parts.module.lr:g}, {data.batch_size} groups a step, {parts.total_steps} steps, "
        f"{processes}{training.precision} on {'gpu' if training.on_gpu else 'cpu'}, seed {cfg.seed}",
        f"run     {target.path}" + (f"  (resumed at step {start_step})" if target.resumed else ""),
    ]


def wants_tasks(cfg: DictConfig, parts: Any) -> bool:
    """Whether the embedded tasks are measured: ``evaluate`` true, or auto at the tiny scale; of what answers."""
    return bool(parts.module.answers) and (cfg.evaluate is True or (cfg.evaluate == "auto" and is_tiny(cfg)))


def measure_tasks(parts: Any, target: RunFolder) -> tuple[Any, Any]:
    """Greedy accuracy on the held-out embedded tasks: the starting model's, then the exported folder's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuna.assets.elementary import held_out_records
    from tuna.inference.generate import measure_elementary
    from tuna.models.loading import grow

    records = held_out_records()
    trust = parts.model.trust_remote_code
    results = []
    for folder in (parts.resolved.weights_folder, target.model):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", trust_remote_code=trust)
        grow(model, parts.model.rows)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
        template = "chat" if getattr(tokenizer, "chat_template", None) else parts.template
        results.append(measure_elementary(model.eval(), tokenizer, records, template=template))
    samples.write(target, records, results[0].answers, results[1].answers)
    return results[0], results[1]


def last_lines(cfg: DictConfig, parts: Any, target: RunFolder, outcome: Outcome, figure: Path | None) -> list[str]:
    """The before/after table, and where everything is."""
    lines = ["", f"{'':28}{'before':>10}{'after':>10}{'change':>10}"]
    before, after = outcome.before or {}, outcome.after or {}
    for key, words, form in ROWS:
        if key in after:
            lines.append(_row(words, before.get(key), after[key], form))
            lines += _beside(outcome, key)
    if outcome.tasks:
        was, now = outcome.tasks
        lines.append(_row(f"greedy accuracy, {now.num_checkable} tasks", was.accuracy, now.accuracy, "{:.3f}"))
        lines.append(_row("open-ended mark", was.open_ended, now.open_ended, "{:.3f}"))
    if len(lines) == 2:
        lines = ["", "nothing was held out, so nothing was measured; see datamodule.held_out and val_path"]
    if skipped := target.read().get("skipped_steps"):
        steps = ", ".join(map(str, skipped))
        lines += ["", f"skipped  {len(skipped)} of {parts.total_steps} steps ({steps}): loss or gradient not finite"]
    metrics = [target.path / "run.json", *[path for path in [target.path / "metrics.csv"] if path.exists()]]
    lines += ["", f"model    {target.model}", f"metrics  {', '.join(map(str, metrics))}"]
    if figure:
        lines.append(f"figure   {figure}")
    following = next_command(cfg, target.path, answers=parts.module.answers)
    if following is None:
        return [*lines, f"to use   {'model' if parts.module.answers else 'ranker'}.path={target.path}"]
    return [*lines, f"next     {following}"]


def next_command(cfg: DictConfig, run: Path, *, answers: bool) -> str | None:
    """The command that takes the model that the run has made; None where none is known that fits its data.

    answers: whether it is a model that answers, not a reward model.
    """
    program, values = "evaluate.py", {"model.path": str(run)}
    if not answers:
        program, values = "rank.py", {"ranker": "proxy", "ranker.path": str(run)}
    if not is_tiny(cfg):  # the embedded questions say nothing of it
        data = _held_out_words(cfg, answers)
        if data is None:
            return None
        values = {**data, **values}
    try:
        return command(program, values)
    except Unsayable:
        return None


def _held_out_words(cfg: DictConfig, answers: bool) -> dict[str, Any] | None:
    """The words that name ``val_path`` to a program that has no other keys for how it is read; None: it needs more."""
    data, model = cfg.datamodule, cfg.model
    if data.val_path is None or data.bad_rows != "error" or data.format != "auto":
        return None
    if any(data.get(key) is not None for key in ("columns", "val_split", "subset")):
        return None
    if not answers:
        return {"score_only": True, "input": data.val_path}
    known = {
        f"model.{key}": OmegaConf.to_container(value) if OmegaConf.is_config(value := model[key]) else value
        for key, default in (("template", "auto"), ("template_args", None), ("trust_remote_code", False))
        if model[key] != default
    }
    if data.get("rank_by") is None:
        return {"benchmark": "nll", "benchmark.path": data.val_path, **known}
    rule = {"benchmark.rank_by": "eq3", "benchmark.beta": data.beta} if data.rank_by == "eq3" else {}
    return {"benchmark": "agreement", "benchmark.path": data.val_path, **rule, **known}


def _row(words: str, before: float | None, after: float, form: str) -> str:
    was = form.format(before) if before is not None else "-"
    change = f"{after - before:+.3f}" if before is not None else "-"
    return f"{words:28}{was:>10}{form.format(after):>10}{change:>10}"


def _beside(outcome: Outcome, key: str) -> list[str]:
    """What a figure is to be read against: what needs no model, and its intervals."""
    lines = [
        f"{f'  baseline: {name}':28}{value:>10.3f}{value:>10.3f}" for name, value in baselines_of(outcome, key).items()
    ]
    intervals = [interval_of(figures, key) for figures in (outcome.before, outcome.after)]
    if any(intervals):
        lines.append(f"{'  95% interval':28}" + "".join(f"{shown or '-':>10}" for shown in intervals))
    return lines
