"""Every way in which a key comes in, and every command: it is in no file and in nothing that is said.

The bench looks for 8 characters of SECRET in all files at the end; here they are looked for in what is said, too.
"""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from perf.faults.base import SECRET, SECRET_NAME, Bench, Ended, Trial, write_rows
from tests.inference.http_server import Action, LoopbackServer

BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()
SHAPES = {  # how a key comes in
    "the key": SECRET, "12 of its characters": SECRET[3:15], "its last 9 characters": SECRET[-9:],
    "it in base64": base64.b64encode(SECRET.encode()).decode(), "Basic credentials": BASIC,
}  # fmt: skip
_PARTS = [text[i : i + 8] for text in (SECRET[3:], BASIC[12:-4]) for i in range(len(text) - 7)]


def _silent(bench: Bench, ended: Ended) -> None:
    bench.expect(not any(part in ended.output for part in _PARTS), "key", "the output holds a part of it")


# What is typed, with the key or with what would bring it out of the environment; and in which commands.
TYPED = {
    "name=the key": [f"name={SECRET}"],
    "name=a part": [f"name={SECRET[5:14]}"],
    "name=it in base64": [f"name={BASIC}"],
    "a mapping": [f"+x={{headers: {{Authorization: {SECRET}}}}}"],
    "a word alone": [SECRET],
    "an option": [f"--{SECRET}"],
    "oc.env": [f"name=${{oc.env:{SECRET_NAME}}}"],
    "a nested resolver": [f"name=${{oc.${{zz}}:{SECRET_NAME}}}", "+zz=env"],
    "a resolver's whole name nested": [f"name=${{${{zz}}:{SECRET_NAME}}}", "+zz=oc.env"],
    "env_copy": [f"hydra.job.env_copy=[{SECRET_NAME}]"],
    "env_set": [f"hydra.job.env_set={{A: {SECRET[4:20]}}}"],
    "a folder": [f"hydra.run.dir={SECRET[3:12]}"],
}


def _typed(program: str, words: list[str]) -> Callable[[Bench], object]:
    def run(bench: Bench) -> None:
        for more in ([], ["--cfg", "job", "--resolve"]):
            _silent(bench, bench.run(program, *words, *more, code=1, says=["error:"]))

    return run


# What a file of --config-dir holds.
HELD = {
    "a literal key": f"api_key: {SECRET}",
    "a literal password without a shape": "nested: {password: swordfish}",
    "Authorization in a list": "headers: ['Authorization: Bearer aaaaaaaaaaaaaaaa7']",
    "Basic credentials": f"header: {BASIC}",
    "a part of the key": f"note: about {SECRET[6:16]}",
    "a URL with a password": "base_url: https://me:swordfish7@host/v1",
    "oc.env": f"note: ${{oc.env:{SECRET_NAME}}}",
    "oc.env by another name": f"way: env\nnote: ${{oc.${{extra.way}}:{SECRET_NAME}}}",
    "oc.env in oc.decode": f"note: '${{oc.decode:\"\\${{oc.env:{SECRET_NAME}}}\"}}'",
    "oc.env in oc.create": f"note: '${{oc.create:\"a: \\${{oc.env:{SECRET_NAME}}}\"}}'",
    "the key in place of a variable's name": f"api_key_env: {SECRET[3:]}",
    "an unknown key in place of a variable's name": "api_key_env: f3a9c1e87b604d52a1f8c39e0b7d46e2",
}


def _held(program: str, content: str) -> Callable[[Bench], object]:
    def run(bench: Bench) -> None:
        folder = bench.folder / "planted" / "extra"
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(content + "\n", encoding="utf-8")
        words = ["+extra=mine", "--config-dir", str(bench.folder / "planted")]
        for more in ([], ["--cfg", "job", "--resolve"]):
            ended = bench.run(program, *words, *more, code=1, says=["error:"], never=["swordfish", "f3a9c1e87b60"])
            _silent(bench, ended)

    return run


# What a server sends back.
def _echoes(shape: str) -> Iterator[tuple[str, dict[str, Any]]]:
    said: dict[str, Any] = {"error": {"message": f"Incorrect key {shape}", "code": f"x{shape}", "type": shape}}
    for status in (400, 401, 404, 429, 500):
        yield f"status {status}", {"plan": _always({"kind": "status", "status": status, "body": said})}
    yield "an answer", {"say": lambda prompt, k: f"Answer {k}: {shape} rank: [0, 1] [[C]]"}
    choice = {"message": {"content": None, "refusal": f"I refuse {shape}"}, "finish_reason": shape}
    yield "a refusal", {"say": lambda prompt, k: choice}


def _always(action: Action) -> Callable[[str, int], Action]:
    return lambda prompt, nth: action


