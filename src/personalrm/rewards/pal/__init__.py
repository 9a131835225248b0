"""Pluralistic alignment (paper 5.1): a user is a mixture of prototypes."""

from personalrm.rewards.pal.model import PAL, PALState
from personalrm.rewards.pal.network import PALOptions

__all__ = ["PAL", "PALOptions", "PALState"]
