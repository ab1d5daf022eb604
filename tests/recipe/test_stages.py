"""The whole recipe at trivial sizes, through its command."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.recipe import rankings

ROOT = Path(__file__).parents[2]


def _main(arguments: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("make_assets", ROOT / "tools" / "make_assets.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(arguments)


def test_quick_makes_every_file_and_the_same_ones_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rankings.sample

    def short(*given: Any) -> list[rankings.Answer]:
        """Models that learned nothing end no answer."""
        model, tokenizer, prompts, draws, longest = given
        return whole(model, tokenizer, prompts, draws, max_new_tokens=min(16, longest))

    monkeypatch.setattr(rankings, "sample", short)
    _main(["--out", str(tmp_path), "--quick"])
    for name in ("tiny_base", "tiny", "tiny_teacher", "tiny_prm_base"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "models" / name)
        assert AutoTokenizer.from_pretrained(tmp_path / "models" / name).chat_template
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.jsonl"))
    assert made == [
        "instructions/comparison_choice.jsonl",
        "instructions/comparison_lists.jsonl",
        "instructions/comparison_measure.jsonl",
        "instructions/held_out.jsonl",
        "instructions/train.jsonl",
        "rankings/contextual.jsonl",
        "rankings/contextual_held_out.jsonl",
        "rankings/probabilistic.jsonl",
        "rankings/probabilistic_held_out.jsonl",
    ]
    assert set(json.loads((tmp_path / "measured.json").read_text())) == {
        "tiny_base",
        "tiny",
        "tiny_teacher",
        "tiny_prm_base",
    }
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*.jsonl")}
    _main(["--out", str(tmp_path), "--quick", "--only", "instructions,contextual,probabilistic"])
    assert {path: path.read_bytes() for path in before} == before


def test_unknown_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _main(["--out", str(tmp_path), "--only", "bse"])
    assert "got bse" in capsys.readouterr().err
