"""The personal prompt: what was learned about one user, as data.

Persona, demonstrations, what made them, and the hashes of the pairs seen. It holds
no dates and no machine, so the same pairs give the same bytes. `prompts/` renders
it; `preferences/prompt_json.py` writes and reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from personalrm.errors import TargetLeak
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.drift import Drift
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personas import Persona

FORMAT_VERSION = 2
"""What this version reads; it writes the lowest that holds a prompt: 2 with a change of taste, else 1."""


@dataclass(frozen=True)
class FeatureWeight:
    """What the embedded engine believes about one feature of one user.

    The reward of a completion is the sum over features of `mean * x / scale`.
    """

    feature: str
    """Name of the feature, as in `personalrm.stylometry`."""
    scale: float
    """Divisor that brings differences of this feature to unit spread in the population."""
    population: float
    """What the other users want of this feature, on average (mu)."""
    spread: float
    """How much users differ in it (square root of the diagonal of Sigma)."""
    mean: float
    """What this user wants (posterior mode)."""
    sd: float
    """Posterior standard deviation of `mean`."""


@dataclass(frozen=True, repr=False)
class PersonalPrompt:
    """Everything a judge needs to decide as one user would."""

    user_id: str
    persona: Persona
    demonstrations: tuple[Demonstration, ...] = ()
    judge: str = "embedded"
    """Name of the engine or model that made it."""
    variant: str = "all_pairs"
    """Which form of induction made it (see `personalrm.induction`)."""
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The settings of the fit, as plain JSON values."""
    roles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Hash of every context pair seen -> `train` or `validation`; never changed by later fits."""
    weights: tuple[FeatureWeight, ...] = ()
    """The embedded engine's weights; empty when a language model is the judge."""
    written: tuple[str, ...] = ()
    """Sentences of the persona as the engine wrote them, so that edits by hand can be told."""
    notes: tuple[str, ...] = ()
    """Degradations worth knowing, one sentence each."""
    too_few_pairs: bool = False
    """True when the fit had too little to say anything personal."""
    drift: Drift | None = None
    """The change of taste that was found, whose later pairs decide; None when there is none."""

    @property
    def context_hashes(self) -> frozenset[str]:
        """Hashes of all pairs this prompt was made from."""
        return frozenset(self.roles)

    def refuse_targets(self, targets: Iterable[PreferencePair]) -> None:
        """Stop when a pair to be scored was seen while this prompt was made.

        Raises:
            TargetLeak: Naming the first such pair.
        """
        for pair in targets:
            if pair.hash in self.roles:
                raise TargetLeak(
                    f"the prompt of user {self.user_id!r} was made from pair {pair.id!r}, which is to be scored; "
                    "fit on context pairs only or evaluate other pairs"
                )

    def __repr__(self) -> str:
        return (
            f"PersonalPrompt(user_id={self.user_id!r}, judge={self.judge!r}, claims={len(self.persona.claims)}, "
            f"demonstrations={len(self.demonstrations)}, pairs={len(self.roles)})"
        )
