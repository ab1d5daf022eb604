"""Fields of a request that a server may refuse: tried once, the most useful first; what it takes is remembered."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice, product
from typing import Any

from tuna.inference.backend import Ask, StoredTexts
from tuna.inference.context import Context
from tuna.inference.served import Served
from tuna.inference.server import StopRun
from tuna.inference.store import key_of

_REFUSED = re.compile(r"refused by the server|; the last: 500")  # llama-cpp-python says 500 of a field that it lacks


class Offers:
    """What can be asked of ``server`` about a reply's form and its log-probabilities, in sets of fields.

    schema: what the reply is to be held to, None for nothing. chances: whether probabilities count, as in
    tuna.judges.reading.Form. top: alternatives at each token.
    """

    def __init__(self, server: Served, schema: Mapping[str, Any] | None, chances: bool | None, top: int) -> None:
        self.server = server
        held: list[dict[str, Any]] = [{}]
        if schema is not None:
            strict = {"name": "verdict", "schema": schema, "strict": True}
            held = [
                {"response_format": {"type": "json_schema", "json_schema": strict}},
                {"response_format": {"type": "json_object", "schema": schema}},  # llama-cpp-python's
                {},
            ]
        counts = dict.fromkeys((top, min(5, top)))
        weighed: list[dict[str, Any]] = [{"logprobs": True, "top_logprobs": count} for count in counts]
        if chances is False:
            weighed = [{}]
        elif chances is None:
            weighed.append({})
        self.sets = [{**form, **asked} for asked, form in product(weighed, held)]

    def taken(self, asks: Iterable[Ask], replies: Callable[[], StoredTexts], context: Context) -> Mapping[str, Any]:
        """The set that the server takes: as the store remembers, else by putting the first of ``asks`` to it.

        replies: makes what stores the replies.
        """
        if self.sets == [{}]:
            return {}
        journal = context.store.journal("takes")
        key = key_of(base_url=self.server.base_url, model=self.server.model, extras=self.sets)
        known = journal.read(key, lambda line: int(line["number"]))
        if not known and (left := list(islice(asks, 2))):
            number, sure = self._tried(left, replies(), context)
            if sure:
                journal.append({"key": key, "number": number})
            known = [number]
        number = known[-1] if known else 0
        if not context.stopped:
            self._tell(number, context)
        return self.sets[number]

    def _tried(self, asks: Iterable[Ask], trial: StoredTexts, context: Context) -> tuple[int, bool]:
        """The first set that is not refused, and whether an answer showed it; else the best one."""
        trier = replace(self.server, batch=False, retries=min(1, self.server.retries))
        for ask, (number, fields) in product(asks, enumerate(self.sets)):
            trier.ask([replace(ask, extra=fields)], trial, context)
            if context.stopped:
                break
            if not _REFUSED.search(context.why(ask.key) or ""):
                if ask.key in context.failed:
                    break
                given = self._given_by(number, trial.journal.get(ask.key), context)
                return given, not context.stopped
            if number + 1 < len(self.sets):  # one that is refused with all of them says nothing of the fields
                context.aside.pop(ask.key, None)
                context.failed.pop(ask.key, None)
        return 0, False

    def _given_by(self, number: int, replies: list[dict[str, Any]], context: Context) -> int:
        """The same set less the log-probabilities, where the server takes the field and gives none."""
        if "logprobs" not in self.sets[number] or not replies or any("places" in line for line in replies):
            return number
        plain = {key: value for key, value in self.sets[number].items() if key == "response_format"}
        if plain in self.sets:
            return self.sets.index(plain)
        context.stopped = StopRun(
            f"judge: {self.server.base_url or 'the server'} gives no top_logprobs for {self.server.model!r}, which "
            "judge.probabilities=true needs; what was answered is kept. Next: judge.probabilities=auto, another "
            "model, or llama-cpp-python with --logits_all true"
        )
        return number

    def _tell(self, number: int, context: Context) -> None:
        """Note what the server does not take."""
        best, taken = self.sets[0], self.sets[number]
        where = self.server.base_url or "the server"
        if "response_format" in best and "response_format" not in taken:
            context.note(f"judge: {where} takes no response_format; replies are read as they come")
        if "logprobs" in best and "logprobs" not in taken:
            context.note(f"judge: {where} takes no logprobs; marks are read as text")
