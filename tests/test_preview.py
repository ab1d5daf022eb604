"""``python -m tuna.data FILE``: what it says of a file, its ids, its faults; nothing heavy for the file alone."""

import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.data.make import row, tokenizer, write
from tuna.data.encode import Encoder
from tuna.data.lists import Answer
from tuna.data.record import Record
from tuna.preview import main, preview, read_options

TIED = [("one", 2.0), ("two", 1.0), ("three", 1.0), (" ", 0.0)]


def _lines(path: str, **options: Any) -> list[str]:
    return list(preview(path, options))


def test_counts_of_a_ranked_file(tmp_path: Path) -> None:
    rows = [row(0), row(1, TIED), row(2, [("same", 1.0), ("same", 2.0)]), row(3, [("a", 1.0), ("b", 1.0)])]
    path = write(tmp_path / "a.jsonl", rows)
    assert _lines(path, show=0) == [
        f"{path}: format tuna, rank_by score, 4 rows",
        "4 lists, 8 candidates (1 to 3, median 2); 3 pairs, 2 tied pairs, 2 lists without a pair",
        "targets of the cross-entropy: 4",
        "dropped: duplicate response: 1, empty response: 1",
    ]


def test_the_rule_is_what_the_responses_carry(tmp_path: Path) -> None:
    eq3 = [{"text": "x", "logprob": -8.0, "num_tokens": 4}, {"text": "y", "logprob": -1.0, "num_tokens": 4}]
    path = write(tmp_path / "a.jsonl", [row(0) | {"responses": eq3}])
    assert _lines(path, show=0)[0].endswith("format tuna, rank_by eq3, 1 rows")
    alpaca = write(tmp_path / "b.jsonl", [{"instruction": "Add.", "output": "3"}])
    assert _lines(alpaca, show=0) == [f"{alpaca}: format alpaca, 1 rows", "targets of the cross-entropy: 1"]


def test_a_stage_reads_as_its_training_does(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0), row(1)])
    assert _lines(path, stage="tuna_p", show=0)[0] == f"{path}: format tuna, rank_by eq3, 2 rows"
    assert _lines(path, stage="mix_tuna", show=0)[0] == f"{path}: format tuna, rank_by score, 2 rows"
    assert _lines(path, stage="sft", show=0) == [f"{path}: format tuna, 2 rows", "targets of the cross-entropy: 2"]
    assert _lines(path, stage="alpaca_mul", show=0)[1] == "targets of the cross-entropy: 6"


def test_records_with_their_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(n) for n in range(5)])
    text = "\n".join(_lines(path, show=2))
    assert f"{path}:1 id 0" in text and f"{path}:2 id 1" in text and f"{path}:3" not in text
    assert "as tiny reads them, template chat" in text
    assert "    | <|user|>Do 0.<|assistant|>" in text
    assert "  answer 1, score 1\n    | good 0\n" in text and "  answer 3, target\n    | out 0\n" in text
    prompt = next(line for line in text.splitlines() if "ids not scored:" in line)
    answer = text.partition("| bad 0\n")[2].splitlines()
    assert prompt.split()[4] == "2" and prompt.split()[-1] == "3"  # <|user|>, <|assistant|>
    assert "ids scored:" in answer[0] and answer[1].endswith("'<|end|>'")


def test_questions_alone_are_shown_without_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"instruction": "Name a tree."}])
    lines = _lines(path)
    assert "no answers that could be trained on; python rank.py model.path=MODEL input=FILE collects some" in lines
    assert "note: output, the original response: 1 of 1 rows have none" in lines
    assert lines[-3].startswith("    | <|user|>Name a tree.")


def test_the_ids_are_those_of_training() -> None:
    tok = tokenizer(bos=True)
    encoder = Encoder(tok, "none")
    found = encoder.encode(encoder.write(Record("0", "Do."), (Answer("good"), Answer("bad", complete=False))))
    prompt, answers = found.prompt.tolist(), [response.tolist() for response in found.responses]
    ids = {text: tok(text, add_special_tokens=False)["input_ids"] for text in ("Do.", "Do.good", "Do.bad")}
    assert prompt == [1, *ids["Do."]]
    assert [prompt + answer for answer in answers] == [[1, *ids["Do.good"], 2], [1, *ids["Do.bad"]]]
    assert all(map(all, found.scored))


def test_every_turn_is_a_run_of_its_own() -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    asked = (*turns, {"role": "user", "content": "Name a tree."})
    encoder = Encoder(tokenizer(chat=True))
    written = encoder.write(Record("0", "Name a tree.", messages=asked), (Answer("An oak.", target=True),))
    masks = encoder.encode(written, turns=True).scored[0]
    assert [bool(kind) for kind, _ in groupby(masks)] == [True, False, True]


def test_long_texts_and_ids_are_cut_in_their_middle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0, instruction="a tree " * 200)])
    lines = _lines(path, show=1)
    assert any("... 82" in line and "characters ..." in line for line in lines)
    assert all(len(line) < 700 for line in lines)


def test_columns_and_splits(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [{"q": name, "outs": ["a", "b"], "s": [1, 0]}])
    options = read_options(["columns={instruction: q, responses: outs, score: s}", "split=test", "show=0"])
    lines = list(preview(str(tmp_path), options))
    assert lines[0] == f"{tmp_path}: format tuna, rank_by score, 1 rows"
    assert f"note: {tmp_path}: split test is read, train not" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jsonl"], "error: nowhere.jsonl: no such file or folder"),
        (
            ["a.jsonl", "formt=tuna", "show=-1"],
            "did you mean format?\n       show: expected a whole number of 0 or more",
        ),
        (["a.jsonl", "tuna"], "error: tuna: expected key=value"),
        (["a.jsonl", "stage=tuna_d"], "error: stage=tuna_d: expected one of alpaca_mul, "),
        (["a.jsonl", "model=nowhere"], "error: model.path=nowhere: no such folder"),
        (["a.jsonl", "template=chatt"], "error: template: expected auto or alpaca or chat or none"),
        (
            ["b.jsonl"],
            "error: b.jsonl:2: responses: expected two responses or more, got a list of 1\n       1 malformed",
        ),
    ],
)
def test_faults(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", [row(0)])
    write(tmp_path / "b.jsonl", [row(0), row(1, [("one", 1.0)])])
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 1
    assert message in capsys.readouterr().err


def test_a_broken_row_is_a_fault_or_dropped_and_never_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", [row(0), row(1, [("one", 1.0), ("one", 2.0), ("two", 1.0)])])
    with open(path, "a") as file:
        file.write("{broken\n")
    with pytest.raises(SystemExit):
        main([path, "show=0"])
    told = capsys.readouterr()
    assert "dropped: duplicate response: 1\n" in told.out and f"error: {path}:3: line: expected JSON" in told.err
    main([path, "show=0", "datamodule.bad_rows=drop"])  # what the error names
    told = capsys.readouterr()
    assert "dropped: bad row: line: expected JSON: 1, duplicate response: 1\n" in told.out and told.err == ""


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out.startswith("python -m tuna.data FILE [key=value ...]")


def test_the_file_alone_needs_no_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [row(0)])
    code = (
        "import runpy, sys; sys.argv[1:] = sys.argv[2:]; runpy.run_module('tuna.data', run_name='__main__'); "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "-", path, "show=0"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[0].startswith(path) and shown.stdout.splitlines()[-1] == "set()"
