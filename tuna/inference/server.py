"""One OpenAI-compatible server: a request out, a JSON object back, and what each way of failing means. The client never
retries by itself (``max_retries=0``): it would hide requests from the budget and ignore a Retry-After above 2 minutes.
"""

import asyncio
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urljoin, urlsplit

from annotated_types import Ge, Gt

from tuna.config.types import checked
from tuna.errors import ConfigError, RunError
from tuna.inference.cost import read_usage
from tuna.secrets import HIDDEN, is_variable, mask_words, refresh

_ENDPOINT = re.compile(r"(.*?)/(?:chat/completions|completions|chat|models|embeddings)/*")


def address_problem(url: str) -> str | None:
    """What is wrong with a ``base_url``, or None.

    >>> address_problem("http://h:80a/v1")
    "expected http://HOST:PORT/v1, got 'http://h:80a/v1': it is no address, or its port is no number from 1 to 65535"
    >>> address_problem("https://api.example.org/v1") is None
    True
    """
    found = _fault_of(url)
    return f"expected http://HOST:PORT/v1, got {shown(url)!r}: {found}" if found else None


def _fault_of(url: str) -> str | None:
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        return "it holds white space or a backslash"
    try:
        parts = urlsplit(url)
        if parts.port == 0 or parts.netloc.endswith(":"):
            raise ValueError
    except ValueError:
        return "it is no address, or its port is no number from 1 to 65535"
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not host or ".." in host or host.startswith("."):
        return "it names no host"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return "it holds ? or #; give further fields by extra_body"
    found = _ENDPOINT.fullmatch(url)
    return f"the endpoint is put after it; next: base_url={shown(found[1])}" if found else None


def shown(url: str) -> str:
    """An address without user, password and query."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url)[0])[:200]


_FILTER = re.compile(r"content[ _-]?(?:filter|policy|management)|safety|moderation|responsibleai", re.IGNORECASE)
_KEYLIKE = re.compile(r"\b(?:sk|hf|gsk|key)[-_][\w*-]{4,}", re.IGNORECASE)
_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_NO_MODEL = ("model_not_found", "invalid_model", "model_not_supported")
_RETRIED = (408, 409, 425, 429)
T = TypeVar("T")


class StopRun(RunError):
    """Nothing more is to be sent: the key, the model or the server itself is wrong."""


class SetAside(Exception):
    """This row gets no answer, and asking again is no use. fault: the server refused the request itself."""

    def __init__(self, reason: str, *, fault: bool = False) -> None:
        super().__init__(reason)
        self.fault = fault


class TryAgain(Exception):
    """The request failed in a way that may pass. wait: seconds that the server asked for. billed: perhaps paid for."""

    def __init__(self, reason: str, *, wait: float | None = None, billed: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.billed = billed


@checked
@dataclass
class Connection:
    """How to reach a server and how hard to press it."""

    base_url: str | None = None  # the server's address; null is OpenAI's own; vLLM and others: http://HOST:8000/v1
    api_key_env: str = "OPENAI_API_KEY"  # the environment variable that holds the key; never the key
    concurrency: Annotated[int, Ge(1)] = 16  # requests at once
    timeout: Annotated[float, Gt(0)] = 120.0  # seconds for one whole request
    retries: Annotated[int, Ge(0)] = 6  # tries after the first
    max_wait: Annotated[float, Ge(0)] = 300.0  # seconds to wait where a server asks for it; a longer wait stops the run
    batch: bool = False  # use OpenAI's Batch API, for half the price, answered within a day
    poll_seconds: Annotated[float, Gt(0)] = 30.0  # seconds between two looks at a batch
    mixed_models: bool = False  # take answers although the server names now one model, now another

    node: ClassVar[str] = "server"  # the config's name for it

    def problems(self) -> list[str]:
        """What is wrong with the address and the key's name, one line per fault."""
        found = []
        if self.base_url is not None and (problem := address_problem(self.base_url)):
            found.append(f"base_url: {problem}")
        if not is_variable(self.api_key_env) or _KEYLIKE.search(self.api_key_env):
            found += ["api_key_env: expected the name of an environment variable, got <hidden>; never the key itself"]
        return found

    def api_key(self) -> str:
        """The key; "none" where it is not set, which OpenAI's own server refuses (ConfigError) and others may not."""
        key = os.environ.get(self.api_key_env, "")
        if not re.fullmatch(r"([!-~]([ -~]*[!-~])?)?", key):
            raise ConfigError(
                f"api_key_env: the environment variable {self.api_key_env} holds white space at its ends, or letters "
                f"beyond ASCII; next: export {self.api_key_env}=..., the key alone"
            )
        if key or self.base_url or os.environ.get("OPENAI_BASE_URL"):
            return key or "none"
        raise ConfigError(
            f"api_key_env: the environment variable {self.api_key_env} is not set; "
            f"next: export {self.api_key_env}=..., or base_url=http://HOST:PORT/v1 for a server of your own"
        )


