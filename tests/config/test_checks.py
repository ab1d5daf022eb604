"""The keys of a primary config itself, as rank.py, evaluate.py, report.py and reproduce.py read them."""

from omegaconf import OmegaConf

from tuna.config.checks import own_values


def test_values_and_lists() -> None:
    cfg = OmegaConf.create({"seeds": 2, "jobs": "auto", "only": ["a"], "sizes": {"name": "x"}})
    values, wrong = own_values(cfg, "tuna.reproduce.run.Settings")
    assert values == {"seeds": 2, "jobs": "auto", "only": ["a"]} and isinstance(values["only"], list) and wrong == []


def test_each_wrong_value_is_told_once() -> None:
    _, wrong = own_values(OmegaConf.create({"seeds": 0, "only": "x"}), "tuna.reproduce.run.Settings")
    assert wrong == ["seeds: expected 1 or more, got 0", "only: expected a list, each text or null, got 'x'"]
