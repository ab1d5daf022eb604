"""ranker=proxy: a reward model orders samples or given answers; the same numbers after a kill; what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inference.make import collect, read_rows, write_rows
from tests.models.test_loading import other_reward_model
from tests.training.make import write_model
from tuna.data.batch import Group
from tuna.data.packing import pack
from tuna.errors import ConfigError, ModelError
from tuna.inference import score
from tuna.models.loading import load_reward_scorer
from tuna.models.source import ModelConfig


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_reward_model(tmp_path_factory.mktemp("models") / "reward")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def write_given(path: Path, count: int = 40) -> Path:
    rows = []
    for n in range(count):
        texts = [f"w{20 + (n + 7 * k) % 40} w{10 + k}" for k in range(3)]
        responses = [{"text": text, "source": "m"} for text in [*texts, texts[0], " "]]
        rows.append({"id": f"q{n}", "instruction": f"w{4 + n % 60} w9", "output": "w5", "responses": responses})
    return write_rows(path, rows)


def given(folder: Path, reward: Path, **changes: object) -> list[dict[str, Any]]:
    source = folder / "in.jsonl"
    if not source.exists():
        write_given(source)
    options: dict[str, object] = {"score_only": "true", "ranker__path": reward, "ranker__template": "none"}
    collect(folder, source, "ranker=proxy", **options | changes)
    return read_rows(folder / "out.jsonl")


def test_given_answers_in_the_order_of_their_rewards(
    reward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = given(tmp_path, reward)
    assert f"train.py stage=tuna_c datamodule.path={tmp_path}/out.jsonl, with model.path=" in capsys.readouterr().out
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(40)]
    scorer = load_reward_scorer(ModelConfig(path=str(reward))).eval()
    for row in rows[:5]:
        answers = row["responses"]
        assert len(answers) == 4 and row["dropped"] == [{"text": " ", "reason": "empty answer"}]
        rewards = [answer["reward"] for answer in answers]
        assert rewards == sorted(rewards, reverse=True)
        levels = sorted(set(rewards), reverse=True)
        assert len(levels) == 3  # the answer that came twice shares its position
        assert [answer["score"] for answer in answers] == [-levels.index(value) for value in rewards]
        words = [[int(word[1:]) for word in answer["text"].split()] + [2] for answer in answers]
        prompt = [int(word[1:]) for word in row["instruction"].split()]
        with torch.no_grad():
            arrays = tuple(torch.tensor(each, dtype=torch.int32).numpy() for each in words)
            group = Group("q", torch.tensor(prompt, dtype=torch.int32).numpy(), arrays, (0.0,) * 4, (False,) * 4)
            wanted = scorer(pack([group], row_tokens=64)).tolist()
        assert rewards == pytest.approx(wanted, abs=2e-6)
        assert {answer["source"] for answer in answers} == {"m"}


@pytest.mark.once
def test_a_killed_collection_ends_in_the_same_file(
    reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    given(tmp_path / "calm", reward)
    calls: list[int] = []
    real = score._Scorer.__call__

    def dies(self: Any, lists: Any) -> Any:
        calls.append(len(lists))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, lists)

    monkeypatch.setattr(score._Scorer, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        given(tmp_path / "killed", reward)
    given(tmp_path / "killed", reward)
    assert calls == [16, 16, 16, 8]  # the first block is not scored again
    assert (tmp_path / "killed" / "out.jsonl").read_bytes() == (tmp_path / "calm" / "out.jsonl").read_bytes()


def test_samples_of_the_model_that_is_tuned(reward: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    source = write_rows(tmp_path / "in.jsonl", [{"instruction": f"w{n} w9"} for n in range(5, 11)])
    options: dict[str, object] = {
        "model__path": model, "model__template": "none", "sampler__max_tokens": 6, "ranker__path": reward,
        "ranker__n": 3, "ranker__template": "none",
    }  # fmt: skip
    figures = collect(tmp_path, source, "ranker=proxy", **options)
    rows = read_rows(tmp_path / "out.jsonl")
    assert figures["lists"] == len(rows) > 0 and figures["requests"] == 0
    for row in rows:
        assert all({"reward", "logprob", "score"} <= set(answer) for answer in row["responses"])
        assert row["responses"][0]["score"] == 0 and {a["source"] for a in row["responses"]} == {"model"}


def test_the_runs_own_template_is_taken(reward: Path, tmp_path: Path) -> None:
    """A reward means something only for prompts as the reward model was trained on."""
    (tmp_path / "prm").mkdir()
    (tmp_path / "prm" / "model").symlink_to(reward)
    (tmp_path / "prm" / "run.json").write_text(json.dumps({"config": {"datamodule": {"template": "none"}}}))
    (tmp_path / "named").mkdir()
    of_run = given(tmp_path, tmp_path / "prm", ranker__template="auto")
    assert of_run == given(tmp_path / "named", reward)
    (tmp_path / "alpaca").mkdir()
    assert of_run != given(tmp_path / "alpaca", reward, ranker__template="auto")


def test_what_is_refused_before_anything_is_sampled(reward: Path, tmp_path: Path) -> None:
    source = write_given(tmp_path / "in.jsonl", 2)
    with pytest.raises(ConfigError, match=r"ranker\.path: missing.*python train\.py stage=prm"):
        collect(tmp_path, source, "ranker=proxy")
    with pytest.raises(ConfigError, match=r"n: expected 2 or more, got 1"):
        collect(tmp_path, source, "ranker=proxy", ranker__path=reward, ranker__n=1)
    causal = write_model(tmp_path / "causal")
    with pytest.raises(ModelError, match=r"has no reward head.*python train\.py stage=prm model\.path="):
        collect(tmp_path, source, "ranker=proxy", "model=tiny", ranker__path=causal)
    with pytest.raises(ModelError, match=r"no such folder"):
        collect(tmp_path, source, "ranker=proxy", model="tiny", ranker__path=tmp_path / "nowhere")
    with pytest.raises(ModelError, match="which writes no answers"):
        collect(tmp_path, source, "ranker=proxy", ranker__path=reward, model__path=reward)
    with pytest.raises(ModelError, match="which writes no answers"):
        collect(tmp_path, source, "ranker=probabilistic", teacher__path=reward)
    with pytest.raises(ModelError, match="which writes no answers"):
        collect(tmp_path, source, "judge=local", judge__path=reward, model__path="tiny")
    assert not list(tmp_path.glob("out.*"))
