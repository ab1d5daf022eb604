"""What the programs write and say: odd columns, places that are taken, exit codes, next commands."""

import json
import math
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from perf.faults.base import Bench, Ended, Trial, write_rows
from tests.inference.http_server import OK, LoopbackServer
from tuna import assets
from tuna.config.compose import CONF

DIRECT = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
REFUSED = {"kind": "refusal"}
DEAD = {"kind": "status", "status": 503}
QUICK = ("trainer.max_steps=1", "evaluate=false", "logger=none")


def _asked(server: LoopbackServer, *more: object) -> list[object]:
    return [
        "ranker=probabilistic", "teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}",
        "teacher.concurrency=1", "teacher.retries=0", *more,
    ]  # fmt: skip


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


# Columns of the input

PARQUET: dict[str, Any] = {
    "timestamps": datetime(2026, 3, 1, 12, 30, 0, 7), "dates": date(2026, 3, 1), "times": time(12, 30),
    "durations": timedelta(seconds=90), "decimals": Decimal("1.50"), "bytes": b"\xff\x00", "NaN": math.nan,
    "infinity": math.inf, "nested dates": {"a": [{"b": date(2026, 3, 1)}]}, "a list of bytes": [b"x"], "nothing": None,
    "a large whole number": 2**62, "a boolean": True,
}  # fmt: skip
JSONL = {
    "NaN": "NaN", "minus infinity": "-Infinity", "a number beyond all": "1e999", "a lone surrogate": '"\\ud800"',
    "U+2028": '"a\\u2028b"', "a nested NaN": '{"a": [1, {"b": NaN}]}', "a lone surrogate as a key": '{"\\udc00": 1}',
    "an integer of 4,000 digits": "9" * 4000, "an object": "{}", "a nul": '"\\u0000"',
}  # fmt: skip
NEVER = {
    "an id with a lone surrogate": '"id": "\\ud800"', "an instruction with a lone surrogate": '"input": "\\udfff"',
    "600 lists in each other": '"deep": ' + "[" * 600 + "]" * 600, "an id that is an object": '"id": {}',
    "an id that is NaN": '"id": NaN', "an integer of 5,000 digits": '"n": ' + "9" * 5000,
}  # fmt: skip
CSV = {"a date": "2026-03-01", "NaN": "nan", "a quoted line break": '"a\nb"', "a number": "007", "nothing": ""}


def _carried(write: Callable[[Path], Path]) -> Callable[[Bench], None]:
    """Every row comes out, with its odd column, in a file of valid JSON; and the same command pays for nothing more."""

    def trial(bench: Bench) -> None:
        source = write(bench.folder)
        with LoopbackServer() as server:
            for _ in range(2):
                bench.run("rank", f"input={source.name}", "output=out.jsonl", *_asked(server), env=DIRECT)
            paid = sum(server.asked.values())
        rows = _rows(bench.folder / "out.jsonl")
        bench.expect(paid == 2, "lost", f"{paid} requests for two rows")
        bench.expect(len(rows) == 2 and all("odd" in row for row in rows), "silent", f"came out: {rows}")

    return trial


def _parquet(value: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"instruction": ["Q", "R"], "odd": pa.array([value, None])}), folder / "in.parquet")
        return folder / "in.parquet"

    return write


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


def _refused_row(text: str) -> Callable[[Bench], None]:
    """A row that no output can hold is named with its line before anything is asked."""

    def trial(bench: Bench) -> None:
        _text("in.jsonl", f'{{"instruction": "Q"}}\n{{"instruction": "R", {text}}}\n')(bench.folder)
        with LoopbackServer() as server:
            bench.run("rank", "input=in.jsonl", *_asked(server), code=1, says=["in.jsonl:2: "], env=DIRECT)
            bench.expect(not server.asked, "lost", "the server was asked")

    return trial


