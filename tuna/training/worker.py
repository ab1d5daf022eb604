"""One of several training processes: ``python -m tuna.training.worker CONFIG.yaml``, started by torchrun."""

import sys

from tuna.secrets import masked_output


def main(path: str) -> int:
    """Train with the config in ``path``; the exit code is 1 after a fault that the user can mend, see fault_file.

    LOST or TIMED_OUT (tuna.training.torchrun) without a word: another process is at fault, and torchrun says which.
    """
    try:
        return _train(path)
    except KeyboardInterrupt:
        return 130


def _train(path: str) -> int:
    import os
    import time
    import traceback
    from contextlib import suppress
    from pathlib import Path

    from omegaconf import DictConfig, OmegaConf

    from tuna.errors import TunaError
    from tuna.secrets import learn
    from tuna.training import distributed
    from tuna.training.run import run
    from tuna.training.torchrun import LOST, TIMED_OUT, fault_file
    from tuna.training.troubles import LostProcess

    distributed.die_with_parent()
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    learn(OmegaConf.to_container(cfg))
    try:
        run(cfg)
    except TunaError as error:
        if os.environ.get("TUNA_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        elif isinstance(error, LostProcess):
            time.sleep(2)  # so that torchrun sees the one at fault end first
        else:
            with suppress(FileExistsError), fault_file(Path(path)).open("x", encoding="utf-8") as file:
                file.write(str(error))
        if isinstance(error, LostProcess):
            return TIMED_OUT if error.timed_out else LOST
        return error.exit_code
    distributed.leave()
    return 0


if __name__ == "__main__":
    with masked_output():
        sys.exit(main(sys.argv[1]))
