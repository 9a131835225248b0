"""Personal reward models from preference pairs.

The public names, each loaded when first asked for, so that `import personalrm` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personalrm.datasets.personalizable import is_personalizable
    from personalrm.errors import PersonalRMError
    from personalrm.induction.synthesizeme import SynthesizeMe, fit_users
    from personalrm.judging.asking import Candidate
    from personalrm.preferences.demonstrations import Demonstration
    from personalrm.preferences.messages import Message
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Claim, Persona
    from personalrm.preferences.reading.files import iter_users, read_pairs
    from personalrm.preferences.users import User
    from personalrm.preferences.verdicts import Verdict

__version__ = "0.1.0"

__all__ = [
    "Candidate",
    "Claim",
    "Demonstration",
    "Message",
    "Persona",
    "PersonalPrompt",
    "PersonalRMError",
    "PreferencePair",
    "SynthesizeMe",
    "User",
    "Verdict",
    "__version__",
    "fit_users",
    "is_personalizable",
    "iter_users",
    "read_pairs",
]

_HOMES = {
    "Candidate": "judging.asking",
    "Claim": "preferences.personas",
    "Demonstration": "preferences.demonstrations",
    "Message": "preferences.messages",
    "Persona": "preferences.personas",
    "PersonalPrompt": "preferences.personal_prompts",
    "PersonalRMError": "errors",
    "PreferencePair": "preferences.pairs",
    "SynthesizeMe": "induction.synthesizeme",
    "User": "preferences.users",
    "Verdict": "preferences.verdicts",
    "fit_users": "induction.synthesizeme",
    "is_personalizable": "datasets.personalizable",
    "iter_users": "preferences.reading.files",
    "read_pairs": "preferences.reading.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'personalrm' has no attribute {name!r}")
    value = getattr(import_module(f"personalrm.{_HOMES[name]}"), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
