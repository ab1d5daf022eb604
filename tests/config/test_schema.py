import importlib
import inspect
from pathlib import Path
from typing import Literal

import pytest
from omegaconf import OmegaConf

from tuna.config.schema import MISSING, build, defaults, parameters
from tuna.errors import ConfigError
from tuna.runs import FORMER_CLASSES

pytestmark = pytest.mark.usefixtures("shop")


def test_keyword_only_arguments_are_the_configs_and_underscores_go() -> None:
    assert defaults("shop.things.Base") == {"_target_": "shop.things.Base", "lambda": 1.0, "betas": [0.9, 0.999]}
    assert parameters("shop.things.Base")["lambda"].name == "lambda_"
    assert parameters("shop.things.Base")["betas"].expected == tuple[float, float]


def test_a_class_without_constructor_takes_its_bases() -> None:
    assert defaults("shop.things.Inherits").keys() == defaults("shop.things.Base").keys()


def test_aliases_constants_and_imported_types_are_followed() -> None:
    found = parameters("shop.things.Required")
    assert found["path"].default == MISSING
    assert found["colour"].expected == Literal["red", "green"]
    assert found["width"].expected == str | None
    assert found["limit"].default == 7


def test_dataclass_fields() -> None:
    found = defaults("shop.things.Data")
    assert found == defaults("shop.things.Base") | {
        "_target_": "shop.things.Data",
        "size": 3,
        "names": [],
        "extra": None,
    }


def test_functions_are_targets_too() -> None:
    assert defaults("shop.things.function") == {"_target_": "shop.things.function", "a": MISSING, "b": -0.5}


def test_names_through_another_module(shop: Path) -> None:
    (shop.parent / "shop" / "front.py").write_text("from .things import Base as Front\n")
    assert "lambda" in parameters("shop.front.Front")


# What conf/ named at commits a0be378 and 37fd86c and names no more, less the package, so that no rewriting of imports
# reaches it.
FORMER = """
benchmarks.agreement.Agreement benchmarks.embedded.EmbeddedTasks benchmarks.generation.LocalGeneration
benchmarks.human_study.HumanStudy benchmarks.lmentry.LMentry benchmarks.nll.NLL benchmarks.served.ServedGeneration
benchmarks.super_ni.SuperNI benchmarks.vicuna_qa.VicunaQA datamodules.contextual.ContextualDataModule
datamodules.prm.PRMDataModule datamodules.probabilistic.ProbabilisticDataModule evaluation.agreement.Agreement
evaluation.elementary.EmbeddedTasks evaluation.nll.NLL inference.generation.LocalGeneration
inference.served_generation.ServedGeneration judges.local.LocalJudge judges.openai.OpenAIJudge models.source.Model
modules.sft.SFT ranking.judges.checker.Checker ranking.judges.local.LocalJudge ranking.judges.openai.OpenAIJudge
ranking.server_sampler.ServerSampler ranking.teachers.local.LocalTeacher ranking.teachers.openai.OpenAITeacher
training.loggers.Loggers training.trainer.Training
"""


@pytest.mark.parametrize("former", FORMER.split())
def test_a_class_goes_by_its_former_name(former: str) -> None:
    target = f"tuna.{former}"
    module, _, name = FORMER_CLASSES[target].rpartition(".")
    found = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert [p.name for p in parameters(target).values()] == list(found) and defaults(target)["_target_"] == target


def test_a_former_name_is_built() -> None:
    node = {"_target_": "tuna.datamodules." + "probabilistic.ProbabilisticDataModule", "beta": 2}
    assert build(OmegaConf.create(node)).beta == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop.things.Bass", "things.py has no class or function `Bass`; did you mean Base?"),
        ("shop.none.Base", "_target_: shop.none.Base does not exist: there is shop, but no shop.none"),
        ("nowhere.Base", "_target_: nowhere.Base does not exist: no nowhere.py on the import path; next: "),
        ("Base", "_target_: Base does not exist: expected module.Class"),
        ("shop.things.Computed", "the default of `a` must be a literal, got max(1, 2)"),
    ],
)
def test_faults(target: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parameters(target)
    assert message in str(error.value)
