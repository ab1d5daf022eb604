"""How long the ways through the code are: what ``python train.py WORDS`` enters, and what lies before a training step.

    python -m perf.ways [ROOT] [WORDS ...]

ROOT: a checkout of Tuna, by default this one. WORDS: of train.py; the default is the first command of README.md, kept
short. Counted are files and functions of ``tuna/`` that are entered (lambdas and comprehensions aside), the frames on
the stack from the command line down to ``training_step``, compositions by Hydra, and YAML files that it reads. The run
goes to a temporary folder. docs/architecture.md has the figures.
"""

import runpy
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

WORDS = ("stage=tuna_c", "loss.lambda=5", "debug=short")


def main(argv: list[str]) -> None:
    """Run train.py under a profiler and print the counts."""
    root = Path(argv[0] if argv else ".").resolve()
    package = f"{root}/tuna/"
    entered: set[tuple[str, str]] = set()
    hydra: Counter[str] = Counter()
    stack: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename.startswith(package):
            if not code.co_name.startswith("<"):
                entered.add((code.co_filename, code.co_qualname))
            if code.co_name == "training_step" and not stack:
                caller: FrameType | None = frame
                while caller is not None:
                    stack.append(caller.f_code.co_filename)
                    caller = caller.f_back
        elif code.co_filename.endswith("config_loader_impl.py") and code.co_name == "_load_configuration_impl":
            hydra["compositions"] += 1
        elif code.co_filename.endswith("file_config_source.py") and code.co_name == "load_config":
            hydra["YAML files read"] += 1

    with tempfile.TemporaryDirectory() as runs:
        sys.path.insert(0, str(root))
        sys.argv = ["train.py", *(argv[1:] or WORDS), f"runs_dir={runs}"]
        sys.setprofile(note)
        with suppress(SystemExit):
            runpy.run_path(f"{root}/train.py", run_name="__main__")
        sys.setprofile(None)
    own = sum(name.startswith((package, f"{root}/train.py")) for name in stack)
    print(f"files of tuna/ entered: {len({name for name, _ in entered})}")
    print(f"functions of tuna/ entered: {len(entered)}")
    print(f"frames from argv to training_step: {len(stack)}, {own} of them Tuna's")
    for what, count in hydra.items():
        print(f"{what}: {count}")


if __name__ == "__main__":
    main(sys.argv[1:])
