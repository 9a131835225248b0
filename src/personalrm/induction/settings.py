"""The settings of an induction: the paper's numbers, and each departure of ours beside its field.

`docs/paper.md` says which is which; who needs other numbers passes an `InductionSettings` of their own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from personalrm.errors import BadInput
from personalrm.settings import check_bounds, setting

Variant = Literal["all_pairs", "persona", "demonstrations", "both"]
VARIANTS: dict[Variant, str] = {
    "all_pairs": "persona and weights from all context pairs (the embedded engine's default)",
    "persona": "just the persona (paper 5.2: bootstrap, persona)",
    "demonstrations": "just demonstrations (paper 5.2: step 3 without a persona)",
    "both": "persona and demonstrations (the paper's SynthesizeMe)",
}
"""What each variant learns."""


@dataclass(frozen=True)
class InductionSettings:
    """How a personal prompt is made (paper section 3, appendix A).

    Raises:
        BadInput: If a value is not one of its choices or out of its bounds.
    """

    variant: Variant = setting(
        "all_pairs",
        "form of induction",
        flag="variant",
        unset="all_pairs with the embedded engine, both with a model",
    )
    """Which form of induction; see `VARIANTS`."""
    n_trials: int = setting(10, "trials a search", flag="trials", metavar="T", least=1)
    """T, candidate sets of demonstrations tried in each search (paper 3.2: 10)."""
    max_bootstrapped: int | None = setting(None, least=1)
    """Most reasonings in one candidate; None means as many as there are train pairs."""
    max_plain: int = setting(4, least=0)
    """Most plain demonstrations, without reasoning, beside the reasonings of a candidate, an addition of ours."""
    validation_orders: Literal["both", "one"] = "both"
    """Whether validation pairs are judged in both orders; one is the paper's, at half the calls, and enough for a judge
    without position bias."""
    schedule: Literal["latency", "cost"] = setting(
        "latency", "ask all trials at once, or give up those that cannot win any more", flag="schedule"
    )
    """`latency` asks all trials at once; `cost` gives up trials that can no longer win: more waves, fewer calls,
    the same winner."""
    seed: int = setting(0, "seed of every draw", flag="seed", least=0)
    """Seed of every draw; draws are keyed by seed and pair hash, so old ones survive new pairs."""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise BadInput(f"unknown variant {self.variant!r}; use one of {', '.join(VARIANTS)}")
        if self.validation_orders not in ("both", "one"):
            raise BadInput(f"unknown validation_orders {self.validation_orders!r}; use both or one")
        if self.schedule not in ("latency", "cost"):
            raise BadInput(f"unknown schedule {self.schedule!r}; use latency or cost")
        check_bounds(self)

    def as_json(self) -> dict[str, Any]:
        """The settings that decide what is learned, as plain values, for the saved prompt."""
        return {name: value for name, value in asdict(self).items() if name != "schedule"}
