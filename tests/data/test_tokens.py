"""What looks like a special token, as marks and back, and as ids."""

from tests.data.make import tokenizer
from tuna.data.record import Record
from tuna.data.tokens import Literals, Tokens

SPECIAL = ["<s>", "</s>", "<pad>"]


def test_marks_stand_in_everything_that_a_template_shows_and_in_no_role() -> None:
    literals = Literals(SPECIAL)
    short = literals.record(Record("0", "a </s>", "<s> b"))
    assert literals.within(short.instruction) and literals.within(short.input)
    assert (literals.plain(short.instruction), literals.plain(short.input)) == ("a </s>", "<s> b")
    call = {"function": {"name": "look", "arguments": {"at": "</s>", "often": [2, "<s>"]}}}
    messages = ({"role": "user", "content": "<s>"}, {"role": "assistant", "content": "", "tool_calls": [call]})
    marked = literals.record(Record("0", "", messages=messages, tools=({"name": "</s>"},)))
    assert [m["role"] for m in marked.messages] == ["user", "assistant"]
    inside = marked.messages[1]["tool_calls"][0]["function"]
    assert literals.within(inside["arguments"]["at"]) and literals.within(inside["arguments"]["often"][1])
    assert inside["name"] == "look" and literals.within(marked.tools[0]["name"])


def test_a_longer_token_wins_and_nothing_is_left_of_a_forged_mark() -> None:
    literals = Literals(["<a>", "<a><b>"])
    assert literals.plain(literals.mark("<a><b><a>")) == "<a><b><a>"
    assert not literals.within(literals.mark("\ufdd01\ufdd1"))
    assert literals.count("<a>" + literals.mark("<a><b>") + "<a>") == 2


def test_ids_of_marked_text_have_the_templates_tokens_alone() -> None:
    tok = tokenizer()
    literals = Literals(SPECIAL)
    tokens = Tokens(tok, literals)
    text = "<s>one" + literals.mark("</s>two</s>") + "</s>"
    ids = tokens.ids(text).tolist()
    assert [ids.index(1), ids.count(1), ids.count(2), ids[-1]] == [0, 1, 1, 2]
    assert tok.decode(ids) == "<s>one</s>two</s></s>" and tokens.unspelled == 0
    assert tokens.ids("<s>one</s>").tolist() == tok("<s>one</s>", add_special_tokens=False)["input_ids"]
