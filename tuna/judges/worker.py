"""The process in which a user's functions run; ``tuna.judges.workers`` starts it as a script.

It knows the standard library alone, so that it starts in 30 ms and a function finds nothing of Tuna's loaded. Lines of
JSON go both ways over a socket: stdout and stderr belong to the functions. First come ``{"functions": [...], "path":
[...]}`` and its answer ``{"loaded": [...]}`` or ``{"refused": text}``; then, for each job, ``{"values": [...],
"place": k}`` as they are known, and at its end ``{"done": true}`` or ``{"fault": text, "raw": traceback}``.
"""

import ast
import contextlib
import copy
import difflib
import faulthandler
import hashlib
import importlib
import inspect
import json
import math
import os
import queue
import reprlib
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

_GRACE = 3.0  # seconds to end by itself once the parent is gone
_MOST = 20_000  # characters of a traceback that are kept
_KNOWN = ("prompt", "answer", "answers", "row")
_LIBRARY = os.path.dirname(os.__file__)
_INNER = (__file__, f"{_LIBRARY}/asyncio/", f"{_LIBRARY}/importlib/")  # where frames are none of the user's


class Refused(Exception):
    """What is wrong with a function, or with what it gave; the message is meant for the user."""


class Function:
    """One function, imported: ``PATH.py:NAME`` or ``package.module:NAME``."""

    def __init__(self, typed: str) -> None:
        where, _, self.name = typed.rpartition(":")
        self.shown = f"{os.path.basename(where)}:{self.name}"
        self.path = os.path.abspath(os.path.expanduser(where)) if where.endswith(".py") else ""
        try:
            module = _run_file(self.path) if self.path else importlib.import_module(where)
        except Refused:
            raise
        except BaseException as error:  # SystemExit too
            raise Refused(f"{_place(error, self.path) or where}: {_said(error)}") from error
        self.path = self.path or getattr(module, "__file__", None) or where
        self.call = self._find(module)
        self.takes = self._parameters()
        self.whole = "answers" in self.takes
        code = _code(self.call)
        self.sha256 = _hash(_with_imports({self.path, code.co_filename if code else self.path}, self._root(where)))

    def _root(self, where: str) -> str:
        """The folder in which it finds modules of the user's; none for a function of an installed package."""
        folder = os.path.dirname(self.path)
        for _ in range(0 if where.endswith(".py") else where.count(".") + (Path(self.path).stem == "__init__")):
            folder = os.path.dirname(folder)
        return "" if {"site-packages", "dist-packages"} & {*Path(folder).parts} or folder == _LIBRARY else folder

    def _find(self, module: types.ModuleType) -> Callable[..., Any]:
        found: Any = module
        for part in self.name.split("."):
            if not hasattr(found, part):
                near = difflib.get_close_matches(part, dir(found), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise Refused(f"{_short(self.path)}: it has no {self.name}{hint}")
            found = getattr(found, part)
        if not callable(found):
            raise Refused(f"{_short(self.path)}: {self.name}: expected a function, got {type(found).__name__}")
        return found  # type: ignore[no-any-return]

    def _parameters(self) -> list[str]:
        """The names that it is called with. Raises: Refused where it cannot be called with ours."""
        code = _code(self.call)
        where = f"{_short(self.path)}:{code.co_firstlineno}" if code else _short(self.path)
        expected = "expected (prompt, answer, row), or (prompt, answers, row) for all answers of a list at once"
        try:
            signature = inspect.signature(self.call)
        except (TypeError, ValueError):
            raise Refused(f"{where}: {self.name}: {expected}, got a callable without named arguments") from None
        given = signature.parameters.values()
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = [p for p in given if p.kind not in variable]
        takes = [p.name for p in named if p.name in _KNOWN]
        needed = [p for p in named if p.default is inspect.Parameter.empty and p.name not in _KNOWN]
        positional = any(p.kind is inspect.Parameter.POSITIONAL_ONLY for p in named)
        if needed or positional or ("answer" in takes) == ("answers" in takes):
            raise Refused(f"{where}: {self.name}: {expected}, got {signature}")
        return takes


class Worker:
    """Calls the functions, one job after the other, and tells what they give."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.place: int | None = None  # of the answer that is looked at, where it is one
        self.functions: list[Function] = []
        self.runner: Any = None  # one loop for all jobs, so that a client of an async function can live on

    def tell(self, **message: object) -> None:
        """Send a message to the parent."""
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def load(self, functions: Iterable[str]) -> bool:
        """Import the functions; False, and told why, where one cannot be used."""
        try:
            self.functions = [Function(typed) for typed in functions]
        except Refused as error:
            self.tell(refused=str(error))
            return False
        self.tell(loaded=[{"shown": f.shown, "sha256": f.sha256, "whole": f.whole} for f in self.functions])
        return True

    def score(self, job: dict[str, Any]) -> None:
        """One job; whatever it raises is told."""
        function = self.functions[job["function"]]
        self.place = None
        try:
            self._call(function, job)
        except Refused as error:
            self.tell(fault=f"{function.shown} {error}", raw="", place=self.place)
        except BaseException as error:  # SystemExit too
            own = _place(error, function.path)
            reason = f"{own + ': ' if own else ''}{function.name} raised {_said(error)}"
            raw = "".join(traceback.format_exception(_trimmed(error)))
            self.tell(fault=reason, raw=raw[-_MOST:], place=self.place)
        else:
            self.tell(done=True)

    def _call(self, function: Function, job: dict[str, Any]) -> None:
        answers = job["answers"]
        pending = []
        for place, answer in enumerate([None] if function.whole else answers):
            self.place = None if function.whole else place
            given = {**job, "answer": answer}
            result = function.call(**{name: copy.deepcopy(given[name]) for name in function.takes})
            if inspect.isawaitable(result):
                pending.append(self._later(place, function, result, len(answers)))
            else:
                self._values(place, function, result, len(answers))
        if pending:
            import asyncio  # as slow to load as all others together

            self.runner = self.runner or asyncio.Runner()
            self.runner.run(_together(pending))

    async def _later(self, place: int, function: Function, result: Any, count: int) -> None:
        try:
            self._values(place, function, await result, count)
        except Exception:
            self.place = None if function.whole else place
            raise

    def _values(self, place: int, function: Function, result: Any, count: int) -> None:
        self.tell(values=_numbers(result, count) if function.whole else [_number(result)], place=place)


async def _together(pending: Iterable[Coroutine[Any, Any, None]]) -> None:
    import asyncio

    tasks = [asyncio.ensure_future(each) for each in pending]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _number(value: Any) -> float | None:
    """A finite number of any kind (a boolean is 1 or 0, a tensor of one element its number), or None."""
    if value is None:
        return None
    try:
        number = float(value) if hasattr(value, "__float__") else math.nan
    except Exception:  # an array of several, an integer of 400 digits
        number = math.nan
    if not math.isfinite(number):
        raise Refused(f"gave {reprlib.repr(value)}, expected a finite number or None")
    return number


def _numbers(values: Any, count: int) -> list[float | None]:
    if values is None:
        return [None] * count
    if isinstance(values, str | bytes | dict) or not hasattr(values, "__len__") or not hasattr(values, "__iter__"):
        raise Refused(f"gave {reprlib.repr(values)}, expected a list of {count} numbers, one per answer")
    if len(values) != count:
        raise Refused(f"gave {len(values)} values for {count} answers")
    return [_number(value) for value in values]


def _run_file(path: str) -> types.ModuleType:
    """The module of a file, which finds what lies beside it, as a script does."""
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"{_short(path)}: {error.strerror}") from None
    stem = Path(path).stem
    module = types.ModuleType(stem if stem not in sys.modules else f"{stem}_{len(sys.modules)}")
    module.__file__ = path
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[module.__name__] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def _with_imports(files: set[str], root: str) -> set[str]:
    """The files, those below ``root`` that their lines import, and so on."""
    found: set[str] = set()
    left = {*files}
    while left:
        found.add(file := left.pop())
        if root:
            left |= {*_imported(file, root)} - found
    return found


def _imported(file: str, root: str) -> Iterator[str]:
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return  # no file, a compiled one, or one that a function imports later, and learns so
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        level, module = (node.level, node.module) if isinstance(node, ast.ImportFrom) else (0, None)
        folders = [Path(root), *Path(file).parents]  # by the number of dots
        for name in node.names if level < len(folders) else ():
            parts = ".".join(filter(None, (module, name.name))).split(".")
            for end in range(0 if level else 1, len(parts) + 1):
                place = folders[level].joinpath(*parts[:end])
                own = (place.parent / f"{place.name}.py", place / "__init__.py")
                yield from (str(path) for path in own if path.is_file())


def _hash(paths: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest() if os.path.isfile(path) else path.encode())
    return digest.hexdigest()


def _code(function: Any) -> types.CodeType | None:
    return getattr(inspect.unwrap(function), "__code__", None)


def _place(error: BaseException, path: str) -> str:
    """``file:line`` of the user's file where it was, else of where the error comes from; "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno and not error.filename.startswith("<"):
        return f"{_short(error.filename)}:{error.lineno}"
    frames = list(traceback.extract_tb(_trimmed(error).__traceback__))
    frames = [f for f in frames if f.filename == path] or [f for f in frames if not f.filename.startswith("<")]
    return f"{_short(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _trimmed(error: BaseException) -> BaseException:
    """The error without the frames that led to the user's code."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename.startswith(_INNER):
        trace = trace.tb_next
    return error.with_traceback(trace)


def _said(error: BaseException) -> str:
    """Type and message on one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its message cannot be shown)"
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _short(path: str) -> str:
    """As seen from the current folder, where it lies below it."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path


def _receive(lines: Iterable[str], jobs: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    """Jobs as they come; without a parent this process and what the functions started come to their end."""
    with contextlib.suppress(OSError, ValueError):  # a parent that was killed: a reset connection, half a line
        for line in lines:
            jobs.put(json.loads(line))
    jobs.put(None)
    time.sleep(_GRACE)
    os.killpg(0, signal.SIGKILL)


def main(number: int) -> None:
    """Serve the socket that the parent left open under this number."""
    os.set_inheritable(number, False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)  # where it is, for a parent that has waited long enough
    jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    with socket.socket(fileno=number) as channel:
        threading.Thread(target=_receive, args=(channel.makefile("r", encoding="utf-8"), jobs), daemon=True).start()
        worker, setup = Worker(channel), jobs.get()
        if setup is None:
            return
        sys.path[:] = setup["path"]
        if worker.load(setup["functions"]):
            while (job := jobs.get()) is not None:
                worker.score(job)


if __name__ == "__main__":
    main(int(sys.argv[1]))
