"""What the console commands ``tuna`` and ``tuna-ranking`` start.

It is no part of the package, so that it can say what is wrong where ``import tuna`` finds another one of that name: the
index has a viewer of Python profiles called tuna.
"""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run the command line. Raises: SystemExit with its exit code, 1 where another package stands before ours."""
    found = importlib.util.find_spec("tuna")
    place = Path(found.origin).parent if found and found.origin else None
    import tuna

    if place is None or not (place / "programs.py").is_file() or not hasattr(tuna, "__version__"):
        print(f"error: {shadowed(place)}", file=sys.stderr)
        sys.exit(1)
    from tuna.signals import begin

    begin()
    from tuna.programs import console

    console()


def shadowed(place: Path | None) -> str:
    """What is wrong where ``import tuna`` finds the package in ``place``, and what to do."""
    return (
        f"`import tuna` finds another package in {place}, most likely the profile viewer of that name; the two cannot "
        "be in one environment. Next: python -m pip uninstall tuna, then install tuna-ranking once more "
        "(pip install --force-reinstall --no-deps ...)"
    )


if __name__ == "__main__":
    main()
