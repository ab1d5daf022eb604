"""The checks of real models' replies: strict about what is right, tolerant about what stands around it."""

from __future__ import annotations

from typing import Any

import pytest

from tuna.assets.checker import CHECKS, is_checkable, mark
from tuna.assets.replies import RULES, fault, items, right


def row(check: str, *answers: str, **more: Any) -> dict[str, Any]:
    return {"check": check, "answers": list(answers), **more}


COLD = row("says", "cold", "chilly")
DOG = row("says", "dog")  # chosen from words that the question names
YES = row("says", "yes")
TWELVE = row("number", "12")
PETS = row("items", "fox", "hen", "cow", count=2)
SORTED = row("sequence", "3", "7", "12")
ANN = row("json", '{"name": "Ann", "age": 7}')
WRONG, RIGHT = 0.0, 1.0


@pytest.mark.parametrize(
    ("record", "text", "expected"),
    [
        (COLD, "cold", RIGHT),
        (COLD, "Cold.", RIGHT),
        (COLD, "**Cold**", RIGHT),
        (COLD, 'The opposite of "hot" is "cold".', RIGHT),
        (COLD, "The opposite of hot is cold, which is a low temperature.", RIGHT),
        (COLD, "The opposite of hot is:\n\ncold", RIGHT),
        (COLD, "Sure! The opposite of hot is 'cold'. Cold is not hot.", RIGHT),
        (COLD, "Cold is the opposite of hot.", RIGHT),
        (COLD, "Let us think. Hot is warm. The answer is cold.", RIGHT),
        (COLD, "Answer: cold", RIGHT),
        (COLD, "hot -> cold", RIGHT),
        (COLD, "", WRONG),
        (COLD, "hot", WRONG),
        (COLD, "cold or warm", WRONG),
        (COLD, "cold and warm", WRONG),
        (COLD, "colder", WRONG),
        (COLD, "cold-blooded", WRONG),
        (COLD, "not cold", WRONG),
        (COLD, "The opposite of hot is not cold.", WRONG),
        (COLD, "Warm. No, cold.", WRONG),
        (COLD, "warm, cold, icy", WRONG),
        (COLD, "cold, icy, warm", WRONG),
        (COLD, "The word is cold, icy, warm.", WRONG),
        (COLD, "Cold, or, to put it in other words, of a low temperature.", RIGHT),
        (COLD, "The opposite of hot is cold water.", WRONG),
        (DOG, "The dog is bigger than the mouse.", RIGHT),
        (DOG, "The bigger one is a dog.", RIGHT),
        (DOG, "The mouse is smaller than the dog.", WRONG),
        (DOG, "Both the mouse and the dog.", WRONG),
        (YES, "Yes, a dog is an animal.", RIGHT),
        (YES, "Yes", RIGHT),
        (YES, "No, a dog is an animal, yes.", WRONG),
        (row("says", "no"), "No, a dog is not a plant.", RIGHT),
        (row("says", "in"), "in", RIGHT),
        (row("says", "library"), "At the library.", RIGHT),
        (row("says", "library"), "You can borrow books at a library.", RIGHT),
        (row("says", "f"), 'The first letter of "fox" is the letter F.', RIGHT),
        (row("says", "a"), "A.", RIGHT),
        (row("says", "a"), "a, as in shark", RIGHT),
        (row("says", "a"), "A shark is a fish.", WRONG),
        (row("says", "4:05"), "The film ends at 4:05.", RIGHT),
        (row("says", "ann7@mail.example"), "Her e-mail address is ann7@mail.example.", RIGHT),
        (row("says", "dentist"), "A person who takes care of teeth is called a dentist.", RIGHT),
    ],
)
def test_says(record: dict[str, Any], text: str, expected: float) -> None:
    assert mark(record, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", RIGHT),
        ("Twelve.", RIGHT),
        ("$12.00", RIGHT),
        ("The answer is **12**. This is because 3 times 4 is 12, and not 13.", RIGHT),
        ("3 + 9 = 12", RIGHT),
        ("First, 3 + 4 = 7. Then 7 + 5 = 12 apples.", RIGHT),
        ("Tom has 3 apples. He buys 9 more. So Tom has 12 apples now.", RIGHT),
        ("Tom has 12 apples.", RIGHT),
        ("There are 12 inches in 1 foot.", RIGHT),
        ("12 apples. He had 3 and got 9.", RIGHT),
        ("Ben buys 3 for 4 dollars each, so he pays 12 dollars.", RIGHT),
        ("-12", WRONG),
        ("1,200", WRONG),
        ("3 + 9", WRONG),
        ("12 or 13", WRONG),
        ("112", WRONG),
        ("3 + 9 = 11, not 12", WRONG),
        ("Tom has 11 apples. 12 would be more.", WRONG),
        ("many", WRONG),
        ("", WRONG),
    ],
)
def test_number(text: str, expected: float) -> None:
    assert mark(TWELVE, text) == expected