def _inputs() -> Iterator[Trial]:
    def trial(name: str, run: Callable[[Bench], None]) -> Trial:
        return Trial("rank.py's input", name, run, sample=name == "timestamps in Parquet")

    for name, value in PARQUET.items():
        yield trial(f"{name} in Parquet", _carried(_parquet(value)))
    for name, text in JSONL.items():
        rows = f'{{"instruction": "Q", "odd": {text}}}\n{{"instruction": "R", "odd": 1}}\n'
        yield trial(f"{name} in JSONL", _carried(_text("in.jsonl", rows)))
    for name, text in CSV.items():
        yield trial(f"{name} in CSV", _carried(_text("in.csv", f"instruction,odd\nQ,{text}\nR,x\n")))
    for name, text in NEVER.items():
        yield trial(name, _refused_row(text))


# Places that are taken, or cannot be written to


def _place(program: str, make: Callable[[Path], Mapping[str, object]], says: str) -> Callable[[Bench], None]:
    """What stands in the way stays as it is, and is named before anything is asked.

    make: puts it there; gives keys of the command line.
    """

    def trial(bench: Bench) -> None:
        write_rows(bench.folder / "in.jsonl", [{"instruction": "Q"}, {"instruction": "R"}])
        words = [f"{key}={value}" for key, value in make(bench.folder).items()]
        before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
        with LoopbackServer() as server:
            asked = _asked(server, *([] if any(w.startswith("input=") for w in words) else ["input=in.jsonl"]))
            bench.run(program, *words, *(asked if program == "rank" else []), code=1, says=[says, "output"], env=DIRECT)
            bench.expect(not server.asked, "lost", "the server was asked")
        after = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
        bench.expect(before == after, "lost", "files were changed or made")

    return trial


def _put(name: str, text: str = "mine", **keys: object) -> Callable[[Path], Mapping[str, object]]:
    def make(folder: Path) -> Mapping[str, object]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return {"output": "out.jsonl", **keys}

    return make


def _folder(name: str) -> Callable[[Path], Mapping[str, object]]:
    def make(folder: Path) -> Mapping[str, object]:
        (folder / name).mkdir()
        return {"output": "out.jsonl"}

    return make


def _linked(link: Callable[[Path, Path], None]) -> Callable[[Path], Mapping[str, object]]:
    def make(folder: Path) -> Mapping[str, object]:
        link(folder / "in.jsonl", folder / "out.jsonl")
        return {"output": "out.jsonl"}

    return make


def _among_inputs(folder: Path) -> Mapping[str, object]:
    (folder / "data").mkdir()
    (folder / "in.jsonl").rename(folder / "data" / "in.jsonl")
    return {"input": "data", "output": "data/out.jsonl"}


def _real(names: str) -> Callable[[Path], Mapping[str, object]]:
    """A folder with a run to report on, and ``names`` in the report's place."""

    def make(folder: Path) -> Mapping[str, object]:
        (folder / "runs" / "a").mkdir(parents=True)
        run = {"status": "finished", "config": {}, "stage": "sft", "name": "a"}
        (folder / "runs" / "a" / "run.json").write_text(json.dumps(run))
        return _put(names, output="report")(folder)

    return make


