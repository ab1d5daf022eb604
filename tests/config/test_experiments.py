"""conf/experiment: every row of the paper, with the values of the paper's stage table."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from tests.config.test_overrides import wrong
from tuna.assets import is_asset
from tuna.config import checks
from tuna.config.compose import CONF, compose

K13, K24, K39, ALL = 13000, 24000, 39000, None
JUDGED, TAUGHT, PROXY = ("score", ALL, ALL), ("eq3", ALL, ALL), ("score", ALL, K39)
# what is typed: (the row's label, tables, stage, rate, sources as (rank_by, first, last); None where nothing is ranked)
ROWS: dict[str, tuple[str, list[Any], str, float, list[tuple[str | None, int | None, int | None]]]] = {
    "experiment=alpaca": ("Alpaca", [1, 3, 8], "sft", 2e-5, [(None, ALL, ALL)]),
    "experiment=alpaca_mul": ("Alpaca-Mul", [3], "alpaca_mul", 2e-5, [(None, ALL, ALL)]),
    "stage=tuna_p": ("Tuna_p", [1, 3], "tuna_p", 1e-5, [TAUGHT]),
    "stage=tuna_c": ("Tuna_c", [1, 3, 8], "tuna_c", 1e-5, [JUDGED]),
    "stage=tuna": ("Tuna", [1, 3], "tuna", 1e-6, [JUDGED]),
    "experiment=prm_3b": ("PRM-3B", [], "prm", 1e-5, [JUDGED]),  # its rate is open in the paper
    "experiment=prm_7b": ("PRM-7B", [], "prm", 1e-5, [JUDGED]),
    "experiment=tuna_c_prm": ("Tuna_c (PRM)", [1, 8], "tuna_c", 1e-5, [JUDGED]),
    "experiment=tuna_c_prm_39k": ("Tuna_c (PRM-39K)", [8], "tuna_c", 1e-5, [JUDGED, PROXY]),
    "stage=tuna_cp_13k": ("Tuna_cp-13K", [3], "tuna_cp_13k", 1e-6, [("eq3", K13, ALL)]),
    "stage=tuna_cp_39k": ("Tuna_cp-39K", [3], "tuna_cp_39k", 1e-6, [("eq3", ALL, K39)]),
    "stage=tuna_cp_52k": ("Tuna_cp-52K", [3], "tuna_cp_52k", 1e-6, [TAUGHT]),
    "stage=mix_tuna_52k": ("mix-Tuna-52K", [3], "mix_tuna_52k", 1e-5, [JUDGED, ("eq3", ALL, K39)]),
    "stage=mix_tuna_104k": ("mix-Tuna-104K", [3], "mix_tuna_104k", 5e-6, [JUDGED, PROXY, TAUGHT]),
    "experiment=tuna_c_lambda": ("Tuna_c", ["figure2"], "tuna_c", 1e-5, [JUDGED]),
    "experiment=tuna_p_data": ("Tuna_p", ["figure3"], "tuna_p", 1e-5, [TAUGHT]),
    "experiment=tuna_p_beta": ("Tuna_p", [5, "A"], "tuna_p", 1e-5, [TAUGHT]),
    "experiment=tuna_c_margin": ("Tuna_c", [], "tuna_c", 1e-5, [JUDGED]),
    "experiment=tuna_c_candidates": ("Tuna_c", [], "tuna_c", 1e-5, [JUDGED]),
}
# The rows that start from a base model choose it.
STARTS = {
    "experiment=alpaca": "huggyllama/llama-7b",
    "experiment=alpaca_mul": "huggyllama/llama-7b",
    "experiment=prm_3b": "stabilityai/stablelm-base-alpha-3b",
    "experiment=prm_7b": "huggyllama/llama-7b",
}
SWEPT = {
    "tuna_c_lambda": {"loss.lambda": "0,0.1,1,5,10"},
    "tuna_p_data": {"datamodule.first": "13000,24000,null"},
    "tuna_p_beta": {"datamodule.beta": "1.0,1.1,1.2,1.3,1.4,1.5"},
    "tuna_c_margin": {"loss.margin": "0.01,0.05,0.1,0.2,0.5"},
    "tuna_c_candidates": {"datamodule.num_candidates": "2,3,4"},
}
OPTUNA = find_spec("hydra_plugins") is not None and find_spec("hydra_plugins.hydra_optuna_sweeper") is not None
REAL = ["model=smollm2_135m", "seed=3"]


def composed(*overrides: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The config, and what is swept."""
    cfg = compose(overrides, with_hydra=True)
    swept = OmegaConf.to_container(cfg.hydra.sweeper.params or OmegaConf.create({}), resolve=True)
    OmegaConf.set_readonly(cfg, False)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    assert checks.problems(cfg) == []
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict) and isinstance(swept, dict)
    return {str(key): value for key, value in plain.items()}, {str(k): str(v) for k, v in swept.items()}