def test_number_words_and_thousands() -> None:
    assert mark(row("number", "47"), "It is forty-seven.") == RIGHT
    assert mark(row("number", "1200"), "The total is 1,200 dollars.") == RIGHT
    assert mark(row("number", "-3"), "It is -3") == RIGHT
    assert mark(row("number", "4"), "3-4") == WRONG


@pytest.mark.parametrize(
    ("record", "text", "expected"),
    [
        (PETS, "fox, hen", RIGHT),
        (PETS, "A hen and a cow.", RIGHT),
        (PETS, "Here are two:\n\n1. **Cow** - it gives milk\n2. Fox: red", RIGHT),
        (PETS, "- fox\n- hen", RIGHT),
        (PETS, "Fox\nHen", RIGHT),
        (PETS, "Two animals are fox and hen.", RIGHT),
        (PETS, "fox", WRONG),
        (PETS, "fox, fox", WRONG),
        (PETS, "fox, hen, cow", WRONG),
        (PETS, "fox, table", WRONG),
        (row("items", "fox", "hen"), "hen, fox", RIGHT),
        (row("items", "fox", "hen"), "hen", WRONG),
        (SORTED, "3, 7, 12", RIGHT),
        (SORTED, "3 < 7 < 12", RIGHT),
        (SORTED, "The numbers in order are: 3, 7, 12.", RIGHT),
        (SORTED, "3 7 12", RIGHT),
        (SORTED, "3, 12, 7", WRONG),
        (SORTED, "3, 7", WRONG),
        (row("sequence", *"fox"), "F-O-X", RIGHT),
        (row("sequence", *"fox"), "fox", WRONG),
    ],
)
def test_items_and_sequence(record: dict[str, Any], text: str, expected: float) -> None:
    assert mark(record, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "Ann", "age": 7}', RIGHT),
        ('Here it is:\n```json\n{"age": "7", "name": "ann"}\n```\nIt has both keys.', RIGHT),
        ('{"name": "Ann"}', WRONG),
        ('{"name": "Ann", "age": 7, "city": "Rome"}', WRONG),
        ('{"Name": "Ann", "age": 7}', WRONG),
        ('{"name": "Ann", "age": 8}', WRONG),
        ('{"name": {"age": 7}}', WRONG),
        ("{name: Ann, age: 7}", WRONG),
        ("Ann, 7", WRONG),
    ],
)
def test_json(text: str, expected: float) -> None:
    assert mark(ANN, text) == expected


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("words 3", "Here is one.", "Here is one more."),
        ("at_most_words 3", "Here is one.", "Here is one more."),
        ("at_least_words 3", "Here is one.", "Here."),
        ("mentions cat", "Two cats sat.", "A concatenation."),
        ("starts Every day", '"Every day we sing."', "We sing every day."),
        ("ends sea", "We saw the sea.", "The sea is blue."),
        ("ends ?", "Who is it?", "Who is it"),
        ("exactly A FOX", "**A FOX**", "A fox"),
        ("exactly a - b", "a-b", "a, b"),
    ],
)
def test_obeys(rule: str, good: str, bad: str) -> None:
    assert mark(row("obeys", rule), good) == RIGHT
    assert mark(row("obeys", rule), bad) == WRONG
    assert mark(row("obeys", rule), "") == WRONG
    assert rule.split()[0] in {known.split()[0] for known in RULES}


def test_obeys_passes_over_a_lead() -> None:
    assert mark(row("obeys", "words 3"), "Here is a sentence:\n\nWe like cats.") == RIGHT


def test_every_rule_must_be_kept() -> None:
    assert mark(row("obeys", "words 3", "mentions cat"), "We like dogs.") == WRONG


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (row("number", "twelve"), "answers"),
        (row("json", "{name: Ann}"), "answers"),
        (row("json", "7"), "answers"),
        (row("obeys", "words many"), "answers"),
        (row("obeys", "sings"), "answers"),
        (row("items", "fox", count=2), "count"),
        (row("items", "fox", count="1"), "count"),
    ],
)
def test_faults_of_a_record(record: dict[str, Any], field: str) -> None:
    found = fault(record)
    assert found is not None and found[0] == field


