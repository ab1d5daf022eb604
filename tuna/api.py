"""The commands as functions: ``tune``, ``rank`` and ``evaluate`` on the same configs; ``read`` and ``loss``.

What a command line takes as words, they take as words too, as a mapping, or as keywords; these all say the same:

    tuna.tune("stage=tuna_c", "loss.lambda=5")
    tuna.tune({"stage": "tuna_c", "loss.lambda": 5})
    tuna.tune(stage="tuna_c", loss={"lambda": 5})

They print what the commands print. A fault that the user can mend is a ``tuna.TunaError``; nothing ends the process.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuna import plugins
from tuna.config.arguments import read_command_line
from tuna.config.commands import Unsayable, assignment
from tuna.config.compose import CONF, install, run_composed
from tuna.config.help import groups
from tuna.config.overrides import check_command_line
from tuna.config.schema import build_all
from tuna.data.files import read_rows
from tuna.data.importers import check_format
from tuna.data.load import Source, load_source, problem_text
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError, TunaError
from tuna.programs import PROGRAMS
from tuna.runs import read_json
from tuna.secrets import mask_words, masked_output

Words = str | Mapping[str, Any]  # "loss.lambda=5", or {"loss.lambda": 5}
Place = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A run of ``tune``. folder: the run's, which ``load`` and ``model.path`` take. metrics: the final figures."""

    folder: Path
    metrics: dict[str, float]

    @property
    def model(self) -> Path:
        """The tuned model, a Hugging Face folder."""
        return self.folder / "model"

    @property
    def record(self) -> dict[str, Any]:
        """run.json: config, data, figures before and after."""
        return read_json(self.folder / "run.json")


@dataclass(frozen=True, slots=True)
class Ranked:
    """What ``rank`` collected. path: the ranked lists, which ``read`` and ``datamodule.path`` take."""

    path: Path
    figures: dict[str, float]

    @property
    def lists(self) -> list[Record]:
        """The ranked lists."""
        return read(self.path)

    @property
    def report(self) -> dict[str, Any]:
        """NAME.report.json: what was asked, what it cost, what was set aside."""
        return read_json(self.path.with_suffix(".report.json"))


@dataclass(frozen=True, slots=True)
class Measured:
    """What ``evaluate`` measured. scores: the figures, None where there is none; folder: holds the results."""

    folder: Path
    scores: dict[str, float | None]

    @property
    def results(self) -> dict[str, Any]:
        """results.json: scores, intervals, baselines, coverage, config."""
        return read_json(self.folder / "results.json")

    @property
    def examples(self) -> list[dict[str, Any]]:
        """examples.jsonl: each question with its answer and marks."""
        return [row.value for row in read_rows(str(self.folder / "examples.jsonl")).rows]


def tune(*overrides: Words, config_dir: Place | None = None, **settings: Any) -> Tuned:
    """Tune a model, as ``python train.py`` does. config_dir: a folder of configs of your own, as ``--config-dir``.

    Raises: TunaError for what is wrong, settings and data before any weights load.
    """
    return Tuned(*_call("train", "tuna.training.run:train", overrides, config_dir, settings, lambda run: run.path))


def rank(*overrides: Words, config_dir: Place | None = None, **settings: Any) -> Ranked:
    """Collect ranked lists, as ``python rank.py`` does; raises as ``tune`` does. The same call goes on where it
    stopped, and nothing is asked or paid for twice.
    """
    return Ranked(*_call("rank", "tuna.ranking.run:collect", overrides, config_dir, settings, lambda at: at.output))


def evaluate(*overrides: Words, config_dir: Place | None = None, **settings: Any) -> Measured:
    """Measure a model, as ``python evaluate.py`` does; raises as ``tune`` does. What is measured already is read."""
    return Measured(*_call("evaluate", "tuna.evaluation.run:measure", overrides, config_dir, settings, Path))


