"""docs/licences.md, from packages' own metadata: ``python -m tools.licences docs/licences.md`` (make licences).

Of extras that are not installed, pip is asked for the newest release's metadata; that needs the package index.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEAD = """# Dependencies and their licences

Every package that pyproject.toml names, with the version that requirements.lock pins ("-": an extra that no lock has),
the licence that its metadata names, and what it is for ([architecture.md](architecture.md) says instead of what).
Written by `make licences`.

Known weaknesses in all that is pinned, those of indirect dependencies too, are told by a service outside of this
repository, which gets names and versions alone:

    pip install pip-audit && pip-audit -r requirements.lock --no-deps --disable-pip

| package | needed by | version | licence | what for |
|---|---|---|---|---|
"""


def normal(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def direct() -> dict[str, str]:
    """The packages of pyproject.toml, and what needs each: everyone, or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {"all": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, str] = {}
    for extra, ranges in needed.items():
        for name in (normal(re.split(r"[\[<>=!~ ]", each)[0]) for each in ranges):
            found[name] = f"{found[name]}, {extra}" if name in found else extra
    return found


def pinned() -> dict[str, str]:
    """Packages and versions of the two lock files."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements-docs.lock", "requirements.lock")]
    return {normal(name): version for text in texts for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", text)}


def reasons() -> dict[str, str]:
    """What docs/architecture.md says that each package is for."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", page.partition("## Dependencies")[2])
    return {normal(name): reason for names, reason in rows for name in re.sub(r" \(.*\)", "", names).split(", ")}


def licence(about: Mapping[str, Any]) -> str:
    """The licence that a package's metadata names: an SPDX expression, a classifier, or the first line of its text."""
    classifiers = [str(each) for each in about.get("classifier", [])]
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    text = str(about.get("license") or "").partition("\n")[0]
    return str(about.get("license_expression") or ", ".join(named) or text or "not said")


def licences(names: list[str]) -> dict[str, str]:
    """The licence of each package, as its metadata has it."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = licence(metadata(name).json)
        except PackageNotFoundError:
            continue
    if missing := [name for name in names if name not in found]:
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        done = subprocess.run([*pip, "--report", "-", *missing], check=True, capture_output=True, text=True)
        about = [each["metadata"] for each in json.loads(done.stdout)["install"]]
        found |= {normal(each["name"]): licence(each) for each in about}
    return found


def page() -> str:
    """docs/licences.md."""
    needed, versions, why = direct(), pinned(), reasons()
    said = licences(list(needed))
    rows = [f"| {n} | {needed[n]} | {versions.get(n, '-')} | {said[n]} | {why[n]} |" for n in sorted(needed)]
    return HEAD + "\n".join([*rows, ""])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: expected one file to write: python -m tools.licences docs/licences.md")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
