"""From a model's name to something that can be asked."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from personalrm.errors import BadFile, UnknownName
from personalrm.lm.http import Endpoint, OpenAIServer
from personalrm.lm.protocol import LM

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, repr=False)
class ModelName:
    """How a user names a model.

    `openai/NAME` is OpenAI's own server, `litellm/NAME` goes through LiteLLM (extra
    `litellm`), any other NAME needs a base URL. Keys are looked for at `open_model`, in
    this order: the key file, `PERSONALRM_API_KEY`, and for `openai/` `OPENAI_API_KEY`.
    """

    name: str
    base_url: str | None = None
    key_file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 120.0
    tenant: str = ""
    key: str | None = None
    """The key itself, where the caller has it; it is not looked for then."""

    @property
    def is_on_this_machine(self) -> bool:
        """Whether text sent to it stays here."""
        if self.name.startswith("litellm/") or (self.base_url is None and self.name.startswith("openai/")):
            return False
        return is_local(self.base_url or "")

    @property
    def host(self) -> str:
        """Where text goes, for the notice before it does."""
        if self.base_url is None:
            return "LiteLLM's provider" if self.name.startswith("litellm/") else str(urlsplit(OPENAI_URL).hostname)
        return urlsplit(self.base_url).hostname or self.base_url

    @property
    def has_key(self) -> bool:
        """Whether it has the key it needs; only OpenAI's own models are known to need one."""
        return self.base_url is not None or not self.name.startswith("openai/") or bool(_key(self))

    def __repr__(self) -> str:
        return f"ModelName(name={self.name!r}, base_url={self.base_url!r})"


def open_model(model: ModelName) -> LM:
    """The model behind a name; connects to nothing yet.

    Raises:
        UnknownName: If the name alone does not say where the model is.
        BadFile: If the key file cannot be read.
        MissingExtra: If LiteLLM is asked for and not installed.
    """
    provider, _, rest = model.name.partition("/")
    client: Callable[[Endpoint], LM] = OpenAIServer
    if provider == "litellm" and rest:
        from personalrm.lm.with_litellm import LiteLLM

        client, served, base_url = LiteLLM, rest, model.base_url or ""
    elif model.base_url is not None:
        served, base_url = model.name, model.base_url
    elif provider == "openai" and rest:
        served, base_url = rest, OPENAI_URL
    else:
        raise UnknownName(
            f"model {model.name!r} could be anywhere; write openai/NAME, litellm/NAME, or add "
            "--base-url http://localhost:8000/v1"
        )
    parts = urlsplit(base_url)
    is_url = parts.scheme in ("http", "https") and parts.hostname and not parts.username
    if not is_url and (base_url or client is OpenAIServer):
        without_login = base_url.rpartition("@")[2]
        raise UnknownName(
            f"base URL {without_login!r} cannot be used; write it like http://localhost:8000/v1, keys go into "
            "PERSONALRM_API_KEY or a key file"
        )
    return client(
        Endpoint(
            served,
            base_url,
            api_key=_key(model),
            headers=model.headers,
            body=model.body,
            timeout_s=model.timeout_s,
            tenant=model.tenant,
            name=model.name,
        )
    )


def is_local(base_url: str) -> bool:
    """Whether a URL points at this very machine.

    >>> is_local("http://localhost:8000/v1"), is_local("http://127.0.0.1"), is_local("https://api.openai.com/v1")
    (True, True, False)
    """
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _key(model: ModelName) -> str:
    if model.key is not None:
        return model.key
    if model.key_file is not None:
        try:
            return Path(model.key_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(
                f"key file {model.key_file!r} cannot be read ({type(error).__name__}); check the path"
            ) from None
    # OpenAI's key goes to OpenAI only: another server must not get it because it happens to be set.
    openais = model.name.startswith("openai/") and model.base_url is None
    return os.environ.get("PERSONALRM_API_KEY", "") or (os.environ.get("OPENAI_API_KEY", "") if openais else "")
