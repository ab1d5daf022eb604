"""The share of a row's ``tests`` (each a line such as ``assert add(1, 2) == 3``) that the code in an answer passes."""

import sys
from subprocess import DEVNULL, run

LIMITS = "import resource as r, signal; signal.alarm(5); r.setrlimit(r.RLIMIT_AS, (2 << 30, 2 << 30))"


def score(prompt: str, answer: str, row: dict) -> float:
    """Each test is a process of its own, which has 5 seconds and 2 GB of memory; no sandbox."""
    code = answer.split("```python\n")[-1].split("```")[0]
    commands = [[sys.executable, "-I", "-c", f"{LIMITS}\n{code}\n{test}"] for test in row["tests"]]
    ended = [run(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL).returncode for command in commands]
    return ended.count(0) / len(ended)
