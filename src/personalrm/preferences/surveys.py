"""What users said of themselves in a survey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, repr=False)
class Survey:
    """One user's answers; private, so `repr` shows no text."""

    user_id: str
    demographics: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Field -> answer, in the order of the survey."""
    stated_preference: str = ""
    """How they would like to be answered, in their own words."""

    def __repr__(self) -> str:
        return f"Survey(user_id={self.user_id!r}, demographics={len(self.demographics)})"
