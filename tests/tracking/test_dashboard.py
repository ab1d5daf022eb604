"""tuna.tracking.dashboard: what would be sent to W&B, built offline."""

import importlib.util
import json
import sys
from typing import Any

import pytest

from tuna.tracking.dashboard import CURVES, main

extra = pytest.mark.skipif(
    importlib.util.find_spec("wandb_workspaces") is None, reason="the extra dashboard (wandb-workspaces) is missing"
)


def made(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["me/tuna", "--json", *words]) == 0
    return dict(json.loads(capsys.readouterr().out))


@extra
def test_it_shows_settings_against_results(capsys: pytest.CaptureFixture[str]) -> None:
    view = made(capsys)
    assert (view["entity"], view["project"], view["name"]) == ("me", "tuna", "Tuna sweeps")
    sections = {s["name"]: s["panels"] for s in view["spec"]["section"]["panelBankConfig"]["sections"]}
    parallel, *alone = sections["Sweep"]
    axes = [column["accessor"] for column in parallel["config"]["columns"]]
    assert axes[0] == "config:loss.value.lambda" and "config:seed.value" in axes
    assert axes[-2:] == ["summary:val/pair_accuracy", "summary:val/task_accuracy"]
    assert {panel["config"]["yAxis"] for panel in alone} == {"summary:val/pair_accuracy"}
    bars = {(panel["config"]["metrics"][0], panel["config"]["groupBy"]) for panel in sections["Held out"]}
    assert {("val/pair_accuracy", "group"), ("val/pair_accuracy", "jobType")} <= bars
    curves = [panel["config"] for panel in sections["Training"]]
    assert [curve["metrics"] for curve in curves] == [[key] for key in CURVES]
    assert {curve["xAxis"] for curve in curves} == {"trainer/global_step"}
    assert "samples" in json.dumps(sections["Answers before and after"])
    assert "filters" in view["spec"]["section"]["runSets"][0]


@extra
def test_one_sweep_alone(capsys: pytest.CaptureFixture[str]) -> None:
    (runs,) = made(capsys, "--group", "lambda", "--name", "mine")["spec"]["section"]["runSets"]
    (shown,) = runs["filters"]["filters"]
    assert (shown["key"]["name"], shown["op"], shown["value"]) == ("group", "=", "lambda")


@extra
def test_not_logged_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))
    assert main(["me/tuna"]) == 1
    assert "error: not logged in to W&B" in capsys.readouterr().err


def test_without_the_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert main(["me/tuna", "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: the dashboard needs wandb-workspaces")
    assert "next: python -m pip install wandb-workspaces" in said.err


@pytest.mark.parametrize("place", ["tuna", "me/", "/tuna", "a/b/c"])
def test_a_place_that_is_none(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([place, "--json"]) == 1
    assert "error: expected ENTITY/PROJECT" in capsys.readouterr().err
