"""What the benchmark makes of judgements, without a run around them."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.bench.methods.method import Judgement
from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.arrays import Measured, measured_of
from personalrm.bench.results.records import JudgementRow


def outcome_of(judgements: Sequence[Judgement]) -> Measured:
    """The judgements as a cell of a run measures them, each of a pair of its own; margins in their order."""
    rows = [JudgementRow(f"pair {place}", "user", **vars(judgement)) for place, judgement in enumerate(judgements)]
    return measured_of(Cell("data", "method"), {0: rows})
