"""Tasks about a short text: something is taken out of it, or it is put into JSON."""

from __future__ import annotations

import json
import random
from typing import Any

from tools.english import lexicon
from tools.english.numbers import NAMES
from tools.english.questions import Question, listed, number, says, task

_CITIES = lexicon.names("cities")
_GOODS = lexicon.names("goods")
_PLACES = lexicon.names("places of trade")
_JOBS = lexicon.names("professions")


def _events(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """What different people bought, where and when, with every detail different."""
    columns: dict[str, list[Any]] = {
        "name": rng.sample(NAMES, count),
        "day": rng.sample(lexicon.categories()["day of the week"].words, count),
        "city": rng.sample(_CITIES, count),
        "place": rng.sample(_PLACES, count),
        "things": rng.sample(_GOODS, count),
        "number": rng.sample(range(2, 30), count),
        "price": rng.sample(range(30, 99), count),
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def _told(event: dict[str, Any], order: int) -> str:
    patterns = (
        "On {day}, {name} bought {number} {things} at the {place} in {city} for {price} dollars.",
        "{name} went to the {place} in {city} on {day} and paid {price} dollars for {number} {things}.",
        "In {city}, {name} found {number} {things} at the {place} on {day} and spent {price} dollars on them.",
    )
    return patterns[order].format(**event)


def _text(rng: random.Random, grade: int) -> tuple[list[dict[str, Any]], str]:
    """One to three people's purchases and the text about them."""
    events = _events(rng, grade)
    return events, " ".join(_told(event, rng.randrange(3)) for event in events)


@task
def find_detail(rng: random.Random, grade: int) -> Question:
    """A text says who bought what, where and when. In which city was Tom?"""
    events, text = _text(rng, grade)
    event = rng.choice(events)
    name, things = event["name"], event["things"]
    field, wordings = rng.choice([
        ("day", [f"On which day did {name} buy something?", f"When did {name} buy the {things}? Name the day."]),
        ("city", [f"In which city was {name}?", f"Name the city in which {name} bought the {things}."]),
        ("things", [f"What did {name} buy?", f"Which things did {name} buy?"]),
        ("name", [f"Who bought {things}?", f"Name the person who bought {things}."]),
    ])  # fmt: skip
    also = (f"{event['number']} {things}",) if field == "things" else ()
    return says(f"{field} {text}", grade, wordings, [event[field], *also], rng, text)


@task
def find_number(rng: random.Random, grade: int) -> Question:
    """How many apples did Tom buy? How much did he pay?"""
    events, text = _text(rng, grade)
    event = rng.choice(events)
    field, wordings = rng.choice([
        ("number", [f"How many {event['things']} did {event['name']} buy?", f"Give the number of {event['things']}."]),
        ("price", [f"How many dollars did {event['name']} pay?", f"What did the {event['things']} cost, in dollars?"]),
    ])  # fmt: skip
    return number(f"{field} {text}", grade, wordings, event[field], rng, text)


@task
def find_names(rng: random.Random, grade: int) -> Question:
    """List the people of the text. (two people; three; their cities)"""
    events, text = _text(rng, min(3, grade + 1))
    field, wordings = [
        ("name", ["Name all the people in the text.", "List the names of the people in the text."]),
        ("name", ["Name all the people in the text.", "List the names of the people in the text."]),
        ("city", ["Name all the cities in the text.", "List the cities that the text mentions."]),
    ][grade - 1]
    return listed(f"{field} {text}", grade, wordings, [event[field] for event in events], rng, text)


@task
def find_contact(rng: random.Random, grade: int) -> Question:
    """What is Tom's e-mail address? His telephone number?"""
    people = rng.sample(NAMES, grade)
    cards = []
    for person in people:
        phone = f"555-{rng.randint(1000, 9999)}"
        mail = f"{person.lower()}{rng.randint(10, 99)}@{rng.choice(['mail', 'post', 'office'])}.example"
        cards.append({"name": person, "phone": phone, "mail": mail, "job": rng.choice(_JOBS)})
    text = " ".join("{name} is a {job}. Phone: {phone}, e-mail: {mail}.".format(**card) for card in cards)
    card = rng.choice(cards)
    field, asked = rng.choice([("phone", "telephone number"), ("mail", "e-mail address")])
    wordings = [f"What is the {asked} of {card['name']}?", f"Copy the {asked} of {card['name']} from the text."]
    return says(f"{field} {text}", grade, wordings, [card[field]], rng, text)


def _as_json(
    key: str, grade: int, wordings: list[str], answer: dict[str, Any], rng: random.Random, text: str
) -> Question:
    said = json.dumps(answer)
    return Question(key, grade, rng.choice(wordings), said, "json", (said,), text)


@task
def json_person(rng: random.Random, grade: int) -> Question:
    """Write the text as a JSON object with the keys name, age, city."""
    name, age = rng.choice(NAMES), rng.randint(18, 79)
    city, job = rng.choice(_CITIES), rng.choice(_JOBS)
    person = dict([("name", name), ("age", age), ("city", city), ("job", job)][: 1 + grade])
    text = f"{name} is {age} years old" + (f" and lives in {city}" if grade > 1 else "") + "."
    text += f" {name} works as a {job}." if grade > 2 else ""
    keys = ", ".join(f'"{key}"' for key in person)
    wordings = [
        f"Write the facts of the text as a JSON object with the keys {keys}.",
        f"Reply with JSON only. Take the keys {keys} from the text.",
    ]
    return _as_json(text, grade, wordings, person, rng, text)


@task
def json_order(rng: random.Random, grade: int) -> Question:
    """Write the purchase in the text as a JSON object."""
    (event,) = _events(rng, 1)
    text = _told(event, rng.randrange(3))
    chosen = ["name", "things", "number", "city", "price", "day"]
    answer = {key: event[key] for key in rng.sample(chosen, 1 + grade)}
    meaning = {
        "things": "what was bought",
        "number": "how many",
        "name": "who",
        "city": "where",
        "price": "dollars paid",
        "day": "when",
    }
    keys = ", ".join(f'"{key}" ({meaning[key]})' for key in answer)
    wordings = [
        f"Give a JSON object with the keys {keys}.",
        f"Write this purchase as JSON, with the keys {keys} and no others.",
    ]
    return _as_json(text, grade, wordings, answer, rng, text)