@pytest.mark.parametrize("record", [COLD, TWELVE, PETS, SORTED, ANN, row("obeys", "words 3")])
def test_records_without_fault(record: dict[str, Any]) -> None:
    assert fault(record) is None
    assert record["check"] in CHECKS and is_checkable(record)


def test_unknown_check() -> None:
    with pytest.raises(KeyError):
        right(row("guess", "cold"), "cold")


def test_items_of_lines_and_of_sentences() -> None:
    assert items("The cities are Rome, Oslo, and Paris. All are in Europe.") == ["rome", "oslo", "paris"]
    assert items("1) one\n2) two") == ["one", "two"]


# Replies of SmolLM2-135M-Instruct, greedy, before any tuning (docs/english.md), and what a person says of them.
REAL = [
    (row("says", "penguin"), "The bird is a bird.", WRONG),
    (row("says", "fox"), 'The word is "fox"', RIGHT),
    (row("says", "lock"), "The word that is first in alphabetical order is lock.", RIGHT),
    (row("says", "comb"), 'The word is "comb"', RIGHT),
    (row("says", "car"), "The answer is: The car is bigger.\n\nThis is a classic example of a logical fallacy.", RIGHT),
    (
        row("says", "far"),
        "The antonym of near is far. In the context of language, the antonym of near is far-fetched.",
        RIGHT,
    ),
    (
        row("says", "Spanish"),
        "In Ecuador, the most widely spoken language is Spanish, with approximately 60% of all.",
        RIGHT,
    ),
    (row("says", "no"), "No, Anna is not a dinep. She is a nuzag.", RIGHT),
    (row("says", "yes"), "No: tuna is not a fish.", WRONG),
    (row("says", "978"), "The number that is the biggest is 978, 847, 611, 929.", WRONG),
    (row("says", "saucer"), 'The longest word in the list is "saucer, moth, wound, field"', WRONG),
    (row("says", "cleaned"), 'The missing word is "clean"', WRONG),
    (row("says", "Wednesday"), "Sam bought 25 carpets at the harbor in Sydney for 65 dollars.", WRONG),
    (row("says", "drink"), 'The answer to this question is "day of the week" or "day of the month" or "drink"', WRONG),
    (row("number", "110"), "10 x 11 = 110\n\nThis is a multi-digit number, the product of two numbers.", RIGHT),
    (row("number", "92"), "Emma paid 92 dollars for 3 lamps.", RIGHT),
    (
        row("number", "2"),
        "A duet is a piece of two solo performances. In a traditional duet, there are two singers.",
        RIGHT,
    ),
    (row("number", "99"), "Ninety-nine in digits is 99.", RIGHT),
    (row("number", "4"), "The total cost of 2 cards is 2 * 2 = 4 dollars.\n\nSo, Rosa spends", RIGHT),
    (row("number", "6"), "2 * 3 = 6 dollars.\nSo, Nina pays 6 * 3 = 18 dollars.\n#### 18\nThe answer", WRONG),
    (row("number", "18"), "To solve this problem, you convert 70 to a decimal, which is 7. That gives you 88.", WRONG),
    (
        row("items", "Madrid", "Sydney"),
        "The text mentions these:\n\n1. Madrid\n2. Sydney\n3. Victoria\n4. Victoria",
        WRONG,
    ),
    (
        row("items", "head", "leg", "legs", count=2),
        "1. Head: The head is large.\n\n2. Legs: The legs are the largest",
        RIGHT,
    ),
    (row("sequence", "computer", "key"), "computer, key", RIGHT),
    (row("sequence", "76", "39"), "The numbers are 76, 39, 95, which are the largest numbers.", WRONG),
    (row("json", '{"price": 46, "number": 4}'), '{\n  "price": 46,\n  "number": 4\n}', RIGHT),
    (row("json", '{"name": "Leo"}'), '{\n  "name": "Leo",\n  "description": "Leo bought 13', WRONG),
    (row("obeys", "exactly QUEEN"), "queen", WRONG),
    (row("obeys", "starts Yesterday", "ends lake"), "Yesterday, I was lost in the vast expanse of a lake.", RIGHT),
    (
        row("obeys", "words 7", "mentions goat"),
        'The word "goat" is not allowed in a sentence that has exactly 7 words.',
        WRONG,
    ),
]


@pytest.mark.parametrize(("record", "text", "expected"), REAL)
def test_real_replies(record: dict[str, Any], text: str, expected: float) -> None:
    assert mark(record, text) == expected
