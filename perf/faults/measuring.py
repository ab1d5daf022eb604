"""evaluate.py killed and run again, its stores and results damaged, two at once; results of several models together."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perf.faults.asking import DIRECT
from perf.faults.base import Bench, Ended, Trial, wait_for
from tests.inference.http_server import OK, LoopbackServer
from tests.training.make import write_model

KIND, SIZES = "measuring", "results of several models"
LIMIT = 12
Damage = Callable[[Path], object]


def _measure(bench: Bench, *words: str, folder: str = "results", **expected: Any) -> Ended:
    fixed = [f"limit={LIMIT}", "generation.batch_size=4", "benchmark.max_tokens=8", f"folder={folder}"]
    return bench.run("evaluate", *fixed, *words, **expected)


def _place(bench: Bench, folder: str = "results") -> Path:
    """The one results folder there."""
    found = [path for path in bench.folder.glob(f"{folder}/*/*") if path.is_dir()]
    assert len(found) == 1, found
    return found[0]


def _scores(bench: Bench, folder: str = "results") -> tuple[Any, ...]:
    place = _place(bench, folder)
    results = json.loads((place / "results.json").read_text())
    return results["status"], results["scores"], results["coverage"], (place / "examples.jsonl").read_text()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _killed(bench: Bench, number: int, lines: int) -> None:
    """Killed once so many answers are stored: they stay, the rest is drawn, and the figures are the same."""
    _measure(bench, folder="whole")
    store = bench.folder / "results"

    def during(process: int, output: Path) -> None:
        wait_for(lambda: sum(map(_lines, store.glob("*/*/store/answers.jsonl"))) >= lines and any(store.glob("*/*")))
        os.kill(process, number)

    _measure(bench, code=[{9: -9, 2: 130, 15: 143}[number], 0], during=during)
    answers = _place(bench) / "store" / "answers.jsonl"
    before = answers.read_bytes() if answers.exists() else b""
    _measure(bench)
    kept = before[: before.rfind(b"\n") + 1]
    bench.expect(answers.read_bytes().startswith(kept), "lost", "stored answers changed")
    bench.expect(_lines(answers) == LIMIT, "lost", f"{_lines(answers)} answers were drawn")
    bench.expect(_scores(bench) == _scores(bench, "whole"), "silent", "other figures than those of a whole run")


def _on_line(number: int, change: Callable[[bytes], bytes]) -> Damage:
    def damage(path: Path) -> None:
        lines = path.read_bytes().split(b"\n")[:-1]
        lines[number] = change(lines[number])
        path.write_bytes(b"".join(line + b"\n" for line in lines if line != b"GONE"))

    return damage


def _flip(line: bytes) -> bytes:
    middle = line.index(b'"text"') + 10
    return line[:middle] + bytes([line[middle] ^ 1]) + line[middle + 1 :]


STORES: dict[str, tuple[Damage, str]] = {
    "a flipped bit in an answer": (_on_line(5, _flip), "answers.jsonl:6: "),
    "a line of garbage": (_on_line(3, lambda line: b"\xff{"), "answers.jsonl:4: "),
    "an empty line": (_on_line(3, lambda line: b""), "answers.jsonl:4: "),
    "two lines in one": (_on_line(3, lambda line: line + line), "answers.jsonl:4: "),
    "a line edited by hand": (
        _on_line(0, lambda line: line.replace(b'"text": "', b'"text": "yes ')), "answers.jsonl:1: "
    ),
    "a line less": (_on_line(7, lambda line: b"GONE"), ""),
    "a cut last line": (lambda path: path.write_bytes(path.read_bytes()[:-9]), ""),
    "a doubled line": (lambda path: path.write_bytes(path.read_bytes() + next(path.open("rb"))), ""),
    "an empty file": (lambda path: path.write_bytes(b""), ""),
    "no file": (Path.unlink, ""),
}  # fmt: skip


def _damaged_store(bench: Bench, damage: Damage, says: str) -> None:
    """What was changed is named with its line; what is merely missing is drawn again. The figures end as they were."""
    _measure(bench)
    before, place = _scores(bench), _place(bench)
    answers = place / "store" / "answers.jsonl"
    damage(answers)
    (place / "results.json").unlink()
    if says:
        ended = _measure(bench, code=1, says=[says, "Next: delete that line"])
        number = int(ended.output.partition("answers.jsonl:")[2].partition(":")[0])
        lines = answers.read_bytes().split(b"\n")
        answers.write_bytes(b"\n".join(lines[: number - 1] + lines[number:]))  # as it is told
    _measure(bench)
    bench.expect(_scores(bench) == before, "silent", "other figures than before the damage")


RESULTS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing": (b"", (1,)), "half of it": (b'{"status": "finished", "sco', (1,)), "a list": (b"[]", (1,)),
    "a number": (b"7", (1,)), "null": (b"null", (1,)), "bytes that are no text": (b"\xff\xfe", (1,)),
    "nesting without an end": (b"[" * 100_000, (1,)), "no scores": (b'{"status": "finished"}', (1,)),
    "scores that are a text": (b'{"status": "finished", "scores": "x"}', (1,)),
    "a status that is a number": (b'{"status": 7}', (1,)), "a status of another kind": (b'{"status": "x"}', (0,)),
    "an empty object": (b"{}", (0,)), "a coverage that is a list": (b'{"status": "finished", "coverage": []}', (1,)),
}  # fmt: skip


def _damaged_results(bench: Bench, content: bytes, codes: tuple[int, ...]) -> None:
    """The file is named with what to do, and the stored answers give the same figures without a new one."""
    _measure(bench)
    before, place = _scores(bench), _place(bench)
    (place / "results.json").write_bytes(content)
    ended = _measure(bench, code=codes)
    if ended.code:
        bench.expect("results.json" in ended.output and "move" in ended.output, "message", ended.output[-300:])
        (place / "results.json").rename(bench.folder / "aside.json")
        _measure(bench)
    bench.expect(_lines(place / "store" / "answers.jsonl") == LIMIT, "lost", "answers were drawn again")
    bench.expect(_scores(bench) == before, "silent", "other figures than before the damage")


def _in_the_way(bench: Bench, name: str, kind: str) -> None:
    """Something else stands where evaluate.py writes: named, nothing drawn is lost, and it goes on afterwards."""
    _measure(bench, folder="whole")
    place = bench.folder / "results" / _place(bench, "whole").relative_to(bench.folder / "whole")
    there = bench.folder if name == "." else place / name
    if name == ".":
        (bench.folder / "results").write_text("mine")
    elif kind == "folder":
        there.mkdir(parents=True)
        (there / "mine").touch()
    else:
        there.parent.mkdir(parents=True)
        there.write_text("mine")
    ended = _measure(bench, code=1)
    shown = "results" if name == "." else name
    bench.expect("error: " in ended.output and shown in ended.output, "message", ended.output[-300:])
    stored = _lines(place / "store" / "answers.jsonl") if name != "." else 0
    (bench.folder / "results" if name == "." else there).rename(bench.folder / "moved")
    _measure(bench)
    bench.expect(_scores(bench) == _scores(bench, "whole"), "silent", "other figures than those of a whole run")
    bench.expect(_lines(place / "store" / "answers.jsonl") == LIMIT, "lost", f"drawn twice, after {stored}")


def _two_at_once(bench: Bench) -> None:
    def during(process: int, output: Path) -> None:
        wait_for(lambda: any(bench.folder.glob("results/*/*/store/.lock")))
        os.kill(process, signal.SIGSTOP)
        other = Bench(bench.folder)
        _measure(other, code=1, says=["another process is"])
        bench.found += other.found
        os.kill(process, signal.SIGCONT)

    _measure(bench, during=during)
    bench.expect(_lines(_place(bench) / "store" / "answers.jsonl") == LIMIT, "lost", "drawn twice")


def _server_dies(bench: Bench, action: dict[str, Any], after: int) -> None:
    """The model behind a server dies: exit code 1, the answers stay, and the same command asks for the rest alone."""
    with LoopbackServer() as server:
        server.plan = lambda prompt, nth: OK if server.asked.total() < after else action
        words = ["generation=openai", "generation.model=m", f"generation.base_url={server.url}", "generation.retries=1",
                 "generation.concurrency=1", "generation.timeout=3", "generation.endpoint=chat"]  # fmt: skip
        fixed = [f"limit={LIMIT}", *words]
        bench.run("evaluate", *fixed, code=1, env=DIRECT, says=["are missing"])
        [path] = bench.folder.glob("results/*/*/results.json")
        told = json.loads(path.read_text())
        bench.expect(told["status"] == "incomplete", "silent", f"status {told['status']}")
        answered = dict(server.answered)
        server.plan = lambda prompt, nth: OK
        bench.run("evaluate", *fixed, env=DIRECT)
        again = [prompt for prompt in answered if answered[prompt] and server.answered[prompt] > answered[prompt]]
        bench.expect(not again, "lost", f"asked again: {again}")
        bench.expect(json.loads(path.read_text())["status"] == "finished", "silent", "not finished")


def _another_model(bench: Bench) -> None:
    """The weights change between a kill and the same command: answers of two models never stand in one folder."""
    write_model(bench.folder / "m")
    words = ["model.path=m", "model.template=none"]

    def during(process: int, output: Path) -> None:
        wait_for(lambda: sum(map(_lines, bench.folder.glob("results/*/*/store/answers.jsonl"))) >= 4)
        os.kill(process, signal.SIGKILL)

    _measure(bench, *words, code=[-9, 0], during=during)
    first = _place(bench)
    shutil.rmtree(bench.folder / "m")
    write_model(bench.folder / "m", initializer_range=0.3)
    _measure(bench, *words)
    places = [path for path in bench.folder.glob("results/*/*") if path.is_dir()]
    bench.expect(len(places) == 2 and first in places, "silent", f"in one folder: {places}")


# Several models


def _results(bench: Bench) -> list[Path]:
    """Two models of different size, measured into one folder under one name."""
    for name, layers in (("a", 1), ("b", 3)):
        write_model(bench.folder / name / "m", num_hidden_layers=layers)
        _measure(bench, f"model.path={name}/m", "model.template=none")
    return sorted(path for path in bench.folder.glob("results/*/*") if path.is_dir())


def _side_by_side(bench: Bench, way: str) -> None:
    """Both stay, each with its own answers; the page of both shows both, and says what it cannot read."""
    one, two = _results(bench)
    expected = 2
    if way == "one is damaged":
        (one / "results.json").write_bytes(b'{"status": "fini')
        expected = 1
    elif way == "one has no scores":
        (one / "results.json").write_text(json.dumps({"status": "running", "benchmark": "elementary"}))
        expected = 1
    elif way == "one has examples of another kind":
        (one / "examples.jsonl").write_text("7\n[]\n")
    elif way == "one was copied over the other's answers":
        (one / "examples.jsonl").write_bytes((two / "examples.jsonl").read_bytes())
    elif way == "one has no examples":
        (one / "examples.jsonl").unlink()
    elif way == "a file between them":
        (one.parent / "note.txt").write_text("mine")
        (one.parent / "empty").mkdir()
    ended = bench.run("report", code=[0, 1])
    page = bench.folder / "report" / "report.html"
    if ended.code:
        bench.expect("error: " in ended.output and one.name in ended.output, "message", ended.output[-300:])
        return
    if expected == 1:
        bench.expect(
            one.name in ended.output or "results.json" in ended.output, "message", "the damaged one is not named"
        )
    bench.expect(page.is_file(), "lost", "no page")


WAYS = ("both are whole", "one is damaged", "one has no scores", "one has examples of another kind",
        "one has no examples", "one was copied over the other's answers", "a file between them")  # fmt: skip


def _trials() -> Iterator[Trial]:
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        for lines in (0, 4, 8, 12) if number == signal.SIGKILL else (0, 4):
            run = partial(_killed, number=number, lines=lines)
            yield Trial(KIND, f"{number.name} behind {lines} of {LIMIT} answers", run)
    for name, (damage, says) in STORES.items():
        yield Trial(KIND, f"stored answers with {name}", partial(_damaged_store, damage=damage, says=says))
    for name, (content, codes) in RESULTS.items():
        yield Trial(KIND, f"results.json holds {name}", partial(_damaged_results, content=content, codes=codes))
    for name, kind in ((".", "file"), ("results.json", "folder"), ("examples.jsonl", "folder"), ("store", "file"),
                       ("store/answers.jsonl", "folder"), ("store/.lock", "folder")):  # fmt: skip
        shown = "the results folder" if name == "." else name
        yield Trial(KIND, f"a {kind} in the place of {shown}", partial(_in_the_way, name=name, kind=kind))
    yield Trial(KIND, "two at once", _two_at_once, True)
    for name, action in (("closes connections", {"kind": "close"}), ("503", {"kind": "status", "status": 503}),
                         ("cuts replies", {"kind": "cut"})):  # fmt: skip
        yield Trial(KIND, f"the model's server {name}", partial(_server_dies, action=action, after=5))
    yield Trial(KIND, "other weights after a kill", _another_model)
    for way in WAYS:
        yield Trial(SIZES, way, partial(_side_by_side, way=way))


TRIALS = [*_trials()]
