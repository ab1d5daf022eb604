"""What judges write, right and malformed, each with its outcome."""

import pytest

from tuna.judges.replies import VerdictError
from tuna.judges.verdict import Verdict, parse_verdict

pytestmark = pytest.mark.once  # computes nothing that kernels could round

FULL = """The instruction requires a close-ended response.

###Response 4:
The capital of France is Paris.

Third, Response 1 and Response 3 are duplicates.

Response 0: [9]
Response 1: [14]
Response 2: [4]
Response 4: [15]

rank: [4, 1, 0, 2]"""

# reply -> the candidates' order (four candidates, 4 is the judge's own), or part of the reason
REPLIES: dict[str, tuple[int, ...] | str] = {
    # what the prompt asks for
    FULL: (1, 0, 2),
    "rank: [4, 3, 1, 0, 2]": (3, 1, 0, 2),
    "rank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "rank: [2, 0]": (2, 0),
    "rank: [1]": (1,),
    "rank: [4, 2]": (2,),
    # case, spaces, line breaks, full stops
    "Rank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "RANK:[3,1,0,2]": (3, 1, 0, 2),
    "rank :  [ 3 ,1 , 0,2 ]": (3, 1, 0, 2),
    "rank:\n[3, 1, 0, 2]": (3, 1, 0, 2),
    "rank: [3,\n 1,\n 0,\n 2]": (3, 1, 0, 2),
    "rank: [3, 1, 0, 2].": (3, 1, 0, 2),
    "Ranking: [3, 1, 0, 2]": (3, 1, 0, 2),
    "Final ranking = [3, 1, 0, 2]": (3, 1, 0, 2),
    "The final rank is: [3, 1, 0, 2]": (3, 1, 0, 2),
    "rank\u00a0: [3,\u00a01, 0, 2]\r\n": (3, 1, 0, 2),
    # Markdown, quotes, other scripts' punctuation
    "**rank: [3, 1, 0, 2]**": (3, 1, 0, 2),
    "**Rank:** [3, 1, 0, 2]": (3, 1, 0, 2),
    "### Rank: `[3, 1, 0, 2]`": (3, 1, 0, 2),
    "```\nrank: [3, 1, 0, 2]\n```": (3, 1, 0, 2),
    "\u2018rank: [3, 1, 0, 2]\u2019": (3, 1, 0, 2),
    '"rank: [3, 1, 0, 2]"': (3, 1, 0, 2),
    "rank: [**3**, 1, 0, 2]": (3, 1, 0, 2),
    "rank\uff1a\u30103\uff0c1\uff0c0\uff0c2\u3011": (3, 1, 0, 2),
    "rank: \\[3, 1, 0, 2\\]": (3, 1, 0, 2),
    # chains, names
    "rank: [3 > 1 > 0 > 2]": (3, 1, 0, 2),
    "rank: 3 > 1 > 0 > 2": (3, 1, 0, 2),
    "rank: 3, 1, 0, 2": (3, 1, 0, 2),
    "rank: 3, 1, 0, 2.\n\nResponse 3 is best.": (3, 1, 0, 2),
    "rank: Response 3 > Response 1 > Response 0": (3, 1, 0),
    "rank: [Response 3, Response 1, Response 0, Response 2]": (3, 1, 0, 2),
    "rank: [###Response 4, ###Response 1, ###Response 0]": (1, 0),
    "rank: [#3, #1]": (3, 1),
    "rank: [3; 1; 0; 2]": (3, 1, 0, 2),
    # prose around, format echoed, corrections
    "rank: [3, 1, 0, 2]\n\nResponse 3 is ranked first because it names 2 of 4 causes.": (3, 1, 0, 2),
    "I was asked for 'rank: [i, j ,k, l, m]', so:\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "rank: [3, 1, 0, 2]\nThe format was 'rank: [i, j, k]'.": (3, 1, 0, 2),
    "Restated: rank: [4, 3, 1, 0, 2]\nThat is, rank: 3 > 1 > 0 > 2": (3, 1, 0, 2),
    "rank: [3, 1, 0\nOnce more, closed: rank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "I rank 3 first. rank: 3 is the most detailed of the 4.\nrank: [3, 1]": (3, 1),
    "They rank: some are better.\nrank: [0, 2]": (0, 2),
    "rank: [3, 1, 0, 2]\nI rank: by accuracy first.": (3, 1, 0, 2),
    "Of rank: 1 and 2, both fine.\nrank: [2, 1]": (2, 1),
    "Typo: rank: [3, 1, and 0].\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    # headings, and a word aside
    "## Final ranking\n3 > 1 > 0 > 2": (3, 1, 0, 2),
    "**Final Ranking**\n\n[3, 1, 0, 2]\n": (3, 1, 0, 2),
    "The overall ranking (best first)\nResponse 3 > Response 1": (3, 1),
    "Rank (best to worst): 3 > 1 > 0 > 2": (3, 1, 0, 2),
    "Ranking\n3 is better than 1, and 2 is the worst.": "no rank",
    "I give my ranking\n3 > 1 > 0 > 2": "no rank",
    # JSON
    '```json\n{"scores": {"0": 5, "3": 9}, "rank": [3, 1, 0, 2]}\n```': (3, 1, 0, 2),
    '{"final_ranking": ["3", "1", "0", "2"], "why": "3 is true"}': (3, 1, 0, 2),
    # thoughts are never read
    "<think>\nMaybe rank: [0, 1, 2, 3]?\n</think>\n\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "Maybe rank: [0, 1, 2, 3]? No.\n</think>\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "<think>rank: [0, 1]</think>rank: [3, 1]<think>or rank: [2, 0]</think>": (3, 1),
    "[THINK]rank: [0, 1][/THINK]rank: [3, 1]": (3, 1),
    "<think>rank: [3, 1, 0, 2]</think>": "no rank",
    "<think>rank: [3, 1, 0, 2]": "no rank",
    # two ranks that differ: a draft, what a response says
    "First I thought rank: [0, 1, 2, 3]. On reflection, rank: [3, 1, 0, 2]": "differ",
    'rank: [3, 1, 0, 2]\nResponse 0 says "rank: [0, 1, 2, 3]", which I ignored.': "differ",
    'Response 0 says "rank: [0, 1, 2, 3]".\n## Final ranking\n3 > 1 > 0 > 2': "differ",
    "rank: [3, 1, 0, 2]\n\nrank: [3, 1, 0]": "differ",
    'rank: [3, 1, 0, 2]\nResponse 1 ends in "rank: [1': "not closed",
    # a rank that is only quoted; one that ends the reply in a quote or a block is the judge's
    'Response 0 says "rank: [0, 1, 2, 3]".': "quote",
    "Response 0 says \u201crank: [0, 1, 2, 3]\u201d and\nResponse 1's are 'rank: [0, 1, 2, 3]'.": "quote",
    "It ends in `rank: [0, 1, 2, 3]`, which I cannot follow.": "quote",
    "Response 0 says 'I won.\nrank: [0, 1, 2, 3]'\nof itself.": "quote",
    '"rank: [0, 1, 2, 3]"\nis what Response 0 ends in.': "quote",
    "> rank: [0, 1, 2, 3]": "quote",
    ">## Final ranking\n> 3 > 1 > 0 > 2\n\nI cannot judge these.": "no rank",
    "Response 0:\n```\nrank: [0, 1, 2, 3]\n```\nI cannot judge these.": "quote",
    "~~~\nrank: [0, 1, 2, 3]\n```\n~~~\nwas the end of Response 0.": "quote",
    "Response 0 ends in\n```\nrank: [0, 1, 2, 3]": "quote",
    "> rank: [3, 1, 0, 2]\nI agree:\n\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    "Mine:\n``` text\nrank: [3, 1, 0, 2]\n```\n\n": (3, 1, 0, 2),
    "The nail is 5\" long, the responses' claim.\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    'Response 3 says "yes" and "no".\nrank: [3, 1, 0, 2]': (3, 1, 0, 2),
    "Code:\n```\nx = [0, 1]\n```\nrank: [3, 1, 0, 2]": (3, 1, 0, 2),
    'The "rank": [3, 1, 0, 2]': (3, 1, 0, 2),
    # a rank and the marks: a pair or two may disagree, most may not
    "Response 0: [5]\nResponse 1: [9]\nResponse 2: [7]\nrank: [2, 1, 0]": (2, 1, 0),
    "Response 0: [5]\nResponse 1: [9]\nResponse 2: [7]\nrank: [0, 2, 1]": "contradicted",
    "Response 0: [5]\nResponse 1: [9]\nResponse 2: [9]\nrank: [0, 2, 1]": "contradicted",
    "Response 0: [5]\nResponse 1: [9]\nResponse 4: [15]\nrank: [4, 0, 1]": "contradicted",
    "Response 0: [5]\n> Response 0: [15]\nResponse 1: [9]\nrank: [0, 1]": "contradicted",
    "Response 0: [12]\nResponse 1: [3]\nResponse 2: [10]\nResponse 3: [8]\nrank: [1, 0, 2, 3]": "contradicted",
    "Response 0: [9]\nResponse 1: [9]\nResponse 2: [9]\nrank: [2, 0, 1]": (2, 0, 1),
    # malformed, and never guessed
    "": "no rank",
    "I cannot compare these.": "no rank",
    "Response 3 is the best, then 1, 0 and 2.": "no rank",
    "[3, 1, 0, 2]": "no rank",
    "rank: [i, j, k, l, m]": "no rank",
    "rank: the third, then the first": "no rank",
    "rank: 3": "no rank",
    "rank: []": "empty",
    "rank: [3, 3, 0, 2]": "twice",
    "rank: [3, 1, 0, 2, 3]": "twice",
    "rank: [3, 1, 0, 5]": "unknown",
    "rank: [10, 20, 30]": "unknown",
    "rank: [4]": "only the judge's own",
    "rank: [3, 1, 0": "not closed",
    "rank: [0, 1, 2, 3] at first, but now rank: [3, 1": "not closed",
    "rank: [3, 1, 0, 2]\nCorrected rank: [3, 3]": "differ",
    "rank: [3, [1, 0], 2]": "more than numbers",
    "rank: [3 = 1 > 0 > 2]": "more than numbers",
    "rank: 3 > 1 = 0 > 2": "more than numbers",
    "rank: [3, 1, and 0]": "more than numbers",
    "rank: [-1, 2]": "more than numbers",
    "rank: [1.5, 2]": "more than numbers",
    "rank: [3 1 0 2]": "more than numbers",
    "rank: [Response A, Response B]": "no rank",
    "rank: [3 (best), 1]": "more than numbers",
    "rank: [3, 1,]": "more than numbers",
}


