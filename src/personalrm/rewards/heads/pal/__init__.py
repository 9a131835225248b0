"""Pluralistic alignment (paper 5.1): a user is a mixture of prototypes."""

from personalrm.rewards.heads.pal.model import PAL, PALState
from personalrm.rewards.heads.pal.network import PALOptions

__all__ = ["PAL", "PALOptions", "PALState"]
