"""Inputs that nobody would write, one strategy and one check a class; used by tests/perf/test_generated.py.

A check gives "read", or "told" where a message for the user came of it; anything else is a fault of the program.
"""

import json
import math
import struct
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.data.make import tokenizer
from tuna.data.cache import TokenCache, key_of
from tuna.data.encode import Encoder
from tuna.data.lists import AnswerList, ranked_list, target_list
from tuna.data.load import Source, load_source
from tuna.data.tokenize import tokenize
from tuna.errors import ConfigError, TunaError
from tuna.inference.answers import read_choices
from tuna.inference.cost import Price, usage_of
from tuna.inference.store import Journal
from tuna.judges.replies import VerdictError
from tuna.judges.spelled import parse_mark
from tuna.judges.verdict import parse_verdict
from tuna.models.folder import INDEX, read_config, stored_dtype, tensor_shapes

set_hypothesis_home_dir(tempfile.gettempdir())  # nothing of it in the repository
Any_ = st.SearchStrategy[Any]
FORMATS = Path(__file__).parents[1] / "data" / "formats"
ODD_TEXTS = [
    "", " ", "\u2028", "a\u2029b\x85c", "\x00", "\ud800", "</s>", "<s>", "<|im_end|>", "\ufeff", "\ufdd00\ufdd1",
    "\n\n\n", "rank: [1, 0]", "e\u0301", "\U0001f9d1\u200d\U0001f680", "9" * 400,
]  # fmt: skip
ODD_NUMBERS = [
    0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e-320, 3.4e38, 1e300, math.nan, math.inf, -math.inf,
]  # fmt: skip

texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=12), st.sampled_from(["user", "assistant", "a b", "A."]))
scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(ODD_NUMBERS), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


@dataclass(frozen=True)
class Case:
    """One class of inputs. check: given an empty folder of its own. share: of all examples."""

    strategy: Any_
    check: Callable[[Any, Path], str]
    share: float


@cache
def rows() -> tuple[Any, ...]:
    """The first rows of a file of every format."""
    found = []
    for path in sorted(FORMATS.glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:2] if line]
    return tuple(found)


@st.composite
def changed(draw: st.DrawFn, what: Any) -> Any:
    """A value in which one place, at any depth, holds another, or is gone."""
    if not draw(st.integers(0, 5)) or not isinstance(what, dict | list) or not what:
        return draw(values)
    if isinstance(what, list):
        at = draw(st.integers(0, len(what) - 1))
        return [*what[:at], draw(changed(what[at])), *what[at + 1 :]]
    key = draw(st.sampled_from(sorted(what)))
    if not draw(st.integers(0, 6)):
        return {k: v for k, v in what.items() if k != key}
    return what | {key: draw(changed(what[key]))}


records = st.sampled_from(range(len(rows()))).flatmap(lambda k: changed(rows()[k]))


def check_records(drawn: list[Any], folder: Path) -> str:
    """Rows of any format with other values in them, all the way to token ids."""
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in drawn), encoding="utf-8")
    return _train(path)


def _train(path: Path) -> str:
    read = False
    for rank_by in ("score", "eq3", None):
        loaded = load_source(Source(str(path), rank_by))
        dropped: Counter[str] = Counter()
        lists: list[AnswerList | None] = [
            target_list(record, dropped, every=True)
            if rank_by is None
            else ranked_list(record, dropped, rank_by=rank_by, min_gap=0.1, rank_original="best")
            for record in loaded.records
        ]
        groups, counts = tokenize([x for x in lists if x], encoder(), 64, ranked=rank_by is not None)
        problems = [*loaded.problems, *counts.problems]
        _writable(*problems, *loaded.notes, *counts.told())
        assert all(len(group.prompt) for _, group in groups)
        read |= bool(groups)
    return "read" if read else "told"


@cache
def encoder() -> Encoder:
    """Of the tests' chat template."""
    return Encoder(tokenizer(chat=True))


def _writable(*lines: str) -> None:
    """A message that a log can hold."""
    for line in lines:
        line.encode()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes, some of them others, some gone, some more."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@cache
