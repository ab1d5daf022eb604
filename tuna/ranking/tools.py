"""``rank.py compare``: agreement between two rankings of the same answers, by pairs and by Spearman (the paper's
Appendix G). ``rank.py merge``: outputs of ``shard=1/n`` to ``shard=n/n`` as one file in the input's order.
``rank.py best``: the best answer of each list as its ``output``, for instruction tuning or as answers to be measured.
``rank.py clear``: the lists that say something, whose answers are not all of one rank.
"""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

from tuna.data.fields import FieldError, check_text, number
from tuna.data.files import read_rows, write_jsonl
from tuna.data.ranking import pair_accuracy
from tuna.data.rows import Row
from tuna.errors import ConfigError, DataError, TunaError
from tuna.files import trouble_of
from tuna.inference.answers import ORIGINAL
from tuna.ranking import TOOLS
from tuna.ranking.outputs import OutputPaths, readable
from tuna.ranking.report import picture
from tuna.runs import as_written, check_writable, read_json, write_json
from tuna.secrets import masked_output
from tuna.stats import Interval, bootstrap_interval, spearman

_OF_THE_LIST = ("responses", "dropped", "judge")  # what a row of best answers leaves out


def run_tool(argv: Sequence[str]) -> None:
    """Run the tool that ``argv`` names. Raises SystemExit(1) after a fault, which is on stderr."""
    tool, *files = argv
    with masked_output():
        try:
            if tool == "merge" and len(files) >= 2:
                print(f"{merge(files[0], files[1:]):,} lists: {files[0]}")
            elif tool == "compare" and len(files) in (2, 3):
                _compare(*files)
            elif tool == "best" and len(files) == 2:
                kept, count = best(*files)
                beaten = f" ({count - kept:,} lists left out: their original is above all answers)" * (kept < count)
                print(f"{kept:,} best answers{beaten}: {files[1]}")
            elif tool == "clear" and len(files) == 2:
                kept, count = clear(*files)
                print(f"{kept:,} of {count:,} lists have answers of different ranks: {files[1]}")
            else:
                raise ConfigError(f"expected {TOOLS[tool]}")
        except (TunaError, OSError) as error:
            told = error if isinstance(error, TunaError) else trouble_of(error)
            if told is None:
                raise
            print(f"error: {told}", file=sys.stderr)
            sys.exit(1)


def _compare(first: str, second: str, name: str | None = None) -> None:
    report = None if name is None else _new_report(name)
    found = compare(first, second)
    print(
        f"lists in both: {found.lists:,} (only in the first {found.only_first:,}, second {found.only_second:,})\n"
        f"Spearman, mean over {found.spearman.lists:,} lists: {found.spearman}\n"
        f"pairs ordered alike, over {found.pairs.lists:,} lists: {found.pairs}"
    )
    if report is not None:
        shown = {"lists": found.lists, "only_first": found.only_first, "only_second": found.only_second}
        write_json(report, {**shown, "spearman": found.spearman.to_dict(), "pairs": found.pairs.to_dict()})
        _draw(found, report.with_suffix(".png"), f"{Path(first).name} and {Path(second).name}")


