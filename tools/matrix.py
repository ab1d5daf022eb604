"""Which versions Tuna was tried with: ``make matrix`` makes an environment per cell, runs some tests in each and writes
docs/matrix.md.

    python -m tools.matrix [--base FOLDER] [--cell NAME ...]

base: an environment whose packages serve where a cell names no other (of the same Python), which saves most of the
time. A cell whose packages cannot be had is a row that says so.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "matrix.md"
WHOLE = ("tests/test_library.py", "tests/training/test_hub.py")  # loads, scores, tunes, ranks, evaluates
NO_TORCH = (
    "tests/config/test_types.py", "tests/config/test_arguments.py", "tests/config/test_commands.py",
    "tests/test_programs.py", "tests/test_console.py",
)  # fmt: skip
BARE = (
    "hydra-core",
    "annotated-types",
    "jinja2",
    "pytest",
    "hypothesis",
    "absl-py",
    "numpy",
    "pyyaml",
    "scipy",
    "tqdm",
)


@dataclass(frozen=True)
class Cell:
    """One environment: its Python, what is installed, the tests that are run in it."""

    name: str
    python: str
    packages: tuple[str, ...]
    tests: tuple[str, ...] = WHOLE
    shown: tuple[str, ...] = ("torch", "transformers", "lightning", "hydra-core")


TORCH = "torch==2.13.0"
CELLS = (
    Cell("newest", "3.11", (TORCH, "transformers==5.23.0", "lightning==2.6.6")),
    Cell("lowest transformers", "3.11", (TORCH, "transformers==5.21.0", "lightning==2.6.6")),
    Cell("lowest lightning", "3.11", (TORCH, "transformers==5.23.0", "lightning==2.6.0", "pytorch-lightning==2.6.0")),
    Cell("lowest torch", "3.11", ("torch==2.11.0", "transformers==5.23.0", "lightning==2.6.6")),
    Cell("Python 3.12", "3.12", (TORCH, "transformers==5.23.0", "lightning==2.6.6")),
    Cell("Python 3.13", "3.13", (TORCH, "transformers==5.23.0", "lightning==2.6.6")),
    Cell("Python 3.14", "3.14", (TORCH, "transformers==5.23.0", "lightning==2.6.6")),
    Cell("Python 3.12, without torch", "3.12", BARE, NO_TORCH),
    Cell("Python 3.13, without torch", "3.13", BARE, NO_TORCH),
    Cell("Python 3.14, without torch", "3.14", BARE, NO_TORCH),
)


HEAD = (
    "# Versions",
    "",
    "Made by `make matrix` (tools/matrix.py): an environment per row, with some tests run in each. A whole row loads",
    f"a model, scores, tunes, ranks, evaluates and sends a model to a stand-in of the hub ({', '.join(WHOLE)});",
    "one without torch composes and checks configs, starts the commands and reads data. CI runs all tests with the",
    "versions of requirements.lock.",
    "",
    "| | Python | torch | transformers | lightning | hydra-core | tests |",
    "|---|---|---|---|---|---|---|",
)


def main() -> None:
    """Try the cells and write the page; rows of cells that were not tried now stay as they are."""
    parser = argparse.ArgumentParser(description="Try Tuna with other versions; writes docs/matrix.md.")
    parser.add_argument("--base", type=Path, help="an environment whose packages serve where a cell names no other")
    parser.add_argument("--cell", action="append", choices=[cell.name for cell in CELLS], help="these alone")
    parser.add_argument("--cuda", action="store_true", help="download torch even where it comes with CUDA (gigabytes)")
    given = parser.parse_args()
    rows = read()
    for cell in CELLS:
        if given.cell is None or cell.name in given.cell:
            begin = time.monotonic()
            rows[cell.name] = row(cell, given.base, given.cuda)
            print(f"{rows[cell.name]}  ({time.monotonic() - begin:.0f} s)", flush=True)
            PAGE.write_text(page(rows), encoding="utf-8")


def row(cell: Cell, base: Path | None, cuda: bool) -> str:
    """The line of the table for one cell."""
    python = interpreter(cell.python)
    if python is None:
        return line(cell, {}, f"not tried: no Python {cell.python} here")
    folder = ROOT / "build" / "matrix" / cell.name.replace(" ", "_").replace(",", "")
    own, made = folder / "bin" / "python", folder / "packages.txt"
    if not made.exists() or made.read_text(encoding="utf-8").split() != [*cell.packages]:
        if fault := make(folder, python, cell, base, cuda):
            return line(cell, {}, fault)
        made.write_text("\n".join(cell.packages), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    command = [
        str(own),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not once",
        "--doctest-modules",
        *cell.tests,
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    (folder / "pytest.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    told = next((text for text in reversed(done.stdout.splitlines()) if "passed" in text or "failed" in text), "broken")
    return line(cell, versions(own, cell.shown), told.partition(" in ")[0])


def make(folder: Path, python: str, cell: Cell, base: Path | None, cuda: bool) -> str | None:
    """Make the environment of a cell; what is told where it cannot be had."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    own = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    if base and (shared := base.resolve() / "lib" / site.parent.name / "site-packages").is_dir():
        (site / "base.pth").write_text(f"{shared}\n", encoding="utf-8")
    if not cuda and (torch := next((p for p in cell.packages if p.startswith("torch=")), None)):
        looked = pip(own, "install", "--dry-run", "--quiet", "--report", "-", torch)
        if "nvidia-" in looked.stdout or "cuda-" in looked.stdout:
            return f"not tried: {torch} for it is a CUDA build of gigabytes here (--cuda takes it)"
    installed = pip(own, "install", "--quiet", *cell.packages)
    return f"not had: {installed.stderr.strip().splitlines()[-1][:120]}" if installed.returncode else None


def pip(python: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Pip in an environment."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def interpreter(version: str) -> str | None:
    """A Python of that version on this machine: this one, one on PATH, or one of pyenv's."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """What is installed there, by package."""
    code = (
        "import platform, importlib.metadata as m\n"
        "have = {(d.metadata['Name'] or '').lower(): d.version for d in reversed(list(m.distributions()))}\n"
        f"print(platform.python_version(), *[have.get(name, '-') for name in {names!r}])"
    )
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(("python", *names), found, strict=True))


def line(cell: Cell, found: dict[str, str], told: str) -> str:
    """A row of the table."""
    shown = [found.get("python", cell.python), *(found.get(name, "-") for name in cell.shown)]
    return f"| {cell.name} | {' | '.join(shown)} | {told} |"


def read() -> dict[str, str]:
    """The rows that the page has."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows = {text.split(" | ")[0].removeprefix("| "): text for text in lines if text.startswith("| ")}
    return {cell.name: rows[cell.name] for cell in CELLS if cell.name in rows}


def page(rows: dict[str, str]) -> str:
    """docs/matrix.md."""
    ordered = [rows[cell.name] for cell in CELLS if cell.name in rows]
    return "\n".join([*HEAD, *ordered, ""])


if __name__ == "__main__":
    main()
