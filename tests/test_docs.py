"""README and docs/: every link and anchor leads somewhere, every command line is one that works."""

import ast
import re
from pathlib import Path

import pytest

from tests.site.commands import problems
from tests.site.markdown import HISTORY, PAGES, ROOT, anchors, commands, links, name
from tuna.config.arguments import read_command_line
from tuna.config.compose import CONF
from tuna.config.overrides import check_command_line
from tuna.errors import ConfigError

pytestmark = pytest.mark.once


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:|mailto:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_commands_work() -> None:
    found = [command for page in PAGES if page != HISTORY for command in commands(page)]
    assert len(found) > 200
    wrong = {str(command): text for command in found if (text := problems(command.text))}
    assert not wrong, "\n".join(f"{command}\n    {'; '.join(text)}" for command, text in wrong.items())


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("python train.py stage=tuna_d", "stage=tuna_d: no such choice"),
        ("python train.py stage=tuna_c loss.lamda=5  # a comment", "loss.lamda: no such key with stage=tuna_c"),
        ("python train.py stage=tuna_c loss=dpo loss.margin=1", "loss.margin: no such key with loss=dpo stage=tuna_c"),
        ("python rank.py -m sampler.tau=0.5,2", "sampler.tau: expected above 0 and at most 1, or null, got 2"),
        ("python evaluate.py benchmark=judge judge=openai judge.modle=x", "judge.modle: no such key with judge=openai"),
        ("python perf/none.py", "perf/none.py: no such file"),
        ("python -m tools.english --in DIR", "tools/english/__main__.py has no --in"),
        ("make install && make nothing", "make has no nothing"),
        (".venv/bin/pip install -e '.[jobs]'", "no extra jobs"),
        ("tune train.py", "tune: neither a program of this project nor in the list of others"),
    ],
)
def test_a_wrong_command_is_seen(text: str, wrong: str) -> None:
    (found,) = problems(text)
    assert found == wrong


def test_the_errors_of_readme_are_real() -> None:
    shown = re.search(r"\$ python train\.py (.+)\n((?: +.+\n)+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert shown
    with pytest.raises(ConfigError) as fault:
        check_command_line(read_command_line(shown[1].split()), config_dir=CONF, config_name="train")
    said = [line.strip().removeprefix("error: ") for line in shown[2].splitlines()]
    for line, real in zip(said, str(fault.value).splitlines(), strict=True):
        assert re.fullmatch(re.escape(line).replace(r"\.\.\.", ".*"), real)


def said_by(file: Path) -> list[str]:
    """The texts of a file of code, spaces in one, with a mark where a value is put in."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in node.values))
    return [" ".join(text.split()) for text in texts]


def test_the_messages_of_the_troubleshooting_page_are_the_codes() -> None:
    """Every part of a quoted message, between its dots, is part of a text of one file of the package."""
    lines = re.findall(r"^\*\*`.*", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.M)
    messages = [message for line in lines for message in re.findall(r"\*\*`(.+?)`\*\*", line)]
    assert len(messages) > 45
    code = [said_by(file) for file in [ROOT / "tuna_ranking.py", *sorted((ROOT / "tuna").rglob("*.py"))]]
    unsaid = []
    for message in messages:
        parts = [part.strip(" :=();,").removeprefix("expected ") for part in message.split("...")]
        parts = [part.removesuffix(", got nothing") for part in parts if len(part) > 3]  # put together in one place
        assert parts, message
        if not any(all(any(part in text for text in texts) for part in parts) for texts in code):
            unsaid.append(message)
    assert not unsaid
