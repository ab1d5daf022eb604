"""The address of a server: what is wrong with it, and how it is shown."""

import re
from urllib.parse import urlsplit

_ENDPOINT = re.compile(r"(.*?)/(?:chat/completions|completions|chat|models|embeddings)/*")


def address_problem(url: str) -> str | None:
    """What is wrong with a ``base_url``, or None.

    >>> address_problem("http://localhost:80a/v1")
    "expected http://HOST:PORT/v1, got 'http://localhost:80a/v1': its port is no number from 1 to 65535"
    >>> address_problem("https://api.example.org/v1") is None
    True
    """
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        return _told(url, "it holds white space or a backslash")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return _told(url, "it is no address")
    if parts.scheme not in ("http", "https"):
        return _told(url, "it does not begin with http:// or https://")
    if not host or ".." in host or host.startswith("."):
        return _told(url, "it names no host")
    try:
        if parts.port == 0 or parts.netloc.endswith(":"):
            raise ValueError
    except ValueError:
        return _told(url, "its port is no number from 1 to 65535")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return _told(url, "it holds ? or #; give further fields by extra_body")
    if found := _ENDPOINT.fullmatch(url):
        return _told(url, f"the endpoint is put after it; next: base_url={shown(found[1])}")
    return None


def shown(url: str) -> str:
    """An address without user, password and query."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url)[0])[:200]


def _told(url: str, what: str) -> str:
    return f"expected http://HOST:PORT/v1, got {shown(url)!r}: {what}"