TAKEN = "is there and rank.py did not make it; next: the same command with output="
PLACES: dict[str, tuple[str, Callable[[Path], Mapping[str, object]], str]] = {
    "the input itself": ("rank", lambda folder: {"output": "in.jsonl"}, "itself, which would be replaced"),
    "the input by another path": ("rank", lambda folder: {"output": f"../{folder.name}/in.jsonl"}, "itself, which"),
    "a symbolic link to the input": ("rank", _linked(lambda a, b: b.symlink_to(a)), "itself, which would be replaced"),
    "a hard link to the input": ("rank", _linked(lambda a, b: os.link(a, b)), "itself, which would be replaced"),
    "the folder of the input": ("rank", _among_inputs, "lies in the folder input=data"),
    "an output that is somebody's": ("rank", _put("out.jsonl"), TAKEN),
    "an output in JSON lines": ("rank", _put("out.jsonl", '{"instruction": "Q"}\n'), TAKEN),
    "a dangling link": ("rank", _linked(lambda a, b: b.symlink_to("nowhere")), TAKEN),
    "a report that is somebody's": ("rank", _put("out.report.json", "{}"), TAKEN),
    "a picture that is somebody's": ("rank", _put("out.report.png"), TAKEN),
    "an unusable file that is somebody's": ("rank", _put("out.unusable.jsonl"), TAKEN),
    "a store that is somebody's": ("rank", _put("out.store/jam.txt"), TAKEN),
    "a folder as the output": ("rank", _folder("out.jsonl"), "is a folder, where a file has to be written"),
    "a folder as the report": ("rank", _folder("out.report.json"), "is a folder, where a file has to be written"),
    "a folder as the picture": ("rank", _folder("out.report.png"), "is a folder, where a file has to be written"),
    "a folder as the unusable file": ("rank", _folder("out.unusable.jsonl"), "is a folder, where a file has to be"),
    "a file as the store": ("rank", _put("out.store"), "is a file, where a folder has to be made"),
    "a file as the folder": ("rank", _put("there", output="there/out.jsonl"), "output: cannot write to"),
    "a name that is too long": ("rank", lambda folder: {"output": f"{'l' * 250}.jsonl"}, "output: cannot write to"),
    "a folder that nobody can write to": ("rank", lambda folder: {"output": "/proc/no/out.jsonl"}, "cannot write to"),
    "a page that is somebody's": ("report", _real("report/report.html"), "report.py did not make it"),
    "figures that are somebody's": ("report", _real("report/figures/a.png"), "report.py did not make it"),
    "tables that are somebody's": ("report", _real("report/tables/a.md"), "report.py did not make it"),
}


def _edited(bench: Bench) -> None:
    """An output that was edited after rank.py wrote it is not replaced."""
    write_rows(bench.folder / "in.jsonl", [{"instruction": "Q"}, {"instruction": "R"}])
    with LoopbackServer() as server:
        words = ["input=in.jsonl", "output=out.jsonl", *_asked(server)]
        bench.run("rank", *words, env=DIRECT)
        edited = (bench.folder / "out.jsonl").read_bytes() + b"\n"
        (bench.folder / "out.jsonl").write_bytes(edited)
        bench.run("rank", *words, code=1, says=["was changed since rank.py wrote it", "next: mv "], env=DIRECT)
    bench.expect((bench.folder / "out.jsonl").read_bytes() == edited, "lost", "the edited file was replaced")


OUTPUT = [
    *(
        Trial("output and names", name, _place(program, make, says), sample=name == "the input itself")
        for name, (program, make, says) in PLACES.items()
    ),
    Trial("output and names", "an output that was edited", _edited),
]


# Exit codes, and the commands that are printed


def _next(bench: Bench, ended: Ended) -> list[str]:
    """The words after the program of the printed next command; the program has to be what the folder needs."""
    lines = [line.partition("next")[2].lstrip(": ") for line in ended.output.splitlines() if line.startswith("next")]
    bench.expect(len(lines) == 1, "message", f"no next command: {ended.output[-300:]!r}")
    found = shlex.split(lines[0]) if lines else ["python", "none"]
    path = bench.folder / found[1]
    bench.expect(
        found[0] == "python" and path.exists() and path.parent.samefile(CONF.parent), "message", f"no such: {found}"
    )
    return [Path(found[1]).stem, *found[2:]]


def _counts(plan: Callable[[str, int], dict[str, Any]], code: int, says: str, **report: int) -> Callable[[Bench], None]:
    def trial(bench: Bench) -> None:
        write_rows(bench.folder / "in.jsonl", [{"instruction": f"Question {n}"} for n in range(6)])
        never = ["next: "] if code else []
        with LoopbackServer(plan) as server:
            words = ["input=in.jsonl", "output=out.jsonl", *_asked(server)]
            bench.run("rank", *words, code=code, says=[says], never=never, env=DIRECT)
        found = json.loads((bench.folder / "out.report.json").read_text())
        bench.expect(report.items() <= found.items(), "silent", f"{report} in place of what the report says")

    return trial


