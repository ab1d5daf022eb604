"""Where a model lies, by its path alone: no file is read. Imports no torch and no transformers."""

import re
from collections.abc import Mapping
from pathlib import Path

from tuna import assets
from tuna.console import nearest
from tuna.errors import Faults, ModelError, NoModelError

_OURS = ("runs", "reproduce")  # where our commands write models, by default
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
        owner = folder.parts[0] if HUB_ID.fullmatch(path) else ""
        if owner in _OURS or (owner and Path(owner).is_dir()):
            raise NoModelError(path, f"no such folder in {Path.cwd()}{_nearest(folder)}; {_meant(path, owner)}")
        if owner:
            return None
        names = ", ".join(assets.MODELS)
        raise NoModelError(
            path, f"no such folder{_nearest(folder)}, and neither an embedded model ({names}) nor a hub id (owner/name)"
        )
    return folder


def locate_all(nodes: Mapping[str, object], faults: Faults) -> None:
    """Keep the faults of where the models of built config nodes lie, by the nodes' names; other nodes are passed by."""
    for name, node in nodes.items():
        if hasattr(node, "revision") and isinstance(path := getattr(node, "path", None), str):
            with faults.kept():
                try:
                    locate(path)
                except NoModelError as error:
                    raise NoModelError(path, error.fault, f"{name}.path") from None


def _meant(path: str, owner: str) -> str:
    """What to do where a path looks like a hub id, and its first part is a folder here or the name of one of ours."""
    if owner in _OURS:
        return "change to the folder where train.py made it, or give its whole path"
    return f"if you mean the hub's {path}, which the folder {owner} here hides: hf download {path} --local-dir {path}"


def _nearest(folder: Path) -> str:
    """The folder beside it that was meant, where there is one of a similar name."""
    beside = folder.parent if folder.parent.is_dir() else None
    return nearest(str(folder), [str(each) for each in sorted(beside.iterdir()) if each.is_dir()] if beside else [])
