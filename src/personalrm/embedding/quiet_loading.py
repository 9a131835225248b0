"""Loading models without their libraries' talk: what is missing is said once, in a sentence of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


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
        yield
    finally:
        hub.setLevel(level)
        bars.set_verbosity(verbosity)
        if has_bars:
            bars.enable_progress_bar()
