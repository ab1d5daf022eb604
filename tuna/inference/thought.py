"""Thought that a reasoning model writes before its answer, in marks of its own, where no server has taken it off."""

import re

# Qwen and DeepSeek, others, Mistral, Seed, Kimi.
_OPEN = re.compile(r"<think(?:ing)?>|\[THINK\]|<seed:think>|\u25c1think\u25b7")
_CLOSE = re.compile(r"</think(?:ing)?>|\[/THINK\]|</seed:think>|\u25c1/think\u25b7")
_EITHER = re.compile(f"(?P<opens>{_OPEN.pattern})|{_CLOSE.pattern}")


def split_thought(text: str) -> tuple[str | None, str]:
    """Thought and answer; the thought is None where the text holds none.

    The answer is what comes after the last closing mark (the prompt may have opened the thought). A text that opens
    with a thought and never closes it is thought alone.

    >>> split_thought("<think>\\nOaks are trees.\\n</think>\\n\\nAn oak.")
    ('Oaks are trees.', 'An oak.')
    >>> split_thought("An oak.")
    (None, 'An oak.')
    """
    ends = list(_CLOSE.finditer(text))
    opened = _OPEN.match(text.lstrip())
    if not ends:
        return (None, text) if opened is None else (text.lstrip()[opened.end() :].strip(), "")
    thought = text[: ends[-1].start()].lstrip()
    return thought[opened.end() if opened else 0 :].strip(), text[ends[-1].end() :].strip()


def outside_thought(text: str) -> str:
    """The text without its thoughts: blocks between marks, all before a closing mark alone, all after an opening one.

    >>> outside_thought("A first try.</think>Good. <think>or not?</think>Done.<think>wait")
    'Good. Done.'
    """
    kept: list[str] = []
    start, within = 0, False
    for mark in _EITHER.finditer(text):
        if mark["opens"] is None:
            if not within:
                kept.clear()
            start, within = mark.end(), False
        elif not within:
            kept.append(text[start : mark.start()])
            within = True
    return "".join(kept if within else [*kept, text[start:]])
