"""The contextual ranking prompt, the paper's Table 9 (Appendix E), for any number of responses."""

from collections.abc import Sequence

from tuna.data.messages import transcript
from tuna.data.record import Record
from tuna.data.templates import alpaca

VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes
_LETTERS = "ijklmnopqrstuvwxyzabcdefgh"

_GUIDE = """We would like you to rate Response {all} in reply to the given instruction displayed above.
First, identify if the instruction requires open-ended or close-ended responses.
Second, you need to generate one high quality \u2018###Response {own}\u2019 in answer to the instruction. It needs to have the same format as other responses and will be used as a reference later.
Third, identify if there are duplicate responses and keep only one of the duplicate responses for the following steps.
Fourth, compare Response {own} with Response {all}/{own} and assign each response an overall score on a scale of 0 to 15 where a higher score indicates better overall quality. For an open-ended instruction, please rate based on the relevance (score 0 to 5), level of details/justification: (score 0 to 5) and accuracy (score 0 to 5) of each response; for a close-ended instruction, please rate based on the accuracy (score 0 to 5), level of details/justification (score 0 to 5) and clarity (score 0 to 5) of each response. The ratings should have the format: \u2018Response k: [sum of the 3 individual scores you give to response k]\u2019.
Last, rank the responses in decreasing order of their overall scores. The ranking should have the format: \u2018rank: {full}\u2019. If there are duplicate responses, keep only one of them in the rank, that is, the ranking may become: {shorter} or even \u2018rank: [i]\u2019."""  # noqa: E501


def shown(record: Record) -> str:
    """The instruction, or a conversation's transcript: what people and judges read, and what tells questions apart.

    >>> turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And?"}
    >>> shown(Record("0", "And?", messages=turns))
    'System: Be brief.\\n\\nUser: And?'
    """
    return transcript(record.messages) if record.messages else record.instruction


def request(record: Record) -> str:
    """The same with the input below it, where there is one."""
    return shown(record) + (f"\n\n{record.input}" if record.input else "")


def judge_prompt(record: Record, responses: Sequence[str]) -> str:
    """The prompt that asks a judge to rank ``responses``, in the order given; the judge's own is the next number.

    A conversation stands as its transcript in the instruction's place.

    >>> judge_prompt(Record("0", "Say hi."), ["Hi.", "Hello."]).split("###Response")[1]
    ' 0:\\nHi.\\n'
    """
    blocks = "".join(f"\n###Response {k}:\n{text}" for k, text in enumerate(responses))
    asked = alpaca(Record(record.id, shown(record), record.input)).text
    return f"{asked}{blocks}\n{_guide(len(responses))}"


def _guide(count: int) -> str:
    letters = _LETTERS[: count + 1]
    shorter = [f"\u2018rank: [{', '.join(letters[:k])}]\u2019" for k in range(count, 1, -1)]
    full = f"[{', '.join(letters)}]"
    return _GUIDE.format(
        all="/".join(str(k) for k in range(count)),
        own=count,
        full=full.replace("j, k", "j ,k") if count == 4 else full,  # as printed
        shorter=" ".join([", ".join(shorter[:-1]), shorter[-1]]).strip(),
    )
