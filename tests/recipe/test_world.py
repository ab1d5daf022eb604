"""The little world: its facts are well formed."""

from __future__ import annotations

from collections import Counter

from tools.recipe.world import SIZES, load_world


def test_every_thing_has_six_facts_or_more_and_its_own_name() -> None:
    world = load_world()
    assert len(world.things) > 200
    assert max(Counter(thing.name for thing in world.things).values()) == 1
    assert all(len(set(thing.facts)) == len(thing.facts) >= 7 for thing in world.things)
    assert all("/" not in fact and "{" not in fact for thing in world.things for fact in thing.facts)


def test_sizes_colours_and_places() -> None:
    things = {thing.name: thing for thing in load_world().things}
    assert things["fox"].size == "small"
    assert things["apple"].colours == ("red", "green")
    assert things["fox"].place == "forest"
    assert things["kitchen"].place is None and things["kitchen"].colours == ()
    assert things["baker"].size is None and things["baker"].place == "bakery"
    assert all(thing.size in SIZES for thing in things.values() if thing.kind != "worker")


def test_relations() -> None:
    world = load_world()
    assert all(word != other for word, other in world.opposites.items())
    assert world.past["go"] == "went"
    assert all(len(set(family)) == len(family) >= 2 for family in world.rhymes)
