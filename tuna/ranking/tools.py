"""``python rank.py compare A B`` and ``python rank.py merge OUT PART PART ...``."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tuna.errors import ConfigError, RunError, TunaError
from tuna.runs import check_writable, read_json
from tuna.secrets import masked_output

_USAGE = {
    "compare": "python rank.py compare A.jsonl B.jsonl [REPORT.json]",
    "merge": "python rank.py merge OUT.jsonl SHARD.jsonl SHARD.jsonl ...",
}


def run_tool(argv: Sequence[str]) -> None:
    """Run the tool that ``argv`` names.

    Raises:
        SystemExit: 1 after a fault, which is on stderr.
    """
    with masked_output():
        try:
            TOOLS[argv[0]](list(argv[1:]))
        except TunaError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)


def _usage(tool: str) -> None:
    print(f"error: expected {_USAGE[tool]}", file=sys.stderr)
    sys.exit(1)


def _compare(argv: list[str]) -> None:
    from tuna.ranking.compare import compare
    from tuna.runs import write_json

    if len(argv) not in (2, 3):
        _usage("compare")
    report = _report(argv[2]) if len(argv) == 3 else None
    found = compare(argv[0], argv[1])
    print("\n".join(found.lines()))
    if report is not None:
        write_json(report, found.to_dict())
        found.draw(report.with_suffix(".png"), f"{Path(argv[0]).name} and {Path(argv[1]).name}")


def _report(name: str) -> Path:
    """The path of a report that may be written: nothing is there but an earlier one.

    Raises:
        ConfigError: it is no .json, or there is something that compare did not make. RunError: it cannot be written.
    """
    path = Path(name)
    if path.suffix != ".json":
        raise ConfigError(f"{name}: expected a path that ends with .json; a picture of the same name comes beside it")
    check_writable(path.parent, "REPORT.json")
    for place in (path, path.with_suffix(".png")):
        if os.path.lexists(place) and not _is_report(path):
            raise ConfigError(f"{place}: is there and rank.py compare did not make it; give the report another name")
    return path


def _is_report(path: Path) -> bool:
    try:
        return {"lists", "spearman", "pairs"} <= read_json(path).keys()
    except (RunError, OSError, TypeError, ValueError):
        return False


def _merge(argv: list[str]) -> None:
    from tuna.ranking.merge import merge

    if len(argv) < 2:
        _usage("merge")
    print(f"{merge(argv[0], argv[1:]):,} lists: {argv[0]}")


TOOLS: dict[str, Callable[[list[str]], None]] = {"compare": _compare, "merge": _merge}
