"""The last line of rank.py: a command that is right for what was collected, or the words why there is none."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_overrides import wrong
from tuna.config.commands import ROOT
from tuna.models.source import ModelConfig
from tuna.ranking.next_line import next_line
from tuna.ranking.settings import OutputPaths, Settings

pytestmark = pytest.mark.once  # computes nothing that kernels could round

ROWS: list[dict[str, Any]] = [{"output": "o", "responses": [{"text": "a", "score": 0.0}, {"text": "b", "score": -1.0}]}]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def words(line: str) -> list[str]:
    """The words of the command, which train.py takes as they are."""
    assert line.startswith("next: python train.py ")
    found = shlex.split(line.removeprefix("next: "))[2:]
    assert wrong(*found) == []
    return found


@pytest.mark.parametrize("ranker", ["contextual", "proxy", "probabilistic"])
@pytest.mark.parametrize("output", ["rankings/a.jsonl", "my lists/a,b.jsonl", "it's {x}.jsonl"])
@pytest.mark.parametrize("path", ["tiny", "runs/a", "my models/a=b", "owner/name"])
def test_the_command_is_what_train_takes(ranker: str, output: str, path: str) -> None:
    found = words(next_line(OutputPaths(Path(output)), Settings(), ranker, ROWS, ModelConfig(path)))
    assert found[0] == ("stage=tuna_p" if ranker == "probabilistic" else "stage=tuna_c")
    assert [word.partition("=")[0] for word in found] == ["stage", "model.path", "datamodule.path"]


def test_what_was_typed_of_the_model_is_said_again() -> None:
    model = ModelConfig("m", "v1", trust_remote_code=True, template="chat", template_args={"enable_thinking": False})
    assert words(next_line(OutputPaths(Path("a.jsonl")), Settings(), "contextual", ROWS, model))[1:-1] == [
        "model.path=m", "model.revision=v1", "model.trust_remote_code=true", "model.template=chat",
        "model.template_args={enable_thinking: false}",
    ]  # fmt: skip


def test_lists_without_an_original_response_take_their_best() -> None:
    rows = [*ROWS, {key: value for key, value in ROWS[0].items() if key != "output"}]
    found = words(next_line(OutputPaths(Path("a.jsonl")), Settings(), "contextual", rows, ModelConfig("m")))
    assert found[-1] == "datamodule.original=best"


@pytest.mark.parametrize(
    ("path", "rows", "said"),
    [
        (None, ROWS, "to go on: python train.py stage=tuna_c datamodule.path=a.jsonl, with model.path= of the model"),
        ("m", [{"responses": [{"score": 0.0}, {"score": 0.0}]}], "all answers of each list are tied"),
        ("sk-abcdef0123456789", ROWS, "to go on: stage=tuna_c, with model.path in a file"),
    ],
)
def test_where_no_command_would_run_none_is_printed(path: str | None, rows: list[dict[str, Any]], said: str) -> None:
    model = None if path is None else ModelConfig(path)
    line = next_line(OutputPaths(Path("a.jsonl")), Settings(), "contextual", rows, model)
    assert line.startswith(said) and "next:" not in line


def test_parts_are_merged_once_all_are_there_and_whole(tmp_path: Path) -> None:
    settings = Settings(output=str(tmp_path / "my lists.jsonl"), shard="2/2")
    places = [OutputPaths.of(Settings(output=settings.output, shard=f"{k}/2"), "") for k in (1, 2)]

    def put(place: OutputPaths, missing: int) -> None:
        place.output.write_text("")
        place.report.write_text(json.dumps({"missing": missing}))

    def line() -> str:
        return next_line(places[1], settings, "contextual", ROWS, None)

    put(places[1], 0)
    assert line() == "shard 2/2: 1 other parts are to be collected before the merge"
    put(places[0], 3)
    assert "next:" not in line()
    put(places[0], 0)
    names = [str(tmp_path / "my lists.jsonl"), str(places[0].output), str(places[1].output)]
    assert shlex.split(line().removeprefix("next: ")) == ["python", "rank.py", "merge", *names]
    (tmp_path / "my lists.jsonl").write_text("")
    assert "next:" not in line()
