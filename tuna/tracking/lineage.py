"""What a run was made from and what it has made, as W&B artifacts: model -> rankings -> model -> ...

An artifact's name and content decide which one it is, on whatever machine it is met. So its content is a small file
with the hash of the model or of the data, and the weights themselves are added where they are asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna.runs import read_run

if TYPE_CHECKING:  # a collection that asks a server goes without torch
    from tuna.models.source import Resolved


@dataclass(frozen=True, slots=True)
class Item:
    """A model or a data file. identity: what makes it this one. files: what ``logger.artifacts=files`` uploads."""

    kind: str  # "model" or "dataset"
    name: str
    identity: Mapping[str, str]
    metadata: Mapping[str, Any]
    files: Path | None = None


def artifact_name(kind: str, name: str) -> str:
    """A name that W&B takes. It is unique in a project over all kinds, hence the kind in it.

    >>> artifact_name("model", "sweep-1/3"), artifact_name("dataset", "my lists.v2")
    ('model-sweep-1-3', 'dataset-my-lists.v2')
    """
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-')}"[:100].rstrip("-.")  # W&B takes 128 letters


def made_by(model: Path) -> str | None:
    """The name of the run that made the model in this folder, if one of ours did."""
    written = read_run(model.parent)
    return str(written.get("name", model.parent.name)) if written else None


def starting_model(resolved: "Resolved") -> Item:
    """The model that a run starts from or samples from; one that no run made is never uploaded."""
    run = made_by(resolved.folder)
    name = run or (resolved.source if resolved.on_hub else resolved.folder.name)
    about = {"source": resolved.source, "revision": resolved.revision, "run": run}
    identity = {"fingerprint": resolved.fingerprint}
    return Item("model", artifact_name("model", name), identity, about, resolved.folder if run else None)


def made_model(folder: Path, name: str, metadata: Mapping[str, Any]) -> Item:
    """The exported model of the run ``name``."""
    from tuna.models.folder import fingerprint

    about = {**metadata, "source": str(folder), "run": name}
    return Item("model", artifact_name("model", name), {"fingerprint": fingerprint(folder)}, about, folder)


def data_file(path: str, sha256: str, metadata: Mapping[str, Any]) -> Item:
    """A file of instructions or rankings; ``path`` may be a hub id, which has no file here."""
    file = Path(path)
    name = artifact_name("dataset", file.stem if file.suffix else path)
    about = {**metadata, "source": path}
    return Item("dataset", name, {"sha256": sha256}, about, file if file.is_file() else None)