def wholes() -> tuple[tuple[str, bytes], ...]:
    """Sound files of every kind."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = [{"instruction": "Do.", "output": "Done.", "score": [1, 2]}] * 2
    parquet = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plain), parquet)
    table = b'instruction,output,responses\nDo.,"Do\nne.","[{""text"": ""a"", ""score"": 1}]"\n'
    return (
        (".jsonl", "\n".join(map(json.dumps, plain)).encode()), (".json", json.dumps(plain).encode()), (".csv", table),
        (".tsv", table.replace(b",", b"\t")), (".parquet", parquet.getvalue()), (".jsonl", b"{" * 200),
        (".json", b"[" * 200), (".jsonl", b'{"a": ' + b"1" * 4400 + b"}"), (".csv", b""),
    )  # fmt: skip


files = st.sampled_from(range(len(wholes()))).flatmap(
    lambda k: st.tuples(st.just(wholes()[k][0]), st.one_of(damaged(wholes()[k][1]), st.binary(max_size=60)))
)


def check_files(drawn: tuple[str, bytes], folder: Path) -> str:
    """Any bytes under the name of a data file."""
    path = folder / f"a{drawn[0]}"
    path.write_bytes(drawn[1])
    try:
        return _train(path)
    finally:
        path.unlink()


journals = st.one_of(
    st.lists(
        st.one_of(values, st.dictionaries(st.sampled_from(["key", "text", "usage"]), values)), max_size=4
    ).map(lambda lines: "".join(json.dumps(line) + "\n" for line in lines).encode()),
    damaged(b'{"key": "a", "text": "b"}\n{"key": "c", "n": [1, {}]}\n'),
    st.binary(max_size=40),
)  # fmt: skip


def check_stores(drawn: bytes, folder: Path) -> str:
    """Any bytes as a journal; one that is read takes a line more and has it afterwards."""
    path = folder / "answers.jsonl"
    path.write_bytes(drawn)
    journal = Journal(path)
    try:
        journal.append({"key": "new", "text": "\u2028"})
    finally:
        journal.close()
    again = Journal(path)
    try:
        assert any(entry["key"] == "new" for entry in again)
    finally:
        again.close()
    return "read"


def _two(**keys: tuple[Any, Any]) -> list[dict[str, Any]]:
    """Two objects, each with its own of every pair of values."""
    return [{key: pair[k] for key, pair in keys.items()} for k in (0, 1)]


_XY, _DO = ("x", "y"), {"instruction": "Do.", "output": "z"}
RANKED = (
    lambda a, b: {"prompt": "Do.", "answers": _two(answer=_XY, rank=(a, b)), "num_responses": 2},
    lambda a, b: {"instruction": "Do.", "output": ["x", "y"], "score": [a, b]},
    lambda a, b: {**_DO, "responses": _two(text=_XY, score=(a, b))},
    lambda a, b: {**_DO, "responses": _two(text=_XY, logprob=(a, -1), num_tokens=(b, 3))},
    lambda a, b: {"prompt": "Do.", "chosen": "x", "rejected": "y", "score_chosen": a, "score_rejected": b},
    lambda a, b: {"query": "Do.", "responses": ["x", "y"], "scores": [a, b]},
)
ranks = st.tuples(st.sampled_from(RANKED), scalars, scalars).map(lambda drawn: [drawn[0](drawn[1], drawn[2])])

said = st.lists(
    st.one_of(
        st.sampled_from([
            "rank: [1, 0]", "rank: [1, 0, 2]", "rank: [0, 0]", "rank:", "Ranking order:\n", "1 > 0 > 2", "[", "]", ",",
            "Response 0: [9]", "Response 1: 14/15", "Response 2: **3**", "Response 99: [1]", "\n", "\n\n", "> ", "```",
            '"', "<think>", "</think>", "[[A]]", "[[B]]", "[[C]]", "[[A", "\\[\\[B\\]\\]", "\u2028", "\uff1a", "0",
            "999", "rank: [2, 0, 1, 3]", "(best to worst)", "#", "response #1", "9" * 200,
        ]),
        texts,
    ),
    max_size=8,
).map(" ".join)  # fmt: skip


def check_verdicts(drawn: str, folder: Path) -> str:
    """Any reply of a judge: a rank of some candidates, each once, or the reason why it is none."""
    kinds = set()
    for candidates in (1, 2, 4):
        try:
            order = parse_verdict(drawn, candidates).order
            assert order and len(set(order)) == len(order) and set(order) <= set(range(candidates))
            kinds.add("read")
        except VerdictError as error:
            assert str(error)
    try:
        assert parse_mark(drawn) in (-1, 0, 1)
        kinds.add("read")
    except VerdictError as error:
        assert str(error)
    return "read" if kinds else "told"


_LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
_CHAT = {"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": None}, "finish_reason": "stop"}
REPLIES: tuple[dict[str, Any], ...] = (
    {"model": "m", "choices": [{**_CHAT, "logprobs": {"content": [_LOGPROB]}}], "usage": {"prompt_tokens": 1}},
    {"choices": [{"text": "Hi", "logprobs": {"token_logprobs": [-1.0], "tokens": ["Hi"], "text_offset": [0]}}]},
    {"choices": [_CHAT, _CHAT], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
)
replies = st.sampled_from(range(len(REPLIES))).flatmap(
    lambda k: st.one_of(changed(REPLIES[k]), changed(REPLIES[k]).flatmap(changed))
)


def check_replies(drawn: Any, folder: Path) -> str:
    """Any JSON as a server's reply: answers that the store can hold, or why there are none; figures are finite."""
    if not isinstance(drawn, dict):
        return "told"
    used = usage_of(drawn, Price(1.0, 2.0))
    assert used.cost is not None and 0 <= used.cost < math.inf
    try:
        answers = read_choices(drawn)
    except ValueError as error:
        assert str(error)
        return "told"
    json.dumps([answer.to_dict() for answer in answers], allow_nan=False, ensure_ascii=False).encode()
    return "read"


