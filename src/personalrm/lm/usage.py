"""Who asked how much, and a budget that is never exceeded: calls, tokens and cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from personalrm.errors import BudgetSpent, UnknownName
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Request, Usage
from personalrm.lm.settings import Budget, Pot

FEW_WORDS = 30
"""In fewer words, short ones and numbers, a server's way of counting may decide."""
MOST_CHARACTERS = 5.5
"""Of a token, on average, in a prompt that was read whole; English has 4 to 5, few languages more."""
LEAST_TOKENS = 0.9
"""A word, of a prompt that nobody cut."""
TOKENS_OF_LAYOUT = 16
"""What a server's template puts around a prompt."""


@dataclass
class Account:
    """What one stage or one user asked."""

    n_calls: int = 0
    """Requests that reached out, retries and refusals included."""
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
    n_kept: int = 0
    """Answers that the cache has taken, each readable and on its way to the disk."""
    said: dict[str, str] = field(default_factory=dict)
    """What the server said lately, by kind of failure."""
    n_cut: int = 0
    """Answers to prompts of which the server counted fewer tokens than they have words: it has cut them."""

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


def is_cut(request: Request, usage: Usage) -> bool:
    """Whether a server has read less of a prompt than was sent: no tokenizer makes one token of several words."""
    n_tokens = usage.prompt_tokens + usage.cached_tokens
    # Counting words takes as long as half a call with a long prompt, so it is left to those that may have been cut.
    if not n_tokens or n_tokens * MOST_CHARACTERS >= request.n_characters:
        return False
    n_words = sum(len(message.content.split()) for message in request.messages)
    return n_words >= FEW_WORDS and n_tokens < LEAST_TOKENS * n_words


class Purse:
    """What one caller has spent so far; used inside one event loop only, but for its pot.

    Each attempt reserves the most it can cost, then is settled. Callers whose budgets
    share a pot draw on one sum, each at its own price. What a reply costs beyond its
    reservation (thoughts that no `max_tokens` holds) is from then on reserved for each;
    the first request of all goes alone, so that it can show such a thing.

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

    def reserve(self, request: Request) -> float | None:
        """Set aside what an attempt may cost at most; the sum is handed to `settle`.

        Returns:
            None where only what others have reserved stands in the way: some of it comes back.

        Raises:
            BudgetSpent: If it does not fit any more; nothing is reserved then.
        """
        budget, pot, most = self._budget, self._pot, 0.0
        if self._price is not None:
            # A token a byte: a ceiling of cost holds for any text and tokenizer.
            n_prompt = request.n_bytes + TOKENS_OF_LAYOUT
            most = self._price.of(Usage(n_prompt, request.sampling.max_tokens))
        with pot.lock:
            if budget.max_calls is not None and pot.n_calls >= budget.max_calls:
                raise BudgetSpent(
                    f"the budget of {budget.max_calls} calls is spent; run the same command with a larger --max-calls"
                )
            if budget.max_cost is not None:
                at_most = most + pot.overrun
                if pot.cost + at_most > budget.max_cost:
                    reckoned = f", {pot.reckoned:.4f} of it reckoned for want of a count" if pot.reckoned else ""
                    raise BudgetSpent(
                        f"the budget of {budget.max_cost:g} has no room for another call ({pot.cost:.4f} spent"
                        f"{reckoned}, a call may cost {at_most:.4f}); run the same command with a larger --max-cost"
                    )
                reserved = pot.reserved + pot.n_reserved * pot.overrun
                if pot.cost + reserved + at_most > budget.max_cost or (pot.n_reserved and not pot.is_known):
                    return None
            pot.n_calls += 1
            pot.reserved += most
            pot.n_reserved += 1
        self.n_calls += 1
        return most

    def settle(self, reserved: float, usage: Usage | None) -> float:
        """Replace a reservation by what was used; without a count the whole reservation is the cost."""
        cost = reserved if usage is None or self._price is None else self._price.of(usage)
        with self._pot.lock:
            self._give_back(reserved)
            self._pot.cost += cost
            self._pot.is_known = True
            if usage is None:
                self._pot.reckoned += cost
            self._pot.overrun = max(self._pot.overrun, cost - reserved)
        self.cost += cost
        return cost

    def take_back(self, reserved: float) -> float:
        """Undo a reservation: a request that never reached a server is none, and costs nothing."""
        with self._pot.lock:
            self._give_back(reserved)
            self._pot.n_calls -= 1
        self.n_calls -= 1
        return 0.0

    def _give_back(self, reserved: float) -> None:
        self._pot.reserved -= reserved
        self._pot.n_reserved -= 1
