"""Questions and answers to token ids: those that the model sees in use, by transformers' own rendering.

One class makes every prompt (training, scoring, rewards, sampling, benchmarks), so that a text has the same
log-probability as drawn, as scored and as trained on.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuna.data.batch import Group, IntArray
from tuna.data.cache import TokenCache
from tuna.data.chat import ChatPrompt
from tuna.data.fields import FieldError
from tuna.data.lists import Answer
from tuna.data.record import Message, Record
from tuna.data.templates import Prompt, kept, meant_by, size, template_named
from tuna.data.tokens import Literals, Tokens, any_of
from tuna.errors import ConfigError, ModelError

_THOUGHT = {"<think>", "</think>"}  # an answer has these itself


@dataclass(frozen=True, slots=True)
class Written:
    """A question with its answers as text: each whole text is ``head`` and its own rest."""

    record: Record
    answers: tuple[Answer, ...]
    bos: bool
    head: str  # ends where a special token begins, since no token reaches over that; it is tokenized once
    prompt: str
    rests: tuple[str, ...]
    endings: tuple[str | None, ...]  # what the template writes after the answer; None: the answer was cut

    @property
    def texts(self) -> list[str]:
        """All that is to be tokenized."""
        return [*([self.head] if self.head else []), self.prompt, *self.rests]


class Encoder:
    """Records and answers to ids under a template.

    A chat template is rendered for the whole conversation, answer included, and the ids are those that transformers
    gives for that text. Where there is no chat template, prompt and answer are tokenized as one text and the
    end-of-sequence token follows. ends: the ids that end an answer. notes: what was left out or looks odd, counted.

    template, template_args: see tuna.data.templates.template_named.

    Raises: ConfigError for a template that does not serve, ModelError for a tokenizer without end-of-sequence token.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str = "auto",
        template_args: Mapping[str, Any] | None = None,
        cache: TokenCache | None = None,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token; next: set eos_token in tokenizer_config.json")
        self.tokenizer = tokenizer
        self.eos = int(tokenizer.eos_token_id)
        self.name = meant_by(template, tokenizer)
        self.template = template_named(self.name, tokenizer, template_args)
        probe = self.template(Record("", "?"))
        self.chat = probe.template if isinstance(probe, ChatPrompt) else None
        added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
        # What the chat template writes around turns; not all of these tokens are called special (DeepSeek's).
        around = "" if self.chat is None else self.chat.words_around()
        markers = {token for token in added if token.strip() and token in around} - _THOUGHT
        self._opening = frozenset(tokenizer.convert_tokens_to_ids(token) for token in markers)
        special = {token for token, each in added.items() if each.special} | markers
        self.literals = Literals(special - _THOUGHT)
        # What decides how a record is written, for keys.
        self.identity: list[Any] = [self.name]
        if self.chat is not None:
            self.identity += [self.chat.source(), sorted(self.chat.variables.items())]
        self.tokens = Tokens(tokenizer, self.literals, cache)
        self._special = any_of(special)
        self._cuts = any_of(token for token in special if not added[token].lstrip)  # no token reaches over these
        self._endings: dict[str, tuple[int, bool]] = {}
        end = None if self.chat is None else self._special.search(self.chat.closing)
        self.ends = frozenset({self.eos, self.eos if end is None else int(tokenizer.convert_tokens_to_ids(end[0]))})
        self.notes: Counter[str] = Counter()
        self._checked: set[object] = set()

    def prompt_of(self, record: Record) -> Prompt:
        """The prompt, with marks for special tokens unless finished. Raises: FieldError where it cannot be shown."""
        return self.template(record if self._finished(record) else self.literals.record(record))

    def _finished(self, record: Record) -> bool:
        return (record.template or self.name) == "none"

    def text(self, record: Record) -> str:
        """The prompt as people may read it."""
        return self.literals.plain(self.prompt_of(record).text)

    def prompt(self, record: Record) -> IntArray:
        """[P] ids of the prompt in use: what stands before the model writes."""
        prompt = self.prompt_of(record)
        return self._begun(self.tokens.ids(prompt.text), prompt.bos)

    def _begun(self, ids: IntArray, bos: bool) -> IntArray:
        """With the tokenizer's beginning-of-sequence token in front, once."""
        start = self.tokens.start if bos else []
        if not start or ids[: len(start)].tolist() == start:
            return ids
        return np.concatenate([np.asarray(start, np.int32), ids])

    def kept(self, record: Record, characters: int) -> Record:
        """The record with at most ``characters`` characters of its question; see tuna.data.templates.kept."""
        return kept(record, characters, finished=self._finished(record))

    def shortened(self, record: Record, limit: int) -> int:
        """How many characters of a question fit a prompt of ``limit`` tokens; the template's words always stay."""
        low, high = 0, size(record)
        while high - low > 1:
            middle = (low + high) // 2
            prompt = self.prompt_of(self.kept(record, middle))
            if len(self._begun(self.tokens.fresh(prompt.text), prompt.bos)) <= limit:
                low = middle
            else:
                high = middle
        return low

    def write(self, record: Record, answers: Sequence[Answer]) -> Written:
        """Question and answers as text. Raises: FieldError where the template cannot show them."""
        prompt = self.prompt_of(record)
        whole, endings = [], []
        for answer in answers:
            reasoning = None if answer.reasoning is None else self.literals.mark(answer.reasoning)
            shown, closing = prompt.answered(self.literals.mark(answer.text), reasoning)
            self._note_thought(answer, shown)
            whole.append(shown + closing if answer.complete else shown)
            endings.append(closing if answer.complete else None)
        cut = max((found.start() for found in self._cuts.finditer(prompt.text)), default=0)
        if not all(text.startswith(prompt.text[:cut]) for text in whole):
            cut = 0
        for message in record.messages:
            if message.get("tool_calls") and self.literals.mark(str(message["content"])).strip() not in prompt.text:
                self.notes["turns whose text the template leaves out beside a tool call"] += 1
        if any(map(self.literals.within, [prompt.text, *whole])):
            self.notes["lists with text that looks like a special token, kept as text"] += 1
        rests = tuple(text[cut:] for text in whole)
        return Written(record, tuple(answers), prompt.bos, prompt.text[:cut], prompt.text[cut:], rests, tuple(endings))

    def _note_thought(self, answer: Answer, shown: str) -> None:
        thought = answer.text.partition("</think>")[0] if "</think>" in answer.text else ""
        for said in (thought.removeprefix("<think>").strip(), (answer.reasoning or "").strip()):
            if said and self.literals.mark(said) not in shown:
                self.notes["answers whose reasoning the template leaves out"] += 1

    def encode(self, written: Written, turns: bool = False) -> Group:
        """Text to ids: prompt + response is the whole conversation as transformers gives it, of any length.

        The prompt that the model is given in use need not be a beginning of the whole conversation (white space at the
        answer's start can join its last token; a template can open a thought); a response begins where they part.
        turns: all assistant turns are scored, each from where the model would begin it in use.

        Raises: FieldError where they part before the assistant's turn, or later turns change an earlier one.
        """
        prompt = self.tokens.ids(written.prompt)
        head = self.tokens.ids(written.head) if written.head else prompt[:0]
        begin = self._begun(np.concatenate([head, prompt]), written.bos)[: -len(prompt) or None]
        wholes, scored, starts = [], [], []
        for rest, closing in zip(written.rests, written.endings, strict=True):
            ids, (after, add_eos) = self.tokens.ids(rest), self._ending(closing)
            wholes.append(np.append(ids, np.int32(self.eos)) if add_eos else ids)
            starts.append(self._parting(written.record, prompt, wholes[-1]))
            place = np.arange(len(wholes[-1]))
            scored.append((place >= starts[-1]) & (place < len(place) - after))
        self._check(written, begin, wholes)
        shared = min(starts, default=len(prompt))
        group = Group(
            written.record.id,
            np.concatenate([begin, prompt[:shared]]),
            tuple(ids[shared:] for ids in wholes),
            tuple(answer.score for answer in written.answers),
            tuple(answer.target for answer in written.answers),
            tuple(mask[shared:] for mask in scored),
        )
        return self._with_turns(group, written.record) if turns else group

    def _parting(self, record: Record, prompt: IntArray, ids: IntArray) -> int:
        common = _common(prompt, ids)
        left = prompt[common:].tolist()
        if left and self._opening & set(left):
            raise FieldError(
                "messages", "turns that the chat template writes alike before and after an answer", record.conversation,
                "it writes earlier ones otherwise once an answer follows",
            )  # fmt: skip
        if left and self.chat and (words := self.tokenizer.decode(left).strip()):
            self.notes[
                f"answers that do not begin where the prompt in use ends, which goes on with {words!r}; if the "
                "template has such a switch, set model.template_args={enable_thinking: false}"
            ] += 1
        return common

    def _ending(self, closing: str | None) -> tuple[int, bool]:
        """Tokens that follow the one that ends the turn, and whether that one is missing; None: the answer was cut."""
        if closing is None:
            return 0, False
        if closing not in self._endings:
            found = self._special.search(closing)
            after = 0 if found is None else len(self.tokens.fresh(closing[found.start() :])) - 1
            self._endings[closing] = after, found is None
        return self._endings[closing]

    def _check(self, written: Written, begin: IntArray, wholes: Sequence[IntArray]) -> None:
        """Compare with transformers' own ids, once for each shape of conversation."""
        if self.chat is None or any(map(self.literals.within, written.texts)):
            return
        for answer, ids, closing in zip(written.answers, wholes, written.endings, strict=True):
            shape = _shape(written.record, answer)
            if closing is None or shape in self._checked:
                continue
            prompt = self.prompt_of(written.record)
            if not isinstance(prompt, ChatPrompt):
                return  # the record's own template is another
            self._checked.add(shape)
            wanted = prompt.template.reference(prompt.record, self.literals.mark(answer.text), answer.reasoning)
            ours = [*begin.tolist(), *ids.tolist()][: -1 if self._ending(closing)[1] else None]
            if ours != wanted:
                at = next((k for k, pair in enumerate(zip(ours, wanted, strict=False)) if pair[0] != pair[1]), -1)
                raise ConfigError(
                    f"{written.record.where}: prompt, answer and ending are not what transformers' apply_chat_template "
                    f"gives for the conversation: from token {at} on {self.tokenizer.decode(ours[at : at + 8])!r}, "
                    f"there {self.tokenizer.decode(wanted[at : at + 8])!r}; next: finished prompts in the file, and "
                    "model.template=none"
                )

    def _with_turns(self, encoded: Group, record: Record) -> Group:
        whole = np.concatenate([encoded.prompt, encoded.responses[0]])
        scored = np.concatenate([np.zeros(len(encoded.prompt), bool), encoded.scored[0]])
        for k, message in enumerate(record.messages):
            if message["role"] == "assistant" and message.get("weight") != 0:  # OpenAI's mark of a turn not to train on
                start, end = self._turn(record, k, whole)
                scored[start:end] = True
        first = int(scored.argmax())
        return replace(encoded, prompt=whole[:first], responses=(whole[first:],), scored=(scored[first:],))

    def _turn(self, record: Record, k: int, whole: IntArray) -> tuple[int, int]:
        """Where assistant turn k begins and ends in the whole conversation, in tokens, its ending included."""

        def asked(*messages: Message) -> IntArray:
            return self.prompt(Record(record.id, "", messages=messages, tools=record.tools))

        start = self._parting(record, asked(*record.messages[:k]), whole)
        # The next turn with other words parts from the whole where its words begin; the ending has to stand before.
        other = asked(*record.messages[: k + 1], {**record.messages[k + 1], "content": "\u2603"})
        ends = np.flatnonzero(np.isin(whole[start : _common(other, whole)], list(self.ends)))
        if not len(ends):
            raise FieldError(
                f"messages[{k}]", "a turn that the chat template ends with the token that ends an answer",
                record.messages[k]["content"], "set datamodule.targets=last",
            )  # fmt: skip
        return start, start + int(ends[0]) + 1


def _common(one: IntArray, other: IntArray) -> int:
    """How many tokens two sequences have in common from their beginning."""
    size = min(len(one), len(other))
    return int(np.argmin(np.append(one[:size] == other[:size], False)))


def _shape(record: Record, answer: Answer) -> object:
    """What may decide how a template or a tokenizer treats a conversation."""
    roles = tuple(m["role"] for m in record.conversation)
    texts = [str(record.conversation[-1].get("content") or ""), answer.text]
    edges = tuple((text[:1].isspace(), text[-1:].isspace(), text.isascii()) for text in texts)
    return roles, edges, bool(record.tools), answer.reasoning is None, "</think>" in answer.text
