"""Words that messages share: counts in the right number, what a value is, how to install an extra.

Imports nothing of ours, so every part may use it.
"""

from __future__ import annotations

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
