"""The paper's own pipeline: all of it as a dry run, what it asks for first, and a part run at the smallest sizes."""

import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.evaluation.lmentry import make as lmentry
from tests.evaluation.super_ni import make as super_ni
from tests.reporting.make import report
from tests.reproduce.test_rounds import in_process
from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.inference.elementary import held_out_records
from tuna.reproduce import run as pipeline
from tuna.reproduce.before import check_clones, check_servers, costs
from tuna.reproduce.measures import left_out
from tuna.reproduce.plan import Step

TABLE_1 = {"alpaca", "tuna_p", "tuna_c", "tuna", "tuna_c_prm"}
TABLE_3 = {"alpaca_mul", "tuna_cp_13k", "tuna_cp_39k", "tuna_cp_52k", "mix_tuna_52k", "mix_tuna_104k"}
TABLE_8 = {"tuna_c_prm", "tuna_c_prm_39k", "tuna_c_prm_7b", "tuna_c_prm_7b_39k"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["a program"])


def reproduce(*words: str) -> dict[str, float]:
    return pipeline.run(compose(["sizes=paper", *words], config_name="reproduce"))


def test_every_row_is_measured_on_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    reproduce("dry_run=true")
    commands = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]
    points = [f"lambda/{k}" for k in range(5)] + [f"data/{k}" for k in range(3)]  # of Figures 2 and 3
    for benchmark in (
        "super_ni benchmark.root=natural-instructions benchmark.shots=0",
        "super_ni",
        "lmentry",
        "vicuna_qa",
    ):
        (sweep,) = [c for c in commands if f"benchmark={benchmark} " in c and " -m " in c][:1]
        models = next(word for word in sweep.split() if word.startswith("model.path=")).partition("=")[2].split(",")
        assert {m.rpartition("runs/s0-")[2] for m in models} == TABLE_1 | TABLE_3 | TABLE_8 | {*points}
        assert any(
            f"benchmark={benchmark} " in c and "model.path=huggyllama/llama-7b label=LLaMA" in c for c in commands
        )
    (forms,) = [c for c in commands if "benchmark=human_study" in c]
    assert "benchmark.annotators=2" in forms and "Tuna_p: reproduce/paper/runs/s0-tuna_p," in forms
    assert "'experiment.system='\"'\"'Tuna_c (PRM-3B-52K)'\"'\"" in " ".join(commands)
    assert not any("benchmark=elementary" in c for c in commands)  # a toy's tasks


def test_whoever_is_asked_for_money_has_a_limit_which_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    reproduce("dry_run=true", "seeds=2", "only=[contextual,vicuna_qa]", "pipeline.systems=[alpaca,tuna_c]")
    first, *others = capsys.readouterr().out.splitlines()
    paid = [line for line in others if "=openai" in line]
    assert paid and all("max_cost=" in line for line in paid)
    # Each seed: lists of Tuna_c, and of the points of both figures; 3 dollars for each of 2 systems and 8 points
    assert first.startswith(
        "# paid steps, at most $1,060.00 in all (max_cost): s0-probabilistic $350.00, s0-contextual"
    )
    assert first.endswith("s1-vicuna_qa $30.00")


def test_files_and_keys_are_asked_for_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as refused:
        reproduce("only=[super_ni_0,lmentry]")
    told = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in told] == [
        f"sizes.{key}" for key in ("instructions", "super_ni_clone", "lmentry_clone")
    ]
    assert told[2].endswith("next: git clone https://github.com/aviaefrat/lmentry.git, or sizes.lmentry_clone=PATH")
    Path("alpaca_data.json").write_text("[]")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"s0-contextual: judge\.api_key_env: .*OPENAI_API_KEY"):
        reproduce("only=[contextual]")
    assert not Path("reproduce").exists()


def test_the_last_39k_are_one_number() -> None:
    last = compose(["sizes=paper"], config_name="reproduce").sizes.last
    assert compose(["stage=tuna_cp_39k", "model.path=m"]).datamodule.last == last
    for word in ("stage=mix_tuna_52k", "stage=mix_tuna_104k", "experiment=tuna_c_prm_39k"):
        found = OmegaConf.to_container(compose([word, "model.path=m"]).datamodule.sources, resolve=True)
        assert isinstance(found, list) and found[1]["last"] == last


