"""Two answers to a question and what says which is the better one; or several right ones and several wrong ones."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.importers.base import Imported, Notes, RawRow, importer
from tuna.data.importers.tuna import read_history
from tuna.data.importers.turns import answered, made, question, read_answer, read_prompt, same_history
from tuna.data.messages import read_messages
from tuna.data.record import Candidate, Message, Record

_CHOSEN, _REJECTED = ("chosen", "chosen_response"), ("rejected", "rejected_response")
_PROMPTS = ("prompt", "instruction", "question", "conversations")
_SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"), ("chosen_reward", "rejected_reward"), ("chosen-rating", "rejected-rating"),
    ("chosen_avg_rating", "rejected_avg_rating"), ("reward_chosen", "reward_rejected"),
)  # fmt: skip
_TIES = ("tie", "both_bad", "tie (bothbad)")
_WINNERS = {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0), **dict.fromkeys(_TIES, (0.0, 0.0))}


@importer(
    {"|".join(_CHOSEN): "text|message|messages", "|".join(_REJECTED): "text|message|messages"},
    optional={
        "prompt": "text|messages|message", "instruction": "text|messages", "question": "text|messages",
        "conversations": "messages", "input": "text|messages", "messages": "messages", "history": "list",
        **{key: "number|text" for pair in _SCORES for key in pair},
    },
)  # fmt: skip
def pairs(row: RawRow, notes: Notes) -> Record:
    """Chosen/rejected pairs as lists of two; the chosen one is the original unless told otherwise.

    Answers are texts, transcripts (Anthropic's HH-RLHF), messages, or message lists that may hold the prompt
    (ultrafeedback_binarized, Skywork, Tulu, TRL). Where the row has scores of the two they are kept, else 1 and 0.

    Raises: FieldError where the two have other turns before them, or the row's scores prefer the rejected one.
    """
    answers = {}
    for keys in (_CHOSEN, _REJECTED):
        name = fields.first_key(row, keys) or keys[0]
        fields.no_other(row, name, keys)
        answers[name] = read_answer(row.get(name), name)
    key, prompt = _prompt(row)
    history = same_history(answers)
    if not prompt and not history:
        hint = f"it may be called {', '.join(_PROMPTS)}, or stand before both answers"
        raise FieldError(key, "a string or a list of chat messages", None, hint)
    if not prompt and row.get("history"):
        raise FieldError("history", "nothing beside answers that hold the turns before them", row["history"])
    turns = question(prompt, history, key)
    if row.get("messages") is not None and key != "messages":
        turns = _with_messages(row, turns, next(iter(answers.values())).candidate)
    both = zip(answers.values(), _scores(row, notes), strict=True)
    record = made(turns, [replace(a.candidate, score=score) for a, score in both], notes)
    if key == "input" or not row.get("input"):
        return record
    beside = fields.check_text(row["input"], "input")
    if history and beside not in record.instruction:
        raise FieldError("input", "a part of the last user turn, or nothing beside a conversation", beside)
    return record if history or record.messages else replace(record, input=beside)


def _prompt(row: RawRow) -> tuple[str, tuple[Message, ...]]:
    """The prompt's key and turns; no turns where it stands only before the answers."""
    inside = any(isinstance(row.get(key), list | tuple) and len(row[key]) > 1 for key in _CHOSEN)
    key = fields.first_key(row, (*_PROMPTS, "input") if inside else (*_PROMPTS, "input", "messages"))
    if not key:
        return "prompt", ()
    fields.no_other(row, key, _PROMPTS)
    before, prompt = read_history(row.get("history")), read_prompt(row[key], key)
    beside = row.get("input")
    apart = isinstance(beside, str) and beside not in prompt[-1]["content"]
    if before and apart and [turn["role"] for turn in prompt] == ["user"]:
        prompt = ({**prompt[0], "content": f"{prompt[0]['content']}\n{fields.check_text(beside, 'input')}"},)
    return key, (*before, *prompt)


def _with_messages(row: RawRow, turns: tuple[Message, ...], chosen: Candidate) -> tuple[Message, ...]:
    """The question, to which ``messages`` beside a pair may add the turns before it; they may hold the answer."""
    talk = read_messages(row["messages"], "messages")
    if talk[-1]["role"] == "assistant" and talk[-1]["content"] == chosen.text:
        talk = talk[:-1]
    if [(m["role"], m["content"]) for m in talk[-len(turns) :]] != [(m["role"], m["content"]) for m in turns]:
        raise FieldError("messages", "the question, or the question and the chosen answer", row["messages"])
    return talk


def _scores(row: RawRow, notes: Notes) -> tuple[float, float]:
    pair: Sequence[str] = next((p for p in _SCORES if fields.first_key(row, p)), ())
    if any(isinstance(fields.plain(row.get(key)), str) for key in pair):
        notes["pairs with a score that is no number (N/A), taken as 1 and 0"] += 1
        pair = ()
    if not pair:
        return 1.0, 0.0
    chosen, rejected = (fields.number(row.get(key), key) for key in pair)
    if chosen < rejected:
        raise FieldError(pair[1], f"at most {pair[0]}", rejected, f"that is {chosen:g}")
    if chosen == rejected:
        notes["pairs called chosen and rejected with equal scores, taken as ties"] += 1
    return chosen, rejected


@importer(
    {"prompt": "text|messages", "chosen": "texts", "rejected": "texts"},
    kept={
        "num_correct": "number", "num_incorrect": "number", "total_completions": "number", "models": "texts",
        "subset": "text", "additional_metadata": "any",
    },
)  # fmt: skip
def reward_bench(row: RawRow, notes: Notes) -> Record:
    """RewardBench 2 (allenai): right answers (score 1) and wrong ones (score 0); numbers that differ are noted."""
    candidates = []
    for key, counted, score in (("chosen", "num_correct", 1.0), ("rejected", "num_incorrect", 0.0)):
        texts = fields.texts(row, key)
        candidates += [Candidate(answer, score) for answer in texts]
        if fields.optional_count(row, counted) not in (None, len(texts)):
            notes[f"rows whose {counted} is not the number of {key} answers"] += 1
    return answered(row, "prompt", candidates, notes)


@importer(
    {"winner": "text", "conversation_a": "messages", "conversation_b": "messages"},
    optional={"model_a": "text", "model_b": "text"},
)
def arena(row: RawRow, notes: Notes) -> Record:
    """Chatbot Arena (lmarena-ai): two conversations and the winner; a tie, and both bad, are equal scores."""
    winner = fields.text(row, "winner")
    if winner not in _WINNERS:
        raise FieldError("winner", "model_a, model_b, tie or both_bad", winner)
    answers = {key: read_answer(row.get(key), key) for key in ("conversation_a", "conversation_b")}
    turns = question((), same_history(answers), "conversation_a")
    notes["battles that were a tie"] += winner == "tie"
    notes["battles in which both were bad, taken as ties"] += "bad" in winner
    names = [fields.optional_text(row, key) for key in ("model_a", "model_b")]
    both = zip(answers.values(), _WINNERS[winner], names, strict=True)
    return made(turns, [replace(a.candidate, score=score, source=name) for a, score, name in both], notes)


@importer(
    {"context": "messages|text", "response1": "text", "response2": "text", "overall_preference": "number"},
    kept={"individual_preference": "objects", "domain": "text", "language": "text"},
)
def helpsteer3(row: RawRow, notes: Notes) -> Record:
    """HelpSteer3 (nvidia): a preference from -3, the first is much better, to 3. Scores: minus half, and half of it."""
    preference = fields.number(row.get("overall_preference"), "overall_preference")
    if not -3 <= preference <= 3:
        raise FieldError("overall_preference", "a number from -3 to 3", preference)
    notes["rows whose overall_preference is 0, a tie"] += preference == 0
    scores = {"response1": 0.0 - preference / 2, "response2": preference / 2}
    return answered(row, "context", [Candidate(fields.text(row, key), score) for key, score in scores.items()], notes)


@importer(
    {"prompt": "text", "response_0": "text", "response_1": "text", "better_response_id": "number"},
    optional={"safer_response_id": "number", "is_response_0_safe": "flag", "is_response_1_safe": "flag"},
)
def safe_rlhf(row: RawRow, notes: Notes) -> Record:
    """PKU-SafeRLHF: the better response has score 1, the other 0; which is safe, and the safer one, stands in extra."""
    better = fields.zero_or_one(row, "better_response_id")
    safer = None if row.get("safer_response_id") is None else fields.zero_or_one(row, "safer_response_id")
    notes["rows whose better response is not the safer one; the better one decides"] += safer not in (None, better)
    both = []
    for k in (0, 1):
        flags = {"safe": fields.plain(row.get(f"is_response_{k}_safe")), "safer": None if safer is None else k == safer}
        extra = {key: value for key, value in flags.items() if value is not None}
        both.append(Candidate(fields.text(row, f"response_{k}"), float(k == better), extra=extra))
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
    """Stanford's SHP: two comments on a post with their votes, many rows per post, joined into lists by ``post_id``."""
    a, b = (fields.number(row.get(key), key) for key in ("score_A", "score_B"))
    label = fields.plain(row.get("labels"))
    if label is not None and (label not in (0, 1) or (a - b) * (1 if label else -1) < 0):
        raise FieldError("labels", "1 where score_A is higher, else 0", label, f"the scores are {a:g} and {b:g}")
    both = [Candidate(fields.text(row, "human_ref_A"), a), Candidate(fields.text(row, "human_ref_B"), b)]
    if row.get("post_id") is None:
        raise FieldError("post_id", "a string or a whole number", None)
    return replace(answered(row, "history", both, notes), id=fields.identity(row, 0, "post_id"))
