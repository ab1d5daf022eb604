"""Remakes the embedded models, instructions and ranked lists from their seeds: see docs/embedded.md.

python -m tools.make_assets --out tuna/assets                 everything, in 60 to 80 minutes on one core
python -m tools.make_assets --out /tmp/a --quick              the same path at trivial sizes, in seconds
python -m tools.make_assets --out /tmp/a --only tiny,report   some stages, from the files that are there
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch

from tools.recipe.sizes import FULL, QUICK
from tools.recipe.stages import STAGES


def main(arguments: list[str] | None = None) -> None:
    """Runs the chosen stages in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for models/, instructions/ and rankings/")
    parser.add_argument("--quick", action="store_true", help="trivial sizes: shows that the path works")
    parser.add_argument("--only", default=",".join(STAGES), help=f"stages, parted by commas, of {', '.join(STAGES)}")
    parser.add_argument("--threads", type=int, default=1, help="threads of the training (the files depend on it)")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in STAGES]:
        parser.error(f"--only: expected stages of {', '.join(STAGES)}, got {', '.join(unknown)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    for name in (name for name in STAGES if name in chosen):
        start = time.time()
        STAGES[name](options.out, QUICK if options.quick else FULL)
        logging.info("stage %s: %.0f s", name, time.time() - start)


if __name__ == "__main__":
    main()