def _refuses(*numbers: int) -> Callable[[str, int], dict[str, Any]]:
    return lambda prompt, nth: REFUSED if int(prompt.split()[1]) in numbers else OK


def _dies(at: int) -> Callable[[str, int], dict[str, Any]]:
    return lambda prompt, nth: DEAD if int(prompt.split()[1]) >= at else OK


def _goes_on(*words: str) -> Callable[[Bench], None]:
    """Collect with a model of one's own in a folder with a space, run the printed command, and then that one's."""

    def trial(bench: Bench) -> None:
        model = bench.folder / "my models" / "m, 1"
        shutil.copytree(assets.path("tiny"), model)
        rows = [{"instruction": f"Name {n} things.", "output": f"thing {n}"} for n in range(8)]
        write_rows(bench.folder / "my rows.jsonl", rows)
        write_rows(
            bench.folder / "scored.jsonl", [row | {"responses": [{"text": "a thing"}, {"text": "b"}]} for row in rows]
        )
        given = [word.replace("MODEL", f'"{model.relative_to(bench.folder)}"') for word in words]
        ended = bench.run("rank", *given, "ranker.n=2", "output=my lists.jsonl")
        program, *found = _next(bench, ended)
        bench.expect(any("m, 1" in word for word in found), "silent", f"without the model: {found}")
        ended = bench.run(program, *found, *QUICK, "name=t")
        run = json.loads((bench.folder / "runs" / "t" / "run.json").read_text())
        bench.expect("m, 1" in str(run["parents"]["model"]), "silent", f"trained {run['parents']['model']}")

    return trial


def _embedded(*words: str) -> Callable[[Bench], None]:
    """Embedded lists go on with the embedded model, whose next command is run too."""

    def trial(bench: Bench) -> None:
        ended = bench.run("rank", *words, "first=8", "ranker.n=2", "sampler.max_tokens=8", "teacher.max_tokens=8")
        program, *found = _next(bench, ended)
        ended = bench.run(program, *found, *QUICK, "name=t")
        program, *found = _next(bench, ended)
        bench.run(program, *found, "limit=4")

    return trial


def _untyped(program: str, *words: str) -> Callable[[Bench], None]:
    def trial(bench: Bench) -> None:
        write_rows(bench.folder / "in.jsonl", [{"instruction": f"Q{n}", "output": "a"} for n in range(4)])
        bench.run(program, *words, code=1, says=[".path: missing beside ", "Next: "])

    return trial