def files(row: str) -> list[str]:
    """The data that a real model needs, by its keys."""
    keys = OmegaConf.to_container(compose([row]).get("data") or OmegaConf.create({}))
    assert isinstance(keys, dict)
    found = [f"data.{key}={key}.jsonl" for key in map(str, keys) if not key.endswith(("_first", "_last"))]
    return found or ["datamodule.path=mine.jsonl"]


def sources(datamodule: dict[str, Any]) -> list[tuple[str | None, int | None, int | None]]:
    given = datamodule["sources"] or [datamodule]
    return [(s.get("rank_by"), s.get("first"), s.get("last")) for s in given]


def test_the_table_is_complete() -> None:
    files = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
    assert {*ROWS, "experiment=tuna_c_search"} >= {f"experiment={name}" for name in files}
    stages = {file.stem for file in (CONF / "stage").glob("*.yaml")}
    assert stages == {stage for _, _, stage, _, _ in ROWS.values()} | {"tuna_cp", "mix_tuna"}


@pytest.mark.parametrize("typed", ROWS)
def test_a_row_at_real_scale(typed: str) -> None:
    label, tables, stage, lr, ranked = ROWS[typed]
    start = [f"model.path={STARTS[typed]}"] if typed in STARTS else ["model=smollm2_135m"]
    cfg, swept = composed(typed, *start, "seed=3", *files(typed))
    row = cfg["experiment"] or cfg["stage"]
    name = row["name"]
    assert typed.partition("=")[2] == name
    assert (row["system"], row["tables"]) == (label, tables) and len(row["summary"]) > 10
    assert (cfg["stage"]["name"], cfg["module"]["lr"]) == (stage, lr)
    assert cfg["module"]["betas"] == [0.9, 0.999] and swept == SWEPT.get(name, {})
    assert cfg["trainer"]["max_epochs"] == (3 if stage in ("sft", "alpaca_mul") else 1)
    assert sources(cfg["datamodule"]) == ranked and cfg["datamodule"]["val_path"] is None
    if stage not in ("sft", "alpaca_mul", "prm"):
        assert (cfg["loss"]["lambda"], cfg["loss"]["margin"], cfg["datamodule"]["beta"]) == (1.0, 0.1, 1.3)
    if stage == "alpaca_mul":
        assert cfg["datamodule"]["targets"] == "all"
    assert cfg["name"] == (name if swept else None)  # a sweep goes on by the same command


@pytest.mark.parametrize("typed", STARTS)
def test_a_row_from_a_base_model_chooses_it(typed: str) -> None:
    cfg, _ = composed(typed, *files(typed))
    assert cfg["model"]["path"] == STARTS[typed] and cfg["model"]["template"] == "alpaca"


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["experiment=prm_3b", "model=tiny"], "PRM"),
        (["experiment=prm_3b", "model.path=HuggingFaceTB/SmolLM2-135M", "datamodule.path=a.jsonl"], "PRM"),
        (["experiment=prm_7b", "model.path=/models/LLaMA-7B", "datamodule.path=a.jsonl"], "PRM-7B"),
        (["experiment=tuna_c_prm"], "Tuna_c"),
        (["experiment=tuna_c_prm", "model=tiny", "datamodule.path=a.jsonl"], "Tuna_c (PRM)"),
        (["experiment=tuna_c_prm_39k", "model=tiny", "data.contextual=a.jsonl"], "Tuna_c"),
    ],
)
def test_a_label_of_the_paper_needs_the_papers_model_or_data(words: list[str], label: str) -> None:
    assert composed(*words)[0]["experiment"]["system"] == label