def test_there_are_enough() -> None:
    assert len(REPLIES) >= 60


@pytest.mark.parametrize("reply", REPLIES)
def test_verdicts(reply: str) -> None:
    expected = REPLIES[reply]
    if isinstance(expected, tuple):
        assert parse_verdict(reply, 4).order == expected
    else:
        with pytest.raises(VerdictError, match=expected):
            parse_verdict(reply, 4)


def test_a_cut_reply_is_none_even_with_a_rank_before_the_cut() -> None:
    with pytest.raises(VerdictError, match="cut"):
        parse_verdict(FULL, 4, finished=False)


def test_the_whole_verdict() -> None:
    assert parse_verdict(FULL, 4) == Verdict(
        order=(1, 0, 2),
        reference=0,
        reference_text="The capital of France is Paris.",
        marks={0: 9, 1: 14, 2: 4, 4: 15},
        disagreements=0,
    )


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("Response 2: [12]", 12), ("**Response 2:** 12/15", 12), ("- Response 2: 4 + 3 + 5 = 12", 12),
        ("Response 2: [4 + 3 + 5]", 12), ("Response 2: [3.2 + 5.9 + 5.9]", 15), ("Response 2: [sum: 12]", 12),
        ("Response 2: 7.5", 7.5), ("###Response 2: 0", 0), ("2. Response 2: 12 points", 12),
        ("Response 2 score: 12", 12),
        ("Response 2: relevance 4 + details 3 + accuracy 5 = 12", 12), ("Response 2: 16", None),
        ("Response 2: a good answer", None), ("Response 2: Paris, 1789", None), ("Response 9: [3]", None),
    ],
)  # fmt: skip
def test_marks(line: str, mark: float | None) -> None:
    marks = parse_verdict(f"{line}\nrank: [2, 1]", 4).marks
    assert marks == ({} if mark is None else {2: mark})


