"""Whether W&B runs online or offline: never in a way that asks a question or keeps a run waiting."""

import netrc
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

SERVER = "https://api.wandb.ai"  # unless WANDB_BASE_URL names another
REACH_TIMEOUT = 10.0  # seconds for a first sign of W&B's server


def wandb_mode(mode: str) -> str:
    """The mode W&B runs in: never one that asks a question."""
    mode = os.environ.get("WANDB_MODE") or mode
    if mode not in ("auto", "online"):
        return {"dryrun": "offline"}.get(mode, mode)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(_server()).hostname or ""
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(file)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def reach() -> None:
    """Whether W&B's server answers, through whatever proxy; W&B itself tries for a minute and a half.

    Raises:
        OSError: nothing does.
    """
    try:
        urllib.request.urlopen(_server(), timeout=REACH_TIMEOUT).close()
    except urllib.error.HTTPError:
        pass  # it answers
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # W&B may know its certificate
            raise


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL") or SERVER
