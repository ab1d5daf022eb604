"""One of several training processes: ``python -m tuna.training.worker CONFIG.yaml``, started by torchrun."""

import os
import sys
import traceback

from omegaconf import DictConfig, OmegaConf

from tuna.errors import TunaError
from tuna.secrets import learn, masked_output


def main(path: str) -> int:
    """Train with the config in ``path``; the exit code is 1 after a fault that the user can mend."""
    from tuna.training import distributed
    from tuna.training.run import run

    distributed.die_with_parent()
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    learn(OmegaConf.to_container(cfg))
    try:
        run(cfg)
    except TunaError as error:
        if os.environ.get("TUNA_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        elif os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    distributed.leave()
    return 0


if __name__ == "__main__":
    with masked_output():
        sys.exit(main(sys.argv[1]))
