"""What the guides show is so: the loss of one's own has the value that is said, the data file these messages."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.site.markdown import SITE
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.errors import DataError
from tuna.losses.base import ScoredLists
from tuna.preview import preview, read_options

pytestmark = pytest.mark.once


def test_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SITE / "guides/loss.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(mine/\S+)`\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    assert [name for name, _ in files] == ["mine/cubic.py", "mine/loss/cubic.yaml"]
    for name, content in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = compose([f"hydra.searchpath=[file://{tmp_path}/mine]", "stage=tuna_c", "loss=cubic", "loss.margin=1"])
    loss = build_all(cfg, "loss")["loss"]
    lists = ScoredLists(  # v of -1 and -1.5; a target of its own, which is not ranked
        logprobs=torch.tensor([-2.0, -4.5, -1.0]),
        lengths=torch.tensor([2, 3, 1]),
        scores=torch.tensor([1.0, 0.0, float("nan")]),
        targets=torch.tensor([False, False, True]),
        groups=torch.tensor([0, 0, 0]),
        weights=torch.tensor([1.0]),
    )
    assert "(1 - 0.5)^3 = 0.125" in text
    assert float(loss(lists)["rank"].sum) == pytest.approx(0.125)


def test_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (SITE / "guides/data.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"^```json\n(.*?)^```$", text, re.M | re.S)
    refused, shown = re.findall(r"^```text\n(.*?)^```$", text, re.M | re.S)
    (columns,) = set(re.findall(r"'(columns=\{.*?\})'", text))
    Path("mine.jsonl").write_text(rows, encoding="utf-8")
    with pytest.raises(DataError) as fault:
        list(preview("mine.jsonl", read_options([columns])))
    assert refused == f"error: {fault.value}\n".replace("\n1 ", "\n       1 ")
    Path("mine.jsonl").write_text(rows.replace('"none"', "1"), encoding="utf-8")
    assert len([json.loads(row) for row in rows.splitlines()]) == 3
    said = "\n".join(preview("mine.jsonl", read_options([columns, "show=1"])))
    assert said.startswith(shown)
