"""What a data file is taken for, before anything is trained: its format, what becomes of it, three records with ids.

``python -m tuna.data FILE key=value ...``; no weights are read.
"""

import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tuna.data.fields import FieldError
from tuna.data.lists import AnswerList
from tuna.data.load import Loaded, load_source, look_at, problem_text
from tuna.data.ranking import count_pairs
from tuna.errors import ConfigError, DataError, TunaError
from tuna.secrets import masked_output

USAGE = """\
python -m tuna.data FILE [key=value ...]: what a data file is taken for, without reading a model's weights.

  format, split, subset, columns, original, first, last   as the datamodules have them (docs/data.md)
  targets       as datamodule.targets in stage=sft
  stage         read the file as train.py stage=... does; without it, its own scores decide
  model         whose tokenizer and chat template show the records: an embedded name, a folder or a hub id; default tiny
  template, template_args                                  as model.template, model.template_args
  show          how many records are shown; default 3

Keys can be written as for train.py, too: datamodule.split=..., model.path=..."""
_OF_DATAMODULE = ("format", "split", "subset", "columns", "original", "first", "last", "targets")
KEYS = (*_OF_DATAMODULE, "stage", "model", "template", "template_args", "show")
_NO_STAGE = "tuna.datamodules.contextual.ContextualDataModule"
_SHOWN_TEXT, _SHOWN_IDS = 600, 8


def main(argv: Sequence[str] | None = None) -> None:
    """Show the file that the command line names.

    Raises:
        SystemExit: 1 after a fault that the user can mend (its message is on stderr).
    """
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
            print("error: " + str(error).replace("\n", "\n       "), file=sys.stderr)
            sys.exit(1)


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words, the values written as for train.py.

    Raises: ConfigError for everything that is no key=value, and for unknown keys.

    >>> read_options(["columns={instruction: q, responses: outs}", "first=10"])
    {'columns': {'instruction': 'q', 'responses': 'outs'}, 'first': 10}
    >>> read_options(["datamodule.split=test", "model.path=tiny", "model.template=none"])
    {'split': 'test', 'model': 'tiny', 'template': 'none'}
    """
    from tuna.config.arguments import read_command_line, values
    from tuna.console import nearest

    line = read_command_line(words)
    wrong = list(line.wrong)
    options: dict[str, Any] = {}
    for override in line.overrides:
        word = override.key_or_group
        key = "model" if word == "model.path" else word.removeprefix("datamodule.").removeprefix("model.")
        if key not in KEYS:
            wrong.append(f"{word}: expected one of {', '.join(KEYS)}{nearest(key, KEYS)}")
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
    read = _read(path, options)
    yield from _summary(read)
    shown = read.shown[: options.get("show", 3)]
    if shown:
        encoder = _model(read.model, options).encoder()
        yield f"as {read.model} reads them, template {encoder.name} (model=FOLDER_OR_HUB_ID shows another's way):"
        for item in shown:
            yield from _record_lines(item, encoder, read.turns)
        yield from (f"note: {text}" for text in sorted(encoder.notes))
    if read.loaded.problems:
        raise DataError(problem_text(read.loaded.problems, ", or datamodule.bad_rows=drop"))


@dataclass(slots=True)
class _Read:
    """A file that was read: its records, the lists that they become, what was dropped on the way."""

    loaded: Loaded
    lists: list[AnswerList]
    dropped: Counter[str]
    model: str
    turns: bool = False  # every assistant turn is a target

    @property
    def shown(self) -> Sequence[AnswerList]:
        """The lists; of a file of questions alone, these without answers."""
        return self.lists or [AnswerList(record, ()) for record in self.loaded.records]


def _read(path: str, options: Mapping[str, Any]) -> _Read:
    from tuna.config.schema import defaults
    from tuna.datamodules.settings import Settings

    stage = options.get("stage", "sft" if "targets" in options else None)
    arguments, model = (defaults(_NO_STAGE), "tiny") if stage is None else _of_stage(str(stage))
    settings = Settings.of(arguments | {"path": path} | {key: options[key] for key in _OF_DATAMODULE if key in options})
    (source,) = settings.sources
    loaded = look_at(source) if stage is None else load_source(source)
    turns = settings.targets == "assistant"
    read = _Read(loaded, [], Counter(loaded.reasons), str(options.get("model") or model), turns)
    for record in loaded.records:
        item = settings.list_of(record, loaded, read.dropped)
        if item is not None:
            read.lists.append(item)
    return read


def _of_stage(stage: str) -> tuple[dict[str, Any], str]:
    """The arguments of the stage's datamodule, all but where its data lie; and its model."""
    from omegaconf import OmegaConf

    from tuna.config.compose import CONF, compose
    from tuna.config.groups import groups
    from tuna.console import nearest

    stages = list(groups([CONF])["stage"])
    if stage not in stages:
        raise ConfigError(f"stage={stage}: expected one of {', '.join(stages)}{nearest(stage, stages)}")
    cfg = compose([f"stage={stage}"])
    arguments = OmegaConf.to_container(cfg.datamodule, resolve=True)
    assert isinstance(arguments, dict)
    own = dict.fromkeys(("sources", "val_path", "first", "last"))
    return {str(key): value for key, value in arguments.items()} | own, str(cfg.model.path)


