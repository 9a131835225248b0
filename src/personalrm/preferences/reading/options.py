"""How a file of preferences is to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from personalrm.errors import BadInput


@dataclass(frozen=True)
class ReadOptions:
    """Options of the readers."""

    layout: str | None = None
    """Name of the layout; None recognises it from the first row."""
    user_column: str | None = None
    """Column that names the user, when it is not the layout's own."""
    default_user: str | None = None
    """User of rows without a user column, for data of a single person."""
    min_gap: float | None = None
    """Smallest difference of ratings that makes a pair; None is 10 for PRISM (scores 1-100) and 1 for ratings."""
    skip_bad: bool = False
    """Leave bad rows out and count them, instead of stopping."""

    def __post_init__(self) -> None:
        if self.min_gap is not None and not (math.isfinite(self.min_gap) and self.min_gap > 0):
            raise BadInput(f"min_gap must be a positive number, got {self.min_gap!r}")
        if self.default_user is not None and not (self.default_user.strip() and self.default_user.isprintable()):
            raise BadInput(f"default_user must be a printable name, got {self.default_user[:60]!r}; name one")
