"""Personal reward models from preference pairs.

The public names, each loaded when first asked for: `import personalrm` costs nothing. More stand one level down, in
`personalrm.judging`, `.rewards`, `.bench`, `.datasets`, `.induction`, `.lm` and `.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.datasets.personalizable import is_personalizable
    from personalrm.errors import PersonalRMError
    from personalrm.home.home import Home, Person
    from personalrm.induction.synthesizeme import SynthesizeMe, fit_users
    from personalrm.judging.asking import Candidate
    from personalrm.preferences.demonstrations import Demonstration
    from personalrm.preferences.messages import Message
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.people import example_path, example_users
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Claim, Persona
    from personalrm.preferences.reading.files import iter_users, read_pairs
    from personalrm.preferences.reading.options import ReadOptions
    from personalrm.preferences.users import User
    from personalrm.preferences.verdicts import Question, Verdict
else:
    __getattr__, __dir__ = lazy_names(__name__)

__version__ = "0.1.0"

__all__ = [
    "Candidate",
    "Claim",
    "Demonstration",
    "Home",
    "Message",
    "Person",
    "Persona",
    "PersonalPrompt",
    "PersonalRMError",
    "PreferencePair",
    "Question",
    "ReadOptions",
    "SynthesizeMe",
    "User",
    "Verdict",
    "__version__",
    "example_path",
    "example_users",
    "fit_users",
    "is_personalizable",
    "iter_users",
    "read_pairs",
]
