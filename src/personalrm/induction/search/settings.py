"""The settings of a search for the persona prompt, whichever way it is searched for (`optimize`, MIPROv2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from personalrm.errors import BadInput
from personalrm.settings import check_bounds, setting


@dataclass(frozen=True)
class SearchSettings:
    """How a persona prompt is searched for; the defaults are the paper's (appendix F).

    Raises:
        BadInput: If a value is out of its bounds.
    """

    n_instructions: int = setting(20, "instruction candidates", flag="instructions", metavar="N", least=1)
    """Instruction candidates, the one we start from among them."""
    n_example_sets: int = setting(20, "candidate sets", flag="example-sets", metavar="N", least=1)
    """Candidate sets of example personas, the one we start from and the empty one among them."""
    n_trials: int = setting(30, "candidates tried", flag="trials", metavar="N", least=1)
    """Candidates tried on a part of the dev users."""
    max_examples: int = setting(10, "most in a set", flag="max-examples", metavar="N", least=0)
    """Most example personas in one set (`max_bootstrapped_demos`)."""
    minibatch_size: int = setting(35, "dev users a trial", flag="minibatch", metavar="N", least=1)
    """Dev users a trial is measured on; never more than there are."""
    full_eval_steps: int = setting(3, "trials per full measurement", flag="full-every", metavar="N", least=1)
    """After so many trials the most promising candidate is measured on all dev users."""
    threshold: float = setting(0.0, "gain a persona must exceed to become an example", flag="threshold", metavar="X")
    """A persona becomes an example only if it beats the default judge by more than this on its user's own pairs."""
    max_train_users: int = setting(100, "for examples, at most", flag="train-users", metavar="N", least=1)
    """Train users that personas are bootstrapped on at most."""
    user_trials: int = setting(10, "trials within a user", flag="user-trials", metavar="T", least=1)
    """Trials of each user's own search for reasonings (step 1), from which personas are written."""
    n_observed: int = setting(10, least=0)
    """Train users whose choices the proposer looks at, one a call (`view_data_batch_size` 1)."""
    seed: int = setting(0, "seed of every draw", flag="seed", least=0)
    """Seed of every draw: candidates, minibatches and the searches within users."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not -1.0 <= self.threshold < 1.0:
            raise BadInput(f"threshold must lie in [-1, 1), got {self.threshold!r}")

    def fitted_to(self, n_dev_users: int) -> SearchSettings:
        """The same with a minibatch that is no larger than the number of dev users (paper: min(35, users))."""
        return replace(self, minibatch_size=min(self.minibatch_size, n_dev_users))

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)
