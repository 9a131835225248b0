"""A budget that is never exceeded: each attempt reserves the most it can cost, then is settled.

Callers whose budgets share a pot draw on one sum, each at its own price.
"""

from __future__ import annotations

from personalrm.errors import BudgetSpent, UnknownName
from personalrm.lm.prices import Price, estimated_tokens
from personalrm.lm.protocol import Request, Usage
from personalrm.lm.settings import Budget, Pot


class Purse:
    """What one caller has spent so far; used inside one event loop only, but for its pot.

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
        budget, pot, most = self._budget, self._pot, self._most(request)
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

    def _most(self, request: Request) -> float:
        if self._price is None:
            return 0.0
        n_prompt = estimated_tokens(3 * request.n_characters)  # no text has more tokens than bytes, few have a third
        return self._price.of(Usage(n_prompt, request.sampling.max_tokens))