def _new_report(name: str) -> Path:
    """The path of a report that may be written: it ends in .json, and nothing is there but an earlier one."""
    path = Path(name)
    if path.suffix != ".json":
        raise ConfigError(f"{name}: expected a path that ends with .json; a picture of the same name comes beside it")
    check_writable(path.parent, "REPORT.json")
    made = {"lists", "spearman", "pairs"} <= readable(path).keys()
    for place in (path, path.with_suffix(".png")):
        if os.path.lexists(place) and not made:
            raise ConfigError(f"{place}: is there and rank.py compare did not make it; give the report another name")
    return path


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the lists that both files rank: mean Spearman and the share of pairs ordered alike, with intervals."""

    lists: int
    only_first: int
    only_second: int
    spearman: Interval
    pairs: Interval
    by_list: tuple[float | None, ...] = ()  # each list's Spearman; None where one file ties all its answers


def compare(first: str, second: str) -> Agreement:
    """Compare two files of ranked lists, by id and answers' texts; DataError where they have no list in common."""
    one, two = _scores(first), _scores(second)
    both = [key for key in one if key in two and len(one[key].keys() & two[key].keys()) > 1]
    if not both:
        raise DataError(f"{first} and {second}: no list with two answers in common; they must rank the same answers")
    rho, alike = [], []
    for key in both:
        texts = [text for text in one[key] if text in two[key]]
        a, b = [one[key][t] for t in texts], [two[key][t] for t in texts]
        rho.append(spearman(a, b))
        alike.append(float(pair_accuracy([a], [b])[0]))
    known = bootstrap_interval([math.nan if value is None else value for value in rho])
    only = len(one.keys() - two.keys()), len(two.keys() - one.keys())
    return Agreement(len(both), *only, known, bootstrap_interval(alike), tuple(rho))


def _scores(path: str) -> dict[str, dict[str, float]]:
    """The score of each answer's text, by the list's id."""
    found: dict[str, dict[str, float]] = {}
    for row in read_rows(path).rows:
        ranked = _answers(row)
        found[str(row.value["id"])] = {text.strip(): score for text, score in ranked}
    return found


def _answers(row: Row, samples: bool = False) -> list[tuple[str, float]]:
    """Text and score of a list's answers, in their order; samples: without a judge's own and the original."""
    value = row.value
    if not isinstance(value, Mapping) or "id" not in value or not isinstance(value.get("responses"), Sequence):
        raise DataError(f"{row.where}: expected a ranked list with id and responses (what rank.py writes)")
    try:
        given = value["responses"]
        every = [(check_text(r["text"], "text"), number(r["score"], "score")) for r in given]
        drawn = [samples and "sample" in r and r.get("source") != ORIGINAL for r in given]
        found = list(compress(every, drawn)) or every
    except (KeyError, TypeError, AttributeError, FieldError):
        raise DataError(f"{row.where}: responses: expected objects with text and score, a number") from None
    if not found:
        raise DataError(f"{row.where}: responses: expected one answer or more, got none")
    return found


def _draw(found: Agreement, path: Path, title: str) -> None:
    """How the lists' Spearman correlations are spread, as PNG."""
    with picture(path, (5.2, 3.4)) as (_, axes):
        axes.hist([rho for rho in found.by_list if rho is not None], bins=21, range=(-1.05, 1.05), edgecolor="white")
        if not math.isnan(found.spearman.mean):
            axes.axvline(found.spearman.mean, color="tab:orange", label=f"mean {found.spearman.mean:.3f}")
            axes.legend()
        axes.set(xlabel="Spearman of a list", ylabel="lists", title=title.replace("$", r"\$"))


def merge(output: str, shards: Sequence[str]) -> int:
    """Write all lists of ``shards`` to ``output`` in the input's order; returns their number.

    Raises: DataError where ``output`` exists, or the shards are not parts 1 to n of one collection, each once.
    """
    if os.path.lexists(output):
        raise DataError(f"{output}: is there already; give the merged file another name")
    check_writable(Path(output).parent, "OUT.jsonl")
    reports = [_report(path) for path in shards]
    cuts = [(report["shard"]["count"], report.get("identity")) for report in reports]
    if any(cut != cuts[0] for cut in cuts):
        raise DataError(
            f"{', '.join(shards)}: were collected with different settings, or cut differently (n of shard=i/n)"
        )
    count, have = reports[0]["shard"]["count"], sorted(report["shard"]["index"] for report in reports)
    if len(have) != count or have != list(range(1, count + 1)):
        raise DataError(f"expected shards 1 to {count} of {count}, each once, got {', '.join(map(str, have))}")
    rows: dict[int, Any] = {}
    owners: dict[str, str] = {}  # id -> the shard that has it
    for path, report in zip(shards, reports, strict=True):
        places = {key: report["shard"]["index"] - 1 + k * count for k, key in enumerate(report["shard"]["ids"])}
        for key in places:
            if owners.setdefault(key, path) != path:
                raise DataError(f"{path}: id {key!r} stands in {owners[key]} too; shards must not overlap")
        for row in read_rows(path).rows:
            key = str(row.value.get("id")) if isinstance(row.value, dict) else None
            if key not in places or places[key] in rows:
                raise DataError(
                    f"{row.where}: expected each list of its shard once, got {key!r}; shards must not overlap"
                )
            rows[places[key]] = row.value
    write_jsonl(output, (as_written(rows[place]) for place in sorted(rows)))
    return len(rows)


