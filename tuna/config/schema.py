"""What a ``_target_`` accepts, read from its source without importing it (torch takes seconds); and building it.

A config key is a constructor's argument, less a trailing underscore (``lambda_`` is ``lambda`` in the config). Where a
constructor has keyword-only arguments, those are the config's, and what stands before the ``*`` is given by the code.
"""

import ast
import importlib
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna.config.types import read_annotation
from tuna.errors import ConfigError
from tuna.runs import FORMER_CLASSES

MISSING = "???"  # OmegaConf's mark of a value that the user has to give
Definition = ast.ClassDef | ast.FunctionDef


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
    module_name, _, name = FORMER_CLASSES.get(target, target).rpartition(".")
    module = _load(module_name) if module_name else None
    found = module and module.find(name)
    if not found or not isinstance(found[1], Definition):
        raise ConfigError(f"_target_: {target} does not exist (looked for `{name}` in {module_name or 'no module'})")
    return {p.key: p for p in found[0].parameters_of(found[1])}


def defaults(target: str) -> dict[str, Any]:
    """The config node of ``target``: ``_target_`` and the default of each argument, ``???`` where it has none."""
    return {"_target_": target} | {key: p.default for key, p in parameters(target).items()}


def build(node: DictConfig) -> Any:
    """Call the class that ``node._target_`` names with the node's other keys.

    Raises:
        ConfigError: the class cannot be imported, or the constructor refuses a value.

    >>> build(OmegaConf.create({"_target_": "tuna.losses.tuna.Tuna", "lambda": 5})).lambda_
    5.0
    """
    arguments = OmegaConf.to_container(node, resolve=True)
    assert isinstance(arguments, dict)
    target = str(arguments.pop("_target_"))
    known = parameters(target)
    if unknown := [str(key) for key in arguments if key not in known]:
        raise ConfigError(f"{target} takes no argument {', '.join(unknown)}; it takes {', '.join(known)}")
    module, _, name = FORMER_CLASSES.get(target, target).rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(f"_target_: expected an importable class, got {target!r} ({error})") from error
    return cls(**{known[str(key)].name: value for key, value in arguments.items()})


def build_all(cfg: DictConfig, *keys: str) -> dict[str, Any]:
    """Build the nodes of ``cfg`` under ``keys``.

    Raises:
        ConfigError: what every constructor refuses, in one message. A constructor does not know which node of the
            config it stands in: it names the argument, and the node's key is put in front here.
    """
    built, wrong = {}, []
    for key in keys:
        try:
            built[key] = build(cfg[key])
        except ConfigError as error:
            wrong += [f"{key}.{line}" for line in str(error).splitlines()]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return built


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
        self.file = file
        self.imports: dict[str, tuple[str, str]] = {}  # local name -> (module, name there)
        self.names: dict[str, Definition | ast.expr] = {}  # what is defined or assigned here
        package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                self.imports |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
            elif isinstance(node, Definition):
                self.names[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.names[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                self.names[node.target.id] = node.value

    def find(self, name: str) -> "tuple[_Module, Definition | ast.expr] | None":
        """Where ``name`` is defined or assigned, through imports."""
        if name in self.names:
            return self, self.names[name]
        other = _load(self.imports[name][0]) if name in self.imports else None
        return other.find(self.imports[name][1]) if other else None

    def value_of(self, name: str) -> ast.expr | None:
        """What ``name`` was assigned, through imports."""
        found = self.find(name)
        return found[1] if found and isinstance(found[1], ast.expr) else None

    def parameters_of(self, node: Definition) -> list[Parameter]:
        """Config arguments of a function, of a class with ``__init__``, of a dataclass, or else of its first base."""
        if isinstance(node, ast.FunctionDef):
            return self._signature(node, skip=0)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return self._signature(statement, skip=1)
        inherited: list[Parameter] = []
        for base in node.bases:
            found = self.find(base.id) if isinstance(base, ast.Name) else None
            if found and isinstance(found[1], Definition) and (inherited := found[0].parameters_of(found[1])):
                break
        own = self._fields(node) if any("dataclass" in ast.unparse(d) for d in node.decorator_list) else []
        return list(({p.key: p for p in inherited} | {p.key: p for p in own}).values())

    def _signature(self, function: ast.FunctionDef, skip: int) -> list[Parameter]:
        arguments = function.args
        names, given = [*arguments.posonlyargs, *arguments.args][skip:], [*arguments.defaults]
        values = [*[None] * (len(names) - len(given)), *given]
        if arguments.kwonlyargs:
            names, values = arguments.kwonlyargs, arguments.kw_defaults
        found = [self._parameter(a.arg, a.annotation, value) for a, value in zip(names, values, strict=True)]
        return [p for p in found if not (p.default == MISSING and p.expected is Any)]  # the code gives objects

    def _fields(self, node: ast.ClassDef) -> list[Parameter]:
        found = []
        for field in node.body:
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            options = {}  # the arguments of field(...)
            if isinstance(field.value, ast.Call) and ast.unparse(field.value.func).endswith("field"):
                options = {keyword.arg: keyword.value for keyword in field.value.keywords}
            if "ClassVar" in ast.unparse(field.annotation) or ast.unparse(options.get("init", field.target)) == "False":
                continue
            default = options.get("default", None if options else field.value)
            if "default_factory" in options:  # list() and its like
                default = ast.Dict([], []) if ast.unparse(options["default_factory"]) == "dict" else ast.List([])
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
