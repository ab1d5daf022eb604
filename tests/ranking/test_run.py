"""One collection from config to files: names, reports, reranking, what is refused before anything is sent."""

import json
from pathlib import Path

import pytest

from tests.inference.http_server import OK, LoopbackServer
from tests.inference.make import collect, read_rows, write_answers, write_instructions
from tuna.config import checks
from tuna.config.compose import compose
from tuna.data.load import Source, load_source
from tuna.errors import ConfigError, DataError, RunError
from tuna.ranking.run import run

pytestmark = pytest.mark.once

TEACHER = ["ranker=probabilistic", "teacher=openai", "teacher.model=m"]


def test_the_report_tells_where_the_lists_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = collect(tmp_path, write_answers(tmp_path / "in.jsonl"), score_only="true")
    assert figures == {"lists": 6, "unusable": 0, "missing": 0, "requests": 0, "spent": 0.0}
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["identity"]["ranking"] == {"judge": "checker", "use_rouge": True, "seed": 0}
    assert report["ranking"]["lists"] == 6 and report["ranking"]["size"] == 4 and report["flip_rate"] is None
    assert report["config"]["judge"]["use_rouge"] is True and "sampler" not in report["config"]
    assert (tmp_path / "out.report.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "mean length by rank, best first (lists of 4)" in said and "train.py stage=tuna_c datamodule.path=" in said


def test_answers_to_shortened_questions_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["Name a color.", f"Name {'a color ' * 300}."]  # the embedded model has 512 positions
    (tmp_path / "in.jsonl").write_text(
        "".join(json.dumps({"instruction": text, "output": "Red."}) + "\n" for text in asked)
    )
    short = {"model": "tiny", "sampler.max_tokens": 4, "sampler.temperature": 2}
    collect(tmp_path, tmp_path / "in.jsonl", *(f"{key}={value}" for key, value in short.items()))
    assert json.loads((tmp_path / "out.report.json").read_text())["coverage"]["shortened"] == 4
    assert "4 answers are to questions that were shortened, to fit the model's positions" in capsys.readouterr().out
    rows = read_rows(tmp_path / "out.jsonl")
    assert len(load_source(Source(str(tmp_path / "out.jsonl"))).records) == 2
    assert [{answer.get("shortened") for answer in row["responses"]} for row in rows] == [{None}, {True}]


def test_faults_of_the_models_and_of_the_instructions_come_together(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"instruction": "Say a."}\n{"instruct')
    words = ["ranker=probabilistic", "teacher.path=nowhere", "model.path=no_need"]
    with pytest.raises(ConfigError, match=r"^teacher\.path=nowhere: no such folder.*\n.*in\.jsonl:2: "):
        collect(tmp_path, tmp_path / "in.jsonl", *words)
    words = ["ranker=proxy", "ranker.path=nothing", "model.path=nowhere"]
    with pytest.raises(ConfigError, match=r"^model\.path=nowhere: .*\nranker\.path=nothing: .*\n.*in\.jsonl:2: "):
        collect(tmp_path, tmp_path / "in.jsonl", *words)


def test_the_name_follows_from_what_answers_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_answers(tmp_path / "in.jsonl")

    def go(*words: str) -> None:
        cfg = compose(["input=in.jsonl", "score_only=true", *words], config_name="rank")
        checks.check(cfg)
        run(cfg)

    go()
    go()
    assert len(list(Path("rankings").glob("contextual-????????.jsonl"))) == 1
    go("first=3")
    assert len(list(Path("rankings").glob("contextual-????????.jsonl"))) == 2


def test_other_instructions_are_refused_and_the_unusable_file_goes_when_it_is_empty(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    collect(tmp_path, source, score_only="true")
    (tmp_path / "out.unusable.jsonl").write_text("{}\n")  # of an earlier run
    collect(tmp_path, source, score_only="true")
    assert not (tmp_path / "out.unusable.jsonl").exists()
    with pytest.raises(RunError, match=r"source\.instructions"):
        collect(tmp_path, write_answers(tmp_path / "in.jsonl", 7), score_only="true")


def test_a_stopped_run_says_how_many_are_missing(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 5)
    words = ["ranker=probabilistic", "teacher=openai", "teacher.model=m", "max_requests=2"]
    with LoopbackServer() as server, pytest.raises(RunError, match="3 of 5 instructions are missing"):
        collect(tmp_path, source, *words, f"teacher.base_url={server.url}")
    assert len(read_rows(tmp_path / "out.jsonl")) == 2
    assert json.loads((tmp_path / "out.report.json").read_text())["missing"] == 3


@pytest.mark.parametrize("kind", ["refusal", "filter"])
def test_no_list_is_no_success_and_names_no_next_command(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 3)
    with LoopbackServer(lambda prompt, nth: {"kind": kind}) as server:
        with pytest.raises(RunError, match=r"no list came of 3 instructions: fewer than two usable.*\(3 of them\)"):
            collect(tmp_path, source, *TEACHER, f"teacher.base_url={server.url}")
        asked = sum(server.asked.values())
        with pytest.raises(RunError, match="no list came of 3 instructions"):
            collect(tmp_path, source, *TEACHER, f"teacher.base_url={server.url}")
        assert sum(server.asked.values()) == asked == 3  # refusals are stored
    assert len(read_rows(tmp_path / "out.unusable.jsonl")) == 3
    assert "next:" not in capsys.readouterr().out


def test_a_server_that_dies_leaves_rows_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 6)
    words = [*TEACHER, "teacher.concurrency=1", "teacher.retries=0", "teacher.price=[1,1]"]
    left = OK, {"kind": "status", "status": 500}
    with LoopbackServer(lambda prompt, nth: left[int(prompt[9]) > 2]) as server:
        with pytest.raises(RunError, match=r"3 of 6 instructions are missing in .*the same command .* these alone"):
            collect(tmp_path, source, *words, f"teacher.base_url={server.url}")
        report = json.loads((tmp_path / "out.report.json").read_text())
        assert (report["lists"], report["unusable"], report["missing"]) == (3, 0, 3)
        assert "next:" not in capsys.readouterr().out
        server.plan = lambda prompt, nth: OK
        assert collect(tmp_path, source, *words, f"teacher.base_url={server.url}")["lists"] == 6
    assert "to go on: " in capsys.readouterr().out


def test_some_lists_are_a_success_that_counts_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 3)
    with LoopbackServer(lambda prompt, nth: {"kind": "refusal"} if "0" in prompt else OK) as server:
        words = [*TEACHER, "model.path=my models/m", f"teacher.base_url={server.url}"]
        figures = collect(tmp_path, source, *words)
    assert (figures["lists"], figures["unusable"], figures["missing"]) == (2, 1, 0)
    told = capsys.readouterr().out
    assert "unusable: 1 (most often: fewer than two usable answers)" in told
    assert f"stage=tuna_p 'model.path=my models/m' datamodule.path={tmp_path}/out.jsonl" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "model.path: missing beside input="),
        (["ranker=probabilistic"], "teacher.path: missing beside input="),
        (["ranker=proxy", "ranker.path=tiny"], "model.path: missing beside input="),
    ],
)
def test_an_embedded_model_answers_a_users_instructions_only_if_typed(
    tmp_path: Path, words: list[str], said: str
) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    with pytest.raises(ConfigError, match=said):
        collect(tmp_path, source, *words)
    typed = ["model=tiny", "teacher.path=tiny_teacher", "ranker.n=2", "dry_run=true"]
    if "ranker=proxy" not in words:
        collect(tmp_path, source, *words, *typed)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_dry_run_says_what_memory_the_answers_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 40)
    collect(tmp_path, source, "model=tiny", "ranker.n=3", "dry_run=true", sampler__block=32)
    # 2 x 4 layers x 4 heads x 32 numbers of 4 bytes for each of 512 tokens and a few of the prompt, 32 x 3 times
    told = "to compute here, sampler: memory: weights 0.00 GB, keys and values of 96 answers at once up to 0.20 GB\n"
    assert told in capsys.readouterr().out


def test_what_is_refused_at_once(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    with pytest.raises(ConfigError, match="shard: 3/3 of 2 instructions is empty"):
        collect(tmp_path, source, model="tiny", shard="3/3")
    with pytest.raises(DataError, match=r"in\.jsonl:1: responses: expected two answers or more"):
        collect(tmp_path, source, score_only="true")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]
