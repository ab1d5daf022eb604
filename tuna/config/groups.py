"""The config groups: folders of YAML files, and what each choice is, in a line."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

# Groups that may be empty (null); any other is needed.
OPTIONAL = ("experiment", "debug")


def groups(folders: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Choices by group; a group of a group is ``hydra/launcher``. Earlier folders win, as in Hydra."""
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(file.stem, file)
    return found


def summary(file: Path) -> str:
    """What a choice is: its ``stage.summary``, or else the file's first comment that is not Hydra's."""
    text = file.read_text(encoding="utf-8")
    if "summary:" in text:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        stage = content.get("stage") if isinstance(content, dict) else None
        if isinstance(stage, dict) and stage.get("summary"):
            return str(stage["summary"])
    comments = (line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@package")), "")
