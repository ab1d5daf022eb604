import subprocess
import sys
from pathlib import Path

import pytest

from tuna.config.compose import CONF
from tuna.config.help import groups

ROOT = CONF.parent


def test_help_explains_itself_shortly_and_fast() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", "--help"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 120
    for group, choices in groups([CONF], "train").items():
        assert group in done.stdout and all(choice in done.stdout for choice in choices)
    assert sum(line.strip().startswith("python train.py") for line in lines) == 4
    assert "runs/<name>/" in done.stdout
    for heavy in ("torch", "lightning", "transformers", "wandb", "numpy"):
        assert f"| {heavy}\n" not in done.stderr.replace(" " * 2, "")


@pytest.mark.parametrize("name", ["train", "rank"])
def test_help_lists_the_groups_of_its_program_only(name: str) -> None:
    done = subprocess.run([sys.executable, ROOT / f"{name}.py", "--help"], capture_output=True, text=True, check=True)
    listed = {words[0] for line in done.stdout.splitlines() if line[:2] == "  " and (words := line[2:19].split())}
    others = set(groups([CONF])) - set(groups([CONF], name))
    assert others and listed & set(groups([CONF])) == set(groups([CONF], name))
    assert not listed & others


def test_no_summary_is_missing_or_cut() -> None:
    from tuna.config.help import summary

    for group, choices in groups([CONF]).items():
        for choice, file in choices.items() if "/" not in group else ():  # parts of files are not listed
            text = summary(Path(file))
            shown = f"  {group:<11}{choice:<13}  {text}"
            assert text and ("/" in group or len(shown) <= 118), file  # --help shows no group of a group
