"""The sampler: blocks and the diversity rule here, and through a server with n ignored, refusals, budgets and kills."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.inference.http_server import OK, LoopbackServer, chaos
from tests.inference.make import collect, read_rows, write_instructions
from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ConfigError, RunError
from tuna.inference.answers import Answer
from tuna.inference.backend import AnswerSet
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.generate import Draw, noise_key
from tuna.inference.local import draw
from tuna.inference.store import Store
from tuna.judges.checker import rouge_l
from tuna.models.source import ModelConfig
from tuna.ranking.sampler import DiverseSet, Sampler, ServerSampler

pytestmark = pytest.mark.once  # computes nothing that kernels could round


class Told:
    """Says the texts in turn, and remembers what was asked."""

    def __init__(self, *rounds: Sequence[str]) -> None:
        self.rounds = list(rounds)
        self.asked: list[list[Draw]] = []

    def prompt(self, record: Record) -> list[int]:
        return [int(record.id)]

    def fits(self, record: Record) -> bool:
        return True

    def draw(self, prompts: Sequence[Sequence[int]], draws: Sequence[Draw], tell: object) -> list[Answer]:
        self.asked.append(list(draws))
        return [Answer(text) for text in self.rounds.pop(0)]

    def as_written(self, records: Sequence[Record], sets: list[list[Answer]]) -> list[list[Answer]]:
        return sets


def drawn(sampler: Sampler, told: Any, records: Sequence[Record], seed: int = 0) -> list[list[Answer]]:
    """Two answers per record, in one block."""
    sampler.model = ModelConfig("tiny")
    asks = sampler.asks(records, 2, seed)
    nowhere: Any = SimpleNamespace(store=SimpleNamespace(journal=lambda name: None))
    return draw(
        told, asks, [told.prompt(record) for record in records], sampler.stored(nowhere), Progress("answers", 2)
    )


def test_open_places_share_batches_and_grow_hotter() -> None:
    told: Any = Told(["a b", "a b", "c d", "c d"], ["a b", "e f"], ["g h"])
    records = [Record("1", "one"), Record("2", "two")]
    sets = drawn(Sampler(), told, records, seed=7)
    assert [[a.text for a in answers] for answers in sets] == [["a b", "g h"], ["c d", "e f"]]
    assert [[a.temperature for a in answers] for answers in sets] == [[None, 1.2], [None, 1.1]]
    assert [[draw.prompt for draw in draws] for draws in told.asked] == [[0, 0, 1, 1], [0, 1], [0]]
    assert [draw.temperature for draws in told.asked for draw in draws] == [1.0] * 4 + [1.1] * 2 + [1.2]
    assert told.asked[2][0].key == noise_key(7, "1", 1, 2)  # seed, id, place, trial


def test_without_the_rule_nothing_is_drawn_again() -> None:
    told: Any = Told(["a b", "a b"])
    assert [a.text for a in drawn(Sampler(tau=None), told, [Record("1", "one")])[0]] == ["a b", "a b"]


def of(path: str, *, template: Any = "auto", **settings: Any) -> Sampler:
    sampler = Sampler(**settings)
    sampler.model = ModelConfig(path, template=template)
    return sampler


def test_identity_and_name() -> None:
    identity = of("tiny", max_tokens=9).identity(3)
    assert identity["model"] == ModelConfig("tiny").fingerprint and identity["seed"] == 3
    assert identity["max_tokens"] == 9 and identity["sampler"] == "local"
    assert identity["template"] == "auto" and of("tiny", template="none").identity(3)["template"] == "none"
    assert "tau" in identity and "tau" not in of("tiny", tau=None).identity(3)
    named = {"runs/first/model": "model", "org/model": "org/model", "tiny": "tiny", "/a/b/c/": "c"}
    assert {path: of(path).name for path in named} == named


def test_a_passing_set_is_final_after_one_round() -> None:
    few = DiverseSet(3)
    few.offer({k: Answer(text) for k, text in enumerate(("a b", "c d", "e f"))})
    assert few.missing() == [] and [a.text for a in few.finish()] == ["a b", "c d", "e f"]


def test_similar_ones_are_drawn_again_and_later_ones_kept() -> None:
    few = DiverseSet(3)
    few.offer({k: Answer(text) for k, text in enumerate(("a b", "a b", "e f"))})
    assert few.missing() == [(1, 1)]
    few.offer({1: Answer("e f")})  # too similar to the third now
    assert few.missing() == [(1, 2)]
    few.offer({1: Answer("x y")})
    assert few.missing() == [] and [a.text for a in few.finish()] == ["a b", "x y", "e f"]


def test_after_three_trials_the_least_similar_tried_is_kept() -> None:
    few = DiverseSet(2, tau=0.2)
    few.offer({0: Answer("a b c d"), 1: Answer("a b c d")})
    for trial, text in enumerate(("a b c x", "a x y z", "a b x y"), start=1):
        assert few.missing() == [(1, trial)]
        few.offer({1: Answer(text)})
    assert few.missing() == []
    kept = few.finish()[1]
    assert kept.text == "a x y z" and kept.similarity == 0.25


def test_empty_answers_are_like_any_other() -> None:
    few = DiverseSet(2)
    few.offer({0: Answer(""), 1: Answer("a")})
    assert few.missing() == [(0, 1)]


def test_a_set_that_passes_is_never_replaced_by_one_that_does_not() -> None:
    rng = random.Random(0)
    for _ in range(300):
        few = DiverseSet(4, tau=0.6)
        while missing := few.missing():
            few.offer({place: Answer(" ".join(rng.choices("abc", k=3))) for place, _ in missing})
        kept = few.finish()
        assert len(kept) == 4
        forced = [a for a in kept if (a.similarity or 0) >= 0.6]
        good = [a for a in kept if a not in forced]
        assert all(rouge_l(a.text, b.text) < 0.6 for a, b in combinations(good, 2))


def test_without_the_rule_everything_is_kept() -> None:
    few = AnswerSet(2)
    few.offer({0: Answer("a"), 1: Answer("a")})
    assert few.missing() == [] and len(few.finish()) == 2


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as fault:
        Sampler(temperature=0, tau=0, max_tokens=0, block=0, trials=-1, temperature_step=-0.1)
    keys = [line.partition(":")[0] for line in str(fault.value).splitlines()]
    assert sorted(keys) == ["block", "max_tokens", "tau", "temperature", "temperature_step", "trials"]


ROOT = Path(__file__).parents[2]
COLOURS = ("red", "green", "blue", "white", "black")


def say(prompt: str, number: int) -> str:
    """One of five answers with no word in common: draws collide often."""
    return " ".join([COLOURS[number // 7 % 5]] * 3)


def sample(folder: Path, source: Path, server: LoopbackServer, *words: str, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {"sampler__concurrency": 4, "sampler__retries": 3, "sampler__model": "m"} | changes
    return collect(folder, source, "sampler=openai", f"sampler.base_url={server.url}", *words, **settings)


def check_rule(server: LoopbackServer, rows: list[dict[str, object]]) -> None:
    """Each set: passing answers differ, others came after three resamples and are the least similar one tried."""
    drawn: dict[tuple[str, float], int] = {}
    for body in server.bodies:
        place = (body["prompt"], body["temperature"])
        drawn[place] = drawn.get(place, 0) + body.get("n", 1)
    for row in rows:
        answers = row["responses"]
        assert isinstance(answers, list) and len(answers) == 4
        passing = [a for a in answers if a["similarity"] < 0.8]
        texts = [a["text"] for a in passing]
        assert all(rouge_l(x, y) < 0.8 for k, x in enumerate(texts) for y in texts[k + 1 :])
        failed = len(answers) - len(passing)
        mine = {heat: count for (prompt, heat), count in drawn.items() if f"\n{row['instruction']}\n" in prompt}
        assert mine[1.0] == 4 and mine.get(1.3, 0) >= failed
        assert [mine.get(heat, 0) for heat in (1.0, 1.1, 1.2, 1.3)] == sorted(mine.values(), reverse=True) + [0] * (
            4 - len(mine)
        )


@pytest.mark.parametrize("ignores_n", [False, True])
def test_sets_keep_the_rule_and_rounds_grow_hotter(tmp_path: Path, ignores_n: bool) -> None:
    with LoopbackServer(say=say, ignores_n=ignores_n) as server:
        figures = sample(tmp_path, write_instructions(tmp_path / "in.jsonl", 12), server)
        assert figures["lists"] == 12 and figures["requests"] == len(server.bodies)
        assert max(body["temperature"] for body in server.bodies) == 1.3
        told = [(body["prompt"], body["seed"]) for body in server.bodies if "n" not in body]
        assert len(told) == len(set(told))  # each draw has noise of its own, or singles would all be alike
        if not ignores_n:
            check_rule(server, read_rows(tmp_path / "out.jsonl"))
        else:
            assert sum("n" in body for body in server.bodies) <= 4  # each worker's first
    rows = read_rows(tmp_path / "out.jsonl")
    assert all(r["source"] == "m" for row in rows for r in row["responses"])
    assert any("temperature" in r for row in rows for r in row["responses"])


def test_worked_rounds(tmp_path: Path) -> None:
    """First draws one, one, two, two: places 1 and 3 are drawn again; 1 passes at 1.2, 3 never does."""
    texts = {
        1.0: ["a b c d e", "a b c d e", "v w x y z", "v w x y z"],
        1.1: ["a b c d e", "v w x y z"],  # of places 1 and 3
        1.2: ["a b c d k l", "v w x y q z"],
        1.3: ["v w x y z"],
    }
    with LoopbackServer() as server:
        server._value = lambda body, *_: {  # type: ignore[method-assign]
            "choices": [{"text": t, "finish_reason": "stop"} for t in texts[body["temperature"]]]
        }
        sample(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server)
        assert [body.get("n") for body in server.bodies] == [4, 2, 2, None]
    found = {r["sample"]: r for r in read_rows(tmp_path / "out.jsonl")[0]["responses"]}
    assert [found[k]["text"] for k in range(4)] == ["a b c d e", "a b c d k l", "v w x y z", "v w x y q z"]
    assert found[1]["similarity"] == 0.7273 and found[1]["temperature"] == 1.2  # 2 * 4 / 11
    assert found[3]["similarity"] == 0.9091 and found[3]["temperature"] == 1.2  # 2 * 5 / 11, the least similar tried
    assert "temperature" not in found[0]


def test_nothing_is_asked_twice_and_the_identity_names_the_model(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer(say=say) as server:
        sample(tmp_path, source, server)
        asked, first = len(server.bodies), (tmp_path / "out.jsonl").read_bytes()
        sample(tmp_path, source, server)
        assert len(server.bodies) == asked and (tmp_path / "out.jsonl").read_bytes() == first
        with pytest.raises(RunError, match=r"source\.model: it has 'm', now 'other'"):
            sample(tmp_path, source, server, sampler__model="other")
        with pytest.raises(RunError, match=r"source\.tau"):
            sample(tmp_path, source, server, sampler__tau="null")
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["identity"]["source"]["model"] == "m" and "model" not in report["config"]
    assert report["usage"]["requests"] == asked


def test_a_budget_stops_and_the_next_run_goes_on_in_the_middle_of_a_set(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    (tmp_path / "calm").mkdir()
    with LoopbackServer(say=say, ignores_n=True) as server:
        sample(tmp_path / "calm", source, server, sampler__concurrency=1)
        whole = len(server.bodies)
    with LoopbackServer(say=say, ignores_n=True) as server:
        for most in (3, 10, 17):
            with pytest.raises(RunError, match=f"max_requests={most}"):
                sample(tmp_path, source, server, max_requests=most, sampler__concurrency=1)
            assert len(server.bodies) == most
        sample(tmp_path, source, server, sampler__concurrency=1)
        assert len(server.bodies) == whole
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "calm" / "out.jsonl").read_bytes()


def test_a_refused_row_is_set_aside_alone_and_asked_again(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    long = {"kind": "status", "status": 400, "body": {"error": {"message": "context length exceeded"}}}
    with LoopbackServer(lambda prompt, nth: long if "Question 2\n" in prompt and nth == 0 else OK) as server:
        assert sample(tmp_path, source, server)["unusable"] == 1
        assert "context length" in read_rows(tmp_path / "out.unusable.jsonl")[0]["reason"]
        assert sample(tmp_path, source, server)["lists"] == 6


def test_dry_run_counts_and_sends_nothing(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 100)
    with LoopbackServer() as server:
        figures = sample(tmp_path, source, server, dry_run="true", sampler__price="[0,10]")
        assert not server.bodies and figures == {"requests": 100, "cost": pytest.approx(0.4)}  # 100 x 4 x 100 tokens


def test_wrong_settings_are_said_at_once_and_instructions_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        ServerSampler(tau=2.0, trials=-1, max_tokens=0)
    assert [line.partition(":")[0] for line in str(fault.value).splitlines()] == ["max_tokens", "tau", "trials"]
    with pytest.raises(ConfigError, match=r"^model: missing"):
        ServerSampler()
    with pytest.raises(ConfigError, match="input: missing"):
        collect(tmp_path, Path("null"), "sampler=openai", sampler__model="m", sampler__base_url="http://127.0.0.1:9/v1")


def test_a_kill_in_the_middle_of_sets_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL: the file of an undisturbed run, and no more than what was in flight is asked again."""
    source, concurrency = write_instructions(tmp_path / "in.jsonl", 20), 4
    (tmp_path / "calm").mkdir()
    with LoopbackServer(chaos(0.1), say=say, ignores_n=True) as server:
        sample(tmp_path / "calm", source, server)
        whole = sum(server.answered.values())
    with LoopbackServer(chaos(0.1), say=say, ignores_n=True, latency=0.02) as server:
        settings = [f"input={source}", f"output={tmp_path / 'out.jsonl'}", "sampler=openai", "sampler.model=m"]
        settings += [f"sampler.base_url={server.url}", f"sampler.concurrency={concurrency}", "sampler.retries=3"]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "rank.py"), *settings], env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while sum(server.answered.values()) < whole / 2 and process.poll() is None:
            time.sleep(0.002)
        assert process.poll() is None, "it was faster than the kill"
        process.send_signal(signal.SIGKILL)
        process.wait()
        sample(tmp_path, source, server)
        assert sum(server.answered.values()) - whole <= concurrency
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "calm" / "out.jsonl").read_bytes()


def test_a_conversation_is_sent_as_it_is_and_thoughts_stay_out_of_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "A colour?"}
    records = [Record("a", "A colour?", messages=turns), Record("b", "A colour?", "Not red.")]
    with (
        LoopbackServer(say=lambda prompt, k: f"<think>hm</think>{say(prompt, 7 * k)}") as server,
        Store(tmp_path / "store") as store,
    ):
        context = Context(store, Budget(store.journal("requests")), Prices())
        sampler = ServerSampler(model="m", endpoint="chat", base_url=server.url, concurrency=1)
        found = sampler.answer(records, 2, context)
        assert [body["messages"] for body in server.bodies[:2]] == [
            list(turns), [{"role": "user", "content": "A colour?\nNot red."}],
        ]  # fmt: skip
        assert sampler.answer(records, 2, context) == found
    assert all(a.reasoning == "hm" and a.text.split()[0] in COLOURS for answers in found for a in answers)
