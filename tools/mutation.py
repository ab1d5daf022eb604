"""Which small faults in the code do the tests find? ``python -m tools.mutation packing verdict`` (all without a name).

With the word ``sample``, of each function those whose number ends in 2, 5 or 8; with ``again``, those alone that the
tests did not find the last time.

mutmut writes each fault, a mutant (``<`` for ``<=``, ``None`` for a value, ``+ 2`` for ``+ 1``), into a copy of the
repository under build/mutation, and runs the tests that reach the function. The row of a target in
docs/campaigns/mutation.md is written anew; what no test found lies beside the copy, as diffs in survivors.txt.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "campaigns" / "mutation.md"
PARSERS = ("verdict", "replies", "reading", "spelled", "structured", "marks")
# target: its files, the tests that have to find the mutants
TARGETS: dict[str, tuple[list[str], list[str]]] = {
    "packing": (["tuna/data/packing.py"], ["tests/data/test_packing.py"]),
    "verdict": (
        [f"tuna/judges/{name}.py" for name in PARSERS],
        [
            *(f"tests/judges/test_{name}.py" for name in ("verdict", "replies", "reading")),
            *(f"tests/judges/test_pairwise.py::test_{name}" for name in ("marks", "a_cut_reply_is_no_verdict")),
        ],
    ),
    "store": (["tuna/inference/store.py"], ["tests/inference/test_store.py"]),
    "losses": (["tuna/losses/*.py"], ["tests/losses"]),
}
SKIPPED = 34  # of mutmut's exit codes; 0 is a survivor
FOUND = {"killed": (1, 3, -24, 24, 36, 152, 255), "untested": (5, 33), "skipped": (SKIPPED,)}


def run(target: str, words: list[str]) -> dict[str, str]:
    """The mutants of a target with what became of each: killed, untested, survived or skipped. words: sample, again."""
    files, tests = TARGETS[target]
    folder = ROOT / "build" / "mutation" / target
    if "again" not in words:
        shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    settings = {
        "source_paths": ["tuna"], "only_mutate": files, "also_copy": ["conf", "tools"],
        "pytest_add_cli_args_test_selection": tests, "pytest_add_cli_args": ["-k", "not long_replies"],
        "timeout_constant": ["4"],  # mutmut gives up after 15 times as many seconds: a busy machine is slow, too
    }  # fmt: skip
    lines = [f"{key} =\n  " + "\n  ".join(values) for key, values in settings.items()]
    (folder / "setup.cfg").write_text("[mutmut]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    mutmut = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(len(os.sched_getaffinity(0)))]
    if "sample" in words:  # writes the mutants, and tries none, since none has this name
        subprocess.run([*mutmut, "none"], cwd=folder, check=False, stderr=subprocess.DEVNULL)
    for meta in (folder / "mutants").rglob("*.meta"):
        book = json.loads(meta.read_text())
        for name, code in book["exit_code_by_key"].items():
            left_out = "sample" in words and name[-1] not in "258"
            book["exit_code_by_key"][name] = code if fate(code) == "killed" else SKIPPED if left_out else None
        meta.write_text(json.dumps(book))
    subprocess.run(mutmut, cwd=folder, check=True)
    became: dict[str, str] = {}
    for meta in sorted((folder / "mutants").rglob("*.meta")):
        became |= {name: fate(code) for name, code in json.loads(meta.read_text())["exit_code_by_key"].items()}
    if "sample" in words:
        became = {name: word if name[-1] in "258" else "skipped" for name, word in became.items()}
    left = [name for name, word in became.items() if word in ("survived", "untested")]
    show = "import sys; from mutmut.__main__ import show; [show.callback(name) for name in sys.argv[1:]]"
    with (folder / "survivors.txt").open("w", encoding="utf-8") as out:
        subprocess.run([sys.executable, "-c", show, *left], cwd=folder, check=True, stdout=out)
    return became


def fate(code: int | None) -> str:
    """What an exit code of mutmut's says."""
    return next((word for word, codes in FOUND.items() if code in codes), "survived")


def main() -> None:
    """Run the targets that are named, and write their rows."""
    words = [word for word in sys.argv[1:] if word in ("sample", "again")]
    for target in [word for word in sys.argv[1:] if word not in words] or TARGETS:
        fates = list(run(target, words).values())
        killed, survived, untested, skipped = map(fates.count, ("killed", "survived", "untested", "skipped"))
        tried = len(fates) - skipped
        row = f"| {target} | {len(fates)} | {tried} | {killed} | {survived} | {untested} | {killed / tried:.1%} |"
        print(row)
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(rf"(?m)^\| {target} \|.*$", row, page), encoding="utf-8")


if __name__ == "__main__":
    main()
