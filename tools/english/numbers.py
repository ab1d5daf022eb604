"""Tasks about numbers, quantities and time."""

from __future__ import annotations

import random
from itertools import pairwise

from tools.english import lexicon
from tools.english.questions import Question, listed, number, says, task

NAMES = lexicon.names("people")
_THINGS = lexicon.names("counted things")
_TOP = (20, 100, 1000)


@task
def add(rng: random.Random, grade: int) -> Question:
    """What is 3 plus 4?"""
    left, right = rng.randint(1, _TOP[grade - 1]), rng.randint(1, _TOP[grade - 1])
    wordings = [f"What is {left} + {right}?", f"Add {left} and {right}.", f"Calculate the sum of {left} and {right}."]
    return number(f"{min(left, right)} {max(left, right)}", grade, wordings, left + right, rng)


@task
def subtract(rng: random.Random, grade: int) -> Question:
    """What is 9 minus 4?"""
    left, right = sorted(rng.sample(range(1, _TOP[grade - 1] + 1), 2), reverse=True)
    wordings = [f"What is {left} - {right}?", f"Subtract {right} from {left}.", f"How much is {left} minus {right}?"]
    return number(f"{left} {right}", grade, wordings, left - right, rng)


@task
def multiply(rng: random.Random, grade: int) -> Question:
    """What is 3 times 4?"""
    left, right = rng.randint(2, [5, 10, 20][grade - 1]), rng.randint(2, [10, 12, 20][grade - 1])
    wordings = [f"What is {left} times {right}?", f"Multiply {left} by {right}.", f"What is {left} x {right}?"]
    return number(f"{min(left, right)} {max(left, right)}", grade, wordings, left * right, rng)


@task
def divide(rng: random.Random, grade: int) -> Question:
    """What is 12 divided by 4?"""
    right, answer = rng.randint(2, [5, 10, 15][grade - 1]), rng.randint(2, [6, 12, 20][grade - 1])
    wordings = [f"What is {right * answer} divided by {right}?", f"Divide {right * answer} by {right}."]
    return number(f"{right * answer} {right}", grade, wordings, answer, rng)


def _numbers(rng: random.Random, grade: int, count: int) -> list[int]:
    return rng.sample(range(1, [30, 100, 1000][grade - 1]), count)


@task
def biggest_number(rng: random.Random, grade: int) -> Question:
    """Which number is the biggest? The smallest?"""
    numbers = _numbers(rng, grade, 1 + grade)
    text = ", ".join(map(str, numbers))
    name, answer = rng.choice([("biggest", max(numbers)), ("smallest", min(numbers))])
    wordings = [f"Which number is the {name}?", f"Write the {name} of these numbers."]
    return says(f"{name} {text}", grade, wordings, [str(answer)], rng, text)


@task
def sort_numbers(rng: random.Random, grade: int) -> Question:
    """Sort the numbers."""
    numbers = _numbers(rng, grade, 1 + grade + (grade > 1))
    text = ", ".join(map(str, numbers))
    way, down = rng.choice([("from the smallest to the biggest", False), ("from the biggest to the smallest", True)])
    wordings = [f"Sort the numbers {way}.", f"Write these numbers in order, {way}."]
    return listed(
        f"{way} {text}", grade, wordings, [str(n) for n in sorted(numbers, reverse=down)], rng, text, "sequence"
    )


@task
def even_numbers(rng: random.Random, grade: int) -> Question:
    """Which of the numbers are even? Odd?"""
    while True:
        numbers = _numbers(rng, grade, 2 + grade)
        name, rest = rng.choice([("even", 0), ("odd", 1)])
        answers = [str(n) for n in numbers if n % 2 == rest]
        if 1 <= len(answers) <= 3:
            break
    text = ", ".join(map(str, numbers))
    wordings = [f"Which of these numbers are {name}? List them.", f"Write down every {name} number of the list."]
    return listed(f"{name} {text}", grade, wordings, answers, rng, text)


@task
def series(rng: random.Random, grade: int) -> Question:
    """Which number comes next? 2, 4, 6"""
    first, step = rng.randint(1, 10 * grade), rng.randint(1, [5, 10, 12][grade - 1])
    if grade == 3 and rng.random() < 0.5:
        numbers = [first * 2**place for place in range(5)]
    else:
        sign = -1 if grade == 3 else 1
        start = first if sign == 1 else first + 6 * step
        numbers = [start + sign * step * place for place in range(5)]
    text = ", ".join(map(str, numbers[:4]))
    wordings = ["Which number comes next?", "Continue the series with one more number."]
    return number(text, grade, wordings, numbers[4], rng, text)


@task
def digits(rng: random.Random, grade: int) -> Question:
    """Write forty-seven in digits."""
    value = rng.randint(*[(11, 99), (100, 999), (1000, 9999)][grade - 1])
    wordings = [f"Write this number in digits: {spoken(value)}.", f"How do you write {spoken(value)} in digits?"]
    return number(str(value), grade, wordings, value, rng)


