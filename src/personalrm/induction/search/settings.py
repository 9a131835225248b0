"""The settings of a search for the persona prompt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from personalrm.errors import BadInput


@dataclass(frozen=True)
class SearchSettings:
    """How a persona prompt is searched for; the defaults are the paper's (appendix F)."""

    n_instructions: int = 20
    """Instruction candidates, the one we start from among them."""
    n_example_sets: int = 20
    """Candidate sets of example personas, the one we start from and the empty one among them."""
    n_trials: int = 30
    """Candidates tried on a part of the dev users."""
    max_examples: int = 10
    """Most example personas in one set (`max_bootstrapped_demos`)."""
    minibatch_size: int = 35
    """Dev users a trial is measured on; never more than there are."""
    full_eval_steps: int = 3
    """After so many trials the most promising candidate is measured on all dev users."""
    threshold: float = 0.0
    """A persona becomes an example only if it beats the default judge by more than this on its user's own pairs."""
    max_train_users: int = 100
    """Train users that personas are bootstrapped on at most."""
    user_trials: int = 10
    """Trials of each user's own search for reasonings (step 1), from which personas are written."""
    n_observed: int = 10
    """Train users whose choices the proposer looks at, one a call (`view_data_batch_size` 1)."""
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"max_examples": 0, "n_observed": 0, "seed": 0}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name != "threshold" and value < least.get(name, 1):
                raise BadInput(f"{name} must be at least {least.get(name, 1)}, got {value!r}")
        if not -1.0 <= self.threshold < 1.0:
            raise BadInput(f"threshold must lie in [-1, 1), got {self.threshold!r}")

    def fitted_to(self, n_dev_users: int) -> SearchSettings:
        """The same with a minibatch that is no larger than the number of dev users (paper: min(35, users))."""
        return replace(self, minibatch_size=min(self.minibatch_size, n_dev_users))

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)