def test_a_step_without_its_value_takes_along_what_needs_it() -> None:
    steps = {"a": "train.py {x}", "b": "rank.py {a}", "c": "evaluate.py {jobs:b}", "d": "evaluate.py {y}"}
    assert left_out(steps, {"x": None, "y": ""}) == {"a": "x", "b": "x", "c": "x"}


def test_a_sweeps_jobs_each_have_the_money() -> None:
    step = Step("s0-m", "m", ("evaluate.py", "-m", "max_cost=2.5", "model.path=a,b", "seed=0,1"), (), Path("x"))
    assert costs([step]) == ["paid steps, at most $10.00 in all (max_cost): s0-m $10.00"]
    assert costs([Step("s0-n", "n", ("train.py",), (), Path("x"))]) == []
    words = ("rank.py", "-m", "max_cost=2", "seed=range(3)", "judge.function=[a.py:f,b.py:g]", "judge=function,openai")
    assert costs([Step("s0-o", "o", words, (), Path("x"))])[0].endswith("s0-o $12.00")


def test_commas_within_brackets_are_no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = ("rank.py", "-m", "max_cost=2", "judge=openai", "judge.price=[1,2]", "seed=range(3)", "ranker.n=2,4")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        check_servers([Step("s0-o", "o", words, (), Path("x"))])


def test_a_clone_that_cannot_be_used_is_told_of_before_anything_runs(tmp_path: Path) -> None:
    lmentry.write_clone(tmp_path / "clone", examples=1)
    words = ("evaluate.py", "-m", "benchmark=lmentry", f"benchmark.root={tmp_path / 'clone'}", "model.path=a,b")
    steps = [Step(f"s0-{name}", name, words, (), Path("x")) for name in "ab"]
    check_clones(steps)
    mapping = tmp_path / "clone" / "lmentry" / "scorers" / "scorer_mapping.py"
    mapping.write_text("import tuna_has_no_such_package\n")
    with pytest.raises(
        ConfigError, match=r"^s0-a: benchmark\.root=.* need the package tuna_has_no.*next: .*pip"
    ) as told:
        check_clones(steps)
    assert len(str(told.value).splitlines()) == 1


def test_it_runs_on_stand_in_clones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pipeline._Run, "_execute", in_process)
    super_ni.write_clone(Path("natural-instructions"))
    lmentry.write_clone(Path("lmentry"), examples=1)
    for name, count in (("alpaca_data", 12), ("question", 2)):
        rows = [row for row in held_out_records() if name != "question" or row["check"] == "facts"][:count]
        Path(f"{name}.json{'l' * (name == 'question')}").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("t0").mkdir()
    Path("t0/lmentry.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lmentry.right_answers(1)))
    tiny = {
        "base": "tiny_base", "all": 12, "first": 8, "half": 10, "last": 8, "t0": "t0", "rank": "",
        "train": "scale=tiny evaluate=false debug=short logger=none datamodule.batch_size=4",
        "judge": "judge=baseline", "compare": "judge=likelihood judge.path=tiny",
        "drawn": "sampler.max_tokens=8 sampler.trials=0", "evaluate": "benchmark.max_tokens=4",
    }  # fmt: skip
    words = [
        f"sizes.{key}={value}" if isinstance(value, int) else f'sizes.{key}="{value}"' for key, value in tiny.items()
    ]
    some = "only=[super_ni_0,super_ni_2,lmentry,vicuna_qa,super_ni_0_base,lmentry_t0]"
    systems = ["pipeline.systems=[alpaca,tuna_c]", 'pipeline.measured="model.path={systems}"', "jobs=1"]
    reproduce(*words, *systems, some)
    capsys.readouterr()
    found = report(Path("reproduce/paper"))
    columns = {system["system"]: [score["words"] for score in system["scores"].values()] for system in found["systems"]}
    every = ["Super NI, 0-shot", "Super NI, 2-shot", "LMentry", "Vicuna QA"]
    assert columns["Alpaca"] == columns["Tuna_c"] == every
    assert columns["LLaMA"] == every[:1] and columns["T0"] == ["LMentry"]
    assert found["tables"][:2] == ["table-1", "table-3"] and "columns" in found["tables"]
