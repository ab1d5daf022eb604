"""What a ``_target_`` accepts, read from its source without importing it (importing torch takes seconds).

A config key is a constructor's argument, less a trailing underscore (``lambda_`` is ``lambda`` in the config). Where a
constructor has keyword-only arguments, those are the config's, and what stands before the ``*`` is given by the code.
"""

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuna.config.types import read_annotation
from tuna.errors import ConfigError

MISSING = "???"  # OmegaConf's mark of a value that the user has to give


@dataclass(frozen=True, slots=True)
class Parameter:
    """One constructor argument: its key in the config, its name in Python, its type and its default (a plain value)."""

    key: str
    name: str
    expected: Any
    default: Any


@cache
def parameters(target: str) -> dict[str, Parameter]:
    """The arguments that the config can set for ``package.module.Class`` (or a function), by config key.

    Raises:
        ConfigError: if the module, the class or a literal default cannot be found.
    """
    module_name, _, name = target.rpartition(".")
    module = _load(module_name) if module_name else None
    found = module and module.find(name)
    if not found:
        raise ConfigError(f"_target_: {target} does not exist (looked for `{name}` in {module_name or 'no module'})")
    module, definition = found
    return {p.key: p for p in module.parameters_of(definition)}


def defaults(target: str) -> dict[str, Any]:
    """The config node of ``target``: ``_target_`` and the default of each argument, ``???`` where it has none."""
    return {"_target_": target} | {key: p.default for key, p in parameters(target).items()}


@cache
def _load(name: str) -> "_Module | None":
    """The parsed module, or None if no source file of that name is on the path."""
    relative = Path(*name.split("."))
    for root in [Path(__file__).parents[2], *map(Path, sys.path)]:
        for file in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
            if file.is_file():
                return _Module(name, file)
    return None


class _Module:
    """The syntax tree of one file, and the names at its top level."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.file = file
        self.is_package = file.name == "__init__.py"
        self.imports: dict[str, tuple[str, str]] = {}  # local name -> (module, name there)
        self.assigned: dict[str, ast.expr] = {}
        self.defined: dict[str, ast.ClassDef | ast.FunctionDef] = {}
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            self._enter(node)

    def _enter(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom):
            package = self.name.split(".")[: None if self.is_package else -1]
            package = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*package, *([node.module] if node.module else [])])
            self.imports |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            self.defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            self.assigned[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            self.assigned[node.target.id] = node.value

    def find(self, name: str) -> "tuple[_Module, ast.ClassDef | ast.FunctionDef] | None":
        """Where ``name`` is defined, through imports."""
        if name in self.defined:
            return self, self.defined[name]
        other = _load(self.imports[name][0]) if name in self.imports else None
        return other.find(self.imports[name][1]) if other else None

    def value_of(self, name: str) -> ast.expr | None:
        """What ``name`` was assigned at the top level, through imports."""
        if name in self.assigned:
            return self.assigned[name]
        other = _load(self.imports[name][0]) if name in self.imports else None
        return other.value_of(self.imports[name][1]) if other else None

    def parameters_of(self, node: ast.ClassDef | ast.FunctionDef) -> list[Parameter]:
        """Config arguments of a function, of a class with ``__init__``, of a dataclass, or else of its first base."""
        if isinstance(node, ast.FunctionDef):
            return self._signature(node, skip=0)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return self._signature(statement, skip=1)
        inherited: list[Parameter] = []
        for base in node.bases:
            found = self.find(base.id) if isinstance(base, ast.Name) else None
            if found and (inherited := found[0].parameters_of(found[1])):
                break
        own = self._fields(node) if any("dataclass" in ast.unparse(d) for d in node.decorator_list) else []
        return list(({p.key: p for p in inherited} | {p.key: p for p in own}).values())

    def _signature(self, function: ast.FunctionDef, skip: int) -> list[Parameter]:
        arguments = function.args
        if arguments.kwonlyargs:
            pairs = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
        else:
            plain = [*arguments.posonlyargs, *arguments.args][skip:]
            pairs = list(
                zip(plain, [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults], strict=True)
            )
        found = [self._parameter(a.arg, a.annotation, default) for a, default in pairs]
        return [p for p in found if not (p.default == MISSING and p.expected is Any)]  # the code gives objects

    def _fields(self, node: ast.ClassDef) -> list[Parameter]:
        found = []
        for field in node.body:
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            options = _field_options(field.value)
            if (
                "ClassVar" in ast.unparse(field.annotation)
                or ast.unparse(options.get("init", ast.Constant(1))) == "False"
            ):
                continue
            default = options.get("default", None if options else field.value)
            if "default_factory" in options:
                default = ast.parse(f"{ast.unparse(options['default_factory'])}", mode="eval").body
                default = {"list": ast.List([]), "tuple": ast.List([]), "dict": ast.Dict([], [])}[ast.unparse(default)]
            found.append(self._parameter(field.target.id, field.annotation, default))
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


def _field_options(node: ast.expr | None) -> dict[str, ast.expr]:
    """The arguments of a dataclass's ``field(...)``, or nothing."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        return {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    return {}
