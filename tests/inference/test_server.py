"""Addresses of servers: nonsense is told before anything is sent, and no password is shown."""

import asyncio

import pytest

from tuna.errors import ConfigError
from tuna.inference.server import Connection, Server, StopRun, address_problem, check_keys, shown

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org/v1", "http://HOST:8000/v1", "http://127.0.0.1:9", "http://[::1]:8000/v1/",
        "http://under_score/v1", "http://a.b.:80/completions/v1", "HTTP://host/v1",
    ],
)  # fmt: skip
def test_addresses(url: str) -> None:
    assert address_problem(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:80a/v1", "its port is no number"), ("http://localhost:99999/v1", "its port is no number"),
        ("http://localhost:0/v1", "its port is no number"), ("http://localhost:/v1", "its port is no number"),
        ("http://localhost:-1/v1", "its port is no number"), ("localhost:8000/v1", "does not begin with http://"),
        ("ftp://host/v1", "does not begin with http://"), ("", "does not begin with http://"),
        ("http://", "names no host"), ("http:///v1", "names no host"), ("http://a..b/v1", "names no host"),
        ("http://ho st/v1", "white space"), (" http://host/v1", "white space"), ("http://host/v1\n", "white space"),
        ("http://host\u2028/v1", "white space"), ("http:\\\\host", "backslash"), ("http://[::1/v1", "no address"),
        ("http://host/v1?api-version=1", "extra_body"), ("http://host/v1#", "extra_body"),
        ("http://host/v1/chat/completions", "next: base_url=http://host/v1"),
        ("http://host/v1/completions/", "next: base_url=http://host/v1"),
    ],
)  # fmt: skip
def test_nonsense_is_told(url: str, words: str) -> None:
    assert words in (address_problem(url) or "")
    assert [line for line in Connection(base_url=url).check() if words in line]


def test_no_password_is_shown() -> None:
    assert shown("http://me:secret@host/v1?key=secret") == "http://host/v1"
    assert "secret" not in (address_problem("http://me:secret@host:99999/v1?key=secret") or "secret")


def test_what_only_the_client_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ALL_PROXY", "nonsense://proxy")
    with pytest.raises(StopRun, match="check base_url and proxies"):
        asyncio.run(Server(Connection("http://127.0.0.1:9/v1"), "chat", "m").__aenter__())


def test_the_environments_address_and_key_are_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "good")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host:99999/v1")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL: expected http://HOST:PORT/v1"):
        check_keys({"judge": Connection()})
    check_keys({"judge": Connection("http://host/v1")})
    monkeypatch.setenv("OPENAI_API_KEY", "good\nkey")
    with pytest.raises(ConfigError, match=r"judge\.api_key_env: .*OPENAI_API_KEY holds white space") as fault:
        check_keys({"judge": Connection("http://host/v1")})
    assert "good" not in str(fault.value)
