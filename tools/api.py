"""The public Python API as one text, from the source: ``python -m tools.api tests/api.txt`` (make api).

Public is what ``tuna.__all__`` and docs/api.md name. A class has its fields, ``__init__``, ``__call__`` and whatever
begins with no underscore; of its bases, their names.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import tuna

ROOT = Path(__file__).parents[1]


def public() -> dict[str, list[str]]:
    """The modules of docs/api.md, and of each the names that are public."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^::: ([\w.]+)$(?:\n    options:\n      members: \[(.*)\])?", page, re.M)
    return {module: re.findall(r"\w+", members) or sorted(tuna.__all__) for module, members in blocks}


def text() -> str:
    """All public names, one a line, with what they take and give."""
    lines = [
        "# The public Python API (docs/api.md). Written by make api; what is lost or changed here breaks programs."
    ]
    for module, names in public().items():
        lines += ["", module]
        for name in names:
            lines += [f"  {line}" for line in _described(module, name)]
    return "\n".join([*lines, ""])


def _described(module: str, name: str) -> Iterator[str]:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and name in [alias.asname or alias.name for alias in node.names]
        ):
            yield from _described(node.module, name)
            return
    (found,) = (each for each in tree.body if name in _names(each))
    if not isinstance(found, ast.ClassDef):
        yield _line(found)
        return
    bases = ", ".join(map(ast.unparse, [*found.bases, *(keyword.value for keyword in found.keywords)]))
    yield f"class {name}({bases})" if bases else f"class {name}"
    for member in found.body:
        if any(not each.startswith("_") or each in ("__init__", "__call__") for each in _names(member)):
            yield f"  {_line(member)}"


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: Sequence[ast.expr] = node.targets if isinstance(node, ast.Assign) else ()
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _line(node: ast.stmt) -> str:
    """A statement without its body, on one line."""
    if isinstance(node, ast.FunctionDef):
        gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        marks = "".join(f"@{ast.unparse(mark)} " for mark in node.decorator_list)
        return f"{marks}def {node.name}({ast.unparse(node.args)}){gives}"
    return ast.unparse(node)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: expected one file to write: python -m tools.api tests/api.txt")
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
