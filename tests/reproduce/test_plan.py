"""Steps to commands: order, needs, names; and every command of the project's own pipelines composes."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tuna.config import checks
from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.reproduce import measures
from tuna.reproduce.plan import Step, plan
from tuna.reproduce.rounds import write_out

STEPS = {
    "tuned": "train.py model.path={base_run} datamodule.path={lists} {more}",
    "base_run": "train.py model.path={start}",
    "lists": "rank.py model.path={base_run}",
    "measured": "evaluate.py -m model.path={systems}",
    "report": "report.py",
}
OUT = Path("out")


def planned(seeds: list[int]) -> list[Step]:
    return plan(STEPS, {"start": "tiny", "more": "a=1 b=2"}, ["base_run", "tuned"], OUT, seeds)


def test_each_after_what_it_needs() -> None:
    steps = planned([0, 1])
    assert [step.name for step in steps] == [
        "s0-base_run", "s0-lists", "s0-tuned", "s0-measured", "s1-base_run", "s1-lists", "s1-tuned", "s1-measured",
        "report",
    ]  # fmt: skip
    by_name = {step.name: step for step in steps}
    assert by_name["s1-tuned"].needs == ("s1-base_run", "s1-lists")
    assert by_name["s1-measured"].needs == ("s1-base_run", "s1-tuned")
    assert set(by_name["report"].needs) == set(by_name) - {"report"}


def test_commands() -> None:
    by_name = {step.name: step.command for step in planned([3])}
    assert by_name["s3-tuned"] == (
        "python train.py model.path=out/runs/s3-base_run datamodule.path=out/rankings/s3-lists.jsonl a=1 b=2 "
        "seed=3 name=s3-tuned runs_dir=out/runs resume=auto"
    )
    assert (
        by_name["s3-lists"]
        == "python rank.py model.path=out/runs/s3-base_run seed=3 output=out/rankings/s3-lists.jsonl"
    )
    assert "model.path=out/runs/s3-base_run,out/runs/s3-tuned " in by_name["s3-measured"]
    assert (
        by_name["report"]
        == "python report.py runs=out/runs rankings=out/rankings results=out/results output=out/report"
    )


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        plan({"a": "rm.py x", "b": "train.py model.path={bse}"}, {"base": 1}, ["c"], OUT, [0])
    said = str(error.value)
    assert "steps.a: expected a command of train.py" in said and "did you mean base?" in said
    assert "systems: c is no step" in said


def test_steps_that_need_each_other() -> None:
    with pytest.raises(ConfigError, match="a, b need each other"):
        plan({"a": "train.py {b}", "b": "train.py {a}"}, {}, [], OUT, [0])


def steps_of(sizes: str, named: str) -> list[Step]:
    chosen = [] if sizes in OF_THEIR_OWN else [f"pipeline={named}"]
    cfg = compose([f"sizes={sizes}", *chosen], config_name="reproduce")
    values = OmegaConf.to_container(cfg.sizes, resolve=True)
    pipeline = OmegaConf.to_container(cfg.pipeline, resolve=True)
    assert isinstance(values, dict) and isinstance(pipeline, dict)
    values = {str(k): v for k, v in values.items()} | {"book": "rounds.json"}
    if named == "paper":  # or the pipeline that the sizes choose
        steps = measures.write_out({str(k): v for k, v in pipeline.items()})
        out = measures.left_out(steps, values)
        kept = {name: command for name, command in steps.items() if name not in out}
        return plan(kept, values, measures.kept_systems(pipeline["systems"], out), OUT, [0], pipeline.get("once", ()))
    written = write_out({str(k): v for k, v in pipeline.items()}, values, 1)
    return plan(written.steps, values, (), OUT, [0], pipeline["once"], written.earlier)


OF_THEIR_OWN = ("smollm2",)
COMMANDS = [step for sizes in ("tiny", "paper") for named in ("paper", "rounds") for step in steps_of(sizes, named)]
COMMANDS += [step for sizes in OF_THEIR_OWN for step in steps_of(sizes, "paper")]
COMPOSED = [step for step in COMMANDS if step.words[1] not in ("best", "clear")]


@pytest.mark.parametrize("step", COMPOSED, ids=lambda step: step.name)
def test_every_command_of_ours_composes(step: Step) -> None:
    program, *words = step.words
    swept = words[:1] == ["-m"]
    overrides = words[swept:]
    if swept:  # one job of the sweep: the first of each list of values
        overrides = [word.partition(",")[0] for word in overrides]
    cfg = compose(overrides, config_name=program.removesuffix(".py"))
    checks.check(cfg)
    if program == "train.py":
        assert cfg.seed == 0 and (cfg.experiment or cfg.stage).system and cfg.resume == "auto"
