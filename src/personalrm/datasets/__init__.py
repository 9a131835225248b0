"""PersonalRewardBench: where the data comes from, the published sets, building one anew, context and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.datasets.published import load_benchmark
    from personalrm.datasets.targets import HeldOut, hold_out
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "HeldOut",
    "hold_out",
    "load_benchmark",
]
