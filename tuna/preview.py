"""What a data file is taken for: its format, what becomes of it, three records with ids; no weights are read."""

import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from tuna import plugins
from tuna.config.arguments import read_command_line, values
from tuna.config.compose import CONF, compose
from tuna.config.help import groups
from tuna.config.schema import defaults
from tuna.console import as_typed, nearest
from tuna.data.fields import FieldError
from tuna.data.lists import AnswerList
from tuna.data.load import BAD_ROW, Loaded, counted, load_source, problem_text
from tuna.data.ranking import count_pairs
from tuna.datamodules.settings import DataSettings, settings_of
from tuna.errors import ConfigError, DataError, TunaError
from tuna.secrets import masked_output

if TYPE_CHECKING:  # it brings torch
    from tuna.data.encode import Encoder

USAGE = """\
python -m tuna.data FILE [key=value ...]: what a data file is taken for, without reading a model's weights.

  format, split, subset, columns, original, first, last, bad_rows   as the datamodules have them (docs/data.md)
  targets       as datamodule.targets in stage=sft
  stage         read the file as train.py stage=... does; without it, its own scores decide
  model         whose tokenizer and chat template show the records: an embedded name, a folder or a hub id; default tiny
  template, template_args                                  as model.template, model.template_args
  show          how many records are shown; default 3

Keys can be written as for train.py, too: datamodule.split=..., model.path=..."""
_OF_DATAMODULE = ("format", "split", "subset", "columns", "original", "first", "last", "bad_rows", "targets")
_KEYS = (*_OF_DATAMODULE, "stage", "model", "template", "template_args", "show")
_NO_STAGE = "tuna.datamodules.ranked.ContextualDataModule"
_SHOWN_TEXT, _SHOWN_IDS = 300, 8  # at each end


