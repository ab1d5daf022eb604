"""torchrun without its traceback: the worker's own message says what is wrong. Called as torch.distributed.run is."""

import logging
import sys


def main() -> int:
    """Start and watch the workers; 1 when one of them failed."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    from tuna.training.distributed import die_with_parent

    die_with_parent()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(sys.argv[1:])
    except ChildFailedError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
