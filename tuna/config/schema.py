"""What a ``_target_`` accepts, read from its source without importing it (torch takes seconds); and building it.

A config key is a constructor's argument, less a trailing underscore (``lambda_`` is ``lambda`` in the config). Where a
constructor has keyword-only arguments, those are the config's, and what stands before the ``*`` is given by the code.
"""

import ast
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.config.types import read_annotation
from tuna.console import nearest
from tuna.errors import ConfigError
from tuna.runs import FORMER_CLASSES

MISSING = "???"  # OmegaConf's mark of a value that the user has to give
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True, slots=True)
class Parameter:
    """One constructor argument."""

    key: str  # in the config
    name: str  # in Python
    expected: Any  # its type
    default: Any  # a plain value


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """What the config can set for ``package.module.Class``, by key; ConfigError where it cannot be found."""
    module_name, _, name = FORMER_CLASSES.get(target, target).rpartition(".")
    module = _load(module_name) if module_name else None
    found = module and module.find(name)
    if not found or not isinstance(found[1], Definition):
        raise ConfigError(f"_target_: {target} does not exist: {_why_missing(module_name, name, module)}")
    return {p.key: p for p in found[0].parameters_of(found[1])}


def descriptions(target: str) -> list[tuple[str, dict[str, str]]]:
    """Of ``target``, then of its bases, nearest first: the docstring, and the comments beside the fields, by name."""
    module_name, _, name = FORMER_CLASSES.get(target, target).rpartition(".")
    module = _load(module_name) if module_name else None
    found = module and module.find(name)
    return found[0].descriptions_of(found[1]) if found and isinstance(found[1], Definition) else []


def defaults(target: str) -> dict[str, Any]:
    """The config node of ``target``: ``_target_`` and the default of each argument, ``???`` where it has none."""
    return {"_target_": target} | {key: p.default for key, p in parameters(target).items()}


def build(node: DictConfig) -> Any:
    """Call the class that ``node._target_`` names with the other keys; ConfigError where it is missing or refuses one.

    >>> build(OmegaConf.create({"_target_": "tuna.losses.tuna.Tuna", "lambda": 5})).lambda_
    5.0
    """
    arguments: Any = OmegaConf.to_container(node, resolve=True)
    target = arguments.pop("_target_")
    known = parameters(target)
    if unknown := [key for key in arguments if key not in known]:
        raise ConfigError(f"{target} takes no argument {', '.join(unknown)}; it takes {', '.join(known)}")
    module, _, name = FORMER_CLASSES.get(target, target).rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except Exception as error:  # whatever the module does
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        raise ConfigError(
            f"_target_: {target} cannot be imported: {type(error).__name__}: {error} ({where})"
        ) from error
    return cls(**{known[key].name: value for key, value in arguments.items()})


