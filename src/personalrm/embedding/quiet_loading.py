"""Loading models of Hugging Face: without code of theirs, and without their libraries' talk.

What is missing is said once, in a sentence of ours. A model whose folder or page on the hub brings Python files of its
own (`auto_map`) is refused, never asked about: whoever can name a model could otherwise run anything here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from personalrm.errors import MissingExtra, UnknownName
from personalrm.wording import absence, install_hint, visible

NO_FOREIGN_CODE = {"trust_remote_code": False}
"""Said wherever something is loaded: left out, transformers asks on the terminal, and takes a yes."""


def load_pretrained(kind: str, name: str, what: str, **options: Any) -> Any:
    """What a class of transformers, such as `AutoModel`, loads from a folder or the hub.

    Args:
        kind: Name of the class.
        name: A folder, a GGUF file, or a name on the hub.
        what: What errors call it, such as `encoder`.
        options: Passed on.

    Raises:
        UnknownName: If there is nothing of the kind, or it is damaged, or wants to run code of its own.
        MissingExtra: If transformers is not installed.
    """
    try:
        import transformers
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "transformers", "train")) from None
    path = Path(name)
    if name.lower().endswith(".gguf"):  # its weights are unpacked to what they were before they were made small
        from personalrm.lm.local.gguf import read_facts

        read_facts(path)  # which refuses a damaged file in a sentence
        if find_spec("gguf") is None:
            raise MissingExtra(f"{what} {visible(name)!r} is read by the package gguf; {install_hint('embed')}")
        name, options = str(path.parent), options | {"gguf_file": path.name}
    try:
        with quiet_loading():
            return getattr(transformers, kind).from_pretrained(name, **NO_FOREIGN_CODE, **options)
    except Exception as error:  # of transformers, tokenizers, safetensors, jinja2, json, each with classes of its own
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise
        raise UnknownName(
            f"{what} {visible(str(path))!r} cannot be loaded ({_reason(error)}); name a model of the hub, a folder "
            "that holds model and tokenizer, or a GGUF file"
        ) from None


def _reason(error: BaseException) -> str:
    """Why a model cannot be loaded, in a few words."""
    said = str(error)
    if "custom code" in said or "trust_remote_code" in said:
        return "it brings Python code of its own, which is not run"
    return type(error).__name__


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bars and its report of heads left out on purpose, and the hub's lines on each attempt."""
    from transformers.utils import logging as bars

    hub = logging.getLogger("huggingface_hub")
    verbosity, has_bars, level = bars.get_verbosity(), bars.is_progress_bar_enabled(), hub.level
    bars.set_verbosity_error()
    bars.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):  # the bar over the tensors of a GGUF file asks nobody
            yield
    finally:
        hub.setLevel(level)
        bars.set_verbosity(verbosity)
        if has_bars:
            bars.enable_progress_bar()
