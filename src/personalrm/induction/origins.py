"""What made each version of a personal prompt, read from the versions themselves.

Versions hold no dates and no story, so that equal pairs give equal bytes; but a restored
one equals an earlier one, an edited one differs from the one before in its persona only,
and a fit changes pairs or settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from personalrm.induction.prompt_changes import compare_prompts
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.wording import count

Kind = Literal["fitted", "updated", "fitted_again", "edited", "restored", "unknown"]


@dataclass(frozen=True)
class Origin:
    """How a version came to be."""

    kind: Kind
    """`unknown` where the version before cannot be read."""
    line: str
    """The same in plain words."""
    restored_from: int | None = None
    """The version that is the newest again."""


def origin_of(prompt: PersonalPrompt, earlier: Mapping[int, PersonalPrompt | None]) -> Origin:
    """What made this version.

    Args:
        prompt: The version.
        earlier: All versions before it by number, oldest first; None for one that cannot be read.
    """
    maker = "the embedded engine" if prompt.judge == "embedded" else prompt.judge
    made = f"{count(len(prompt.roles), 'pair')} with {maker}"
    if not earlier:
        return Origin("fitted", f"fitted from {made}")
    same = [number for number, one in earlier.items() if one == prompt]
    if same:
        return Origin("restored", f"restored from version {same[-1]}", same[-1])
    before = list(earlier.values())[-1]
    if before is None:
        return Origin("unknown", f"rests on {made}; the version before cannot be read")
    if replace(before, persona=prompt.persona) == prompt:
        return Origin("edited", "edited by hand")
    changes = compare_prompts(before, prompt)
    if not changes.pairs_added:
        return Origin("fitted_again", f"fitted again from {made}")
    gone = f", {changes.pairs_removed} no longer there" if changes.pairs_removed else ""
    return Origin("updated", f"updated after {count(changes.pairs_added, 'new pair')}{gone}, with {maker}")
