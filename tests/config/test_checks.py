"""The keys of a primary config itself, as rank.py, evaluate.py, report.py and reproduce.py read them."""

from omegaconf import OmegaConf

from tuna.config.checks import own_values


def test_values_lists_and_bounds() -> None:
    cfg = OmegaConf.create({"seeds": 2, "jobs": "auto", "only": ["a"], "sizes": {"name": "x"}})
    values, wrong = own_values(cfg, "tuna.reproduce.run.Settings", {"seeds": 1, "jobs": 1})
    assert values == {"seeds": 2, "jobs": "auto", "only": ["a"]} and isinstance(values["only"], list) and wrong == []


def test_a_wrong_type_is_told_once_and_null_where_it_is_allowed() -> None:
    cfg = OmegaConf.create({"limit": 0, "max_cost": -0.5, "seed": "x"})
    _, wrong = own_values(cfg, "tuna.evaluation.run.Settings", {"limit": 1, "max_cost": 0})
    assert wrong == [
        "seed: expected a whole number, got 'x'",
        "limit: expected 1 or more, or null, got 0",
        "max_cost: expected 0 or more, or null, got -0.5",
    ]
    _, wrong = own_values(OmegaConf.create({"seeds": 0}), "tuna.reproduce.run.Settings", {"seeds": 1})
    assert wrong == ["seeds: expected 1 or more, got 0"]
    _, wrong = own_values(OmegaConf.create({"limit": 0.5}), "tuna.evaluation.run.Settings", {"limit": 1})
    assert len(wrong) == 1 and wrong[0].startswith("limit: expected")