def test_a_row_that_is_a_stage_is_told_so() -> None:
    (said,) = wrong("experiment=tuna_c")
    assert said.endswith("; did you mean stage=tuna_c?")
    (said,) = wrong("experiment=tuna_c_prm_3b_39k")
    assert said.endswith("; did you mean tuna_c_prm_39k?")


@pytest.mark.parametrize("typed", ROWS)
def test_a_row_at_the_tiny_scale_needs_nothing(typed: str) -> None:
    cfg, swept = composed(typed, "model=tiny")
    name, stage = typed.partition("=")[2], ROWS[typed][2]
    others = {"sft": "tiny_base", "alpaca_mul": "tiny_base", "prm": "tiny_prm_base"}
    assert cfg["model"]["path"] == others.get(stage, "tiny")
    given = cfg["datamodule"]["sources"] or [cfg["datamodule"]]
    assert all(is_asset(source["path"]) for source in [*given, {"path": cfg["datamodule"]["val_path"]}])
    assert swept.keys() == SWEPT.get(name, {}).keys()


def test_the_amount_of_data_is_proportional_at_the_tiny_scale() -> None:
    _, swept = composed("experiment=tuna_p_data", "model.path=runs/alpaca", "scale=tiny", "datamodule.path=mine.jsonl")
    assert swept == {"datamodule.first": "150,277,null"}
    assert [round(600 * part / 52000) for part in (K13, K24)] == [150, 277]


@pytest.mark.parametrize("typed", ["experiment=alpaca_mul", "experiment=tuna_c_prm_39k", "stage=mix_tuna_52k"])
def test_a_real_model_without_data_is_told_which(typed: str) -> None:
    (said,) = wrong(typed, *REAL)
    assert all(f"{text.partition('=')[0]}=FILE" in said for text in files(typed))
    assert f"Next: python train.py {typed} model.path=HuggingFaceTB/SmolLM2-135M-Instruct " in said


@pytest.mark.parametrize("name", SWEPT)
def test_a_sweep_without_m_says_so(name: str) -> None:
    key = next(iter(SWEPT[name]))
    assert wrong(f"experiment={name}") == [f"this config sweeps over {key}; run it with -m"]
    assert wrong(f"experiment={name}", "-m") == []


def test_an_experiment_that_sweeps_is_run_alone() -> None:
    (said,) = wrong("experiment=tuna_c_lambda,tuna_c_prm", "-m")
    assert said == "experiment=tuna_c_lambda,tuna_c_prm: one of these sweeps over loss.lambda itself; run it alone"
    assert wrong("stage=tuna_c,tuna_p", "-m") == []


def test_the_node_and_swept_values_are_checked(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nexperiment: {name: mine, sistem: X, tables: 5}\n"
        "hydra:\n  sweeper:\n    params:\n      loss.lamda: 1,2\n      module.lr: 1e-3,fast\n"
    )
    assert set(wrong("-cd", str(tmp_path), "experiment=mine", "-m")) == {
        "loss.lamda: no such key; loss is Tuna here, with the keys: lambda, margin; did you mean loss.lambda?",
        "module.lr: expected a finite number above 0 and at most 1000000, got 'fast'",
        "experiment.system: expected text, got None",
        "experiment.summary: expected text, got None",
        "experiment.tables: expected a list, each a whole number or text, got 5",
        "experiment.sistem: expected one of name, system, tables, summary; did you mean system?",
    }
    cfg = compose([])
    assert isinstance(cfg, DictConfig) and cfg.experiment is None


@pytest.mark.skipif(OPTUNA, reason="the extra is installed")
def test_a_search_without_its_extra_names_it() -> None:
    needed = "hydra/sweeper=optuna: not installed; next: .venv/bin/pip install -e '.[optuna]'"
    assert wrong("experiment=tuna_c_search", "-m") == [needed]


def test_a_search_needs_a_figure_to_look_for(tmp_path: Path) -> None:
    (tmp_path / "hydra" / "sweeper").mkdir(parents=True)
    (tmp_path / "hydra" / "sweeper" / "mine.yaml").write_text("_target_: tuna.sweeps.launcher.Sweep\n")
    search = ["-cd", str(tmp_path), "hydra/sweeper=mine", "-m"]
    assert wrong(*search) == ["optimize: missing; Sweep looks for its best value, as in optimize=val/loss"]
    assert wrong(*search, "optimize=val/loss") == []
