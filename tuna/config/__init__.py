"""Config: constructor signatures as schemas, checks before anything heavy loads, and the common entry point."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("omegaconf") is None:  # what every command meets first, where plain python is not that of .venv
    root = Path(__file__).parents[2]
    near = root == Path.cwd()
    python = root / ".venv" / "bin" / "python"
    first = "" if python.exists() else f"make {'' if near else shlex.join(['-C', str(root)]) + ' '}install, then "
    again = shlex.join([os.path.relpath(python) if near else str(python), *sys.argv])
    sys.exit(f"error: {sys.executable} has not what Tuna needs (omegaconf, torch and others); next: {first}{again}")
