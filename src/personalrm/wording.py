"""Words that messages share: counts in the right number, what a value is, how to install an extra, text made visible.

Imports nothing of ours, so every part may use it.
"""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    tuple: "a list",
    dict: "keys and values",
    type(None): "empty",
}

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # those that turn the direction of writing
    "\u2028\u2029\u200b\u2060-\u2065\u206a-\u206f\ufeff\u180e\ufff9-\ufffb"  # lines that are none, and what is not seen
    "\U000e0000-\U000e007f"  # tags: a second text that people do not see and models read
    "\ud800-\udfff]"  # halves of characters, which no stream takes
)
"""Characters that steer whatever shows a text, or hide in it; joiners stay, which scripts and emoji need."""


def count(n: int, noun: str) -> str:
    """A count with its noun in the right number.

    >>> count(1, "user"), count(654, "pair"), count(2, "query")
    ('1 user', '654 pairs', '2 queries')
    """
    if n == 1:
        return f"{n:,} {noun}"
    return f"{n:,} {noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{n:,} {noun}s"


def kind_of(value: Any) -> str:
    """What a value is, in words of JSON and with its article.

    >>> kind_of(3), kind_of({}), kind_of(None), kind_of(3j)
    ('a whole number', 'keys and values', 'empty', 'something of type complex')
    """
    return KINDS.get(type(value), f"something of type {type(value).__name__}")


def install_hint(extra: str) -> str:
    """How to install an extra beside the personalrm that runs, be it a clone or an installed package.

    pip finds that personalrm is there, whatever it came from, and adds only what the extra needs. It is called through
    this Python because an environment that is not activated, such as a clone's after `make demo`, is not where `pip`
    would install to.

    >>> install_hint("train").endswith("-m pip install 'personalrm[train]'")
    True
    """
    return f"{shlex.quote(sys.executable or 'python')} -m pip install 'personalrm[{extra}]'"


def absence(error: BaseException, package: str, extra: str) -> str:
    """Why an optional package is not to be had, and what to do: it is not there, or is and cannot be loaded.

    >>> absence(OSError("failed to map segment"), "torch", "train").partition(";")[0]
    'torch is installed and cannot be loaded (failed to map segment)'
    """
    if isinstance(error, ModuleNotFoundError):
        return f"{package} is not installed; {install_hint(extra)}"
    reason = visible(" ".join(str(error).split()))[:100] or type(error).__name__
    return (
        f"{package} is installed and cannot be loaded ({reason}); give it more memory (ulimit -v), or install it anew: "
        f"{install_hint(extra)}"
    )


def visible(text: str) -> str:
    r"""The text with what steers a terminal or a page, or hides there, written as JSON escapes it.

    >>> print(visible("safe\u202egnp.exe\x1b[2J"))
    safe\u202egnp.exe\u001b[2J
    """
    return STEERING.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    """One character in UTF-16, as JSON has it, so that escaped JSON is still the same JSON."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
