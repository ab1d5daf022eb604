"""tuna.tracking.wandb_run: W&B that never asks, and never harms a run."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from tuna.models.source import ModelConfig
from tuna.tracking.loggers import Loggers
from tuna.tracking.wandb_run import (
    FINISH_TIMEOUT,
    Item,
    WandbRun,
    artifact_name,
    data_file,
    made_model,
    starting_model,
    wandb_mode,
)


def test_wandb_is_offline_unless_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_mode("auto") == wandb_mode("online") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert wandb_mode("auto") == "online" and wandb_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"


def test_one_that_is_off_takes_everything(tmp_path: Path) -> None:
    run = Loggers(wandb=False).start_wandb(tmp_path, name="x", run_id="x-1", job_type="sft", config={}, tags=[])
    run.log_metrics({"loss": 1.0}, step=1)
    run.log_table("samples", lambda: pytest.fail("made for nobody"))
    run.finish("finished")
    assert run.run is None and not list(tmp_path.iterdir())


class Fake:
    """Stands for a run of W&B's."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault, self.summary, self.ended, self.rows = fault, dict[str, Any](), list[int](), list[dict[str, Any]]()

    def define_metric(self, *args: Any, **kwargs: Any) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.fault:
            raise self.fault

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)
        if self.fault:
            raise self.fault


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What WandbRun opens: put a Fake or an exception in; modes it was tried in are appended to ``opened[0]``."""
    script: list[Any] = [[]]

    def init(self: WandbRun, mode: str) -> Any:
        script[0].append(mode)
        given = script.pop(1)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(WandbRun, "_init", init)
    monkeypatch.setattr(logging.getLogger("tuna"), "propagate", True)  # an earlier run switches it off
    return script


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)


def start(folder: Path, **changes: Any) -> WandbRun:
    given: dict[str, Any] = {"name": "x", "run_id": "x-1", "job_type": "sft", "config": {}, "tags": []}
    return Loggers().start_wandb(folder, **(given | changes))


def test_a_server_out_of_reach_means_offline(opened: list[Any], online: None, tmp_path: Path) -> None:
    opened += [RuntimeError("no route"), Fake()]
    run = start(tmp_path)
    assert opened[0] == ["online", "offline"] and run.run is not None


def test_a_wandb_that_cannot_even_write_is_left_out(
    opened: list[Any], online: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened += [RuntimeError("no route"), OSError("no room")]
    run = start(tmp_path)
    assert run.run is None and "going on without" in caplog.text
    run.log_metrics({"loss": 1.0}, step=1)
    run.produce(lambda: Item("model", "model-x", {"fingerprint": "0"}, {}))
    run.finish("finished")


def test_a_service_that_dies_is_told_once_and_not_asked_again(
    opened: list[Any], online: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Fake(BrokenPipeError("the service is gone"))
    opened.append(fake)
    run = start(tmp_path)
    for step in range(5):
        run.log_metrics({"loss": 1.0}, step=step)
    assert len(fake.rows) == 1 and caplog.text.count("the service is gone") == 1


def test_what_is_no_number_stays_out_of_the_summary(opened: list[Any], online: None, tmp_path: Path) -> None:
    opened.append(fake := Fake())
    run = start(tmp_path)
    run.log_summary({"val/loss": 1.5, "val/none": float("nan"), "lists": 3})
    assert fake.summary == {"val/loss": 1.5, "lists": 3}


def test_finish_never_raises(opened: list[Any], online: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened += [Fake(BrokenPipeError("the service is gone")), Fake()]
    fakes = opened[1:]
    runs = [start(tmp_path), start(tmp_path)]
    for status in ("finished", "failed"):  # they are closed by then
        for run in runs:
            run.finish(status)
    assert [fake.ended for fake in fakes] == [[0], [0]]
    assert [fake.summary for fake in fakes] == [{"status": "finished"}] * 2
    assert "the service is gone" in caplog.text


def test_a_summary_that_refuses_still_ends_the_run(opened: list[Any], online: None, tmp_path: Path) -> None:
    opened.append(fake := Fake())
    fake.summary = None  # type: ignore[assignment]
    start(tmp_path).finish("failed")
    assert fake.ended == [1]


def test_how_wandb_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    given: dict[str, Any] = {}

    def init(**words: Any) -> Fake:
        given.update(words)
        return Fake()

    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_FINISH_TIMEOUT", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    monkeypatch.setattr(wandb, "init", init)
    config = {"judge": {"base_url": "http://me:pass@host/v1", "api_key_env": "KEY"}}
    run = Loggers(tags=["mine", "sft"]).start_wandb(
        tmp_path, name="sweep/3", job_type="sft", run_id="x-1", config=config, tags=["sft", "scale tiny"]
    )
    settings = given["settings"]
    assert settings.finish_timeout == FINISH_TIMEOUT and settings.x_disable_meta and settings.disable_git
    assert (given["id"], given["resume"], given["group"], given["name"]) == ("x-1", "allow", "sweep", "sweep/3")
    assert given["tags"] == ["sft", "scale tiny", "mine"] and given["job_type"] == "sft"
    assert given["config"] == {"judge": {"base_url": "http<hidden>host/v1", "api_key_env": "KEY"}}
    run.finish("failed")
    assert "WANDB_DATA_DIR" not in os.environ


def test_what_cannot_be_made_is_reported_once(
    opened: list[Any], online: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No memory for a second model, a file that went away: found out while W&B's part is being made."""
    opened.append(Fake())
    run = start(tmp_path)

    def gone() -> Item:
        raise FileNotFoundError("lists.jsonl")

    run.use(gone)
    run.produce(gone)
    assert (
        caplog.text.count("W&B did not take the artifact (FileNotFoundError: lists.jsonl); the run is not harmed") == 1
    )


def test_the_model_a_run_made_is_the_one_the_next_starts_from(llama: Path, tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "3"
    run.mkdir(parents=True)
    (run / "model").symlink_to(llama)
    (run / "run.json").write_text(json.dumps({"name": "sweep/3"}))
    made = made_model(run / "model", "sweep/3", {"stage": "sft"})
    started = starting_model(ModelConfig(path=str(run)).resolve())
    assert (made.name, made.identity) == (started.name, started.identity)
    assert made.name == "model-sweep-3" and made.files == started.files == run / "model"


def test_a_model_that_no_run_made_is_never_uploaded(llama: Path) -> None:
    started = starting_model(ModelConfig(path=str(llama)).resolve())
    assert started.name == "model-llama" and started.files is None


def test_data_is_known_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "lists.jsonl"
    file.write_text("{}")
    item = data_file(str(file), "ab", {"rows": 1})
    assert (item.kind, item.name, item.files, item.identity) == ("dataset", "dataset-lists", file, {"sha256": "ab"})
    assert data_file("owner/set", "cd", {}).name == "dataset-owner-set"


def test_names_are_what_wandb_takes() -> None:
    assert artifact_name("model", "a" * 300) == "model-" + "a" * 94
    assert artifact_name("model", "/x y/é:z/") == "model-x-y-z"


def test_without_a_writable_cache_w_and_b_keeps_its_own_log_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for cache, expected in ((tmp_path / "cache", None), (tmp_path / "file" / "cache", str(tmp_path / "run" / "wandb"))):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setenv("WANDB_CACHE_DIR", "")
        monkeypatch.delenv("WANDB_CACHE_DIR")
        WandbRun(tmp_path / "run", "disabled", "none", {})
        assert os.environ.get("WANDB_CACHE_DIR") == expected