def _after_training(stage: str, data: str, says: str | None) -> Callable[[Bench], None]:
    """What is printed after tuning a model of one's own is no toy, and runs."""

    def trial(bench: Bench) -> None:
        model = bench.folder / "my m"
        shutil.copytree(assets.path("tiny"), model)
        held = "held_out" if data == "train" else f"{data}_held_out"
        for name in (held, data):
            folder = "instructions" if data == "train" else "rankings"
            lines = assets.path(f"{folder}/{name}.jsonl").read_text(encoding="utf-8").split("\n")[:24]
            (bench.folder / f"my {name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        words = ["model.path=my m", f"datamodule.path=my {data}.jsonl", "datamodule.batch_size=4", f"stage={stage}"]
        beside = [f"datamodule.val_path=my {held}.jsonl"] if says else ["datamodule.held_out=4"]
        ended = bench.run("train", *words, *beside, *QUICK, "name=t", never=["elementary"])
        if says is None:
            bench.expect("\nnext " not in ended.output, "message", "a next command where none fits")
            return
        program, *found = _next(bench, ended)
        bench.expect(says in found, "message", f"{found} without {says}")
        bench.run(program, *found)

    return trial


def _judge(bench: Bench) -> None:
    """Vicuna QA's own questions have nothing that the checker could check."""
    asked = [{"question_id": n, "category": "generic", "turns": [f"Question {n}?"]} for n in range(4)]
    write_rows(bench.folder / "questions.jsonl", asked)
    for name in ("ours", "base"):
        write_rows(
            bench.folder / f"{name}.jsonl", [{"instruction": f"Question {n}?", "output": name} for n in range(4)]
        )
    words = ["benchmark=vicuna_qa", "benchmark.questions=questions.jsonl", "answers=ours.jsonl"]
    says = ["judge=checker cannot judge 4 of 4 questions (questions.jsonl:1, ", "judge=openai"]
    bench.run("evaluate", *words, "benchmark.baseline=base.jsonl", code=1, says=says)


def _no_judge(bench: Bench) -> None:
    """Instructions without an original response have nothing that the checker could go by."""
    write_rows(bench.folder / "in.jsonl", [{"instruction": "Q"}])
    bench.run("rank", "input=in.jsonl", "model=tiny", code=1, says=["judge=checker cannot judge 1 of 1 questions"])


def _nexts() -> Iterator[Trial]:
    def trial(name: str, run: Callable[[Bench], None]) -> Trial:
        return Trial("next lines", name, run, sample=name == "all rows refused")

    yield trial("all rows refused", _counts(_refuses(*range(6)), 1, "no list came of 6", unusable=6))
    yield trial("all rows but one refused", _counts(_refuses(*range(5)), 0, "unusable: 5", unusable=5, lists=1))
    for at in (0, 2, 5):
        yield trial(f"row {at} refused", _counts(_refuses(at), 0, "unusable: 1", unusable=1, lists=5, missing=0))
    for at in (0, 1, 3, 5):
        counted = _counts(_dies(at), 1, "are missing in", lists=at, missing=6 - at)
        yield trial(f"a server that dies at row {at}", counted)
    yield trial("a content filter", _counts(lambda prompt, nth: {"kind": "filter"}, 1, "no list came of 6"))
    mine, teacher = ["model.path=MODEL", "input=my rows.jsonl"], ["ranker=probabilistic", "teacher.max_tokens=8"]
    yield trial("a model of one's own, sampled", _goes_on(*mine, "sampler.max_tokens=8"))
    yield trial("a model of one's own, a teacher", _goes_on(*mine, *teacher, "teacher.path=tiny_teacher"))
    yield trial("a model of one's own, given answers", _goes_on(mine[0], "input=scored.jsonl", "score_only=true"))
    yield trial("embedded lists of samples", _embedded())
    yield trial("embedded lists of a teacher", _embedded("ranker=probabilistic"))
    for program, *words in (
        ("train", "stage=sft", "datamodule.path=in.jsonl"), ("rank", "input=in.jsonl"),
        ("rank", "input=in.jsonl", "ranker=probabilistic"), ("evaluate", "benchmark=nll", "benchmark.path=in.jsonl"),
    ):  # fmt: skip
        yield trial(f"{program}.py {words[-1]} without a model", _untyped(program, *words))
    yield trial("after tuning on a judge's lists", _after_training("tuna_c", "contextual", "benchmark=agreement"))
    yield trial(
        "after tuning on a teacher's lists", _after_training("tuna_p", "probabilistic", "benchmark.rank_by=eq3")
    )
    yield trial("after instruction tuning", _after_training("sft", "train", "benchmark=nll"))
    yield trial("after tuning without a held-out file", _after_training("tuna_c", "contextual", None))
    yield trial("after a reward model", _after_training("prm", "contextual", "score_only=true"))
    yield trial("a judge that cannot judge a benchmark", _judge)
    yield trial("a judge that cannot judge the instructions", _no_judge)


TRIALS = [*_inputs(), *OUTPUT, *_nexts()]
