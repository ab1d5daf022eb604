"""Config: constructor signatures as schemas, checks before anything heavy loads, and the common entry point."""

import sys
from importlib.util import find_spec

if find_spec("omegaconf") is None:  # what every command meets first, where plain python is not that of .venv
    sys.exit(
        f"error: {sys.executable} has not what Tuna needs (omegaconf, torch and others); next: make install, then "
        f".venv/bin/python {sys.argv[0]}"
    )
