"""Two answers to a question, and what says which of them is the better one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuna.data.fields import FieldError, identity, number, optional_text, plain, text
from tuna.data.importers.base import Imported, Notes, RawRow, importer
from tuna.data.importers.turns import answered, made, question, read_answer, same_history, zero_or_one
from tuna.data.record import Candidate, Record

_WINNERS = {
    "model_a": (1.0, 0.0),
    "model_b": (0.0, 1.0),
    "tie": (0.0, 0.0),
    "both_bad": (0.0, 0.0),
    "tie (bothbad)": (0.0, 0.0),
}


@importer(
    {"winner": "text", "conversation_a": "messages", "conversation_b": "messages"},
    optional={"model_a": "text", "model_b": "text"},
)
def arena(row: RawRow, notes: Notes) -> Record:
    """Chatbot Arena (lmarena-ai): two conversations and the winner; a tie, and both bad, are equal scores.

    Raises: FieldError for a battle of several turns in which the models' earlier answers differ: no common question.
    """
    winner = text(row, "winner")
    if winner not in _WINNERS:
        raise FieldError("winner", "model_a, model_b, tie or both_bad", winner)
    answers = {key: read_answer(row.get(key), key) for key in ("conversation_a", "conversation_b")}
    turns = question((), same_history(answers), "conversation_a")
    notes["battles that were a tie"] += winner == "tie"
    notes["battles in which both were bad, taken as ties"] += "bad" in winner
    names = [optional_text(row, key) for key in ("model_a", "model_b")]
    both = zip(answers.values(), _WINNERS[winner], names, strict=True)
    return made(turns, [answer.candidate(score, source=name) for answer, score, name in both], notes)


@importer(
    {"context": "messages|text", "response1": "text", "response2": "text", "overall_preference": "number"},
    kept={"individual_preference": "objects", "domain": "text", "language": "text"},
)
def helpsteer3(row: RawRow, notes: Notes) -> Record:
    """HelpSteer3 (nvidia): a preference from -3, the first is much better, to 3; 0 is a tie.

    The scores are minus half of it and half of it, so that they differ by the strength of the preference.
    """
    preference = number(row.get("overall_preference"), "overall_preference")
    if not -3 <= preference <= 3:
        raise FieldError("overall_preference", "a number from -3 to 3", preference)
    notes["rows whose overall_preference is 0, a tie"] += preference == 0
    scores = {"response1": 0.0 - preference / 2, "response2": preference / 2}
    return answered(row, "context", [Candidate(text(row, key), score) for key, score in scores.items()], notes)


@importer(
    {"prompt": "text", "response_0": "text", "response_1": "text", "better_response_id": "number"},
    optional={"safer_response_id": "number", "is_response_0_safe": "flag", "is_response_1_safe": "flag"},
)
def safe_rlhf(row: RawRow, notes: Notes) -> Record:
    """PKU-SafeRLHF: the better response has score 1, the other 0; which is safe, and the safer one, stands in extra."""
    better = zero_or_one(row, "better_response_id")
    safer = None if row.get("safer_response_id") is None else zero_or_one(row, "safer_response_id")
    notes["rows whose better response is not the safer one; the better one decides"] += safer not in (None, better)
    both = []
    for k in (0, 1):
        flags = {"safe": plain(row.get(f"is_response_{k}_safe")), "safer": None if safer is None else k == safer}
        extra = {key: value for key, value in flags.items() if value is not None}
        both.append(Candidate(text(row, f"response_{k}"), float(k == better), extra=extra))
    return answered(row, "prompt", both, notes)


def _join_posts(records: Sequence[Record], notes: Notes) -> Iterator[Imported]:
    """One list per post; a comment that stands in several rows is taken once."""
    posts: dict[str, Record] = {}
    for record in records:
        there = posts.setdefault(record.id, record)
        if there.question != record.question:
            fault = FieldError("history", "one text per post_id", record.instruction, f"{there.where} has another")
            yield record.where, fault
            continue
        new = [c for c in record.responses if c not in there.responses]
        posts[record.id] = replace(there, responses=(*there.responses, *new))
    for record in posts.values():
        yield record.where, record


@importer(
    {
        "post_id": "text|number", "history": "text", "human_ref_A": "text", "human_ref_B": "text",
        "score_A": "number", "score_B": "number",
    },
    optional={"labels": "number|flag", "score_ratio": "number"},
    join=_join_posts,
)  # fmt: skip
def shp(row: RawRow, notes: Notes) -> Record:
    """Stanford's SHP: two comments on a post with their votes, many rows per post, joined into lists by ``post_id``.

    Raises: FieldError where ``labels`` (1: A is better) contradicts the votes.
    """
    a, b = (number(row.get(key), key) for key in ("score_A", "score_B"))
    label = plain(row.get("labels"))
    if label is not None and (label not in (0, 1) or (a - b) * (1 if label else -1) < 0):
        raise FieldError("labels", "1 where score_A is higher, else 0", label, f"the scores are {a:g} and {b:g}")
    both = [Candidate(text(row, "human_ref_A"), a), Candidate(text(row, "human_ref_B"), b)]
    if row.get("post_id") is None:
        raise FieldError("post_id", "a string or a whole number", None)
    return replace(answered(row, "history", both, notes), id=identity(row, 0, "post_id"))