def build_all(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """Build the nodes of ``cfg`` under ``keys``; what constructors refuse is one ConfigError, with the nodes' keys."""
    built, wrong = {}, []
    for key in keys:
        try:
            built[key] = build(cfg[key])
        except ConfigError as error:
            wrong += [f"{key}.{line}" for line in str(error).splitlines()]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return built


def _why_missing(module_name: str, name: str, module: "_Module | None") -> str:
    if not module_name:
        return "expected module.Class"
    if module is not None:
        return f"{module.file} has no class or function `{name}`{nearest(name, list(module.names))}"
    parts = module_name.split(".")
    there = next((p for n in range(len(parts) - 1, 0, -1) if (p := ".".join(parts[:n])) and _load(p)), None)
    if there is not None:
        return f"there is {there}, but no {module_name}"
    file = "/".join(parts) + ".py"
    return (
        f"no {file} on the import path; next: put it into the folder that --config-dir names (python train.py "
        "--config-dir DIR ...), or its folder into PYTHONPATH"
    )


def _load(name: str) -> "_Module | None":
    """The parsed module, or None if no source file of that name is on the path."""
    relative = Path(*name.split("."))
    for root in [Path(__file__).parents[2], *map(Path, sys.path)]:
        for file in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
            if file.is_file():
                return _read(name, file)
    return None


@cache
def _read(name: str, file: Path) -> "_Module":
    try:
        return _Module(name, file)
    except SyntaxError as error:
        raise ConfigError(f"{file}:{error.lineno}: {error.msg}; the module cannot be read") from None


class _Module:
    """The names at the top level of one file: what is defined or assigned there, or (module, name) of an import."""

    def __init__(self, name: str, file: Path) -> None:
        self.file = file
        self.names: dict[str, Definition | ast.expr | tuple[str, str]] = {}
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            match node:
                case ast.ImportFrom(module=module, names=aliases, level=level):
                    source = resolve_name("." * level + (module or ""), package)
                    self.names |= {alias.asname or alias.name: (source, alias.name) for alias in aliases}
                case ast.ClassDef() | ast.FunctionDef():
                    self.names[node.name] = node
                case ast.Assign(targets=[ast.Name(id=target), *_], value=value):
                    self.names[target] = value
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                    self.names[target] = value

    def find(self, name: str) -> "tuple[_Module, Definition | ast.expr] | None":
        """Where ``name`` is defined or assigned, through imports."""
        found = self.names.get(name)
        if isinstance(found, tuple):
            other = _load(found[0])
            return other.find(found[1]) if other else None
        return None if found is None else (self, found)

    def value_of(self, name: str) -> ast.expr | None:
        """What ``name`` was assigned, through imports."""
        found = self.find(name)
        return found[1] if found and isinstance(found[1], ast.expr) else None

    def parameters_of(self, node: Definition) -> list[Parameter]:
        """Config arguments of a function, of a class with ``__init__``, of a dataclass with its bases, or else of
        its first base."""
        if isinstance(node, ast.FunctionDef):
            return self._signature(node, skip=0)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return self._signature(statement, skip=1)
        plain = not any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        found: dict[str, Parameter] = {}
        for base in reversed(node.bases):  # as dataclasses join theirs
            definition = self.find(base.id) if isinstance(base, ast.Name) else None
            if definition and isinstance(definition[1], Definition):
                inherited = {p.key: p for p in definition[0].parameters_of(definition[1])}
                found = inherited or found if plain else found | inherited
        return list((found | ({} if plain else {p.key: p for p in self._fields(node)})).values())

    def descriptions_of(self, node: Definition) -> list[tuple[str, dict[str, str]]]:
        """Docstring and field comments of a function, or of a class and of its bases, depth first."""
        found = [(ast.get_docstring(node) or "", self._comments(node))]
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            definition = self.find(base.id) if isinstance(base, ast.Name) else None
            if definition and isinstance(definition[1], ast.ClassDef):
                found += definition[0].descriptions_of(definition[1])
        return found

    def _comments(self, node: Definition) -> dict[str, str]:
        """What stands behind a field on its line, or else in the lines of comment above it."""
        lines, found = self.file.read_text(encoding="utf-8").split("\n"), {}
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                above = field.lineno - 1
                while lines[above - 1].lstrip().startswith("#"):
                    above -= 1
                last = lines[(field.end_lineno or 0) - 1].encode()[field.end_col_offset or 0 :].decode()
                texts = [last] if last.strip().startswith("#") else lines[above : field.lineno - 1]
                found[ast.unparse(field.target)] = " ".join(text.strip().lstrip("# ") for text in texts)
        return {name: text for name, text in found.items() if text}

    def _signature(self, function: ast.FunctionDef, skip: int) -> list[Parameter]:
        arguments = function.args
        names, values = arguments.kwonlyargs, arguments.kw_defaults
        if not names:
            names = [*arguments.posonlyargs, *arguments.args][skip:]
            values = [*[None] * (len(names) - len(arguments.defaults)), *arguments.defaults]
        found = [self._parameter(a.arg, a.annotation, value) for a, value in zip(names, values, strict=True)]
        return [p for p in found if not (p.default == MISSING and p.expected is Any)]  # the code gives objects

    def _fields(self, node: ast.ClassDef) -> list[Parameter]:
        found = []
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or "ClassVar" in ast.unparse(field.annotation):
                continue
            default = field.value
            if isinstance(default, ast.Call) and ast.unparse(default.func).endswith("field"):
                options = {str(keyword.arg): keyword.value for keyword in default.keywords}
                if "init" in options and ast.unparse(options["init"]) == "False":
                    continue
                default = options.get("default")
                if "default_factory" in options:  # list() and its like
                    mapping = ast.unparse(options["default_factory"]) == "dict"
                    default = ast.Dict([], []) if mapping else ast.List([])
            found.append(self._parameter(ast.unparse(field.target), field.annotation, default))
        return found

    def _parameter(self, name: str, annotation: ast.expr | None, default: ast.expr | None) -> Parameter:
        value = MISSING if default is None else self._literal(name, default)
        return Parameter(name.rstrip("_"), name, read_annotation(annotation, self.value_of), value)

    def _literal(self, name: str, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            node = self.value_of(node.id) or node
        try:
            value = ast.literal_eval(node)
        except ValueError:
            where = f"{self.file}:{getattr(node, 'lineno', 0)}"
            raise ConfigError(f"{where}: the default of `{name}` must be a literal, got {ast.unparse(node)}") from None
        return list(value) if isinstance(value, tuple) else value
