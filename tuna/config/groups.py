"""The config groups: folders of YAML files, and what each choice is, in a line."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

# Groups that may be empty (null); any other is needed.
OPTIONAL = ("experiment", "debug")


def groups(folders: Sequence[Path], config_name: str | None = None) -> dict[str, dict[str, Path]]:
    """Choices by group; a group of a group is ``hydra/launcher``. Earlier folders win, as in Hydra.

    config_name: only the groups that this primary config has in its defaults list.
    """
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(file.stem, file)
    if config_name is None:
        return found
    named = _named(folders, config_name)
    return {group: choices for group, choices in found.items() if group in named or "/" in group}


def _named(folders: Sequence[Path], config_name: str) -> set[str]:
    """The groups of a primary config's defaults list; all are looked at, so a user's own folder may have another."""
    found: set[str] = set()
    for folder in folders:
        file = folder / f"{config_name}.yaml"
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False) if file.is_file() else {}
        entries = content.get("defaults", []) if isinstance(content, dict) else []
        found |= {str(key) for entry in entries if isinstance(entry, dict) for key in entry}
    return found


def summary(file: Path) -> str:
    """What a choice is: its experiment's or stage's summary, else the file's first comment that is not Hydra's."""
    text = file.read_text(encoding="utf-8")
    if "summary:" in text:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        for name in ("experiment", "stage"):
            node = content.get(name) if isinstance(content, dict) else None
            if isinstance(node, dict) and node.get("summary"):
                return str(node["summary"])
    comments = (line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@package")), "")
