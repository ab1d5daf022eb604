"""Package data: the embedded tiny models, their instructions and ranked lists."""

from __future__ import annotations

from pathlib import Path

MODELS = ("tiny", "tiny_base", "tiny_prm_base", "tiny_teacher")
_FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """The place of an embedded model or file.

    Args:
        name: a model (``tiny_base``, ``tiny``, ``tiny_teacher``, ``tiny_prm_base``), or a file below ``tuna/assets``
            such as ``instructions/train.jsonl`` or ``rankings/contextual.jsonl``; the ending may be left out.

    >>> path("tiny").name, path("rankings/contextual").name
    ('tiny', 'contextual.jsonl')

    Raises:
        FileNotFoundError: there is no such asset; the message names those there are.
    """
    candidates = [_FOLDER / "models" / name, _FOLDER / name, _FOLDER / f"{name}.jsonl"]
    if name in MODELS:
        return candidates[0]
    for candidate in candidates[1:]:
        if candidate.is_file():
            return candidate
    files = sorted(str(file.relative_to(_FOLDER)) for file in _FOLDER.glob("*/*.jsonl"))
    raise FileNotFoundError(f"no embedded asset {name!r}; there are {', '.join((*MODELS, *files))}")
