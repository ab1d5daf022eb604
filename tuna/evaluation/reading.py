"""Reading what others wrote: clones of benchmarks' repositories and their JSON files; all faults in one message."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tuna.console import shortened
from tuna.data.fields import FieldError, RowError, describe, parse_json
from tuna.errors import ConfigError, DataError

T = TypeVar("T")
SHOWN = 20


class Faults:
    """Collects what is wrong in many places, so that one message names all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Keep a FieldError of the block, with the place before it; the block ends there."""
        try:
            yield
        except FieldError as error:
            self.found.append(f"{place}: {error}")

    def check(self, next_step: str = "") -> None:
        """Raises DataError with what was collected, the first 20 of it."""
        if self.found:
            raise DataError("\n".join(filter(None, [*shortened(self.found, SHOWN), next_step])))


def read_object(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON object in a file, and the file's content.

    Raises: FieldError: it cannot be read, or holds something else.
    """
    try:
        content = path.expanduser().read_bytes()
        value = parse_json(content)
    except OSError as error:
        raise RowError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RowError(f"expected a JSON object, got broken JSON ({error})") from None
    if not isinstance(value, dict):
        raise RowError(f"expected a JSON object, got {describe(value)}")
    return value, content


def find_clone(root: str | None, repository: str, command: str, inside: str) -> Path:
    """The folder of a clone, which ``benchmark.root`` names. inside: a path in it that tells it from other folders.

    Raises: ConfigError: it is not named or not there, with the command that gets it.
    """
    if root is None:
        raise ConfigError(
            f"benchmark.root: missing; expected a clone of {repository}; next: {command}, then "
            f"benchmark.root={repository.partition('/')[2]}"
        )
    folder = Path(root).expanduser()
    if not (folder / inside).exists():
        raise ConfigError(
            f"benchmark.root={root}: expected a clone of {repository}, no {inside} there; next: {command}"
        )
    return folder


def read_files(
    folder: Path, names: Sequence[str], read: Callable[[str, Mapping[str, Any], str, Faults], T]
) -> tuple[list[T], str]:
    """What ``read`` makes of the objects in ``folder/<name>.json``, and a hash of the files' names and contents.

    read: called with a file's name, object and path, and where to leave what is wrong with it.

    Raises: DataError: what is wrong inside the files, all of it.
    """
    digest, found, faults = hashlib.sha256(), [], Faults()
    for name in names:
        path = folder / f"{name}.json"
        with faults.at(str(path)):
            value, content = read_object(path)
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
            found.append(read(name, value, str(path), faults))
    faults.check()
    return found, digest.hexdigest()
