"""What may be written down: a text or a config in which what looks like a key or a password is hidden."""

import json
from collections.abc import Mapping
from typing import Any

from tuna.config.arguments import SECRET_VALUE, secret_in

HIDDEN = "<hidden>"


def hide(text: str) -> str:
    """A text without what has the shape of a key or a password.

    >>> hide("401: Incorrect API key provided: sk-0123456789, see http://me:pw@host/v1")
    '401: Incorrect API key provided: <hidden>, see http<hidden>host/v1'
    """
    return SECRET_VALUE.sub(HIDDEN, text)


def without_secrets(value: Any, key: str = "") -> Any:
    """``value`` without literal secrets; key: the one it stands under.

    >>> without_secrets({"judge": {"api_key_env": "A", "api_key": "abc"}, "urls": ["http://me:pw@host"]})
    {'judge': {'api_key_env': 'A', 'api_key': '<hidden>'}, 'urls': ['<hidden>']}
    """
    if isinstance(value, Mapping):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, key) for item in value]
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return HIDDEN if secret_in(f"{key}={text}") is not None else value
