"""The questions of the comparison of losses."""

import json

from tools.recipe.comparison import make_parts
from tools.recipe.sizes import FULL, QUICK
from tools.recipe.world import load_world
from tuna import assets


def test_parts_share_nothing() -> None:
    parts = make_parts(load_world(), 3, QUICK.comparison)
    things = {part: {row["about"] for row in rows if "about" in row} for part, rows in parts.items()}
    asked = {part: {(row["instruction"], row["input"]) for row in rows} for part, rows in parts.items()}
    for one, other in (("lists", "choice"), ("lists", "measure"), ("choice", "measure")):
        assert things[one] and things[other] and not things[one] & things[other]
        assert not asked[one] & asked[other]
    assert len(parts["choice"]) == len({row["id"] for row in parts["choice"]})


def test_the_embedded_ones_are_what_the_recipe_makes() -> None:
    made = make_parts(load_world(), 51, FULL.comparison)
    for part, rows in made.items():
        lines = assets.path(f"instructions/comparison_{part}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == rows
