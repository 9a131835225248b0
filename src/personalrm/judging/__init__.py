"""Who decides between two completions: the embedded engine, a language model, what both do with a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.judging.both_orders import judge_both_orders
    from personalrm.judging.embedded import EmbeddedJudge
    from personalrm.judging.guard import GuardedJudge, ModelPolicy, RulePolicy
    from personalrm.judging.model import ModelJudge, open_model_judge
    from personalrm.judging.options import JudgeOptions
    from personalrm.preferences.verdicts import Judge
    from personalrm.prompts.linting import lint_persona
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "EmbeddedJudge",
    "GuardedJudge",
    "Judge",
    "JudgeOptions",
    "ModelJudge",
    "ModelPolicy",
    "RulePolicy",
    "judge_both_orders",
    "lint_persona",
    "open_model_judge",
]
