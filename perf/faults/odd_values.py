"""Odd values on the command line that no config can hold."""

from perf.faults.base import Bench, Trial


def _taken_name(bench: Bench) -> None:
    """A name that holds Hydra's own sign."""
    bench.run("train", "name=a=b", code=1, never=["Traceback"])


TRIALS = [Trial("command line", "a name with an equals sign", _taken_name, sample=True)]
