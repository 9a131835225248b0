"""GPO (paper 5.1): a user's choices are the context of a small transformer."""

from personalrm.rewards.heads.gpo.model import GPO, GPOOptions
from personalrm.rewards.heads.gpo.network import GPOShape

__all__ = ["GPO", "GPOOptions", "GPOShape"]