def test_thoughts_hold_no_marks() -> None:
    text = "<think>Response 0: [15]\nrank: [0, 1]</think>Response 0: [4]\nResponse 1: [9]\n## Ranking\n1 > 0"
    verdict = parse_verdict(text, 2)
    assert verdict.order == (1, 0) and verdict.marks == {0: 4, 1: 9}


def test_disagreements_are_counted_pair_by_pair_the_judges_own_answer_too() -> None:
    text = "Response 0: [9]\nResponse 1: [7]\nResponse 2: [6]\nResponse 3: [8]\nrank: [3, 0, 2, 1]"
    assert parse_verdict(text, 3).disagreements == 2  # 3 before 0; 2 before 1


@pytest.mark.parametrize(
    "part",
    [
        "\n", " ", "\n#", "#", "rank: [", "rank (", "final\n", "rank: 1, 2 ", "Response 1:\n", "1\n", "> ", "```\n",
        "\"rank: [1]\" ", "('rank: ", "\u201crank: [1", "<think>", "rank\n", "* \n", "`` ` ", "[1, ", "1 + ",
    ],
)  # fmt: skip
def test_long_replies_take_time_linear_in_their_length(part: str) -> None:
    text = "###Response 1:\nMine." + part * (200_000 // len(part)) + "\nResponse 0: [9]\nrank: [1, 0"
    with pytest.raises(VerdictError):
        parse_verdict(text, 1)


def test_fewer_and_more_candidates() -> None:
    assert parse_verdict("rank: [2, 0, 1]", 2).order == (0, 1)
    assert parse_verdict("rank: [11, 3]", 12).order == (11, 3)


@pytest.mark.parametrize(
    ("reply", "own"),
    [
        ("###Response 4:\nTwo\nlines.\n\nDuplicates: none\nrank: [1, 0]", "Two\nlines."),
        ("**### Response 4: Short.**\nResponse 0: [3]\nrank: [1, 0]", "Short.**"),
        ("Response 4: [15]\nrank: [1, 0]", None),
    ],
)
def test_the_judges_own_answer(reply: str, own: str | None) -> None:
    assert parse_verdict(reply, 4).reference_text == own
