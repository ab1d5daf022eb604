"""Tuna's own record (see tuna.data.record), Alpaca's rows, the files of the paper's authors, and bare questions."""

import re
from typing import Any

from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.importers.base import Notes, RawRow, importer, spoken
from tuna.data.importers.turns import answered
from tuna.data.messages import asked, read_messages
from tuna.data.record import Candidate, Message, Record
from tuna.data.templates import parse_alpaca

_CANDIDATE = {"text", "score", "logprob", "num_tokens", "source", "finish_reason", "reasoning"}
_ANSWERS = ("output", "response", "completion", "answer", "answers", "responses", "completions", "generations")


@importer(
    {"instruction|messages": "text|messages", "responses": "objects"},
    optional={"input": "text", "output": "text", "template": "text", "responses[].text": "text"},
    kept={"answers": "texts", "dropped": "texts", "prompt": "text"},
    original="error",
)
def tuna(row: RawRow, notes: Notes) -> Record:
    """Read one record. ``responses`` may be absent; a ranking needs two, which its datamodule checks."""
    given = row if row.get("responses") is not None else {"responses": ()}
    responses = fields.objects(given, "responses", "text and score")
    answers = tuple(_candidate(value, field + ".") for field, value in responses.items())
    output, template = (fields.optional_text(row, key) for key in ("output", "template"))
    return Record("", **_question(row), output=output, responses=answers, template=template)


def _question(row: RawRow) -> dict[str, Any]:
    """The short form, or ``messages``, which the short form beside them must not contradict."""
    if row.get("messages") is None:
        return {"instruction": fields.text(row, "instruction"), "input": fields.text(row, "input", default="")}
    turns = read_messages(row["messages"], "messages")
    if turns[-1]["role"] not in ("user", "tool"):
        raise FieldError("messages", "the conversation up to the answer", f"{turns[-1]['role']}: its last turn")
    parts = asked(turns)
    instruction, given = (fields.text(row, key, default="") for key in ("instruction", "input"))
    short = Record("", instruction, given).user_turn.strip()
    if short and short != parts["instruction"].strip():
        key, last = "instruction" if row.get("instruction") else "input", fields.describe(parts["instruction"])
        raise FieldError(key, "the last user turn of messages", short, f"that is {last}")
    return parts


def _candidate(value: RawRow, path: str) -> Candidate:
    score, logprob = (fields.optional_number(value, key, path) for key in ("score", "logprob"))
    texts = {key: fields.optional_text(value, key, path) for key in ("source", "finish_reason", "reasoning")}
    said, tokens = fields.text(value, "text", path=path), fields.optional_count(value, "num_tokens", path)
    return Candidate(said, score, logprob, tokens, extra=fields.rest(value, _CANDIDATE), **texts)


# answers: what the checker of the embedded instructions looks for.
@importer(
    {"instruction": "text"},
    optional={"input": "text", "output": "text", "history": "list"},
    kept={"answers": "texts", "prompt": "text"},
    original="error",
)
def alpaca(row: RawRow, notes: Notes) -> Record:
    """Alpaca's rows, without responses; LLaMA-Factory's ``history`` of earlier turns comes before the question."""
    before = read_history(row.get("history"))
    record = _alpaca(row)
    return spoken(record, *before) if before else record


def _alpaca(row: RawRow, path: str = "") -> Record:
    question = fields.text(row, "instruction", path=path), fields.text(row, "input", default="", path=path)
    return Record(fields.identity(row, "", path=path), *question, fields.optional_text(row, "output", path))


def read_history(value: Any) -> tuple[Message, ...]:
    """Earlier turns, of a list of pairs [question, answer]."""
    if not isinstance(value or [], list | tuple):
        raise FieldError("history", "a list of questions and their answers", value)
    turns: list[Message] = []
    for k, said in enumerate(value or ()):
        if not isinstance(said, list | tuple) or len(said) != 2:
            raise FieldError(f"history[{k}]", "a question and its answer", said)
        for role, content in zip(("user", "assistant"), said, strict=True):
            turns.append({"role": role, "content": fields.check_text(content, f"history[{k}]")})
    return tuple(turns)


