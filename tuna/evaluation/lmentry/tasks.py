"""What LMentry is made of (Efrat et al. 2022): its tasks, and which accuracies each part of its robustness compares.

The orders are those in which its owners take their means, so that sums round alike.
"""

# The 25 core tasks.
CORE = (
    "sentence_containing", "sentence_not_containing", "word_containing", "word_not_containing", "most_associated_word",
    "least_associated_word", "any_words_from_category", "all_words_from_category", "first_alphabetically",
    "more_letters", "less_letters", "bigger_number", "smaller_number", "rhyming_word", "homophones", "word_after",
    "word_before", "starts_with_word", "ends_with_word", "starts_with_letter", "ends_with_letter", "first_word",
    "last_word", "first_letter", "last_letter",
)  # fmt: skip

# Tasks that offer two answers, where the right one comes first or second.
ANSWER_ORDER = (
    "more_letters", "less_letters", "first_alphabetically", "rhyming_word", "homophones", "bigger_number",
    "smaller_number",
)  # fmt: skip

# The same task with easier and harder arguments: the ends of the files' names.
CONTENT = {
    "first_alphabetically": (
        "far_first_letter", "different_first_letter", "consecutive_first_letter", "same_first_letter",
    ),
    "all_words_from_category": ("0_distractors", "1_distractors", "2_distractors"),
    "any_words_from_category": ("5_distractors", "4_distractors", "3_distractors"),
    "rhyming_word": ("orthographically_similar", "orthographically_different"),
    "more_letters": ("length_diff_3plus", "length_diff_1"),
    "less_letters": ("length_diff_3plus", "length_diff_1"),
}  # fmt: skip

# Tasks that ask nearly the same.
ADJACENT = (
    ("bigger_number", "smaller_number"),
    ("more_letters", "less_letters"),
    ("word_after", "word_before"),
    ("most_associated_word", "least_associated_word"),
    ("any_words_from_category", "all_words_from_category"),
    ("sentence_containing", "sentence_not_containing"),
    ("word_containing", "word_not_containing"),
    ("starts_with_word", "starts_with_letter"),
    ("ends_with_word", "ends_with_letter"),
    ("sentence_containing", "word_containing"),
    ("sentence_not_containing", "word_not_containing"),
    ("first_word", "first_letter"),
    ("last_word", "last_letter"),
    ("starts_with_word", "ends_with_word"),
    ("starts_with_letter", "ends_with_letter"),
    ("first_word", "last_word"),
    ("first_letter", "last_letter"),
)

# Each of the 41 files, and the core task whose scorer marks it.
SCORER = {name: name for name in CORE} | {f"{core}_{end}": core for core, ends in CONTENT.items() for end in ends}
