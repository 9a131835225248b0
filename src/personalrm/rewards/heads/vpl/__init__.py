"""Variational preference learning (paper 5.1): a user's choices become a latent vector, a decoder reads it."""

from personalrm.rewards.heads.vpl.model import VPL, VPLState, active_units
from personalrm.rewards.heads.vpl.network import VPLOptions

__all__ = ["VPL", "VPLOptions", "VPLState", "active_units"]
