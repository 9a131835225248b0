"""GPO (paper 5.1): a user's choices are the context of a small transformer."""

from personalrm.rewards.gpo.model import FAITHFUL, GPO, GPOOptions
from personalrm.rewards.gpo.network import GPOShape

__all__ = ["FAITHFUL", "GPO", "GPOOptions", "GPOShape"]