def _asked(command: str, given: dict[str, Any], batch: bool) -> Callable[[Bench], object]:
    def run(bench: Bench) -> None:
        rows = [{"id": str(k), "instruction": f"Say {k}.", "output": f"{k}"} for k in range(2)]
        write_rows(bench.folder / "in.jsonl", rows)
        with LoopbackServer(**given) as server:
            at = [f"{command}.base_url={server.url}", f"{command}.model=m", f"{command}.retries=0", f"{command}=openai"]
            at += [f"{command}.batch=true", f"{command}.poll_seconds=0.01"] if batch else []
            if command == "generation":
                words = ["evaluate", "limit=2", *at]
            elif command == "teacher":
                words = ["rank", "ranker=probabilistic", "input=in.jsonl", "name=r", *at]
            else:
                words = ["rank", "ranker=contextual", "ranker.n=2", "input=in.jsonl", "model=tiny", "name=r", *at]
            for _ in range(2):  # the second reads what is stored
                _silent(bench, bench.run(*words, code=[0, 1], env={"TUNA_DEBUG": "0"}))
            bench.expect(server.bodies or server.batches.made, "message", "the server was never asked")

    return run


# Data of the user's that hold it: they are the trial's own, what is made of them is not.
def _rows(shape: str) -> list[dict[str, Any]]:
    texts = [f"The key is {shape}.", "Blue.", "Green."]
    responses = [{"text": text, "score": -k} for k, text in enumerate(texts)]
    return [
        {"id": str(k), "instruction": f"Which, {k}? {shape}", "output": texts[0], "responses": responses}
        for k in range(8)
    ]


def _trained(shape: str) -> Callable[[Bench], object]:
    def run(bench: Bench) -> None:
        write_rows(bench.folder / "planted.jsonl", _rows(shape)[:5])
        write_rows(bench.folder / "planted-2.jsonl", _rows(shape)[5:])
        words = [
            "stage=tuna_c",
            "model=tiny",
            "datamodule.path=planted.jsonl",
            "datamodule.val_path=planted-2.jsonl",
            "name=a",
            "logger=both",
        ]
        ended = bench.run(
            "train", *words, "trainer.max_steps=1", "logger.samples=2", "evaluate=false", env={"WANDB_MODE": "offline"}
        )
        _silent(bench, ended)
        samples = (bench.folder / "runs" / "a" / "samples.jsonl").read_text(encoding="utf-8")
        bench.expect("<hidden>" in samples, "message", "samples.jsonl does not show that something was hidden")
        _silent(bench, bench.run("report", "runs=[runs]", "output=report", code=[0, 1]))

    return run


def _judged(shape: str) -> Callable[[Bench], object]:
    def run(bench: Bench) -> None:
        write_rows(bench.folder / "planted.jsonl", _rows(shape))
        words = ["ranker=contextual", "judge=checker", "score_only=true", "input=planted.jsonl", "name=r"]
        _silent(bench, bench.run("rank", *words))
        lines = (bench.folder / "rankings" / "r.jsonl").read_text(encoding="utf-8").splitlines()
        bench.expect("<hidden>" in lines[0] and json.loads(lines[0]), "message", "the lists do not show it")

    return run


def _damaged(program: str, *words: str) -> Callable[[Bench], object]:
    """An error message that quotes the user's file."""

    def run(bench: Bench) -> None:
        (bench.folder / "planted.jsonl").write_text(f'{{"instruction": {SECRET}\n', encoding="utf-8")
        _silent(bench, bench.run(program, *words, code=1, says=["error:"]))

    return run


def _every() -> Iterator[Trial]:
    for program in ("train", "rank", "evaluate", "report", "reproduce"):
        for name, words in list(TYPED.items())[:: 1 if program in ("rank", "report") else 2]:
            sample = program == "report" and name == "a nested resolver"
            yield Trial("secrets", f"{program}.py, typed: {name}", _typed(program, words), sample)
    for program in ("train", "rank", "evaluate"):
        for name, content in list(HELD.items())[:: 1 if program == "rank" else 3]:
            yield Trial("secrets", f"{program}.py, in a config file: {name}", _held(program, content))
    for command, shape, ways in (
        ("judge", "12 of its characters", None),
        ("judge", "Basic credentials", ("status 400", "an answer")),
        ("judge", "the key", ("status 401", "an answer")),
        ("teacher", "12 of its characters", ("status 400", "status 500", "an answer")),
        ("generation", "12 of its characters", ("status 400", "status 500", "an answer")),
    ):
        for name, given in _echoes(SHAPES[shape]):
            if ways is None or name in ways:
                sample = (command, name) == ("judge", "an answer") and shape == "the key"
                trial = _asked(command, given, batch=False)
                yield Trial("secrets", f"{command}: a server sends {shape} in {name}", trial, sample)
    batch = {"say": lambda prompt, k: f"Answer {k}: {SECRET[3:15]} {BASIC}"}
    yield Trial("secrets", "judge: a batch answers with a part of the key", _asked("judge", batch, batch=True))
    for name, shape in SHAPES.items():
        yield Trial("secrets", f"rank.py, in the data: {name}", _judged(shape))
    yield Trial("secrets", "train.py and report.py, in the data: a part of the key", _trained(SECRET[3:15]))
    yield Trial(
        "secrets", "train.py, in a damaged file", _damaged("train", "model=tiny", "datamodule.path=planted.jsonl")
    )
    yield Trial("secrets", "rank.py, in a damaged file", _damaged("rank", "model=tiny", "input=planted.jsonl"))


TRIALS = list(_every())
