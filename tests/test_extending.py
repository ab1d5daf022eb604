"""The changes that docs/extending.md shows are applied to a copy of the packages and used."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tuna
from tuna.config import schema
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.data.importers import _importers, recognize
from tuna.data.load import Source, load_source
from tuna.errors import ConfigError
from tuna.evaluation.run import run as evaluate
from tuna.losses.base import RewardLists, total
from tuna.preview import main as preview
from tuna.programs import start

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
DIFFS = re.findall(r"^```diff\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def files(diff: str) -> dict[str, str]:
    """The files that a diff adds."""
    parts = re.split(r"^--- /dev/null\n\+\+\+ b/(\S+)\n@@ .* @@\n", diff, flags=re.M)[1:]
    return {name: re.sub(r"^\+", "", text, flags=re.M) for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.fixture
def applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All changes of the page; gives the override that makes their YAML files known."""
    added = {name: text for diff in DIFFS for name, text in files(diff).items()}
    modules = [name[:-3].replace("/", ".") for name in added if name.endswith(".py")]
    for name, text in added.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    packages = [(importlib.import_module(module.rpartition(".")[0]), module) for module in modules]
    for package, module in packages:
        package.__path__.append(str(tmp_path.joinpath(*module.split(".")[:-1])))
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (_importers, schema._read, schema.parameters):
        cached.cache_clear()
    try:
        yield f"hydra.searchpath=[file://{tmp_path}/conf]"
    finally:
        for package, module in packages:
            package.__path__.pop()
            sys.modules.pop(module, None)
        for cached in (_importers, schema._read, schema.parameters):
            cached.cache_clear()


def test_each_change_is_short() -> None:
    assert len(DIFFS) == 5
    for diff in DIFFS:
        assert sum(line.startswith("+") and not line.startswith("+++") for line in diff.split("\n")) < 40


def test_a_loss(applied: str) -> None:
    cfg = compose([applied, "stage=tuna_c", "loss=flat_hinge", "loss.margin=1"])
    loss = build_all(cfg, "loss")["loss"]
    lists = RewardLists(
        logprobs=torch.tensor([2.0, 1.5, 3.0]), lengths=torch.ones(3, dtype=torch.long),
        scores=torch.tensor([3.0, 2.0, 1.0]), targets=torch.zeros(3, dtype=torch.bool),
        groups=torch.zeros(3, dtype=torch.long), weights=torch.ones(1),
    )  # fmt: skip
    # margins that are lacking: 1 - 0.5, 1 + 1, 1 + 1.5
    assert total(loss(lists), lists).item() == pytest.approx((0.5 + 2 + 2.5) / 3)
    with pytest.raises(ConfigError, match=r"loss\.margin: expected 0 or more, got -1"):
        build_all(compose([applied, "stage=tuna_c", "loss=flat_hinge", "loss.margin=-1"]), "loss")


def test_a_format(applied: str, tmp_path: Path) -> None:
    row = {"question": "Name a color.", "answers": [{"text": "Red.", "likes": 3}, {"text": "Table.", "likes": 0}]}
    found, _ = recognize(row)
    assert found is not None and found.name == "votes"
    (tmp_path / "votes.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (record,) = load_source(Source(str(tmp_path / "votes.jsonl"))).records
    assert record.instruction == "Name a color." and [c.score for c in record.responses] == [3, 0]


def test_a_judge(applied: str, tmp_path: Path) -> None:
    from tuna.ranking.run import run

    out = tmp_path / "ranked.jsonl"
    words = ["ranker=contextual", "judge=brevity", "first=3", "ranker.n=3", f"output={out}"]
    run(compose([applied, *words], config_name="rank"))
    for line in out.read_text(encoding="utf-8").splitlines():
        lengths = [len(response["text"]) for response in json.loads(line)["responses"]]
        assert lengths == sorted(lengths)


def test_a_backend_and_a_benchmark(applied: str, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(
        '{"instruction": "abc", "output": "ABC"}\n{"instruction": "abd", "output": "abd"}\n', encoding="utf-8"
    )
    words = ["benchmark=exact", f"benchmark.questions={tmp_path}/q.jsonl", f"folder={tmp_path}/results"]
    words += ["generation=program", "generation.command=[tr,a-z,A-Z]"]
    assert evaluate(compose([applied, *words], config_name="evaluate")) == {"accuracy": 0.5}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same files, moved into a folder of one's own as the page's table says."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TUNA_PLUGINS", "")
    monkeypatch.chdir(tmp_path)
    for name, text in {name: text for diff in DIFFS for name, text in files(diff).items()}.items():
        place = MOVED.get(name) or f"mine/{name.removeprefix('conf/') if name.endswith('.yaml') else Path(name).name}"
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(re.sub(r"_target_: tuna\.[\w.]+\.(\w+\.\w+)$", r"_target_: \1", text, flags=re.M))
    likes = [{"text": "Red.", "likes": 3}, {"text": "Table.", "likes": 0}]
    rows = [{"question": f"Name color {n}.", "answers": likes} for n in range(6)]
    Path("votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("test.jsonl").write_text('{"instruction": "abc", "output": "ABC"}\n{"instruction": "abd", "output": "abd"}\n')
    for cached in (_importers, schema._read, schema.parameters):
        cached.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    for cached in (_importers, schema._read, schema.parameters):
        cached.cache_clear()


MOVED = {"tuna/data/importers/votes.py": "mine/tuna_formats.py"}
OWN = re.search(r"^## In a folder of your own.*?(?=^## )", PAGE.read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = re.findall(r"^    python (.*)$", OWN[0] if OWN else "", re.M)


def test_the_page_says_where_the_files_go(mine: Path) -> None:
    assert OWN is not None
    named = set(re.findall(r"`(mine/[\w/.]+)`", OWN[0]))
    assert named == {path.as_posix() for path in Path("mine").rglob("*.*")}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_a_folder_of_ones_own(command: str, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(command)
    if program == "-m":
        preview(words[1:])
        assert "format votes, rank_by score, 6 rows" in capsys.readouterr().out
        return
    start(program.removesuffix(".py"), words)
    said = capsys.readouterr().out
    assert {"train.py": "to use   ", "rank.py": "3 lists", "evaluate.py": "* accuracy"}[program] in said.replace(
        "lists: 3", "3 lists"
    )


def test_its_modules_are_found_by_processes_started_here(mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"no flat_hinge\.py on the import path; next: .*--config-dir"):
        schema.parameters("flat_hinge.FlatHinge")
    assert tuna.loss("flat_hinge", config_dir="mine", margin=0.3).margin == 0.3
    code = "import tuna.plugins, flat_hinge; print(flat_hinge.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).samefile(mine / "mine" / "flat_hinge.py")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:\n", r"broken\.py:1: .*; the module cannot be read"),
        ("import no_such_package\nclass Mine: ...\n", r"cannot be imported: ModuleNotFoundError: .*broken\.py:1\)"),
        ("1 / 0\nclass Mine: ...\n", r"cannot be imported: ZeroDivisionError: division by zero \(.*broken\.py:1\)"),
        ("class Mini: ...\n", r"broken\.py has no class or function `Mine`; did you mean Mini\?"),
    ],
)
def test_a_class_that_cannot_be_imported_says_why(text: str, says: str, mine: Path) -> None:
    (mine / "mine" / "broken.py").write_text(text)
    (mine / "mine" / "loss" / "broken.yaml").write_text("# broken\n_target_: broken.Mine\n")
    with pytest.raises(tuna.ConfigError, match=says):
        tuna.loss("broken", config_dir="mine")