def main(argv: Sequence[str] | None = None) -> None:
    """Show the file that the command line names. Raises: SystemExit with 1 after a fault that the user can mend."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"--help", "-h"} & set(words):
        print(USAGE)
        return
    with masked_output():
        try:
            for line in preview(words[0], read_options(words[1:])):
                print(line, flush=True)
        except BrokenPipeError:  # into head, which has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except TunaError as error:
            told = str(error).replace("next: datamodule.path=", "next: python -m tuna.data ")  # its one path has no key
            print("error: " + told.replace("\n", "\n       "), file=sys.stderr)
            sys.exit(1)


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words, the values written as for train.py. Raises: ConfigError for anything else.

    >>> read_options(["datamodule.split=test", "model.path=tiny", "model.template=none"])
    {'split': 'test', 'model': 'tiny', 'template': 'none'}
    """
    line = read_command_line(words)
    plugins.use(line.config_dirs)
    wrong = list(line.wrong)
    options: dict[str, Any] = {}
    for override in line.overrides:
        word = override.key_or_group
        key = "model" if word == "model.path" else word.removeprefix("datamodule.").removeprefix("model.")
        if key not in _KEYS:
            wrong.append(f"{word}: expected one of {', '.join(_KEYS)}{nearest(key, _KEYS)}")
        options[key] = values(override)[0]
    show = options.get("show", 3)
    if isinstance(show, bool) or not isinstance(show, int) or show < 0:
        wrong.append(f"show: expected a whole number of 0 or more, got {show!r}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return options


def preview(path: str, options: Mapping[str, Any]) -> Iterator[str]:
    """The lines to print. The file's come before the tokenizer is looked for, which takes longer.

    Raises: TunaError for a file, a stage or a model that cannot be read; after the lines, DataError for malformed rows.
    """
    loaded, settings, stage_model = _load(path, options)
    drops = settings.bad_rows == "drop"
    dropped = Counter({why: n for why, n in loaded.reasons.items() if drops or not why.startswith(BAD_ROW)})
    lists = settings.lists_of(loaded, dropped)
    yield from _summary(loaded, lists, dropped)
    shown = (lists or [AnswerList(record, ()) for record in loaded.records])[: options.get("show", 3)]
    if shown:
        from tuna.models.source import ModelConfig

        model = str(options.get("model") or stage_model)
        template = {key: options[key] for key in ("template", "template_args") if options.get(key) is not None}
        encoder = ModelConfig(path=model, **template).encoder()
        yield f"as {model} reads them, template {encoder.name} (model=FOLDER_OR_HUB_ID shows another's way):"
        for item in shown:
            yield from _record_lines(item, encoder, settings.turns)
        yield from (f"note: {text}" for text in sorted(encoder.notes))
    if loaded.problems and not drops:
        raise DataError(problem_text(loaded.problems, ", or datamodule.bad_rows=drop"))


def _load(path: str, options: Mapping[str, Any]) -> tuple[Loaded, DataSettings, str]:
    """The file, read as the stage's datamodule does, that datamodule's settings, and the stage's model."""
    stage = options.get("stage", "sft" if "targets" in options else None)
    arguments, model = (defaults(_NO_STAGE), "tiny") if stage is None else _of_stage(str(stage))
    settings = settings_of(arguments | {"path": path} | {key: options[key] for key in _OF_DATAMODULE if key in options})
    (source,) = settings.all_sources
    return load_source(source, preview=stage is None), settings, model


def _of_stage(stage: str) -> tuple[dict[str, Any], str]:
    if stage not in (stages := list(groups([CONF])["stage"])):
        raise ConfigError(f"stage={stage}: expected one of {', '.join(stages)}{nearest(stage, stages)}")
    cfg = compose([f"stage={stage}"])
    arguments = OmegaConf.to_container(cfg.datamodule, resolve=True)
    assert isinstance(arguments, dict)
    own = dict.fromkeys(("sources", "val_path", "first", "last"))
    return {str(key): value for key, value in arguments.items()} | own, str(cfg.model.path)


def _summary(loaded: Loaded, lists: Sequence[AnswerList], dropped: Mapping[str, int]) -> Iterator[str]:
    by = f", rank_by {loaded.source.rank_by}" if loaded.source.rank_by else ""
    yield f"{loaded.source.path}: format {loaded.format}{by}, {loaded.rows} rows"
    if loaded.source.rank_by:
        scores = [[a.score for a in item.answers if a.score == a.score] for item in lists]
        sizes = [len(s) for s in scores] or [0]
        pairs = [count_pairs(s) for s in scores]
        ties = sum(size * (size - 1) // 2 for size in sizes) - sum(pairs)
        yield (
            f"{len(lists)} lists, {sum(sizes)} candidates ({min(sizes)} to {max(sizes)}, median "
            f"{statistics.median(sizes):g}); {sum(pairs)} pairs, {ties} tied pairs, "
            f"{pairs.count(0)} lists without a pair"
        )
    yield f"targets of the cross-entropy: {sum(a.target for item in lists for a in item.answers)}"
    if loaded.records and not lists:
        some = as_typed("python rank.py model.path=MODEL input=FILE")
        yield f"no answers that could be trained on; {some} collects some"
    if dropped:
        yield "dropped: " + counted(dropped)
    yield from (f"note: {note}" for note in loaded.notes)


def _record_lines(item: AnswerList, encoder: "Encoder", turns: bool) -> Iterator[str]:
    record, tokenizer = item.record, encoder.tokenizer
    try:
        text = encoder.text(record)
        found = encoder.encode(encoder.write(record, item.answers), turns) if item.answers else None
        prompt = encoder.prompt(record) if found is None else found.prompt
    except FieldError as error:
        raise DataError(f"{record.where}: {error}") from None
    yield f"\n{record.where} id {record.id}"
    yield "  prompt"
    yield from quoted(text)
    yield from _ids(prompt.tolist(), "not scored", tokenizer)
    answers = () if found is None else zip(item.answers, found.responses, found.scored, strict=True)
    for k, (answer, ids, scored) in enumerate(answers, start=1):
        score = "" if answer.score != answer.score else f", score {answer.score:g}"
        cut = "" if answer.complete else ", cut at a limit: no ending"
        yield f"  answer {k}{score}{', target' * answer.target}{cut}"
        yield from quoted(answer.text if answer.reasoning is None else f"({answer.reasoning}) {answer.text}")
        for kind, run in groupby(zip(scored.tolist(), ids.tolist(), strict=True), key=itemgetter(0)):
            yield from _ids([token for _, token in run], "scored" if kind else "not scored", tokenizer)


def quoted(text: str) -> Iterator[str]:
    """A text behind bars, the middle of a long one left out."""
    if len(text) > 2 * _SHOWN_TEXT:
        cut = len(text) - 2 * _SHOWN_TEXT
        text = f"{text[:_SHOWN_TEXT]} ... {cut} characters ... {text[-_SHOWN_TEXT:]}"
    return (f"    | {line}" for line in text.split("\n"))


def _ids(ids: Sequence[int], kind: str, tokenizer: Any) -> Iterator[str]:
    """The number of ids, the ids, and what they stand for; of many both ends."""
    parts = [ids] if len(ids) <= 2 * _SHOWN_IDS else [ids[:_SHOWN_IDS], ids[-_SHOWN_IDS:]]
    count = f"    {len(ids)} id{'s' * (len(ids) != 1)} {kind}: "
    yield count + " ... ".join(" ".join(map(str, part)) for part in parts)
    yield " " * len(count) + " ... ".join(" ".join(repr(tokenizer.decode([i])) for i in part) for part in parts)
