"""How a language model is asked when it judges and describes."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.errors import BadInput
from personalrm.settings import check_bounds, setting


@dataclass(frozen=True)
class JudgeOptions:
    """How a model is asked."""

    temperature: float = setting(0.0, "0 is greedy", flag="temperature", metavar="T")
    max_tokens: int = setting(1024, "longest reply", flag="max-tokens", metavar="N", least=1)
    """Most tokens of a reply."""
    seed: int = setting(0, "seed sent to the server", flag="model-seed", metavar="N", least=0)
    n_samples: int = setting(1, "replies a question", flag="samples", metavar="K", least=1)
    """Replies a question; with more than one they are drawn at temperature 1 unless another is set."""
    logprobs: bool = True
    """Ask for log-probabilities; a server without them is found out and left in peace."""
    max_prompt_tokens: int = setting(32_000, "longest prompt", flag="context-tokens", metavar="N", least=1)
    """Longest prompt: demonstrations are then retrieved by likeness, the oldest turns go first."""
    max_example_tokens: int = 4_000
    """Room for example personas of the persona prompt."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not 0.0 <= self.temperature <= 2.0:
            raise BadInput(f"temperature must lie in [0, 2], got {self.temperature!r}")
