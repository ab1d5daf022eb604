"""Tuna as a library: the notebook runs, importing is quick, faults are exceptions, scores are those of another way."""

import ast
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

import tuna
from tuna.assets import FOLDER
from tuna.console import CHECKOUT

assert CHECKOUT is not None
ROOT: Path = CHECKOUT
NOTEBOOK = ROOT / "docs" / "library.ipynb"
LISTS = FOLDER / "rankings" / "contextual.jsonl"


def run_cell(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line where that is an expression, as Jupyter shows it."""
    *body, last = ast.parse(source).body
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.Module([*body, *([] if isinstance(last, ast.Expr) else [last])], []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue(), value


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(len(cell.splitlines()) for cell in cells) <= 24
    names: dict[str, Any] = {"__name__": "notebook"}
    shown = [run_cell(cell, names) for cell in cells]
    assert len(shown[0][1]) == 4 and all(v < 0 for v in shown[1][1])
    assert shown[2][1]["dpo"] == pytest.approx(0.6931, abs=1e-4)  # log 2: the model is its own reference
    assert names["run"].model.is_dir() and names["run"].record["status"] == "finished"
    assert names["run"].record["config"]["loss"]["lambda"] == 5
    assert names["ranked"].path == Path("rankings/notebook.jsonl") and len(names["ranked"].lists) == 4
    assert names["measured"].results["coverage"]["N"] == 8 == len(names["measured"].examples)
    assert names["measured"].results["model"]["run"] == "runs/notebook"
    assert "did you mean loss.lambda?" in shown[-1][0]


def test_importing_it_is_quick() -> None:
    heavy = ("torch", "hydra", "numpy", "transformers")
    code = f"import sys, tuna; dir(tuna); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_typed() -> None:
    assert [name for name in tuna.__all__ if getattr(tuna, name).__name__ != name] == []
    assert set(tuna.__all__) <= set(dir(tuna)) and (ROOT / "tuna" / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = tuna.train


def test_scores_are_those_of_the_model_itself() -> None:
    (record,) = tuna.read(LISTS, first=1)
    model = tuna.load("tiny")
    scored = model.score([record], gradients=True)
    for k, answer in enumerate(scored.lists[0].answers):
        group = model.encoder.encode(model.encoder.write(record, [answer]))
        prompt, response = (torch.from_numpy(ids).long() for ids in (group.prompt, group.responses[0]))
        logits = model.network(input_ids=torch.cat([prompt, response])[None].to(model.device)).logits[0]
        chosen = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, response[:, None])[:, 0]
        own = chosen[torch.from_numpy(group.masks[0])].sum()
        assert scored.logprobs[k].item() == pytest.approx(own.item(), abs=1e-3)
    tuna.total(tuna.loss("tuna")(scored), scored).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.parameters())


def test_several_batches_and_what_cannot_be_scored() -> None:
    records, model = tuna.read(LISTS, first=5), tuna.load("tiny")
    whole, parts = model.score(records), model.score(records, lists_per_batch=2, row_tokens=64)
    assert torch.allclose(whole.logprobs, parts.logprobs, atol=1e-3)
    assert [len(each) for each in whole.by_list()] == [len(each.answers) for each in whole.lists]
    with pytest.raises(tuna.DataError, match="of which none can be scored"):
        model.score([tuna.Record("1", "Say a.")])


@pytest.mark.parametrize(
    ("given", "settings", "says"),
    [
        (["stage=nope"], {}, "stage=nope: expected one of"),
        ([{"loss": {"lamda": 5}}], {}, "did you mean loss.lambda"),
        ([], {"module": {"lr": "fast"}}, "module.lr: expected"),
        (["-m", "seed=1,2"], {}, "sweeps and options are for the commands"),
        (["--help"], {}, "sweeps and options are for the commands"),
        ([], {"name": "sk-abcdef0123456789"}, "name: expected text without"),
        (["model.path=no/such/folder", "datamodule.path=x.jsonl"], {}, "no/such/folder"),
    ],
)
def test_faults_are_exceptions(given: list[Any], settings: dict[str, Any], says: str) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(tuna.TunaError) as caught:
        tuna.tune(*given, **settings)
    assert says in str(caught.value) and "abcdef" not in str(caught.value)
    assert (sys.stdout, sys.stderr) == before


def test_a_file_with_a_broken_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"instruction": "Say a.", "output": "a"}\n{"instruction": 3}\n')
    with pytest.raises(tuna.DataError, match=r'a\.jsonl:2: .*\n.*or bad_rows="drop"'):
        tuna.read(file)
    assert [record.output for record in tuna.read(file, bad_rows="drop")] == ["a"]
    with pytest.raises(tuna.ConfigError, match="format: expected one of"):
        tuna.read(file, format="nope")
