from pathlib import Path

import pytest

from tuna.config.arguments import read_command_line
from tuna.config.compose import CONF
from tuna.config.overrides import check_command_line
from tuna.errors import ConfigError

LOSSES = ", ".join(sorted(path.stem for path in (CONF / "loss").glob("*.yaml")))


def wrong(*argv: str, conf: Path = CONF) -> list[str]:
    try:
        check_command_line(read_command_line(argv), config_dir=conf, config_name="train")
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_everything_wrong_is_said_at_once() -> None:
    found = wrong("stage=tuna_d", "loss.lamda=5", "trainer.max_epochs=x", "model.path=/x", "module.lr=true", "seed=-1")
    assert found[0].startswith("stage=tuna_d: expected one of alpaca_mul, mix_tuna, ") and found[0].endswith(
        "; did you mean tuna_p?"
    )
    assert found[1] == (
        "loss.lamda: no such key; loss is Tuna here, with the keys: lambda, margin; did you mean loss.lambda?"
    )
    assert set(found[2:5]) == {
        "module.lr: expected a finite number above 0 and at most 1000000, got True",
        "trainer.max_epochs: expected a whole number of 1 or more, got 'x'",
        "seed: expected 0 or more, got -1",
    }
    assert found[5].startswith(
        "datamodule.path: missing; only the embedded models (tiny, tiny_base, tiny_prm_base, tiny_teacher) come with"
    )
    assert len(found) == 6


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lambda=5"], "lambda: no such key; did you mean loss.lambda?"),
        (["los=tuna"], "los: no such key; did you mean loss?"),
        (["stage=sft", "loss.margin=1"], "loss.margin: no such key; loss is MLE here, with the keys: none"),
        (["+loss.lamda=1"], "loss.lamda: tuna.losses.tuna.Tuna has no such argument; did you mean lambda?"),
        (["loss=tunna"], f"loss=tunna: expected one of {LOSSES}; did you mean tuna?"),
        (["~loss"], f"~loss: a loss is needed; choose one of {LOSSES}"),
        (["loss=null"], f"loss=null: a loss is needed; choose one of {LOSSES}"),
        (["loss.lambda=0,1"], "loss.lambda=0,1: several values are a sweep, which needs -m;"),
        (["loss.lambda=${nope}"], "loss.lambda: Interpolation key 'nope' not found"),
        (["module.schedule=step"], "module.schedule: expected cosine or linear or constant, got 'step'"),
        (
            ["module.betas=[0.9]"],
            "module.betas: expected a list of 2, each a finite number of 0 or more and below 1, got",
        ),
        (["-m", "seed=0,1", "push_to_hub=me/x"], "push_to_hub=me/x: all jobs of a sweep would be sent there; let it"),
        (["-m", "push_to_hub=me/x,me/y"], "push_to_hub=me/x,me/y: push_to_hub cannot be swept; let it name each key"),
        (["name=2024"], """name: expected text or null, got 2024; as text: 'name="2024"'"""),
        (["name='a=b'"], "name: expected letters, digits and . _ + - (no = and no spaces), got 'a=b'"),
        (["name=../x"], "name: expected letters"),
        (["runs_dir='a=b'"], "runs_dir: expected a path without ="),
        (["evaluate=maybe"], "evaluate: expected true or false or auto, got 'maybe'"),
        (["model.lora.r=8"], "model.lora.r: no such key; write model.lora={r: 8}"),
        (["-m", "name=a,b"], "name=a,b: name cannot be swept"),
        (["-cd", "/nowhere"], "--config-dir: /nowhere is not a folder"),
        (["-cn", "other"], "Cannot find primary config 'other'"),
        (
            ["stage=mix_tuna", "data.contextual_first=x"],
            "data.contextual_first: expected a whole number or null, got 'x'",
        ),
    ],
)
def test_one_thing_wrong(argv: list[str], message: str) -> None:
    found = wrong(*argv)
    assert len(found) == 1 and found[0].startswith(message), found