def _summary(read: _Read) -> Iterator[str]:
    loaded, lists = read.loaded, read.lists
    by = f", rank_by {loaded.source.rank_by}" if loaded.source.rank_by else ""
    yield f"{loaded.source.path}: format {loaded.format}{by}, {loaded.rows} rows"
    scores = [[a.score for a in item.answers if a.score == a.score] for item in lists]
    if loaded.source.rank_by:
        sizes = [len(s) for s in scores] or [0]
        pairs = sum(count_pairs(s) for s in scores)
        ties = sum(len(s) * (len(s) - 1) // 2 for s in scores) - pairs
        tied = sum(not count_pairs(s) for s in scores)
        yield (
            f"{len(lists)} lists, {sum(sizes)} candidates ({min(sizes)} to {max(sizes)}, median "
            f"{statistics.median(sizes):g}); {pairs} pairs, {ties} tied pairs, {tied} lists without a pair"
        )
    targets = sum(a.target for item in lists for a in item.answers)
    yield f"targets of the cross-entropy: {targets}"
    if loaded.records and not lists:
        yield "no answers that could be trained on; python rank.py model.path=MODEL input=FILE collects some"
    if read.dropped:
        yield "dropped: " + ", ".join(f"{reason}: {n}" for reason, n in sorted(read.dropped.items()))
    for note in loaded.notes:
        yield f"note: {note}"


def _model(path: str, options: Mapping[str, Any]) -> Any:
    from tuna.models.source import ModelConfig

    template = {key: options[key] for key in ("template", "template_args") if options.get(key) is not None}
    return ModelConfig(path=path, **template)


@dataclass(frozen=True, slots=True)
class TokenView:
    """One list as a model reads it.

    prompt: its text. ids: those of the prompt, then of each answer, to the end of the conversation. scored: of each
    answer's ids, which the model itself writes in use.
    """

    prompt: str
    prompt_ids: list[int]
    answer_ids: list[list[int]]
    scored: list[list[bool]]


def token_view(item: AnswerList, encoder: Any, turns: bool = False) -> TokenView:
    """The ids that training makes of ``item``, before any is cut off. turns: every assistant turn is a target.

    Raises: FieldError where the template cannot show the record.
    """
    record, answers = item.record, item.answers
    text = encoder.text(record)
    if not answers:
        return TokenView(text, encoder.prompt(record).tolist(), [], [])
    found = encoder.encode_turns(record, answers[0]) if turns else encoder.encode(encoder.write(record, answers))
    return TokenView(
        text, found.prompt.tolist(), [ids.tolist() for ids in found.responses], [m.tolist() for m in found.scored]
    )


def _record_lines(item: AnswerList, encoder: Any, turns: bool) -> Iterator[str]:
    try:
        view = token_view(item, encoder, turns)
    except FieldError as error:
        raise DataError(f"{item.record.where}: {error}") from None
    yield f"\n{item.record.where} id {item.record.id}"
    yield "  prompt"
    yield from _quoted(view.prompt)
    yield from _run(view.prompt_ids, "not scored", encoder.tokenizer)
    for number, (answer, ids, scored) in enumerate(zip(item.answers, view.answer_ids, view.scored, strict=True), 1):
        score = "" if answer.score != answer.score else f", score {answer.score:g}"
        target = ", target" if answer.target else ""
        cut = "" if answer.complete else ", cut at a limit: no ending"
        yield f"  answer {number}{score}{target}{cut}"
        yield from _quoted(answer.text if answer.reasoning is None else f"({answer.reasoning}) {answer.text}")
        at = 0
        for kind, run in groupby(scored):
            end = at + len(list(run))
            yield from _run(ids[at:end], "scored" if kind else "not scored", encoder.tokenizer)
            at = end


def _quoted(text: str) -> Iterator[str]:
    if len(text) > _SHOWN_TEXT:
        half = _SHOWN_TEXT // 2
        text = f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"
    return (f"    | {line}" for line in text.split("\n"))


def _run(ids: Sequence[int], kind: str, tokenizer: Any) -> Iterator[str]:
    """So many ids in a row, and what they stand for; of many both ends."""
    parts = [ids] if len(ids) <= 2 * _SHOWN_IDS else [ids[:_SHOWN_IDS], ids[-_SHOWN_IDS:]]
    count = f"{len(ids)} id{'s' * (len(ids) != 1)} {kind}:"
    yield f"    {count} " + " ... ".join(" ".join(map(str, part)) for part in parts)
    pieces = [" ".join(repr(tokenizer.decode([i])) for i in part) for part in parts]
    yield "    " + " " * len(count) + " " + " ... ".join(pieces)
