"""A tuned model sent to the Hugging Face hub once its run is finished: ``push_to_hub=OWNER/NAME``."""

import os
import shlex

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id
from omegaconf import DictConfig

from tuna.errors import ConfigError
from tuna.runs import RunFolder
from tuna.secrets import HIDDEN, mask_words


def check(cfg: DictConfig) -> None:
    """Refuse (ConfigError), before the run begins, a push that cannot work: a malformed name, no token, offline."""
    name = cfg.get("push_to_hub")
    if name is None:
        return
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"push_to_hub: expected OWNER/NAME, got {name!r} ({error})") from None
    if "/" not in name:
        raise ConfigError(
            f"push_to_hub: expected OWNER/NAME, got {name!r}; OWNER is your name on the hub, or a group's"
        )
    if constants.HF_HUB_OFFLINE:
        raise ConfigError("push_to_hub: HF_HUB_OFFLINE is set, so nothing can be sent; next: unset HF_HUB_OFFLINE")
    if not get_token():
        raise ConfigError("push_to_hub: no token of the hub is there; next: hf auth login, or set HF_TOKEN")


def push(cfg: DictConfig, target: RunFolder) -> list[str]:
    """Send the model of a finished run, where that was asked for; the lines to print. Nothing that goes wrong here is
    an error of the run: the lines then hold the command that sends the model again.
    """
    name = cfg.get("push_to_hub")
    if name is None:
        return []
    try:
        hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
        hub.create_repo(name, private=cfg.push_private, exist_ok=True)
        sent = hub.upload_folder(
            repo_id=name, folder_path=target.model, commit_message=f"{target.name}, tuned with Tuna",
            ignore_patterns=[".*"],
        )  # fmt: skip
        target.update(pushed={"repository": name, "commit": sent.oid})
    except Exception as error:
        text = mask_words(f"{type(error).__name__}: {error}".replace(get_token() or HIDDEN, HIDDEN))
        words = ["hf", "upload", name, str(target.model), ".", *(["--private"] if cfg.push_private else [])]
        return [
            f"the model was not sent to the hub ({' '.join(text.split())}); the run is not harmed",
            f"next     {shlex.join(words)}",
        ]
    return [f"pushed   {name}{' (private, if it is new)' if cfg.push_private else ''}, commit {sent.oid[:8]}"]