def spoken(value: int) -> str:
    """A number below 10,000 in words.

    >>> spoken(47), spoken(305), spoken(2010)
    ('forty-seven', 'three hundred five', 'two thousand ten')
    """
    small, tens = lexicon.names("below twenty"), lexicon.names("tens")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = f" {spoken(value % size)}" if value % size else ""
            return f"{spoken(value // size)} {name}{rest}"
    if value < 20:
        return small[value]
    return tens[value // 10 - 2] + (f"-{small[value % 10]}" if value % 10 else "")


@task
def units(rng: random.Random, grade: int) -> Question:
    """How many minutes are 3 hours?"""
    many, small, factor = rng.choice([
        [("weeks", "days", 7), ("minutes", "seconds", 60), ("meters", "centimeters", 100), ("dollars", "cents", 100)],
        [("hours", "minutes", 60), ("days", "hours", 24), ("feet", "inches", 12), ("dozens", "pieces", 12)],
        [("years", "months", 12), ("hours", "minutes", 60), ("days", "hours", 24), ("pounds", "ounces", 16)],
    ][grade - 1])  # fmt: skip
    count = rng.randint(2, [5, 9, 12][grade - 1])
    asked, answer = (f"{count} {many}", count * factor)
    if grade == 3 and rng.random() < 0.5:
        many, small, asked, answer = small, many, f"{count * factor} {many.replace(many, small)}", count
    wordings = [f"How many {small} are {asked}?", f"Convert {asked} to {small}."]
    return number(f"{asked} {small}", grade, wordings, answer, rng)


@task
def clock(rng: random.Random, grade: int) -> Question:
    """A film starts at 3:15 and lasts 50 minutes. When does it end?"""
    hour, minute = rng.randint(1, 10), rng.choice([[0], [0, 10, 15, 20, 30], range(0, 60, 5)][grade - 1])
    lasts = rng.choice([[10, 15, 20, 30, 45], [15, 20, 25, 30, 60], [35, 40, 50, 75, 90, 105]][grade - 1])
    end = hour * 60 + minute + lasts
    start, answer = f"{hour}:{minute:02d}", f"{end // 60}:{end % 60:02d}"
    what = rng.choice(["film", "lesson", "meeting", "game", "concert"])
    wordings = [
        f"A {what} starts at {start} and lasts {lasts} minutes. At what time does it end?",
        f"It is {start}. What time will it be in {lasts} minutes?",
    ]
    return says(f"{start} {lasts}", grade, wordings, [answer], rng)


@task
def story(rng: random.Random, grade: int) -> Question:
    """Tom has 5 apples. He gets 3 more. How many has he now? (one, two, three steps)"""
    top = [12, 30, 60][grade - 1]
    (name, other), things = rng.sample(NAMES, 2), rng.choice(_THINGS)
    have = rng.randint(3, top)
    text, total = f"{name} has {have} {things}.", have
    for _ in range(grade):
        change = rng.randint(2, top // 2)
        if rng.random() < 0.5 and total - change > 0:
            total -= change
            said = [
                f"{name} gives {change} {things} to {other}.",
                f"{name} loses {change} of them.",
                f"{name} sells {change} of them.",
            ]
        else:
            total += change
            said = [
                f"{name} buys {change} more.",
                f"{other} gives {name} {change} more {things}.",
                f"{name} finds {change} more.",
            ]
        text += " " + rng.choice(said)
    wordings = [f"How many {things} does {name} have now?", f"How many {things} does {name} have in the end?"]
    return number(text, grade, wordings, total, rng, text)


@task
def shopping(rng: random.Random, grade: int) -> Question:
    """One apple costs 2 dollars. How much do 3 apples cost? (price; two prices; change)"""
    name, (first, second) = rng.choice(NAMES), rng.sample(_THINGS, 2)
    price, count = rng.randint(2, 3 + 2 * grade), rng.randint(2, 3 + 2 * grade)
    text, total = f"{name} buys {count} {first} for {price} dollars each.", price * count
    asked = f"How many dollars does {name} pay?"
    if grade == 2:
        extra = rng.randint(2, 20)
        text, total = text + f" {name} also buys some {second} for {extra} dollars in total.", total + extra
        asked = f"How many dollars does {name} pay for everything?"
    if grade == 3:
        note = (total // 10 + rng.randint(1, 4)) * 10
        text, total = text + f" {name} pays with {note} dollars.", note - total
        asked = f"How many dollars does {name} get back?"
    return number(text, grade, [f"{asked} Give the number.", asked], total, rng, text)


@task
def sharing(rng: random.Random, grade: int) -> Question:
    """12 cookies are shared equally by 4 children. How many does each get?"""
    children, each = rng.randint(2, 3 + 2 * grade), rng.randint(2, 4 + 3 * grade)
    things, left = rng.choice(_THINGS), rng.randint(1, children - 1) if grade == 3 else 0
    total = children * each + left
    text = f"{children} children share {total} {things} equally"
    if left:
        text += ", as many whole ones as possible, and put the rest aside"
        wordings = [f"How many {things} are put aside?", f"What is the number of {things} in the rest?"]
        return number(text, grade, wordings, left, rng, text + ".")
    wordings = [f"How many {things} does each child get?", f"What is the number of {things} for each child?"]
    return number(text, grade, wordings, each, rng, text + ".")


@task
def ages(rng: random.Random, grade: int) -> Question:
    """Tom is 5 years old. Anna is 3 years older. How old is Anna?"""
    people = rng.sample(NAMES, 3)
    age = rng.randint(8, 15 + 10 * grade)
    text = f"{people[0]} is {age} years old."
    steps = grade if grade < 3 else 2
    for previous, person in pairwise(people[: steps + 1]):
        change = rng.randint(2, 6)
        sign, word = rng.choice([(1, "older"), (-1, "younger")])
        age += sign * change
        text += f" {person} is {change} years {word} than {previous}."
    asked = f"How old is {people[steps]}?"
    if grade == 3:
        years = rng.randint(2, 9)
        age, asked = age + years, f"How old will {people[steps]} be in {years} years?"
    return number(f"{text} {asked}", grade, [asked, f"{asked} Give the number of years."], age, rng, text)