@importer(
    {"orig": "object", "text": "texts", "length": "numbers", "logprob": "list"},
    kept={"avg_token_prob": "list"},
    original="error",
)
def davinci(row: RawRow, notes: Notes) -> Record:
    """The authors' file of text-davinci-003's answers; ``orig`` is the Alpaca row.

    Of each answer ``logprob`` is the summed log-probability (or a list of its tokens') and ``length`` its tokens: what
    Eq. 3 needs, so the file is ranked by ``rank_by=eq3`` and carries no score of its own.
    """
    orig = row.get("orig")
    if not isinstance(orig, dict):
        raise FieldError("orig", "an object with instruction, input, output", orig)
    record = _alpaca(orig, "orig.")
    texts = fields.texts(row, "text")
    lengths, logprobs = (fields.beside(row, key, "text", len(texts)) for key in ("length", "logprob"))
    candidates = []
    for k, (said, length, logprob) in enumerate(zip(texts, lengths, logprobs, strict=True)):
        parts = logprob if isinstance(logprob, list) else [logprob]
        logprob = sum(fields.number(part, f"logprob[{k}]") for part in parts)
        tokens = fields.optional_count({f"length[{k}]": length}, f"length[{k}]")
        candidates.append(Candidate(said, None, logprob, tokens, source="text-davinci-003"))
    return Record(record.id, record.instruction, record.input, record.output, tuple(candidates))


@importer({"instruction": "text", "output": "texts", "score": "numbers"}, original="error")
def formatted(row: RawRow, notes: Notes) -> Record:
    """The authors' files formatted for training; the prompt is finished, and taken as it is (``template`` none)."""
    texts = fields.texts(row, "output")
    scores = fields.beside(row, "score", "output", len(texts))
    scored = enumerate(zip(texts, scores, strict=True))
    candidates = tuple(Candidate(said, fields.number(score, f"score[{k}]")) for k, (said, score) in scored)
    return Record("", fields.text(row, "instruction"), responses=candidates, template="none")


@importer(
    {"instruct": "text", "generation": "texts", "rank|ranks|rank_str|gpt_eval": "numbers|text"},
    optional={"prompt": "text", "output": "text"},
    kept={"response_4": "text"},
    original="error",
)
def gpt4_ranking(row: RawRow, notes: Notes) -> Record:
    """The authors' file of GPT-4's rankings; ``instruct`` is a finished Alpaca prompt.

    ``generation`` holds the four answers 0..3; ``rank`` (or ``ranks``) lists indices, best first, where 4 is the
    judge's own reference (``response_4``), no sample of the tuned model and so no candidate. ``rank`` was made from
    every integer after "rank:", prose included; when it is no list of different indices, the bracketed list in
    ``rank_str`` or ``gpt_eval`` is read. The score is minus the place; answers left out are dropped and counted.
    """
    texts = fields.texts(row, "generation")
    order = [k for k in _rank(row, len(texts)) if k < len(texts)]
    prompt = fields.text(row, "instruct")
    parsed = parse_alpaca(prompt)
    instruction, given = parsed or (prompt, "")
    return Record(
        "",
        instruction,
        given,
        output=fields.optional_text(row, "output"),
        responses=tuple(Candidate(texts[k], -float(place)) for place, k in enumerate(order)),
        template="none" if parsed is None and "### Response" in prompt else None,
        extra={"dropped": [texts[k] for k in range(len(texts)) if k not in order]},
    )


def _rank(row: RawRow, size: int) -> list[int]:
    key = fields.first_key(row, ("rank", "ranks")) or "rank"
    tried: list[Any] = [row.get(key)]
    for said in (row.get("rank_str"), row.get("gpt_eval")):
        # A judge that explains itself says "rank:" more than once; its verdict is the last.
        last = said.lower().rpartition("rank:")[2] if isinstance(said, str) else ""
        found = re.search(r"\[([\d,\s]+)\]", last)
        tried.append([int(n) for n in re.findall(r"\d+", found[1])] if found else None)
    for rank in tried:
        indices = isinstance(rank, list) and all(type(k) is int and 0 <= k <= size for k in rank)
        if indices and rank and len(set(rank)) == len(rank):
            return list(rank)
    given = tried[0]
    shown = ", ".join(map(str, given)) if isinstance(given, list) else given
    raise FieldError(key, f"different numbers from 0 to {size}, best first", shown)


@importer({"prompt": "text|messages|message"}, original="error")
def prompts(row: RawRow, notes: Notes) -> Record:
    """Questions without answers, a text or chat messages; a column of answers is refused, as it would not be read."""
    key = fields.first_key(row, _ANSWERS)
    if key:
        hint = f"next: datamodule.columns={{instruction: prompt, output: {key}}} for one answer, responses: for a list"
        raise FieldError(key, "no answers beside prompt in this format", row[key], hint)
    return answered(row, "prompt", (), notes)