def test_a_real_model_without_data_is_told_the_next_command() -> None:
    (message,) = wrong("model=smollm2_135m", "stage=tuna_p")
    assert message.endswith(
        "Next: python train.py stage=tuna_p model.path=HuggingFaceTB/SmolLM2-135M-Instruct datamodule.path=FILE"
    )
    (message,) = wrong("model.path=/x", "stage=mix_tuna_104k", "data.prm=r.jsonl")
    assert message.startswith("data.contextual and data.probabilistic: missing; only the embedded models")
    assert message.endswith("stage=mix_tuna_104k model.path=/x data.contextual=FILE data.probabilistic=FILE")


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["loss.lambda=5", "seed=3", "trainer.max_steps=null", "module.lr=1"],
        ["model.path=/x", "datamodule.path=/y", "trainer=gpu"],
        ["model=tiny", "datamodule.sources=[{path: a.jsonl, rank_by: score}]", "datamodule.path=null"],
        ["model.lora={r: 8}", "evaluate=false", "resume=auto", "name=a/b-1.0"],
        ["-m", "loss.lambda=0,0.1,1,5,10", "seed=range(3)", "stage=tuna_p,tuna_c"],
        ["-m", "stage=glob(tuna_*)"],
        ["hydra.job.num=3", "debug=short", "~debug"],
        ["--cfg", "job", "model.path=/x"],
    ],
)
def test_right_command_lines(argv: list[str]) -> None:
    assert wrong(*argv) == []


def test_sweeps_are_checked_value_by_value_and_choice_by_choice() -> None:
    assert wrong("-m", "loss.lambda=0,a,2", "stage=tuna_p,tuna_q") == [
        "stage=tuna_q: expected one of alpaca_mul, mix_tuna, mix_tuna_104k, mix_tuna_52k, prm, sft, tuna, tuna_c, "
        "tuna_cp, tuna_cp_13k, tuna_cp_39k, tuna_cp_52k, tuna_p; did you mean tuna_p?",
        "loss.lambda: expected a finite number of 0 or more, got 'a'",
    ]
    assert wrong("-m", "stage=sft,tuna_c", "loss.lambda=1") == [
        "loss.lambda: no such key; loss is MLE here, with the keys: none"
    ]


def test_missing_arguments_and_what_is_wrong_in_files(shop: Path) -> None:
    assert wrong("thing=required", conf=shop) == ["thing.path: missing; give thing.path=<text>"]
    (shop / "thing" / "typo.yaml").write_text("_target_: shop.things.Base\nlamda: 3\nbetas: [1, x]\n")
    assert wrong("thing=typo", conf=shop) == [
        "thing.betas: expected a list of 2, each a number, got [1, 'x']",
        "thing.lamda: shop.things.Base has no such argument; did you mean lambda?",
    ]
    (shop / "thing" / "lost.yaml").write_text("_target_: shop.things.Lost\n")
    (message,) = wrong("thing=lost", conf=shop)
    assert "thing/lost" in message and "shop.things.Lost does not exist" in message


def test_an_experiment_that_sweeps_needs_m(shop: Path) -> None:
    assert wrong("experiment=sweep", conf=shop) == ["this config sweeps over seed; run it with -m"]
    assert wrong("experiment=sweep", "-m", conf=shop) == []


def test_a_further_config_folder_has_choices_of_its_own(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "thing").mkdir(parents=True)
    (tmp_path / "more" / "thing" / "new.yaml").write_text("_target_: shop.things.Data\n")
    assert wrong("-cd", str(tmp_path / "more"), "thing=new", "thing.size=3", conf=shop) == []
    assert wrong("thing=new", conf=shop)[0].startswith("thing=new: expected one of base, data, required")


def test_a_sweep_may_send_each_job_to_a_place_of_its_own() -> None:
    assert wrong("-m", "seed=0,1", "push_to_hub=me/x-${seed}") == []
