"""``tokenize`` in several processes: templates are rendered in Python, which threads do not make faster.

The workers are fresh interpreters that speak pickle over their pipes. Nothing is forked, and nothing imports the main
program again, so that a script of the user's own needs no guard.
"""

import logging
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

from tuna.data import tokens
from tuna.data.batch import Group, IntArray
from tuna.data.cache import TokenCache
from tuna.data.encode import Encoder
from tuna.data.lists import AnswerList
from tuna.data.tokenize import Counts, tokenize

log = logging.getLogger(__name__)
WORTH = 8000  # lists; fewer are done before a worker has started
PIECE = 1000  # lists
_WORKER = "from tuna.data.parallel import work; work()"

Found = tuple[list[tuple[int, Group]], Counts, dict[bytes, IntArray]]


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker needs: the encoder's arguments, and those of ``tokenize``."""

    tokenizer: Any
    template: str
    template_args: Mapping[str, Any] | None
    max_length: int
    ranked: bool
    turns: bool

    def encoder(self, cache: TokenCache) -> Encoder:
        """Raises: as Encoder."""
        return Encoder(self.tokenizer, self.template, self.template_args, cache)

    def run(self, lists: Sequence[AnswerList], encoder: Encoder) -> tuple[list[tuple[int, Group]], Counts]:
        """See ``tokenize``."""
        return tokenize(lists, encoder, self.max_length, ranked=self.ranked, turns=self.turns)


def tokenize_all(
    lists: Sequence[AnswerList], job: Job, encoder: Encoder, workers: int | None = None
) -> tuple[list[tuple[int, Group]], Counts]:
    """What ``job.run`` gives for all lists, by ``workers`` processes: one per core, where there are lists enough."""
    if workers is None:
        cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        workers = cores if cores > 1 and len(lists) >= WORTH else 0
    if not workers:
        return job.run(lists, encoder)
    try:
        return _merged(list(_pieces(lists, job, encoder.tokens.cache, workers)), encoder.tokens.cache)
    except (EOFError, OSError, pickle.PicklingError, AttributeError, TypeError) as error:  # code of the model's own
        log.warning("the tokenizer does not work in other processes (%s: %s): one does it all", type(error), error)
        return job.run(lists, encoder)


def _pieces(lists: Sequence[AnswerList], job: Job, cache: TokenCache, workers: int) -> Iterator[Found]:
    """What the workers find, PIECE after PIECE, in the order of the lists."""
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(workers):
            process = _start(job, cache.path)
            stack.callback(_end, process)
            idle.put(process)
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)
        starts = range(0, len(lists), PIECE)
        found = pool.map(lambda at: _ask(lists[at : at + PIECE], idle), starts)
        yield from tqdm(found, desc="tokenizing", unit="piece", total=len(starts), disable=None)


def _merged(pieces: Sequence[Found], cache: TokenCache) -> tuple[list[tuple[int, Group]], Counts]:
    groups, counts = [], Counts()
    for number, (some, counted, entries) in enumerate(pieces):
        groups += [(number * PIECE + index, group) for index, group in some]
        counts += counted
        cache.update(entries)
    return groups, counts


def _start(job: Job, path: Path | None) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdin=-1, stdout=-1, env=environment, start_new_session=True
    )  # a session of its own: Ctrl-C is for us
    _send((job, path), process.stdin)
    return process


def _ask(lists: Sequence[AnswerList], idle: "queue.SimpleQueue[subprocess.Popen[bytes]]") -> Found:
    process = idle.get()
    _send(lists, process.stdin)
    found: Found | Exception = pickle.load(process.stdout)  # type: ignore[arg-type]
    idle.put(process)
    if isinstance(found, Exception):
        raise found
    return found


def _send(value: object, pipe: IO[bytes] | None) -> None:
    assert pipe is not None
    pickle.dump(value, pipe)
    pipe.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()


def work() -> None:
    """A worker's life: what it finds goes to standard output, and what libraries print to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tokens.CHUNK = sys.maxsize  # no progress bars: the one who asks has one
    serve(sys.stdin.buffer, answers)


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Read a job and the cache's path, then lists until the end; write what is found of each, or the exception."""
    job, path = pickle.load(questions)
    cache = TokenCache(path)
    encoder = job.encoder(cache)
    while True:
        known = set(cache)
        try:
            lists = pickle.load(questions)
        except EOFError:
            return
        try:
            groups, counts = job.run(lists, encoder)
            _send((groups, counts, {key: ids for key, ids in cache.items() if key not in known}), answers)
        except Exception as error:
            _send(error, answers)
