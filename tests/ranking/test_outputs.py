"""output= replaces what rank.py made and nothing else; every place is known to be writable before
anything is asked; the last line is a command that is right for what was collected, or the words why there is none."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_overrides import wrong
from tests.inference.http_server import LoopbackServer
from tests.inference.make import collect, read_rows, write_answers, write_instructions
from tuna.config.compose import CONF, compose
from tuna.errors import ConfigError, DataError, RunError, TunaError
from tuna.models.source import ModelConfig
from tuna.ranking import outputs, run
from tuna.ranking.outputs import OutputPaths, next_line
from tuna.ranking.settings import Settings
from tuna.ranking.tools import merge, run_tool

pytestmark = pytest.mark.once
ROWS: list[dict[str, Any]] = [{"output": "o", "responses": [{"text": "a", "score": 0.0}, {"text": "b", "score": -1.0}]}]
BESIDE = ("out.jsonl", "out.unusable.jsonl", "out.report.json", "out.report.png")


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONF.parent)


def refused(source: Path, output: Path, *, dry_run: bool = False) -> str:
    """What is said of an output before a collection begins."""
    with pytest.raises(TunaError) as fault:
        outputs.check_places(OutputPaths(output), str(source), dry_run=dry_run)
    return str(fault.value)


def ask(server: LoopbackServer) -> list[str]:
    return ["ranker=probabilistic", "teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("kind", ["file", "link", "dangling", "of another tool"])
def test_what_rank_did_not_make_stays(tmp_path: Path, name: str, kind: str) -> None:
    source, place = write_instructions(tmp_path / "in.jsonl", 2), tmp_path / name
    (tmp_path / "other").mkdir()
    if kind == "file":
        place.write_text("mine")
    elif kind == "of another tool":
        place.write_text('{"a": 1}')
    else:
        place.symlink_to(tmp_path / "other" / "mine")
        if kind == "link":
            (tmp_path / "other" / "mine").write_text("mine")
    before = files(tmp_path)
    said = refused(source, tmp_path / "out.jsonl")
    assert said.startswith(f"output: {place} is there and rank.py did not make it; next: the same command with ")
    assert files(tmp_path) == before


def test_nothing_is_asked_before_and_the_advice_works(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    (tmp_path / "out.report.png").write_text("mine")
    with LoopbackServer() as server:
        with pytest.raises(ConfigError) as fault:
            collect(tmp_path, source, *ask(server))
        assert not server.asked and not (tmp_path / "out.store").exists()
        (word,) = shlex.split(str(fault.value).partition("next: the same command with ")[2])
        assert run.run(compose([f"input={source}", word, *ask(server)], config_name="rank"))["lists"] == 2


@pytest.mark.parametrize("kind", ["itself", "by another path", "symbolic link", "hard link", "its unusable file"])
def test_the_input_is_never_replaced(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, output = write_answers(tmp_path / "in.jsonl", 2), tmp_path / "out.jsonl"
    if kind == "itself":
        output = source
    elif kind == "by another path":
        (tmp_path / "sub").mkdir()
        output = Path("sub") / ".." / "in.jsonl"
    elif kind == "symbolic link":
        output.symlink_to(source)
    elif kind == "hard link":
        os.link(source, output)
    else:
        source = source.rename(tmp_path / "out.unusable.jsonl")
    before = source.read_bytes()
    said = refused(source, output)
    assert f"is input={source} itself, which would be replaced; next: the same command with " in said
    assert source.read_bytes() == before and not list(tmp_path.glob("*.store"))


def test_not_even_one_of_its_own_making(tmp_path: Path) -> None:
    first = write_answers(tmp_path / "in.jsonl", 3)
    collect(tmp_path, first, score_only="true")
    with pytest.raises(ConfigError, match=r"is input=.*out\.jsonl itself"):
        collect(tmp_path, tmp_path / "out.jsonl", score_only="true", rerank="true")


def test_an_output_among_the_inputs_would_be_read_the_next_time(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_answers(tmp_path / "data" / "in.jsonl", 2)
    said = refused(tmp_path / "data", tmp_path / "data" / "out.jsonl")
    assert "lies in the folder input=" in said and f"output={tmp_path}/data-ranked-2.jsonl" in said


def test_its_own_is_written_again_after_a_kill_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    monkeypatch.setattr(run, "draw", lambda *arguments: None)
    for seed, broken in enumerate(("describe_lists", "note_written", "describe_lists")):
        with monkeypatch.context() as patch:  # describe_lists comes after the output and before its report
            patch.setattr(run, broken, lambda *arguments: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                collect(tmp_path, source, score_only="true", rerank="true", seed=seed)
    assert collect(tmp_path, source, score_only="true", rerank="true")["lists"] == 3


def test_one_of_an_older_version_is_its_own(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    collect(tmp_path, source, score_only="true")
    (tmp_path / "out.store" / "written.json").unlink()
    (tmp_path / "out.report.json").unlink()  # and killed before its report was there
    assert collect(tmp_path, source, score_only="true")["lists"] == 3
    shutil.rmtree(tmp_path / "out.store")  # taken away to save room: the report has the hash
    assert collect(tmp_path, source, score_only="true")["lists"] == 3


def test_one_that_was_edited_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    collect(tmp_path, source, score_only="true")
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match=r"was changed since rank\.py wrote it") as fault:
        collect(tmp_path, source, score_only="true")
    found = re.search(r"next: (mv .*), and the same", str(fault.value))
    assert found is not None and os.system(found[1]) == 0
    assert collect(tmp_path, source, score_only="true")["lists"] == 3 and (tmp_path / "out.jsonl.mine").exists()


def test_a_folder_of_somebody_elses_is_no_store(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    (tmp_path / "out.store").mkdir()
    (tmp_path / "out.store" / "jam.txt").write_text("plum")
    assert "out.store is there and rank.py did not make it" in refused(source, tmp_path / "out.jsonl")


@pytest.mark.parametrize("output", ["/proc/no/out.jsonl", "in.jsonl/out.jsonl", "l" * 250 + ".jsonl"])
def test_what_cannot_be_written_is_told_before(tmp_path: Path, output: str) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    assert refused(source, tmp_path / output).startswith("output: cannot write to ")
    assert not list(tmp_path.glob("*.tmp"))


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    assert refused(source, source / "out.jsonl", dry_run=True).startswith("output: cannot write to ")
    outputs.check_places(OutputPaths(tmp_path / "new" / "out.jsonl"), str(source), dry_run=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("name", BESIDE)
def test_a_folder_where_a_file_has_to_be_written(tmp_path: Path, name: str) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    (tmp_path / name).mkdir()
    assert f"{tmp_path / name} is a folder, where a file has to be written" in refused(source, tmp_path / "out.jsonl")


def test_a_file_where_the_store_has_to_be(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    (tmp_path / "out.store").write_text("")
    assert "out.store is a file, where a folder has to be made" in refused(source, tmp_path / "out.jsonl")


def test_odd_columns_come_out_and_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text(
        '{"instruction": "Q", "price": NaN, "mark": "\\udc80", "deep": {"a": [Infinity]}}\n'
    )
    with LoopbackServer() as server:
        collect(tmp_path, tmp_path / "in.jsonl", *ask(server))
    (row,) = read_rows(tmp_path / "out.jsonl")
    assert (row["price"], row["mark"], row["deep"]) == (None, "\udc80", {"a": [None]})
    assert "note: " in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out.report.json").read_text())["notes"]) == 2


@pytest.mark.parametrize("name", ["a.jsonl", "mine.json", "report.txt"])
def test_a_comparison_replaces_only_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    collect(tmp_path, write_answers(tmp_path / "in.jsonl"), score_only="true", output=tmp_path / "a.jsonl")
    Path("mine.json").write_text('{"a": 1}')
    before = files(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_tool(["compare", "a.jsonl", "a.jsonl", name])
    assert stopped.value.code == 1 and name in capsys.readouterr().err and files(tmp_path) == before
    for _ in range(2):
        run_tool(["compare", "a.jsonl", "a.jsonl", "agreement.json"])
    assert Path("agreement.png").stat().st_size > 1000


def test_a_merge_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is there already"):
        merge(str(tmp_path / "link.jsonl"), [])
    with pytest.raises(RunError, match=r"OUT\.jsonl: cannot write"):
        merge(str(write_answers(tmp_path / "in.jsonl") / "out.jsonl"), [])


def test_a_hash_is_noted_once(tmp_path: Path) -> None:
    places = OutputPaths(tmp_path / "out.jsonl")
    places.store.mkdir()
    for sha256 in ("a", "b", "a"):
        outputs.note_written(places, sha256)
    assert json.loads((places.store / "written.json").read_text()) == {"sha256": ["a", "b"]}
    (places.store / "written.json").write_text('{"sha256": 7}')  # by something else
    outputs.note_written(places, "a")
    assert json.loads((places.store / "written.json").read_text()) == {"sha256": ["a"]}


@pytest.mark.parametrize("values", ["7", '{"requests": 1}', '{"requests": "x", "prompt_tokens": 1, '
                         '"completion_tokens": 1, "cost": null}'])  # fmt: skip
def test_an_estimate_that_is_none_is_told(values: str, tmp_path: Path) -> None:
    (tmp_path / "estimate.json").write_text(f'{{"sampler": {values}}}')
    with pytest.raises(RunError, match=r"estimate\.json: sampler: expected requests, .* next: move the file away"):
        run.first_usage(tmp_path / "estimate.json")


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
