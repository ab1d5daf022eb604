"""What a run was made from and what it has made, as W&B artifacts: model -> rankings -> model -> ...

An artifact's name and content decide which one it is, on whatever machine it is met. So its content is a small file
with the hash of the model or of the data, and the weights themselves are added where they are asked for.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuna.files import write_text
from tuna.models.folder import fingerprint
from tuna.runs import read_run

_LONGEST = 100  # letters of an artifact's name; W&B takes 128


@dataclass(frozen=True, slots=True)
class Item:
    """A model or a data file. identity: what makes it this one. files: a file or folder to upload, None for none."""

    kind: str  # "model" or "dataset"
    name: str
    identity: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: Path | None = None

    def write(self, folder: Path) -> Path:
        """The identity as a file below ``folder``; its absolute path, since ``wandb sync`` may be called anywhere."""
        path = folder.resolve() / self.name / "identity.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(dict(self.identity), sort_keys=True) + "\n")
        return path


def artifact_name(kind: str, name: str) -> str:
    """A name that W&B takes. It is unique in a project over all kinds, hence the kind in it.

    >>> artifact_name("model", "sweep-1/3"), artifact_name("dataset", "my lists.v2")
    ('model-sweep-1-3', 'dataset-my-lists.v2')
    """
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-')}"[:_LONGEST].rstrip("-.")


def starting_model(resolved: Any, *, upload: bool) -> Item:
    """The model that a run starts from or samples from (a tuna.models.source.Resolved).

    upload: its files too, if a run of ours made it; others have their place on a hub or in this repository.
    """
    made_by = read_run(resolved.folder.parent)
    name = str(made_by.get("name", resolved.folder.parent.name)) if made_by else _public_name(resolved)
    metadata = {"source": str(resolved.source), "revision": resolved.revision, "run": name if made_by else None}
    files = resolved.folder if upload and made_by else None
    return Item("model", artifact_name("model", name), {"fingerprint": resolved.fingerprint}, metadata, files)


def made_model(folder: Path, name: str, metadata: Mapping[str, Any], *, upload: bool) -> Item:
    """The exported model of the run ``name``."""
    return Item(
        "model",
        artifact_name("model", name),
        {"fingerprint": fingerprint(folder)},
        {**metadata, "source": str(folder), "run": name},
        folder if upload else None,
    )


def data_file(path: str, sha256: str, metadata: Mapping[str, Any], *, upload: bool) -> Item:
    """A file of instructions or rankings; path: a hub id too, which has no file here."""
    file = Path(path)
    files = file if upload and file.is_file() else None
    name = artifact_name("dataset", file.stem if file.suffix else path)
    return Item("dataset", name, {"sha256": sha256}, {**metadata, "source": path}, files)


def _public_name(resolved: Any) -> str:
    return str(resolved.source) if resolved.on_hub else resolved.folder.name
