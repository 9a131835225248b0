"""How a file of preferences is to be read."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.errors import BadInput
from personalrm.settings import check_bounds, setting


@dataclass(frozen=True)
class ReadOptions:
    """Options of the readers."""

    layout: str | None = setting(
        None, "layout of the rows, also package.module:name", flag="layout", unset="recognized from the first row"
    )
    """Name of the layout, or where another package has one (docs/data.md); None recognizes it from the first row."""
    user_column: str | None = setting(
        None, "column that names the user, if not user_id", flag="user-column", metavar="NAME"
    )
    """Column that names the user, when it is not the layout's own."""
    default_user: str | None = setting(
        None, "user of rows without one, for data of a single person", flag="default-user", metavar="NAME"
    )
    """User of rows without a user column, for data of a single person."""
    min_gap: float | None = setting(
        None, "smallest difference of ratings that makes a pair", flag="min-gap", metavar="X", above=0
    )
    """Smallest difference of ratings that makes a pair; None is 10 for PRISM (scores 1-100) and 1 for ratings."""
    skip_bad: bool = setting(False, "leave bad rows out, count them, exit with 3", flag="skip-bad")
    """Leave bad rows out and count them, instead of stopping."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.default_user is not None and not (self.default_user.strip() and self.default_user.isprintable()):
            raise BadInput(f"default_user must be a printable name, got {self.default_user[:60]!r}; name one")
