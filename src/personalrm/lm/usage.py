"""Who asked how much: calls, tokens and cost by stage and by user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from personalrm.lm.protocol import Request, Usage


@dataclass
class Account:
    """What one stage or one user asked."""

    n_calls: int = 0
    """Requests that reached out, retries included."""
    n_cached: int = 0
    """Answers that needed no request."""
    n_unscored: int = 0
    """Requests that in the end had no usable answer."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def add(self, usage: Usage, cost: float) -> None:
        """One answered call more."""
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.completion_tokens += usage.completion_tokens
        self.cost += cost


@dataclass
class Ledger:
    """All accounts of a run."""

    by_stage: dict[str, Account] = field(default_factory=dict)
    by_user: dict[str, Account] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    """How often each kind of failure was met and survived or not."""
    served_by: dict[str, int] = field(default_factory=dict)
    """Replies by the name the server gave its model; more than one name says that it changed in mid-run."""

    def accounts(self, request: Request) -> tuple[Account, Account]:
        """The two accounts a request belongs to."""
        return (
            self.by_stage.setdefault(request.stage, Account()),
            self.by_user.setdefault(request.user_id, Account()),
        )

    def note_fault(self, kind: str) -> None:
        """One failure more."""
        self.faults[kind] = self.faults.get(kind, 0) + 1

    def note_served(self, model: str) -> None:
        """One reply more of a model that calls itself so."""
        if model:
            self.served_by[model] = self.served_by.get(model, 0) + 1

    @property
    def total(self) -> Account:
        """Everything together."""
        return _sum(self.by_stage.values())


def _sum(accounts: Iterable[Account]) -> Account:
    total = Account()
    for account in accounts:
        for name, value in vars(account).items():
            setattr(total, name, getattr(total, name) + value)
    return total
