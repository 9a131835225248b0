"""Who asked how much, and a budget that is never exceeded: calls, tokens and cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from personalrm.errors import BudgetSpent, UnknownName
from personalrm.lm.prices import Price, estimated_tokens
from personalrm.lm.protocol import Request, Usage
from personalrm.lm.settings import Budget, Pot


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
    faults: Counter[str] = field(default_factory=Counter)
    """How often each kind of failure was met and survived or not."""
    served_by: Counter[str] = field(default_factory=Counter)
    """Replies by the name the server gave its model; more than one name says that it changed in mid-run."""

    def accounts(self, request: Request) -> tuple[Account, Account]:
        """The two accounts a request belongs to."""
        return (
            self.by_stage.setdefault(request.stage, Account()),
            self.by_user.setdefault(request.user_id, Account()),
        )

    @property
    def total(self) -> Account:
        """Everything together."""
        total = Account()
        for account in self.by_stage.values():
            for name, value in vars(account).items():
                setattr(total, name, getattr(total, name) + value)
        return total


class Purse:
    """What one caller has spent so far; used inside one event loop only, but for its pot.

    Each attempt reserves the most it can cost, then is settled. Callers whose budgets
    share a pot draw on one sum, each at its own price.

    Raises:
        UnknownName: If there is a ceiling of cost and no price to hold it with.
    """

    def __init__(self, budget: Budget, price: Price | None, model: str) -> None:
        if budget.max_cost is not None and price is None:
            raise UnknownName(
                f"the price of model {model!r} is unknown, so --max-cost cannot be kept; add it to a price table "
                "(--prices) or use --max-calls"
            )
        self._budget, self._price = budget, price
        self.n_calls = 0
        self.cost = 0.0
        self._pot = budget.pot or Pot()

    @property
    def is_limited(self) -> bool:
        """Whether the money or the calls may run out."""
        return self._budget.max_calls is not None or self._budget.max_cost is not None

    def reserve(self, request: Request) -> float:
        """Set aside what an attempt may cost at most; the sum is handed to `settle`.

        Raises:
            BudgetSpent: If it does not fit any more; nothing is reserved then.
        """
        budget, pot, most = self._budget, self._pot, 0.0
        if self._price is not None:
            # A token a character, three times the usual estimate: a ceiling of cost holds for any text.
            n_prompt = estimated_tokens(3 * request.n_characters)
            most = self._price.of(Usage(n_prompt, request.sampling.max_tokens))
        with pot.lock:
            if budget.max_calls is not None and pot.n_calls >= budget.max_calls:
                raise BudgetSpent(
                    f"the budget of {budget.max_calls} calls is spent; run the same command with a larger --max-calls"
                )
            if budget.max_cost is not None and pot.cost + pot.reserved + most > budget.max_cost:
                raise BudgetSpent(
                    f"the budget of {budget.max_cost:g} has no room for another call ({pot.cost:.4f} spent); "
                    "run the same command with a larger --max-cost"
                )
            pot.n_calls += 1
            pot.reserved += most
        self.n_calls += 1
        return most

    def settle(self, reserved: float, usage: Usage | None) -> float:
        """Replace a reservation by what was used; without a report the whole reservation counts."""
        cost = reserved if usage is None or self._price is None else self._price.of(usage)
        with self._pot.lock:
            self._pot.reserved -= reserved
            self._pot.cost += cost
        self.cost += cost
        return cost
