"""Judges side by side: the cards of ``evaluate.py benchmark=judge`` that were measured on the same lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuna.reporting.columns import differing
from tuna.reporting.figures import draw_judges
from tuna.reporting.read import Found, Measured
from tuna.reporting.shapes import JUDGE
from tuna.reporting.tables import Cell, Table, cell, figure_cell
from tuna.stats import Estimate

_COLUMNS = {
    "lists": "lists", "agreement": "agreement", "length_controlled": "length-controlled", "spearman": "Spearman",
    "ties": "ties", "no_verdict": "no verdict", "agreement_longer_better": "where longer is better",
    "agreement_shorter_better": "where shorter is better", "longer_wins": "longer wins", "flip_rate": "flips",
    "consistency": "same again", "cycles": "cycles", "dollars_per_1000": "dollars per 1,000",
    "seconds_per_1000": "seconds per 1,000",
}  # fmt: skip
_BENCH = (
    "By its authors' rules: best of four, where a shared first place counts its share; Ties by accuracy and margins. "
    "The mean is over the subsets."
)
_CAPTION = (
    "Agreement: the share of the reference's strict pairs that the judge orders alike, ties one half, mean over lists; "
    "in brackets its 95% interval over lists. Length-controlled: the mean of the agreement where the reference's "
    "better answer is longer and where it is shorter, so that length alone gets one half. The reference itself prefers "
    "the longer answer in {share} of its pairs of unequal length. docs/benchmarks/judge.md explains every column."
)
Row = dict[str, float | None]  # the figures of one judge


def judge_tables(found: Found, figures: Path) -> list[Table]:
    """A table per set of lists, and per set of RewardBench 2's subsets; the figures are drawn into a folder."""
    groups: dict[str, list[Measured]] = {}
    for result in found.results:
        if result.benchmark == JUDGE and result.finished:
            groups.setdefault(repr(sorted((k, v) for k, v in result.settings.items() if _is_of_lists(k))), []).append(
                result
            )
    tables = []
    for number, results in enumerate(groups.values(), start=1):
        config: Mapping[str, Any] = results[0].content.get("config", {}).get("benchmark") or {}
        path, limit = config.get("path"), results[0].settings.get("limit")
        where = (Path(path).name if path else "the embedded lists") + (f", limit={limit}" if limit else "")
        rows = _rows(results, "judges")
        picture = figures / f"judges-{number}.png"
        draw_judges(rows, picture)
        share = next(iter(rows.values()))["longer_wins_reference"]
        caption = _CAPTION.format(share="none" if share is None else f"{share:.1%}")
        cells = [[cell(name), *(_cell(row, key) for key in _COLUMNS)] for name, row in rows.items()]
        title, head = f"Judges on {where}", ["judge", *_COLUMNS.values()]
        drawn = [(picture, f"{title}: agreement, and how often the longer answer wins")]
        tables.append(Table(f"judges-{number}", title, caption, head, cells, figures=drawn))
        if bench := _rows(results, "reward_bench"):
            names = list(next(iter(bench.values())))
            cells = [[cell(name), *(cell(row.get(key)) for key in names)] for name, row in bench.items()]
            tables.append(Table(f"reward-bench-{number}", f"RewardBench 2: {where}", _BENCH, ["judge", *names], cells))
    return tables


def _is_of_lists(key: str) -> bool:
    """Whether a setting says which pairs of which lists are measured, not by whom."""
    return key == "limit" or (key.startswith("benchmark.") and key not in ("benchmark.ask", "benchmark.repeats"))


def _rows(results: Sequence[Measured], table: str) -> dict[str, Row]:
    """Each judge's figures, the best agreement first; baselines, which every result has, once."""
    found: dict[str, Row] = {}
    for result in results:
        lines: Sequence[Mapping[str, Any]] = (result.content.get("tables") or {}).get(table) or ()
        own, *others = [key for key in (lines[0] if lines else ()) if key != "measure"] or [""]
        for key, name in ((own, _label(result, results)), *((other, other) for other in others)):
            if lines and (name not in found or key == own):
                found[name] = {str(line["measure"]): line.get(key) for line in lines}
    return dict(sorted(found.items(), key=lambda item: -(item[1].get("agreement") or item[1].get("mean") or 0)))


def _label(result: Measured, results: Sequence[Measured]) -> str:
    """A judge's name, with the settings that tell it apart from others of that name."""
    name = str(result.model.get("name"))
    apart = differing([each.settings for each in results if each.model.get("name") == name])
    words = [f"{key.rpartition('.')[2]}={result.settings.get(key)}" for key in apart]
    return f"{name} ({', '.join(words)})" if words else name


def _cell(row: Row, key: str) -> Cell:
    value, low, high = (row.get(name) for name in (key, f"{key}_low", f"{key}_high"))
    if key == "lists" and value is not None:
        return cell(int(value))
    return cell(value) if value is None or low is None else figure_cell(Estimate(value, low, high))
