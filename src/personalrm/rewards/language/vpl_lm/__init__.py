"""VPL whose decoder reads a language model that is trained along (paper 5.1): the published setting."""

from personalrm.rewards.language.vpl_lm.model import LanguageVPL
from personalrm.rewards.language.vpl_lm.network import LanguageVPLOptions

__all__ = ["LanguageVPL", "LanguageVPLOptions"]
