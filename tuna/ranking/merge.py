"""Outputs of ``shard=1/n`` to ``shard=n/n`` as one file in the input's order; overlaps are refused."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuna.data.files import read_rows, write_jsonl
from tuna.errors import DataError
from tuna.ranking.settings import OutputPaths
from tuna.runs import check_writable, read_json


def merge(output: str, shards: Sequence[str]) -> int:
    """Write all lists of ``shards`` to ``output``; gives their number.

    Raises:
        DataError: an instruction in two of them, a shard missing or twice, different settings, a taken output.
    """
    if os.path.lexists(output):
        raise DataError(f"{output}: is there already; give the merged file another name")
    check_writable(Path(output).parent, "OUT.jsonl")
    reports = [read_json(OutputPaths(Path(path)).report) for path in shards]
    _check(shards, reports)
    place: dict[str, int] = {}
    for report in reports:
        shard = report["shard"]
        place |= {key: shard["index"] - 1 + k * shard["count"] for k, key in enumerate(shard["ids"])}
    rows: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for path in shards:
        for row in read_rows(path).rows:
            key = str(row.value.get("id")) if isinstance(row.value, dict) else None
            if key is None or key not in place:
                raise DataError(f"{row.where}: expected a list of this collection, got id {key!r}")
            if key in owner:
                raise DataError(f"{row.where}: id {key!r} stands in {owner[key]} too; shards must not overlap")
            rows[key], owner[key] = row.value, path
    write_jsonl(output, (rows[key] for key in sorted(rows, key=lambda key: place[key])))
    return len(rows)


def _check(shards: Sequence[str], reports: Sequence[dict[str, Any]]) -> None:
    for path, report in zip(shards, reports, strict=True):
        if "ids" not in report.get("shard", {}):
            raise DataError(f"{path}: expected the output of a run with shard=i/n, its .report.json beside it")
        if report.get("missing"):
            raise DataError(f"{path}: {report['missing']} instructions are missing; run the same command again first")
    count = reports[0]["shard"]["count"]
    have = [report["shard"]["index"] for report in reports]
    if any(r["shard"]["count"] != count or r["identity"] != reports[0]["identity"] for r in reports):
        raise DataError(
            f"{', '.join(shards)}: were collected with different settings, or cut differently (n of shard=i/n)"
        )
    if sorted(have) != list(range(1, count + 1)):
        raise DataError(f"expected shards 1 to {count} of {count}, each once, got {', '.join(map(str, sorted(have)))}")
    seen: dict[str, str] = {}
    for path, report in zip(shards, reports, strict=True):
        for key in report["shard"]["ids"]:
            if key in seen:
                raise DataError(f"{path}: id {key!r} stands in {seen[key]} too; shards must not overlap")
            seen[key] = path
