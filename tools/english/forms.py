"""Tasks in which the form of the answer counts: how many, how long, which letters."""

from __future__ import annotations

import random

from tools.english import lexicon
from tools.english.lexicon import a, pick
from tools.english.questions import Question, task


def _obeys(key: str, grade: int, wordings: list[str], output: str, rules: list[str], rng: random.Random) -> Question:
    return Question(key, grade, rng.choice(wordings), output, "obeys", tuple(rules))


@task
def name_some(rng: random.Random, grade: int) -> Question:
    """Name three animals."""
    category = rng.choice(list(lexicon.categories().values()))
    count = 1 + grade + (grade == 3)
    chosen = rng.sample(category.words[: max(8, len(category.words) // 3)], min(count, len(category.words)))
    answers = sorted({*category.words, *(plural for word in category.words for plural in lexicon.plurals(word))})
    wordings = [
        f"Name {count} {category.plural}.",
        f"List exactly {count} {category.plural}.",
        f"Give me {count} examples of {category.plural}.",
    ]
    return Question(
        f"{category.name} {count}", grade, rng.choice(wordings), ", ".join(chosen), "items", tuple(answers), count=count
    )


@task
def name_by_letter(rng: random.Random, grade: int) -> Question:
    """Name an animal that starts with b. (many; few; and one that ends with a letter)"""
    while True:
        category = rng.choice([category for category in lexicon.categories().values() if len(category.words) > 10])
        word = rng.choice(category.words)
        where, letter = ("starts", word[0]) if grade < 3 else ("ends", word[-1])
        right = [other for other in category.words if (other[0] if grade < 3 else other[-1]) == letter]
        if grade == 3 or (len(right) > 2) == (grade == 1):
            break
    wordings = [
        f"Name {a(category.name)} that {where} with the letter {letter.upper()}.",
        f"Which {category.name} {where} with {letter.upper()}? Name one.",
    ]
    rng.shuffle(right)
    return Question(f"{category.name} {where} {letter}", grade, rng.choice(wordings), right[0], "says", tuple(right))


@task
def name_without(rng: random.Random, grade: int) -> Question:
    """Name an animal without the letter e in its name."""
    letters = ["zxkvw", "bcdhlm", "aeiort"][grade - 1]
    category = rng.choice([category for category in lexicon.categories().values() if len(category.words) > 10])
    letter = rng.choice(letters)
    right = [word for word in category.words if letter not in word]
    rng.shuffle(right)
    wordings = [
        f'Name {a(category.name)} whose name does not have the letter "{letter}" in it.',
        f'Name {a(category.name)} without the letter "{letter}".',
    ]
    return Question(f"{category.name} without {letter}", grade, rng.choice(wordings), right[0], "says", tuple(right))


_OPENINGS = ("The {0} is here.", "I like the {0}.", "There is a {0}.", "We saw a {0}.", "She has a {0}.")


@task
def short_sentence(rng: random.Random, grade: int) -> Question:
    """Write a sentence with the word fox, of at most eight words. (one word; two; exactly so many words)"""
    words = pick(rng, 1, 1 + (grade == 2))
    text = '" and "'.join(words)
    if grade == 3:
        many = rng.randint(5, 8)
        sentence = f"We saw the {words[0]} {' '.join(['near', 'our', 'house'][: many - 5])} today."
        wordings = [
            f'Write a sentence of exactly {many} words with the word "{text}".',
            f'Use the word "{text}" in a sentence that has exactly {many} words.',
        ]
        return _obeys(words[0], grade, wordings, sentence, [f"words {many}", f"mentions {words[0]}"], rng)
    many = rng.choice([8, 9, 10])
    sentence = rng.choice(_OPENINGS).format(words[0]) if grade == 1 else f"I saw {a(words[0])} and {a(words[1])}."
    wordings = [
        f'Write one sentence of at most {many} words with "{text}" in it.',
        f'Use "{text}" in a sentence. Do not write more than {many} words.',
    ]
    rules = [f"at_most_words {many}", "at_least_words 3", *(f"mentions {word}" for word in words)]
    return _obeys(" ".join(words), grade, wordings, sentence, rules, rng)


@task
def starts_with(rng: random.Random, grade: int) -> Question:
    """Write a sentence that starts with the word fox. (starts; ends; starts and ends)"""
    first = rng.choice(
        [
            "Yesterday",
            "Today",
            "Every morning",
            "In the evening",
            "Sometimes",
            "When I was young",
            "On the hill",
            "At night",
            "After lunch",
            "Near the sea",
            "Last year",
            "My friend",
        ]
    )
    (last,) = pick(rng, 1, 1)
    parts, rules = [], ["at_least_words 3", "at_most_words 25"]
    if grade in (1, 3):
        parts.append(f'starts with "{first}"')
        rules.append(f"starts {first}")
    if grade in (2, 3):
        parts.append(f'ends with the word "{last}"')
        rules.append(f"ends {last}")
    asked = " and ".join(parts)
    output = " ".join(
        [
            first if grade in (1, 3) else "We",
            "we looked at the" if grade == 3 else "saw the" if grade == 2 else "we all went for a walk",
        ]
    )
    output = output.replace("My friend we", "My friend and I") + (f" {last}." if grade > 1 else ".")
    about = "" if grade > 1 else f" Write about {a(last)}."
    if about:
        rules.append(f"mentions {last}")
        output = output.replace("went for a walk", f"saw {a(last)}")
    wordings = [f"Write a sentence that {asked}.{about}", f"Make up one sentence. It {asked}.{about}"]
    return _obeys(f"{first} {last}", grade, wordings, output, rules, rng)


@task
def capitals(rng: random.Random, grade: int) -> Question:
    """Write "red fox" in capital letters. (one word; three; a sentence with others kept small)"""
    words = pick(rng, grade, [1, 3, 4][grade - 1])
    text = " ".join(words)
    if grade == 3:
        text = f"the {words[0]} and the {words[1]} are near the {words[2]}"
        wordings = [
            "Copy the text, with its first letter as a capital and a full stop at the end.",
            "Write the text as a proper sentence: a capital first, a full stop last.",
        ]
        answer = text[0].upper() + text[1:] + "."
        rules = [f"exactly {answer}", "ends ."]
    else:
        wordings = ["Write the text in capital letters.", "Copy the text in upper case."]
        answer = text.upper()
        rules = [f"exactly {answer}"]
    return Question(text, grade, rng.choice(wordings), answer, "obeys", tuple(rules), text)


@task
def repeat(rng: random.Random, grade: int) -> Question:
    """Write the word fox three times, separated by commas. (2 or 3; 4 or 5; two words in turn)"""
    words = pick(rng, grade, 1 + (grade == 3))
    times = rng.randint(*[(2, 3), (4, 6), (2, 3)][grade - 1])
    said = f'the word "{words[0]}"' if grade < 3 else f'the words "{words[0]}, {words[1]}" in turn,'
    wordings = [
        f"Write {said} {times} times, separated by commas.",
        f"Repeat {said} {times} times, with commas between.",
    ]
    answers = words * times
    return Question(
        f"{' '.join(words)} {times}", grade, rng.choice(wordings), ", ".join(answers), "sequence", tuple(answers)
    )


@task
def join(rng: random.Random, grade: int) -> Question:
    """Write the words with a hyphen between them. (a sign between; in brackets; numbered)"""
    words = pick(rng, grade, 1 + grade)
    text = ", ".join(words)
    sign, name = rng.choice(
        [("-", "a hyphen"), (" + ", "a plus sign"), ("/", "a slash"), (" & ", "an ampersand"), ("; ", "a semicolon")]
    )
    answer = sign.join(words)
    wordings = [
        f"Write these words with {name} between them, and no commas.",
        f"Join the words of the list by {name} in place of the comma.",
    ]
    return Question(f"{name} {text}", grade, rng.choice(wordings), answer, "obeys", (f"exactly {answer}",), text)
