"""From a model's name to something that can be asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.lm.addresses import checked_base_url, checked_key, headers_of, is_local, proxy_for
from personalrm.lm.http import OPENAI_URL, Endpoint, OpenAIServer
from personalrm.lm.protocol import LM


@dataclass(frozen=True, repr=False)
class ModelName:
    """How a user names a model.

    `openai/NAME` is OpenAI's own server, or the one that `OPENAI_BASE_URL` names for all
    programs; `litellm/NAME` goes through LiteLLM (extra `litellm`); the path of a GGUF file is
    run here (extra `local`); any other NAME needs a base URL. Keys are looked for at
    `open_model`, in this order: the key file, `PERSONALRM_API_KEY`, and for `openai/`
    `OPENAI_API_KEY`.
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
    gpu_layers: int = 0
    """Layers of a GGUF file that go onto a GPU, -1 for all."""

    @property
    def is_file(self) -> bool:
        """Whether it is a GGUF file that is run here."""
        is_elsewhere = self.base_url is not None or self.name.startswith(("openai/", "litellm/"))
        return self.name.lower().endswith(".gguf") and not is_elsewhere

    @property
    def is_on_this_machine(self) -> bool:
        """Whether text sent to it stays here."""
        return self.is_file or (not self.name.startswith("litellm/") and is_local(_base_url(self) or ""))

    @property
    def host(self) -> str:
        """Where text goes, for the notice before it does."""
        base_url = _base_url(self)
        return (urlsplit(base_url).hostname or base_url) if base_url else "LiteLLM's provider"

    @property
    def has_key(self) -> bool:
        """Whether it has the key it needs; only OpenAI's own models are known to need one."""
        return _base_url(self) != OPENAI_URL or self.base_url is not None or bool(_key(self))

    def __repr__(self) -> str:
        return f"ModelName(name={self.name!r}, base_url={self.base_url!r})"


def open_model(model: ModelName) -> LM:
    """The model behind a name; connects to nothing yet.

    Raises:
        UnknownName: If the name alone does not say where the model is.
        BadFile: If the key file or the GGUF file cannot be read.
        BadInput: If the key, a header or the environment's proxy cannot be used.
        MissingExtra: If LiteLLM or a GGUF file is asked for and what it needs is not installed.
    """
    if model.is_file:
        from personalrm.lm.local.model import LocalModel

        return LocalModel(model.name, gpu_layers=model.gpu_layers, body=model.body, tenant=model.tenant)
    provider, _, rest = model.name.partition("/")
    client: Callable[[Endpoint], LM] = OpenAIServer
    if provider == "litellm" and rest:
        from personalrm.lm.with_litellm import LiteLLM

        client, served, base_url = LiteLLM, rest, model.base_url or ""
    elif model.base_url is not None:
        served, base_url = model.name, model.base_url
    elif provider == "openai" and rest:
        served, base_url = rest, _base_url(model) or ""
    else:
        raise UnknownName(
            f"model {model.name!r} could be anywhere; write openai/NAME, litellm/NAME, the path of a .gguf "
            "file, or add --base-url http://localhost:8000/v1"
        )
    key = _key(model)
    if base_url or client is OpenAIServer:
        base_url = checked_base_url(base_url)
        headers_of(base_url, key, model.headers)  # what cannot be sent is refused here, before anything is
        proxy_for(base_url)
    return client(
        Endpoint(
            served,
            base_url,
            api_key=key,
            headers=model.headers,
            body=model.body,
            timeout_s=model.timeout_s,
            tenant=model.tenant,
            name=model.name,
        )
    )


def found_in(folders: Iterable[Path], name: str) -> str:
    """The path of a GGUF file in the first folder that has it; the name itself where none has."""
    return next((str(folder / name) for folder in folders if (folder / name).is_file()), name)


def _base_url(model: ModelName) -> str | None:
    """Where it is: as said, or where the environment says that OpenAI's models are for all programs."""
    if model.base_url is not None or not model.name.startswith("openai/"):
        return model.base_url
    return os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL


def _key(model: ModelName) -> str:
    if model.key is not None:
        return checked_key(model.key, f"the settings of model {model.name!r}")
    if model.key_file is not None:
        try:
            key = checked_key(Path(model.key_file).read_text(encoding="utf-8"), f"key file {model.key_file!r}")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(
                f"key file {model.key_file!r} cannot be read ({type(error).__name__}); check the path"
            ) from None
        if not key:
            raise BadInput(f"key file {model.key_file!r} is empty; write the key into it or leave --key-file out")
        return key
    # OpenAI's key goes to OpenAI only, or where OpenAI's own variable says: another server must not get it because it
    # happens to be set.
    openais = model.name.startswith("openai/") and model.base_url is None
    for variable in ("PERSONALRM_API_KEY", *(("OPENAI_API_KEY",) if openais else ())):
        if key := checked_key(os.environ.get(variable, ""), variable):
            return key
    return ""
