"""The benchmark: methods as rows, run files and their plan, runs, results, reports, questions about personas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.bench.inspect_scorer import personal_scorer
    from personalrm.bench.methods.method import Judgement, Knowledge, Method
    from personalrm.bench.methods.model import ModelMethod
    from personalrm.bench.runs.evaluation import evaluate
    from personalrm.induction.waves import Calls
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Calls",
    "Judgement",
    "Knowledge",
    "Method",
    "ModelMethod",
    "evaluate",
    "personal_scorer",
]