def best(lists: str, output: str) -> tuple[int, int]:
    """Write each list of ``lists`` with its best answer (the first of equal ones) as ``output``; gives their number and
    that of all lists.

    A judge's own answer and an original response that was ranked beside the samples do not count; a list is left out
    where its original is above all samples, none of which is good enough then. ``best_of`` says of how many answers;
    the other columns stay. Raises: DataError for what is no ranked list, or where no list is left; ConfigError where
    ``best`` did not write ``output``.
    """
    _check_output(output, "best", "best_of")
    given, rows = read_rows(lists).rows, []
    for row in given:
        ranked = _answers(row, samples=True)
        text, top = max(ranked, key=lambda answer: answer[1])
        if any(r.get("source") == ORIGINAL and r["score"] > top for r in row.value["responses"]):
            continue
        kept = {key: value for key, value in row.value.items() if key not in _OF_THE_LIST}
        rows.append({**kept, "output": text, "best_of": len(ranked)})
    if not rows:
        raise DataError(
            f"{lists}: expected a list with an answer as good as its original, got none among {len(given):,}"
        )
    write_jsonl(output, map(as_written, rows))
    return len(rows), len(given)


def clear(lists: str, output: str) -> tuple[int, int]:
    """Write the lists of ``lists`` whose answers are of two ranks or more; gives their number and that of all.

    ``ranks`` says how many. Lists of one rank alone have no pair: a margin loss learns nothing from them, which is most
    lists of questions too easy or too hard. Raises: as ``best``; DataError where no list is left.
    """
    _check_output(output, "clear", "ranks")
    given, rows = read_rows(lists).rows, []
    for row in given:
        ranks = len({score for _, score in _answers(row)})
        if ranks > 1:
            rows.append({**row.value, "ranks": ranks})
    if not rows:
        raise DataError(f"{lists}: expected lists whose answers differ in rank, got none among {len(given):,}")
    write_jsonl(output, map(as_written, rows))
    return len(rows), len(given)


def _check_output(output: str, tool: str, column: str) -> None:
    """Raise a ConfigError where something else than an earlier output of the tool, known by its column, is there."""
    if os.path.lexists(output) and not all(
        isinstance(row.value, Mapping) and column in row.value for row in read_rows(output).rows
    ):
        raise ConfigError(f"{output}: is there and rank.py {tool} did not make it; give the output another name")
    check_writable(Path(output).parent, "OUT.jsonl")


def _report(path: str) -> dict[str, Any]:
    """The report of a shard that is whole."""
    report = read_json(OutputPaths(Path(path)).report, {"shard": dict})
    shard = report.get("shard", {})
    whole = isinstance(ids := shard.get("ids"), list) and all(isinstance(key, str) for key in ids)
    if not whole or not all(type(shard.get(key)) is int for key in ("index", "count")):
        raise DataError(f"{path}: expected the output of a run with shard=i/n, its .report.json beside it")
    if report.get("missing"):
        raise DataError(f"{path}: {report['missing']} instructions are missing; run the same command again first")
    return report
