"""Options of a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from personalrm.errors import BadInput
from personalrm.settings import check_bounds, setting

SplitAt = Literal["user_filter", "end"]
FileKind = Literal["jsonl", "jsonl.gz", "parquet"]


@dataclass(frozen=True)
class BuildSettings:
    """What a build does, besides its source and its models."""

    min_pairs: int = setting(5, "least pairs of a user", flag="min-pairs", metavar="N", least=1)
    """Least pairs of a user (paper, section 4)."""
    split_at: SplitAt = setting("user_filter", "when users are split", flag="split-at")
    """When users are split: before the filters by model (the paper's footnote 2), or at the end."""
    shares: tuple[float, float, float] = setting(
        (0.4, 0.1, 0.5), "of train, dev and test users", flag="shares", metavar="X,Y,Z"
    )
    """Of train, dev and test users (paper, section 4)."""
    seed: int = setting(0, "of the user split", flag="seed", least=0)
    kind: FileKind = setting("jsonl", "what the files of the dataset are", flag="format")
    """What the files of the dataset are."""
    n_examples: int = setting(3, "removed pairs shown a reason", flag="examples", metavar="N", least=0)
    """Removed pairs shown for each reason."""
    shows_text: bool = setting(True, "show those examples by hash only", flag="hide-text")
    """Whether those examples show the beginning of the request."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.split_at not in get_args(SplitAt):
            raise BadInput(f"split_at is {self.split_at!r}; use user_filter or end")
        if self.kind not in get_args(FileKind):
            raise BadInput(f"kind is {self.kind!r}; use {', '.join(get_args(FileKind))}")
        shares = self.shares
        if len(shares) != 3 or any(not 0.0 <= share <= 1.0 for share in shares) or abs(sum(shares) - 1.0) > 1e-9:
            raise BadInput(
                f"shares of train, dev and test users must add up to 1, got {tuple(shares)!r}; use 0.4,0.1,0.5"
            )
