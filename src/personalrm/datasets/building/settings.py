"""Options of a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from personalrm.datasets.building.stages import check_shares
from personalrm.errors import BadInput

SplitAt = Literal["user_filter", "end"]
FileKind = Literal["jsonl", "jsonl.gz", "parquet"]


@dataclass(frozen=True)
class BuildSettings:
    """What a build does, besides its source and its models."""

    min_pairs: int = 5
    """Least pairs of a user (paper, section 4)."""
    split_at: SplitAt = "user_filter"
    """When users are split: before the filters by model (the paper's footnote 2), or at the end."""
    shares: tuple[float, float, float] = (0.4, 0.1, 0.5)
    """Of train, dev and test users (paper, section 4)."""
    seed: int = 0
    kind: FileKind = "jsonl"
    """What the files of the dataset are."""
    n_examples: int = 3
    """Removed pairs shown for each reason."""
    shows_text: bool = True
    """Whether those examples show the beginning of the request."""

    def __post_init__(self) -> None:
        if self.min_pairs < 1:
            raise BadInput(f"min_pairs must be at least 1, got {self.min_pairs!r}")
        if self.n_examples < 0:
            raise BadInput(f"n_examples must be at least 0, got {self.n_examples!r}")
        if self.split_at not in get_args(SplitAt):
            raise BadInput(f"split_at is {self.split_at!r}; use user_filter or end")
        if self.kind not in get_args(FileKind):
            raise BadInput(f"kind is {self.kind!r}; use {', '.join(get_args(FileKind))}")
        check_shares(self.shares)
