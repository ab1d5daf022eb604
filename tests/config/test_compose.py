"""The real config folder: every choice composes, every constructor argument can be set, the scale rule holds."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from omegaconf import OmegaConf

from tuna import assets
from tuna.assets import FOLDER, MODELS
from tuna.config import checks
from tuna.config.compose import CONF, compose
from tuna.config.help import groups
from tuna.config.schema import parameters
from tuna.config.types import fits

GROUPS = groups([CONF])
PROGRAM = {
    group: name for name in ("evaluate", "rank", "train") for group in groups([CONF], name)
}  # which program has a group
STAGES = list(GROUPS["stage"])
TARGETS = {
    f"{group}={choice}": str(node["_target_"])
    for group, choices in GROUPS.items()
    for choice, file in choices.items()
    if isinstance(node := OmegaConf.to_container(OmegaConf.load(file)), dict) and "_target_" in node
}
DATA = {
    "mix_tuna": ["data.contextual=c.jsonl", "data.probabilistic=p.jsonl"],
    "mix_tuna_52k": ["data.contextual=c.jsonl", "data.probabilistic=p.jsonl"],
    "mix_tuna_104k": ["data.contextual=c.jsonl", "data.probabilistic=p.jsonl", "data.prm=r.jsonl"],
}
PAPER_LR = {
    "sft": 2e-5,
    "alpaca_mul": 2e-5,
    "tuna_p": 1e-5,
    "tuna_c": 1e-5,
    "tuna": 1e-6,
    "tuna_cp": 1e-6,
    "tuna_cp_13k": 1e-6,
    "tuna_cp_39k": 1e-6,
    "tuna_cp_52k": 1e-6,
    "mix_tuna": 1e-5,
    "mix_tuna_52k": 1e-5,
    "mix_tuna_104k": 5e-6,
    "prm": 1e-5,  # open in the paper
}


def resolved(*overrides: str) -> dict[str, Any]:
    cfg = compose(list(overrides))
    assert checks.problems(cfg) == []
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def example(expected: Any) -> Any:
    """Some value of the type, not null where there is a choice."""
    if get_origin(expected) is Literal:
        return get_args(expected)[-1]
    candidates = (
        get_args(expected) if get_origin(expected) is Union or isinstance(expected, type(int | str)) else (expected,)
    )
    if choices := [part for part in candidates if get_origin(part) is Literal]:
        return get_args(choices[0])[-1]
    for value in (3, 9, 0.5, True, "word", [3, 9], [0.5, 0.5], ["word"], [{"a": 1}], {"a": 1}):
        if any(fits(value, part) for part in candidates if part is not type(None)):
            return value
    return None


def as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_text, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("choice", TARGETS)
def test_every_argument_of_every_choice_can_be_set(choice: str) -> None:
    group = choice.partition("=")[0]
    found = parameters(TARGETS[choice])
    settings = {p.key: example(p.expected) for p in found.values()}
    changes = [f"{group}.{key}={as_text(value)}" for key, value in settings.items()]
    cfg = compose([choice, *changes], config_name=PROGRAM[group])
    written = OmegaConf.to_container(cfg[group], resolve=True)
    assert written == {"_target_": TARGETS[choice]} | settings


@pytest.mark.parametrize("target", sorted(set(TARGETS.values())))
def test_the_schema_is_the_constructors_signature(target: str) -> None:
    module, _, name = target.rpartition(".")
    signature = inspect.signature(getattr(import_module(module), name)).parameters
    read = parameters(target)
    assert [p.name for p in read.values()] == list(signature)
    for p in read.values():
        default = signature[p.name].default
        assert p.default == (list(default) if isinstance(default, tuple) else default)
        assert fits(p.default, p.expected)
        if get_origin(signature[p.name].annotation) is Annotated:
            assert p.expected == signature[p.name].annotation


@pytest.mark.parametrize("stage", STAGES)
def test_stages_have_the_papers_values_for_real_models(stage: str) -> None:
    data = DATA.get(stage, ["datamodule.path=mine.jsonl"])
    cfg = resolved(f"stage={stage}", "model.path=/some/folder", *data)
    assert cfg["module"]["lr"] == PAPER_LR[stage]
    assert (cfg["module"]["weight_decay"], cfg["module"]["warmup_steps"], cfg["module"]["schedule"]) == (
        0,
        2,
        "cosine",
    )
    assert (cfg["datamodule"]["batch_size"], cfg["datamodule"]["max_length"]) == (64 if stage == "prm" else 128, 512)
    assert cfg["datamodule"]["val_path"] is None
    assert cfg["trainer"]["max_epochs"] == (3 if stage in ("sft", "alpaca_mul") else 1)
    assert "tuna/assets" not in str(cfg["datamodule"])
    if cfg["module"]["_target_"].endswith("Ranking"):
        assert (cfg["loss"]["lambda"], cfg["loss"]["margin"], cfg["datamodule"]["beta"]) == (1.0, 0.1, 1.3)


@pytest.mark.parametrize("model", sorted({*GROUPS["model"]} - {"tiny", "embedded"}))
def test_named_models_are_real_ones(model: str) -> None:
    assert resolved(f"model={model}", "datamodule.path=d")["module"]["lr"] == 1e-5


@pytest.mark.parametrize("stage", STAGES)
def test_stages_run_on_the_embedded_model_without_more(stage: str) -> None:
    cfg = resolved(f"stage={stage}")
    assert cfg["stage"]["name"] == stage
    others = {"sft": "tiny_base", "alpaca_mul": "tiny_base", "prm": "tiny_prm_base"}
    assert cfg["model"]["path"] == others.get(stage, "tiny")
    assert cfg["module"]["lr"] > PAPER_LR[stage]
    paths = [source["path"] for source in cfg["datamodule"]["sources"] or [cfg["datamodule"]]]
    assert all("tuna/assets" in path for path in [*paths, cfg["datamodule"]["val_path"]])


def test_ranges_of_the_papers_systems() -> None:
    real = ["model.path=/m", "datamodule.path=d"]
    assert resolved("stage=tuna_cp_13k", *real)["datamodule"]["first"] == 13000
    assert resolved("stage=tuna_cp_39k", *real)["datamodule"]["last"] == 39000
    whole = resolved("stage=tuna_cp_52k", *real)["datamodule"]
    assert (whole["first"], whole["last"]) == (None, None)
    mixed = resolved("stage=mix_tuna_104k", "model.path=/m", *DATA["mix_tuna_104k"])["datamodule"]["sources"]
    assert [(s["path"], s["rank_by"], s.get("last")) for s in mixed] == [
        ("c.jsonl", "score", None),
        ("r.jsonl", "score", 39000),
        ("p.jsonl", "eq3", None),
    ]
    mixed = resolved("stage=mix_tuna", "model.path=/m", *DATA["mix_tuna"])["datamodule"]["sources"]
    assert [(s["rank_by"], s.get("last")) for s in mixed] == [("score", None), ("eq3", 39000)]


def test_the_scale_follows_the_models_path_and_nothing_else() -> None:
    assert resolved()["module"]["lr"] != 1e-5
    assert resolved("model.path=tiny_teacher")["datamodule"]["batch_size"] != 128
    for path in ("./tiny", "runs/tiny", "/x/tiny"):
        assert resolved("model=tiny", f"model.path={path}", "datamodule.path=d")["module"]["lr"] == 1e-5
    assert resolved("module.lr=0.5")["module"]["lr"] == 0.5
    assert resolved("model.path=/m", "datamodule.path=d", "module.lr=0.5")["module"]["lr"] == 0.5


MINE = "datamodule.path=mine.jsonl"


def test_the_users_file_replaces_the_embedded_one_whole() -> None:
    found = resolved("stage=tuna_c", "model=tiny", MINE)["datamodule"]
    assert found["first"] is None and found["val_path"] is None and found["held_out"] == 0.02


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in DATA])
@pytest.mark.parametrize("words", [["model=tiny"], ["model.path=tiny_teacher"], ["model.path=runs/p", "scale=tiny"]])
def test_embedded_held_out_lists_never_stand_beside_a_users_own(stage: str, words: list[str]) -> None:
    assert resolved(f"stage={stage}", *words, MINE)["datamodule"]["val_path"] is None
    beside = resolved(f"stage={stage}", *words, MINE, "datamodule.val_path=other.jsonl")
    assert beside["datamodule"]["val_path"] == "other.jsonl"


def test_one_source_of_ones_own_is_enough() -> None:
    mixed = resolved("stage=mix_tuna", "model=tiny", "data.contextual=mine.jsonl")
    assert mixed["datamodule"]["val_path"] is None


@pytest.mark.parametrize("stage", STAGES)
def test_an_embedded_model_on_a_users_data_has_to_be_typed(stage: str) -> None:
    words = [f"stage={stage}", *DATA.get(stage, [MINE])]
    (problem,) = checks.problems(compose(words))
    assert problem.startswith("model.path: missing beside ") and "model=tiny" in problem
    assert checks.problems(compose([*words, "model=tiny"])) == []
    assert checks.problems(compose([*words, "model.path=tiny"])) == []
    assert checks.problems(compose([f"stage={stage}"])) == []


def test_a_held_out_that_is_ignored_is_refused() -> None:
    beside = ["model=tiny", MINE, "datamodule.val_path=other.jsonl"]
    (problem,) = checks.problems(compose([*beside, "datamodule.held_out=60"]))
    assert problem.startswith("datamodule.held_out: expected nothing beside val_path=other.jsonl, whose lists are")
    (embedded,) = checks.problems(compose(["datamodule.held_out=0.02"]))  # typed, though it is the default
    assert "contextual_held_out.jsonl" in embedded and "datamodule.val_path=null" in embedded
    assert checks.problems(compose([*beside, "datamodule.held_out=0"])) == []
    assert checks.problems(compose(["datamodule.held_out=60", "datamodule.val_path=null"])) == []


def test_losses_and_trainers_can_be_exchanged() -> None:
    assert resolved("stage=tuna_p", "loss=lmops")["loss"]["_target_"] == "tuna.losses.lmops.LMOps"
    cpu = ["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    assert resolved(*cpu)["trainer"]["strategy"] == "fsdp"
    assert resolved("debug=short")["trainer"]["max_steps"] == 2


def test_a_file_of_the_users_own_needs_nothing_special(shop: Path) -> None:
    (shop / "thing" / "mine.yaml").write_text("_target_: shop.things.Base\nlambda: 3\n")
    cfg = compose(["thing=mine", "thing.betas=[0.5,0.5]"], config_dir=shop)
    assert cfg.thing == {"_target_": "shop.things.Base", "lambda": 3, "betas": [0.5, 0.5]}


def test_a_stage_sets_values_over_the_file_it_chooses(shop: Path) -> None:
    assert compose(["stage=two"], config_dir=shop).thing["size"] == 2
    assert compose(["stage=two", "model.path=/x"], config_dir=shop).thing["size"] == 10
    assert compose(["stage=two", "thing=base"], config_dir=shop).thing["lambda"] == 1.0


def test_yaml_files_stay_short() -> None:
    assert [str(file) for file in CONF.rglob("*.yaml") if len(file.read_text().splitlines()) > 40] == []


def test_the_embedded_names_are_those_of_the_assets() -> None:
    assert set(MODELS) == set(assets.MODELS)
    assert assets.path("tiny").parent.parent == FOLDER
