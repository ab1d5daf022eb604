"""The store: nothing half-written survives, nothing whole is lost, two runs and two models are kept apart."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tuna import secrets
from tuna.errors import RunError
from tuna.inference import store as module
from tuna.inference.store import Journal, Store, key_of

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def test_keys_hash_content_and_nothing_else() -> None:
    assert key_of(a=1, b=[1, "x"]) == key_of(b=[1, "x"], a=1)
    assert len({key_of(prompt=p, model=m) for p in "ab" for m in "ab"}) == 4
    assert key_of(a="1") != key_of(a=1)


def test_a_key_stays_what_it_was_in_stores_of_before() -> None:
    written = b'{"a": [1, null], "b": "\\u00e9"}'
    assert key_of(b="é", a=(1, None)) == hashlib.sha256(written).hexdigest()[:32]
    with pytest.raises(ValueError):
        key_of(temperature=float("nan"))


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    for number in range(3):
        journal.append({"key": "k", "n": number, "text": "é\u2028\n"})
    journal.close()
    again = Journal(tmp_path / "a.jsonl")
    assert [entry["n"] for entry in again.get("k")] == [0, 1, 2] and again.get("k")[0]["text"] == "é\u2028\n"
    assert again.get("none") == [] and len(again) == 3
    again.close()


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_half_written_last_line_is_cut_wherever_it_was_cut(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"key": str(n), "text": "some text of the answer"}).encode() + b"\n" for n in range(2)]
    whole = b"".join(lines)
    path.write_bytes(whole[:-cut])
    journal = Journal(path)
    assert len(journal) == 1 and path.read_bytes() == lines[0]
    journal.append({"key": "new"})
    journal.close()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["0", "new"]


@pytest.mark.parametrize("cut", range(11))
@pytest.mark.parametrize("whole", [b"", b'{"key": "a"}\n'])
def test_a_half_written_line_of_any_length_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes, cut: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4)  # it is looked for from the end, so much at a time
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole + b"x" * cut)
    Journal(path).close()
    assert path.read_bytes() == whole


def test_lines_that_are_appended_are_found_among_those_that_were_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a", "n": 1})
    assert len(journal) == 1 and "b" not in journal
    for key, n in (("b", 2), ("a", 3), ("b", 4)):
        journal.append({"key": key, "n": n})
    assert [line["n"] for key in "ab" for line in journal.get(key)] == [1, 3, 2, 4] and len(journal) == 4


def test_a_line_without_a_checksum_is_none_after_one_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a"})
    journal.close()
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"key": "b", "text": "was put in by hand, and is long"}\n')
    with pytest.raises(RunError) as error:
        len(Journal(tmp_path / "a.jsonl"))
    assert str(error.value) == (
        f"{tmp_path}/a.jsonl:2: expected a JSON object with a key as it was written, got "
        'b\'{"key": "b", "text": "was put in by hand\'; the file was changed by something else. '
        "Next: delete that line (its answer is asked for again) and run the same command"
    )


@pytest.mark.parametrize("line", ['{"key": "a"}{"b": 1}', '{"key": "a", "key": 1}', '{"key": "a"}, {"b": 2}'])
def test_a_line_that_is_more_or_less_than_an_object_with_a_key(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(RunError) as error:
        Journal(tmp_path / "a.jsonl").get("a")
    assert f"a.jsonl:1: expected a JSON object with a key as it was written, got b'{line}'; " in str(error.value)


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"key": "a"}\n{"key": \n{"key": "b"}\n')
    with pytest.raises(RunError, match=r"a\.jsonl:2: expected a JSON object"):
        len(Journal(tmp_path / "a.jsonl"))


def test_a_line_is_parsed_when_it_is_asked_for_and_told_by_its_number(tmp_path: Path) -> None:
    """A store of before checksums: one line is no JSON inside, another lacks what is looked for."""
    whole = (
        '{"key": "a", "choices": []}\n{"key": "b", "choices": [}\n{"key": "c"}\n{"key": "a\\u0041", "choices": []}\n'
    )
    (tmp_path / "a.jsonl").write_text(whole)
    journal = Journal(tmp_path / "a.jsonl")
    assert (
        len(journal) == 4 and "aA" in journal and "b" in journal and journal.get("a") == [{"key": "a", "choices": []}]
    )
    with pytest.raises(RunError, match=r"a\.jsonl:2: expected a JSON object"):
        journal.get("b")
    with pytest.raises(RunError, match=r"a\.jsonl:3: expected a JSON object"):
        journal.read("c", lambda line: line["choices"])
    with pytest.raises(RunError, match=r"a\.jsonl:2: expected a JSON object"):
        list(journal)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_flipped_bit_is_told(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.jsonl"
    journal = Journal(path)
    for n in range(3):
        journal.append({"key": f"k{n}", "text": "An oak\u2028é.", "logprob": -1.25})
    journal.close()
    whole = path.read_bytes()
    start = sum(map(len, whole.split(b"\n")[:number])) + number
    length = len(whole.split(b"\n")[number]) + 1
    for place in range(start, start + length - 1):
        for bit in (0, 4):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(RunError, match=rf"a\.jsonl:{number + 1}: expected"):
                len(Journal(path))


def test_a_number_that_is_none_is_stored_as_null(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a", "usage": {"x": [float("nan"), 1.5]}, "logprob": float("-inf")})
    assert journal.get("a") == [{"key": "a", "usage": {"x": [None, 1.5]}, "logprob": None}]


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"x": inner}])
def test_what_is_nested_deeper_than_any_answer_is_null_below(tmp_path: Path, wrap: Any) -> None:
    value: Any = float("nan")  # JSON has no number for it, so the value is looked at
    for _ in range(60):
        value = wrap(value)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a", "value": value})
    kept, depth = journal.get("a")[0]["value"], 0
    while kept is not None:
        kept, depth = kept[0] if isinstance(kept, list) else kept["x"], depth + 1
    assert depth == 49  # in the line itself, which is the fiftieth


def test_the_environments_secrets_are_not_stored_and_the_rest_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "Zq81vT0mXc7LrYw2NbKd5GhJ")
    secrets.refresh()
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "Zq81vT0mXc7L", "text": "it is Zq81vT0mXc7LrYw2NbKd5GhJ, é"})
    journal.append({"key": "b", "text": "é", "x": [float("nan"), "é"]})
    one, two = (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert one.endswith('"key": "Zq81vT0mXc7L", "text": "it is <hidden>, é"}')
    assert two.endswith('"key": "b", "text": "é", "x": [null, "é"]}')


def test_memory_holds_places_and_no_text(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    for n in range(50):
        journal.append({"key": key_of(n=n), "text": "x" * 100_000})
    journal.close()
    tracemalloc.start()
    again = Journal(tmp_path / "a.jsonl")
    assert len(again) == 50 and again.get(key_of(n=7))[0]["text"] == "x" * 100_000
    assert tracemalloc.get_traced_memory()[0] < 100_000 and tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


def test_places_that_are_no_store_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(RunError, match=r"a\.jsonl: cannot be opened"):
        Journal(tmp_path / "a.jsonl")
    with Store(tmp_path / "s") as store:
        for text in ('{"source": [1]}', "{}", "[]"):
            (tmp_path / "s" / "identity.json").write_text(text)
            with pytest.raises(RunError, match=r"identity\.json: (expected|source: )"):
                store.identify({}, {})


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a"})
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:5]))
    with pytest.raises(RunError, match="No space left"):
        journal.append({"key": "b"})
    monkeypatch.undo()
    journal.append({"key": "c"})
    journal.close()
    keys = [json.loads(line)["key"] for line in (tmp_path / "a.jsonl").read_text().split("\n")[:-1]]
    assert keys == ["a", "c"]


def test_lone_surrogates_do_not_stop_a_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "a", "text": "bad \ud800 text"})
    journal.close()
    assert len(Journal(tmp_path / "a.jsonl")) == 1


def test_the_lock_keeps_two_runs_apart_and_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from tuna.inference.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="another process"), Store(tmp_path / "s", patience=0.1):
            pass
        holder.kill()
        holder.wait()
        with Store(tmp_path / "s", patience=5):
            pass


def test_a_store_opens_each_journal_once_and_closes_it(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        journal = store.journal("answers")
        assert store.journal("answers") is journal and journal.path == tmp_path / "s" / "answers.jsonl"
        assert (tmp_path / "s" / ".lock").exists()  # by which older versions are kept out, too
        journal.append({"key": "a"})
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.append({"key": "b"})
    with store:
        assert "a" in store.journal("answers")


def test_what_differs_is_said_with_the_way_out(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        store.identify({"model": "a"}, {"judge": "x"})
        new = "Next: choose another output=..."
        keep = "rerank=true to keep the answers and rank them anew"
        cases: list[tuple[dict[str, str], dict[str, str], list[str]]] = [
            (
                {"model": "b", "seed": "1"}, {"judge": "x"},
                ["  source.model: it has 'a', now 'b'", "  source.seed: it has None, now '1'", f"{new} (or name=...)"],
            ),
            (
                {"model": "a"}, {},
                ["  ranking.judge: it has 'x', now None", f"{new}, or {keep}"],
            ),
        ]  # fmt: skip
        for source, ranking, said in cases:
            with pytest.raises(RunError) as error:
                store.identify(source, ranking)
            assert str(error.value).split("\n") == [f"{tmp_path}/s: was collected with other settings:", *said]
        (tmp_path / "s" / "identity.json").write_text('{"source": {"model": "a"}, "ranking": [1]}')
        with pytest.raises(RunError, match=r"identity\.json: ranking: "):
            store.identify({"model": "a"}, {})


def test_two_models_never_share_a_store(tmp_path: Path) -> None:
    one, two = {"model": "a"}, {"model": "b"}
    with Store(tmp_path / "s") as store:
        store.identify(one, {"judge": "x"})
        store.identify(one, {"judge": "x"})
        with pytest.raises(RunError, match=r"source\.model: it has 'a', now 'b'"):
            store.identify(two, {"judge": "x"})
        with pytest.raises(RunError, match=r"(?s)ranking\.judge: it has 'x', now 'y'.*rerank=true"):
            store.identify(one, {"judge": "y"})
        store.identify(one, {"judge": "y"}, rerank=True)
        store.identify(one, {"judge": "y"})
        with pytest.raises(RunError, match="source"):
            store.identify(two, {"judge": "y"}, rerank=True)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to it"), Store(tmp_path / "file" / "s"):
        pass
