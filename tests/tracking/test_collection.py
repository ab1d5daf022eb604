"""tuna.tracking.collection: a collection as a W&B run."""

import json
import sys
from pathlib import Path

import pytest

from rank import RANK
from tests.inference.http_server import LoopbackServer
from tests.inference.make import write_instructions
from tests.tracking import wandb_file
from tuna.data.files import sha256_file
from tuna.entry import main
from tuna.tracking.lineage import data_file

pytestmark = pytest.mark.once


def test_a_collection_is_a_run_between_model_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    main(RANK, [f"folder={tmp_path}", "name=lists", "first=3", "ranker.n=2", "sampler.max_tokens=8", "logger=wandb"])
    run = wandb_file.read_one(tmp_path / "lists.store")
    assert (run.run.job_type, run.run.display_name, run.exit_code) == ("rank", "lists", 0)
    assert run.config["ranker"]["n"] == 2 and run.summary["status"] == "finished"
    figures = json.loads((tmp_path / "lists.report.json").read_text())
    assert run.summary["lists"] == figures["lists"] and run.summary["requests"] == 0
    assert set(run.used()) == {"model-tiny"}
    output = tmp_path / "lists.jsonl"
    (made,) = [item for item in run.artifacts if not item.use_after_commit]
    as_train_has_it = data_file(str(output), sha256_file(output), {}, upload=False)
    assert made.name == as_train_has_it.name == "dataset-lists"
    (entry,) = made.manifest.contents
    assert json.loads(Path(entry.local_path).read_text()) == as_train_has_it.identity


def test_one_that_is_stopped_is_marked_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write_instructions(tmp_path / "in.jsonl", 3)
    words = [
        f"folder={tmp_path}",
        "name=lists",
        f"input={tmp_path / 'in.jsonl'}",
        "model=tiny",
        "ranker.n=2",
        "sampler.max_tokens=8",
    ]
    with LoopbackServer(lambda prompt, nth: {"kind": "status", "status": 401}) as server:
        words += ["judge=openai", f"judge.base_url={server.url}", "judge.model=m", "logger=wandb"]
        with pytest.raises(SystemExit) as stopped:
            main(RANK, words)
    assert stopped.value.code == 1
    run = wandb_file.read_one(tmp_path / "lists.store")
    assert (run.exit_code, run.summary["status"]) == (1, "failed")
    assert set(run.used()) == {"model-tiny", "dataset-in"}


def test_without_it_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    main(RANK, [f"folder={tmp_path}", "name=lists", "first=2", "ranker.n=2", "sampler.max_tokens=8"])
    assert not (tmp_path / "lists.store" / "wandb").exists() and (tmp_path / "lists.jsonl").exists()