def read(
    path: Place,
    *,
    format: str = "auto",
    split: str | None = None,
    subset: str | None = None,
    columns: Mapping[str, Any] | None = None,
    first: int | None = None,
    last: int | None = None,
    bad_rows: Literal["error", "drop"] = "error",
) -> list[Record]:
    """The records of a data file in any format that Tuna knows; the keys are those of the datamodules (docs/data.md).

    Raises: DataError that lists the malformed rows, unless bad_rows is "drop"; ConfigError for an unknown format.

    >>> from tuna.assets import FOLDER
    >>> record = read(FOLDER / "rankings" / "contextual.jsonl", first=1)[0]
    >>> record.instruction, [answer.score for answer in record.responses][:2]
    ('Tell me about a kettle.', [0.0, 0.0])
    """
    check_format(format)
    source = Source(
        str(path), first=first, last=last, format=format, split=split, subset=subset, columns=columns, key="path"
    )
    loaded = load_source(source, preview=True)
    if loaded.problems and bad_rows != "drop":
        raise DataError(problem_text(loaded.problems, ', or bad_rows="drop"'))
    return loaded.records


def loss(name: str = "tuna", /, *, config_dir: Place | None = None, **settings: Any) -> Any:
    """The loss of that name (conf/loss/) with its settings, ``lambda_`` for lambda; see tuna.losses.base.Loss.

    It takes what ``Model.score`` gives, and gives named terms, which ``total`` sums up.

    >>> loss("simpo", beta=2.5).beta
    2.5
    """
    keys = {f"loss.{key.rstrip('_')}": value for key, value in settings.items()}
    with _faults_as_exceptions():
        return build_all(_config("train", [{"loss": name}, keys], config_dir), "loss")["loss"]


def _call(
    command: str,
    function: str,
    overrides: tuple[Words, ...],
    config_dir: Place | None,
    settings: Mapping[str, Any],
    place: Callable[[Any], Path],
) -> tuple[Path, Any]:
    """Compose, check and run as the command does: the folder or file that was made, and the figures."""

    def task(cfg: DictConfig) -> Any:
        if look := PROGRAMS[command].look:
            resolve_name(look)(cfg)
        return resolve_name(function)(cfg)

    with _faults_as_exceptions():
        where, figures = run_composed(_config(command, [*overrides, settings], config_dir), task, CONF)
    return place(where), figures


def _config(command: str, given: list[Words], config_dir: Place | None) -> DictConfig:
    words = [word for each in given for word in _words(command, each)]
    if config_dir is not None:
        words += ["--config-dir", str(config_dir)]
    line = read_command_line(words)
    plugins.use(line.config_dirs)
    install()
    cfg = check_command_line(line, config_dir=CONF, config_name=PROGRAMS[command].config_name)
    if line.multirun or not line.runs or line.shows_help or line.only_hydra:
        raise ConfigError(f"{' '.join(words)}: expected settings of one run; sweeps and options are for the commands")
    return cfg


def _words(command: str, given: Words) -> Iterator[str]:
    """As the command line has them: ``{"loss": {"lambda": 5}}`` and ``{"loss.lambda": 5}`` are ``loss.lambda=5``."""
    if isinstance(given, str):
        yield given
        return
    known = groups([CONF], PROGRAMS[command].config_name)
    flat: dict[str, Any] = {}
    for key, value in given.items():
        of_group = key in known and isinstance(value, Mapping)
        flat |= {f"{key}.{inner}": each for inner, each in value.items()} if of_group else {key: value}
    for key, value in flat.items():
        try:
            yield assignment(key, str(value) if isinstance(value, PathLike) else value)
        except Unsayable:
            raise ConfigError(
                f"{key}: expected text without ${{...}} or secrets, a number, a list or a mapping"
            ) from None


@contextmanager
def _faults_as_exceptions() -> Iterator[None]:
    """Hydra's faults are Tuna's, no message shows a secret, and the streams are the caller's again."""
    before = sys.stdout, sys.stderr
    try:
        with masked_output():
            yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(mask_words(str(error))) from error
    except TunaError as error:
        error.args = (mask_words(str(error)),)
        raise
    finally:
        sys.stdout, sys.stderr = before
