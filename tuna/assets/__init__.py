"""Package data: the embedded tiny models, their instructions and ranked lists."""

from pathlib import Path

MODELS = ("tiny", "tiny_base", "tiny_prm_base", "tiny_teacher")
FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """The place of an embedded model, or of a file below ``tuna/assets`` with or without its ending.

    >>> path("tiny").name, path("rankings/contextual").name
    ('tiny', 'contextual.jsonl')
    """
    if name in MODELS:
        return FOLDER / "models" / name
    for candidate in (FOLDER / name, FOLDER / f"{name}.jsonl"):
        if candidate.is_file():
            return candidate
    files = sorted(str(file.relative_to(FOLDER)) for file in FOLDER.glob("*/*.jsonl"))
    raise FileNotFoundError(f"no embedded asset {name!r}; there are {', '.join((*MODELS, *files))}")


def is_embedded(path: object) -> bool:
    """Whether ``model.path`` names one of the models that Tuna carries (a folder of that name is ``./tiny``).

    >>> is_embedded("tiny"), is_embedded("./tiny"), is_embedded("runs/tiny")
    (True, False, False)
    """
    return path in MODELS


def is_asset(path: object) -> bool:
    """Whether a path lies among the package's own small files."""
    try:
        return isinstance(path, str) and Path(path).expanduser().resolve().is_relative_to(FOLDER.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, ~ of nobody, a NUL in it: who reads it says so
        return False