def _safetensors(header: Any, data: bytes, size: int | None) -> bytes:
    written = (json.dumps(header) if not isinstance(header, bytes) else header.decode("latin-1")).encode()
    return struct.pack("<Q", len(written) if size is None else size) + written + data


entries = st.fixed_dictionaries({
    "dtype": st.one_of(st.sampled_from(["F32", "BF16", "I64", "F4", "BOOL"]), values),
    "shape": st.one_of(st.lists(st.one_of(st.integers(-1, 4), st.sampled_from([2**62, 2**64])), max_size=3), values),
    "data_offsets": st.one_of(st.lists(st.integers(-4, 16), min_size=2, max_size=2), values),
})  # fmt: skip
configs = st.fixed_dictionaries(
    {"model_type": st.sampled_from(["llama", "gpt2"]), "vocab_size": scalars, "hidden_size": scalars}
)
folders = st.tuples(
    st.builds(
        _safetensors,
        st.one_of(st.dictionaries(texts, entries, max_size=3), values, st.binary(max_size=20)),
        st.binary(max_size=16),
        st.one_of(st.none(), st.none(), st.sampled_from([0, 2**63, 2**64 - 1, 50])),
    ),
    st.one_of(
        st.none(), values, st.builds(lambda v: {"weight_map": v}, st.one_of(values, st.just({"": "b.safetensors"})))
    ),
    st.one_of(values, configs),
)


def check_folders(drawn: tuple[bytes, Any, Any], folder: Path) -> str:
    """Anything as weights, as their index and as the config of a model."""
    weights, index, config = drawn
    (folder / INDEX).unlink(missing_ok=True)
    if index is not None:
        (folder / INDEX).write_text(json.dumps(index))
    (folder / ("model.safetensors" if index is None else "b.safetensors")).write_bytes(weights)
    (folder / "config.json").write_text(json.dumps(config))
    kinds = set()
    for read in (tensor_shapes, stored_dtype, read_config):
        try:
            read(folder)
            kinds.add("read")
        except TunaError as error:
            _writable(str(error))
            kinds.add("told")
    (folder / "model.safetensors").unlink(missing_ok=True)
    return "read" if "read" in kinds else "told"


@cache
def kept() -> bytes:
    """A token cache's file."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        cache = TokenCache(Path(folder) / "a.npz")
        for n in range(4):
            cache[key_of(f"{n}")] = np.arange(n, dtype=np.int32)
        cache.save()
        return (Path(folder) / "a.npz").read_bytes()


def check_caches(drawn: bytes, folder: Path) -> str:
    """A damaged token cache has all ids as they were, or none."""
    (folder / "a.npz").write_bytes(drawn)
    cache = TokenCache(folder / "a.npz")
    assert len(cache) in (0, 4)
    assert all(cache[key_of(f"{n}")].tolist() == list(range(n)) for n in range(len(cache)))
    return "read" if len(cache) else "told"


pieces = [
    "{% for m in messages %}", "{% endfor %}", "{{ m.content }}", "{{ m['role'] }}", "{% if add_generation_prompt %}",
    "{% endif %}", "{{ bos_token }}", "</s>", "{{ messages[5].x.y }}", "{{ raise_exception('no') }}", "assistant",
    "{% set x = 1 / 0 %}", "{{ 'x' * 3000000 }}", "{{", "{% for a in range(10**9) %}{% endfor %}", "{% generation %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ strftime_now('%d') }}", "{{ messages | tojson }}",
    "{{ m.content | trim }}", "{{ ().__class__ }}",
]  # fmt: skip
templates = st.lists(st.one_of(st.sampled_from(pieces), texts), max_size=6).map("".join)


def check_templates(drawn: str, folder: Path) -> str:
    """Any text as a chat template: it shows question and answer, or is refused."""
    made = tokenizer()
    made.chat_template = drawn
    Encoder(made, "chat" if drawn else "auto")
    return "read"


CASES = {
    "records": Case(st.lists(records, min_size=1, max_size=2), check_records, 0.20),
    "ranks in records": Case(ranks, check_records, 0.15),
    "data files": Case(files, check_files, 0.15),
    "verdicts": Case(said, check_verdicts, 0.15),
    "replies": Case(replies, check_replies, 0.10),
    "stores": Case(journals, check_stores, 0.10),
    "model folders": Case(folders, check_folders, 0.09),
    "token caches": Case(damaged(kept()), check_caches, 0.05),
    "chat templates": Case(templates, check_templates, 0.01),
}


def perform(case: Case, drawn: Any, folder: Path) -> str:
    """Check one input: "read" or "told"."""
    try:
        return case.check(drawn, folder)
    except TunaError as error:
        assert str(error)
        _writable(str(error))
        assert not isinstance(error, ConfigError) or len(str(error)) < 10_000
        return "told"
