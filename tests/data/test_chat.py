"""The tokenizer's chat template: rendered as transformers does, refused where it leaves something out."""

import resource
import signal
import sys
import threading
import time
from datetime import date
from typing import Any

import pytest

from tests.data.make import tokenizer
from tuna.data.chat import bounded, pinned
from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.data.templates import template_named
from tuna.errors import ConfigError

TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Uno."},
    {"role": "user", "content": "Two?"},
)


def test_chat_equals_the_tokenizers_own_rendering() -> None:
    tok = tokenizer(chat=True)
    render = template_named("chat", tok)
    for instruction, given in (("Add.", ""), ("Add.", "1 2"), ("  Add.\n", ""), (" Add.", "1 2 \n")):
        turn = instruction + ("\n" + given if given else "")
        messages = [{"role": "user", "content": turn}]
        own = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = render(Record("0", instruction, given))
        assert prompt.text == own
        assert not prompt.bos
    several = render(Record("0", "Two?", messages=TURNS))
    assert several.text == tok.apply_chat_template(list(TURNS), tokenize=False, add_generation_prompt=True)
    assert several.answered("Dos.") == (several.text + "Dos.", "</s>")


def _answered(template: str, record: Record, answer: str) -> Any:
    tok = tokenizer(chat=True)
    tok.chat_template = template
    return template_named("chat", tok)(record).answered(answer)


def test_what_a_template_raises_names_the_turns_and_the_way_out() -> None:
    refuses = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system here') }}{% endif %}"
        "{{ m.content }}</s>{% endfor %}"
    )
    with pytest.raises(FieldError, match=r"No system here.*system, user, assistant, user"):
        _answered(refuses, Record("0", "Two?", messages=TURNS), "Dos.")
    assert _answered(refuses, Record("0", "Two?"), "Dos.") == ("Two?</s>Dos.", "</s>")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "goes on for more than"),
        ("{% for a in range(100000) %}{{ 'x' * 100000 }}{% endfor %}", "more than 2 GB of memory"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}{{ 'x' * 2000000 }}", "a text of 2000"),
    ],
)
def test_a_template_without_an_end_does_not_serve(template: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuna.data.chat.SECONDS", 0.3)
    with pytest.raises(ConfigError, match=rf"does not serve.*{said}.*next: .*model\.template=alpaca"):
        _answered(template, Record("0", "Two?"), "Dos.")


def test_a_template_that_leaves_a_turn_out_in_silence_is_refused() -> None:
    skips = "{% for m in messages if m.role != 'system' %}{{ m.content }}</s>{% endfor %}"
    with pytest.raises(
        FieldError, match=r"messages\[0\]: expected a conversation whose system turn the chat template shows"
    ):
        _answered(skips, Record("0", "Two?", messages=TURNS), "Dos.")


def test_a_date_is_pinned_whatever_today_is() -> None:
    tok = tokenizer(chat=True)
    dated = (
        "\n  {% set day = strftime_now('%d %B %Y') %}{% for m in messages %}{{ day }} {{ m.content }}</s>{% endfor %}"
    )
    tok.chat_template = dated
    messages = [{"role": "user", "content": "Hi."}]
    ours = template_named("chat", tok)(Record("0", "Hi.")).text
    assert ours == "\n26 July 2024 Hi.</s>"
    assert template_named("chat", tok, {"date": "2026-01-05"})(Record("0", "Hi.")).text == "\n05 January 2026 Hi.</s>"
    # But for the day all is as transformers writes it, the template's white space included.
    today = date.today().strftime("%d %B %Y")
    for source in (dated, dated.strip(), "x\n" + dated):
        tok.chat_template = source
        pin = tok.apply_chat_template(messages, tokenize=False, chat_template=pinned(source, date.today()))
        assert today in pin and pin == tok.apply_chat_template(messages, tokenize=False)
    with pytest.raises(ConfigError, match=r"template_args.date: expected a date such as 2024-07-26, got 'soon'"):
        template_named("chat", tok, {"date": "soon"})


def test_variables_reach_the_template_and_are_refused_without_one() -> None:
    tok = tokenizer(chat=True)
    tok.chat_template = "{% for m in messages %}{{ mood }} {{ m.content }}</s>{% endfor %}"
    assert template_named("auto", tok, {"mood": "calm"})(Record("0", "Hi.")).text == "calm Hi.</s>"
    with pytest.raises(ConfigError, match="template=alpaca has no variables"):
        template_named("auto", tokenizer(), {"mood": "calm"})


def test_a_turn_is_looked_for_by_words_that_stand_nowhere_else() -> None:
    """The system prompt's words stand in the user's turn too, which would hide that they were left out."""
    skips = "{% for m in messages if m.role != 'system' %}{{ m.content }}</s>{% endfor %}"
    turns = ({"role": "system", "content": "Two"}, {"role": "user", "content": "Two?"})
    with pytest.raises(FieldError, match="system turn"):
        _answered(skips, Record("0", "Two?", messages=turns), "Dos.")


def test_functions_that_the_template_leaves_out_are_refused() -> None:
    plain = "{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    look: dict[str, Any] = {"type": "function", "function": {"name": "look_up", "arguments": {}}}
    user, tool = {"role": "user", "content": "Two?"}, {"role": "tool", "content": "2"}
    call = {"role": "assistant", "content": "", "tool_calls": [look]}
    with pytest.raises(FieldError, match=r"tools: expected functions that the chat template shows, got 'look_up'"):
        _answered(plain, Record("0", "Two?", messages=(user,), tools=(look,)), "Dos.")
    with pytest.raises(FieldError, match=r"messages\[1\].tool_calls: expected functions"):
        _answered(plain, Record("0", "Two?", messages=(user, call, tool)), "Dos.")


def test_every_code_of_a_date_is_that_of_the_fixed_day() -> None:
    tok = tokenizer(chat=True)
    tok.chat_template = (
        "{{ strftime_now('%F %-d %b %H:%M %j%%') }}{% for m in messages %}{{ m.content }}</s>{% endfor %}"
    )
    assert template_named("chat", tok)(Record("0", "Hi.")).text == "2024-07-26 26 Jul 00:00 208%Hi.</s>"


def test_a_loop_without_an_end_is_ended_and_everything_is_as_before() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"more than 0\.1 s"), bounded(seconds=0.1, size=2**30):
        while True:
            pass
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_sleep_is_not_counted() -> None:
    with bounded(seconds=0.1, size=2**30):
        time.sleep(0.6)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is Linux's to limit")
def test_memory_without_an_end_is_refused() -> None:
    with pytest.raises(MemoryError), bounded(seconds=9, size=2**28):
        bytearray(2**30)
    with bounded(seconds=9, size=2**30):
        bytearray(2**28)


def test_another_thread_is_left_alone() -> None:
    def body() -> None:
        with bounded(seconds=0, size=0):
            done.append(sum(range(10**6)))

    done: list[int] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [499999500000]
