"""SynthesizeMe: from context pairs to a personal prompt, its growth and edits, the search for persona prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.induction.search.optimize import optimize_persona_prompt
    from personalrm.induction.search.settings import SearchSettings
    from personalrm.induction.settings import InductionSettings
    from personalrm.preferences.persona_prompts import PersonaPrompt, persona_prompt_from_json, persona_prompt_to_json
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "InductionSettings",
    "PersonaPrompt",
    "SearchSettings",
    "optimize_persona_prompt",
    "persona_prompt_from_json",
    "persona_prompt_to_json",
]
