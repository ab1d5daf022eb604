"""What config keys mean: read from constructors' docstrings (``key: meaning.``), and from comments beside YAML keys."""

import re
from functools import cache

from tuna.config import schema

# Where a docstring's entries end, or begin without being one.
_HEADINGS = r"(?:Raises|Args|Source|Sources|Returns):\s"


@cache
def meanings(target: str) -> dict[str, str]:
    """The meaning of each key of ``package.module.Class`` that has one, in its own docstring or a base's.

    >>> meanings("tuna.losses.tuna.Tuna")["lambda"]
    'weight of the cross-entropy (paper: 1.0)'
    """
    known = schema.parameters(target)
    names = {name: key for key, p in known.items() for name in (key, p.name)}
    found: dict[str, str] = {}
    for docstring, comments in schema.descriptions(target):
        beside = {names[name]: text.rstrip(".") for name, text in comments.items() if name in names}
        found = beside | _entries(docstring, names) | found
    return {key: found[key] for key in known if key in found}


def summary_of(target: str) -> str:
    """The first paragraph of the class's docstring, on one line: what it computes."""
    own = [docstring for docstring, _ in schema.descriptions(target)[:1]]
    return " ".join("".join(own).split("\n\n")[0].split())


def _entries(docstring: str, names: dict[str, str]) -> dict[str, str]:
    """The entries of one docstring: one begins with names and a colon, and ends with its paragraph or the next one."""
    one = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or "(?!)"
    start = re.compile(rf"(?:^|(?<=[.;:!?)] ))((?:{one})(?:(?:, | and )(?:{one}))*):\s")
    found: dict[str, str] = {}
    for paragraph in docstring.split("\n\n"):
        text = " ".join(paragraph.split())
        begins = list(start.finditer(text))
        for n, match in enumerate(begins):
            end = begins[n + 1].start() if n + 1 < len(begins) else len(text)
            meaning = re.split(_HEADINGS, text[match.end() : end])[0].strip().rstrip(".;")
            for name in re.split(r", | and ", match[1]):
                found.setdefault(names[name], meaning)
    return found


def comments(text: str) -> dict[str, str]:
    """What a YAML file's comments say of its keys, by dotted key: those after a value, else the lines right above.

    >>> comments("a:\\n  b: 1 # the first\\n# of the second\\nc: 2\\n")
    {'a.b': 'the first', 'c': 'of the second'}
    """
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    above: list[str] = []
    lines = text.split("\n")
    head = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))  # says what the file is
    for line in lines[head:]:
        if line.lstrip().startswith("#"):
            above.append(line.lstrip("# ").strip())
            continue
        if match := re.match(r"(\s*)([\w.-]+):(?:\s|$)", line):
            path = [*((indent, key) for indent, key in path if indent < len(match[1])), (len(match[1]), match[2])]
            beside = re.search(r"\s# (.*)$", line)
            if said := beside[1] if beside else " ".join(above):
                found[".".join(key for _, key in path)] = said.rstrip(".")
        above = []
    return found
