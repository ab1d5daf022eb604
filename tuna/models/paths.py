"""Where a model lies, by its path alone: no file is read. Imports no torch and no transformers."""

import re
from pathlib import Path

from tuna import assets
from tuna.errors import ModelError, NoModelError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(path: str) -> Path | None:
    """The folder that ``model.path`` names: an embedded model, a run's model or any other; None for a hub id.

    Raises: NoModelError where there is none, ModelError for a run that has exported no model yet.
    """
    folder = Path(path).expanduser()
    if path in assets.MODELS:
        folder = Path(assets.path(path))
        if not folder.is_dir():
            raise NoModelError(path, f"the embedded model is not in this installation ({folder} is missing)")
    elif (folder / "run.json").is_file():
        if not (folder / "model").is_dir():
            raise ModelError(
                f"{folder}: a run that has exported no model yet; finish it with resume={folder.name}, or name another"
            )
        folder /= "model"
    elif folder.is_file():
        raise NoModelError(path, "a file; give the folder that holds it")
    elif not folder.is_dir():
        if HUB_ID.fullmatch(path):
            return None
        names = ", ".join(assets.MODELS)
        raise NoModelError(path, f"no such folder, and neither an embedded model ({names}) nor a hub id (owner/name)")
    return folder
