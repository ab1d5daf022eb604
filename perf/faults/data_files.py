"""Data files that hold anything: one message with file and line, before weights are read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perf.faults.base import Bench, Trial, write_rows
from perf.faults.models import POINTER

GOOD = {
    "instruction": "Say hi.",
    "output": "Hi.",
    "responses": [{"text": "Hi!", "score": 1.0}, {"text": "No.", "score": 0.0}],
}


def _data(
    name: str, file: str, write: Callable[[Path], object], *says: str, code: int = 1, sample: bool = False
) -> Trial:
    def run(bench: Bench) -> None:
        write(bench.folder / file)
        words = (
            "model=tiny",
            f"datamodule.path={file}",
            "datamodule.held_out=0",
            "name=r",
            "trainer.max_steps=1",
            "evaluate=false",
        )
        bench.run("train", *words, code=code, says=[file, *says] if code else says, seconds=40.0)
        bench.expect(code == 0 or not (bench.folder / "runs" / "r").exists(), "slow", "it came to a run folder")

    return Trial("data files", name, run, sample)


def _line(text: str) -> Callable[[Path], object]:
    """A second line that is something else."""
    return lambda path: path.write_bytes((json.dumps(GOOD) + "\n" + text + "\n").encode("utf-8", "surrogatepass"))


def _row(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _parquet(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([GOOD] * 20), path)
        path.write_bytes(change(path.read_bytes()))

    return write


def _files() -> list[Trial]:
    score = '{{"instruction": "a", "output": "b", "responses": [{{"text": "c", "score": {}}}, {{"text": "d"}}]}}'
    lines = {
        "a number of 5,000 digits": score.format("1" * 5000),
        "1e999": score.format("1e999"),
        "NaN": score.format("NaN"),
        "-Infinity": score.format("-Infinity"),
        "nested 100,000 deep": '{"a": ' + "[" * 100_000,
        "nested 300 deep": _row(extra=0).replace("0}", "[" * 300 + "]" * 300 + "}"),
        "a lone surrogate": _row(instruction="a \ud800 b"),
        "a lone surrogate in an answer": _row(output="\udfff"),
        "half a line": _row()[:40],
        "a list": "[1, 2]",
        "a text": '"text"',
        "null": "null",
        "no instruction": _row(instruction=None),
        "an instruction that is a number": _row(instruction=5),
        "white space for an instruction": _row(instruction=" \u2028 "),
        "responses a text": _row(responses="x"),
        "a response that is a number": _row(responses=[5]),
        "a score that is a text": score.format('"best"'),
        "a score of 4e38": score.format("4e38"),
        "a whole number beyond float": score.format("1" + "0" * 400),
    }
    trials = [
        _data(f"a line: {name}", "d.jsonl", _line(text), "d.jsonl:2", sample=name == "a number of 5,000 digits")
        for name, text in lines.items()
    ]
    wholes: dict[str, tuple[str, bytes]] = {
        "empty": ("d.jsonl", b""),
        "a byte-order mark alone": ("d.csv", b"\xef\xbb\xbf\n"),
        "invalid UTF-8": ("d.jsonl", json.dumps(GOOD).encode() + b"\n\xff\xfe\n"),
        "UTF-16": ("d.jsonl", json.dumps(GOOD).encode("utf-16")),
        "gzip": ("d.jsonl.gz", b"\x1f\x8b\x08\x00 and so on"),
        "a Git-LFS pointer": ("d.parquet", POINTER),
        "a list cut in half": ("d.json", json.dumps([GOOD] * 9).encode()[:200]),
        "a list with a number of 5,000 digits": ("d.json", b"[" + b"1" * 5000 + b"]"),
        "a list nested 100,000 deep": ("d.json", b"[" * 100_000),
        "a table with a lone quote": ("d.csv", b'instruction,output\n"a,b\nc,d\n'),
        "a table with a cell too many": ("d.csv", b"instruction,output\na,b\nc,d,e\n"),
        "a table with two columns of one name": ("d.tsv", b"output\toutput\na\tb\n"),
        "a table of NULs": ("d.csv", b"\0" * 100),
        "a line of 20 MB": ("d.jsonl", b'{"a": "' + b"x" * 20_000_000),
    }
    trials += [_data(name, file, _bytes(data)) for name, (file, data) in wholes.items()]
    return [
        *trials,
        _data("Parquet cut in half", "d.parquet", _parquet(lambda data: data[: len(data) // 2])),
        _data("Parquet without its end", "d.parquet", _parquet(lambda data: data[:-4])),
        _data(
            "Parquet of zeros inside",
            "d.parquet",
            _parquet(lambda data: data[:4] + bytes(len(data) - 200) + data[-196:]),
        ),
        _data("a folder without files", "d.jsonl", lambda path: path.mkdir()),
        _data("a link to nothing", "d.jsonl", lambda path: path.symlink_to("nowhere")),
        _data(
            "other line ends within texts",
            "d.jsonl",
            lambda path: write_rows(path, [GOOD | {"output": "a\u2028b\x85c"}] * 4),
            code=0,
        ),
    ]


TRIALS = _files()