def check_keys(nodes: Mapping[str, Any]) -> None:
    """Raise ConfigError for a connection among ``nodes`` without its key now, not after an hour of work."""
    given = os.environ.get("OPENAI_BASE_URL", "")
    for name, node in nodes.items():
        check_keys({f"{name}.members.{key}": each for key, each in getattr(node, "members", {}).items()})  # of a panel
        if not isinstance(node, Connection):
            continue
        try:
            node.api_key()
        except ConfigError as error:
            raise ConfigError(f"{name}.{error}") from None
        if node.base_url is None and given and (problem := address_problem(given)):
            raise ConfigError(f"the environment variable OPENAI_BASE_URL: {problem}")


class Server:
    """An open connection. Use it as an asynchronous context manager."""

    def __init__(self, connection: Connection, endpoint: Literal["chat", "completions"], model: str) -> None:
        self.connection, self.model = connection, model
        self.path = "/chat/completions" if endpoint == "chat" else "/completions"
        self._key = connection.api_key()
        refresh([connection.api_key_env])

    async def __aenter__(self) -> "Server":
        from openai import AsyncOpenAI

        for name in ("httpx", "httpx2", "openai"):  # a line per request
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self.client = AsyncOpenAI(
                api_key=self._key, base_url=self.connection.base_url, max_retries=0, timeout=self.connection.timeout
            )
        except Exception as error:  # an address or a proxy that only the client can tell is none
            where = shown(self.connection.base_url or "the server")
            raise StopRun(told(f"{where}: the client cannot be made ({error}); check base_url and proxies")) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request, once; raises TryAgain, SetAside or StopRun."""
        body = body_of(payload)
        # Untyped: the client's own create() takes a third of the time to look at what we have made ourselves.
        # A redirect is not followed: each hop would be a request that nobody counts.
        value: Any = await self.guarded(
            lambda: self.client.post(self.path, cast_to=object, body=body, options={"follow_redirects": False})
        )
        if not isinstance(value, dict):
            raise TryAgain("the answer is no JSON object", billed=True)
        if value.get("error") and read_usage(value.get("usage")) is None:  # a fault with status 200
            raise TryAgain(f"the server reports {told(value['error'])}", billed=True)
        return value

    async def guarded(self, action: Callable[[], Awaitable[T]]) -> T:
        """One call of the client, its faults told by what they mean: TryAgain, SetAside or StopRun."""
        import openai

        try:
            async with asyncio.timeout(self.connection.timeout):
                return await action()
        except (TimeoutError, openai.APITimeoutError):
            raise TryAgain(f"no answer within timeout={self.connection.timeout:g} s", billed=True) from None
        except UnicodeEncodeError:
            raise SetAside("the request holds half a character (a lone surrogate), which cannot be sent") from None
        except (ValueError, RecursionError):
            raise TryAgain("the answer is no JSON", billed=True) from None
        except openai.APIStatusError as error:
            raise self._meaning(error) from None
        except openai.APIConnectionError as error:
            refused = "connect" in type(error.__cause__).__name__.lower()
            raise TryAgain(told(f"connection failed: {error.__cause__ or error}"), billed=not refused) from None

    def _meaning(self, error: Any) -> Exception:
        """What a status says: stop, set the row aside, or try again."""
        status, headers = int(error.status_code), error.response.headers
        detail = error.body if isinstance(error.body, Mapping) else {}
        code = str(detail.get("code") or detail.get("type") or "")
        said = told(str(detail.get("message") or error.message))
        where = shown(self.connection.base_url or "the server")
        if 300 <= status < 400:
            to = told(shown(urljoin(str(error.response.url), headers.get("location", ""))))
            return StopRun(
                f"{where}: redirects to {to} ({status}), which is not followed. Next: {self.connection.node}.base_url="
                f"{to.removesuffix(self.path)}, if that is the server, and the same command"
            )
        if status in (401, 403) and not _FILTER.search(code + said):
            return StopRun(
                f"{where}: the key in ${self.connection.api_key_env} is refused ({status}); nothing more was sent. "
                f"Next: export {self.connection.api_key_env}=... and run the same command"
            )
        if status == 404 or code in _NO_MODEL:
            return StopRun(
                f"{where}: no model {self.model!r} or no such address ({status}: {said}); check model and base_url"
            )
        if code in _NO_MONEY:
            return StopRun(f"{where}: the account has no money left ({said}); what was answered is kept")
        if status in _RETRIED or status >= 500:
            return TryAgain(f"{status}: {said}", wait=retry_after(headers))
        if _FILTER.search(code + " " + said):
            return SetAside(f"content filter: {said}")
        return SetAside(f"refused by the server ({status}): {said}", fault=True)


def body_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent: the payload, with the fields of its ``extra_body`` beside the others."""
    return {key: value for key, value in payload.items() if key != "extra_body"} | (payload.get("extra_body") or {})


def told(given: object, most: int = 300) -> str:
    """What a server says, on one line, without anything that looks like a key."""
    try:
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = "(nested too deeply to be shown)"
    return _KEYLIKE.sub(HIDDEN, mask_words(" ".join(text.split())))[:most]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date, by its own
    clock where it tells that: ours may be wrong by years.

    >>> retry_after({"retry-after": "7"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (7.0, 0.25, None)
    >>> today = "Thu, 01 Jan 1970 00:0{}:00 GMT"
    >>> retry_after({"date": today.format(1), "retry-after": today.format(3)})
    120.0
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) / unit)
    with suppress(TypeError, ValueError):
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(headers.get("retry-after", "")) - now).total_seconds())
    return None
