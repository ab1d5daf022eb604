"""The word lists: every line can be read, and says one thing."""

from __future__ import annotations

from tools.english import lexicon
from tools.english.numbers import spoken


def test_categories() -> None:
    found = lexicon.categories()
    assert len(found) > 25
    for category in found.values():
        assert len(set(category.words)) == len(category.words) > 5
        assert not category.parent or set(category.words) <= set(found[category.parent].words)
    assert lexicon.of("robin") == {"bird", "animal"}


def test_relations_are_of_different_words() -> None:
    for grade in (1, 2, 3):
        assert len(lexicon.words(grade)) > 100
        for name in ("opposites", "verbs", "comparatives"):
            lines = lexicon.pairs(name, grade)
            assert len(lines) > 10
            assert all(word and all(answers) for word, answers in lines)
            assert name == "verbs" or all(word not in answers for word, answers in lines)
    verbs = [word for grade in (1, 2, 3) for word, _ in lexicon.pairs("verbs", grade)]
    assert len({*verbs}) == len(verbs)


def test_facts_and_countries() -> None:
    for name in ("colors", "young", "jobs", "tools", "places", "counts"):
        asked = [what for what, _ in lexicon.facts(name)]
        assert len({*asked}) == len(asked) >= 20
    assert all(int(right) >= 0 for _, (right,) in lexicon.facts("counts"))
    names = [country.name for country in lexicon.countries()]
    assert len({*names}) == len(names) > 80
    assert all(country.capitals and country.continents for country in lexicon.countries())


def test_plurals_by_rule_and_by_list() -> None:
    words = {"bus": "buses", "baby": "babies", "day": "days", "child": "children", "sheep": "sheep", "brush": "brushes"}
    assert {word: lexicon.plurals(word)[0] for word in words} == words
    assert lexicon.plurals("milk") == ()


def test_spoken_numbers() -> None:
    assert spoken(0) == "zero"
    assert spoken(9999) == "nine thousand nine hundred ninety-nine"
