"""Fitting many users with the embedded engine: population first, then everyone.

The population comes from a bounded sample of the users (those whose hashed ids are
smallest), so neither memory nor the cost of one user grows with their number.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from personalrm.errors import BadInput, NotFitted
from personalrm.induction.fit_job import Fitted, Todo
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import synthesize
from personalrm.induction.waves import run_together
from personalrm.judging.embedded import MIN_CHOICES, EmbeddedJudge, fixed
from personalrm.judging.personal import pack_weights
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User
from personalrm.stylometry.drift import fit_present, write_present
from personalrm.stylometry.observations import Choices, observe, observe_in_time, share_uncovered
from personalrm.stylometry.population import Prior, estimate_population
from personalrm.stylometry.shipped import shipped_prior
from personalrm.stylometry.weights import Weights

SAMPLE = 2_000
"""Users the population is learned from at most."""
USERS_AT_ONCE = 64
"""Users fitted together: array operations are shared, and no more than these are held in memory."""
MIN_USERS = 5
"""With fewer users than this the shipped prior is used."""
TOO_FEW = "too few pairs for anything personal; most people's taste decides"
DRIFT_VERSION = 1
"""Raised when another change of taste would be found in the same pairs, so that finished fits know."""
UNCOVERED = (
    "of the pairs are in a language or script the word lists do not cover; only language-neutral features are used"
)


class EmbeddedFit:
    """The embedded engine with a prior for everyone; as engine of a fit (see `FitEngine`) it fits one user at a time.

    Args:
        settings: Variant, trials, seed.
        prior_for: The prior of each user by id; where it is left out, `learn` must be called first.
    """

    def __init__(
        self, settings: InductionSettings | None = None, prior_for: Callable[[str], Prior] | None = None
    ) -> None:
        self.settings = settings or InductionSettings()
        self._prior_for = prior_for

    @classmethod
    def learned_from(cls, users: Iterable[User], *, settings: InductionSettings | None = None) -> EmbeddedFit:
        """The engine after it has learned from these users; see `learn`."""
        engine = cls(settings)
        engine.learn(users)
        return engine

    def learn(self, users: Iterable[User]) -> None:
        """Learn the population: the prior for each user comes from all the others.

        Args:
            users: Everybody at hand, streamed once; the context pairs of a sample of
                at most `SAMPLE` of them are kept as numbers. With fewer than
                `MIN_USERS` the shipped prior is used.
        """
        choices = sample_choices(users)
        too_few = len(choices) < MIN_USERS
        self._prior_for = fixed(shipped_prior()) if too_few else estimate_population(choices).prior_for

    @property
    def prior_for(self) -> Callable[[str], Prior]:
        """The prior of each user by id.

        Raises:
            NotFitted: Before `learn`.
        """
        if self._prior_for is None:
            raise NotFitted("the embedded engine has not seen any users; call learn(users) first")
        return self._prior_for

    def fit(
        self, users: Iterable[User], *, recorded: Mapping[str, Mapping[str, str]] | None = None
    ) -> Iterator[PersonalPrompt]:
        """The prompts of the users, in order, streaming.

        Args:
            users: Who is to be fitted.
            recorded: By user id, the roles of their pairs in an earlier prompt.
        """
        judge = EmbeddedJudge(self.prior_for)
        settings = replace(self.settings, validation_orders="one")  # this judge has no position bias
        remaining = iter(users)
        while batch := list(islice(remaining, USERS_AT_ONCE)):
            seen = [user.context_pairs for user in batch]
            for user, pairs in zip(batch, seen, strict=True):
                if not pairs:
                    raise BadInput(
                        f"user {user.user_id!r} has no context pair, every row is a target; "
                        "add pairs or leave the user out"
                    )
            inductions = [
                synthesize(user.user_id, pairs, settings, judge=judge.name, recorded=(recorded or {}).get(user.user_id))
                for user, pairs in zip(batch, seen, strict=True)
            ]
            prompts = list(run_together(inductions, judge))
            if settings.variant == "all_pairs":
                yield from self._follow(prompts, seen)
                continue
            for prompt, pairs in zip(prompts, seen, strict=True):
                persona = None if settings.variant == "demonstrations" else prompt.persona
                yield _finished(prompt, judge.weigh(prompt.user_id, persona, prompt.demonstrations), pairs)

    def _follow(
        self, prompts: Sequence[PersonalPrompt], seen: Sequence[Sequence[PreferencePair]]
    ) -> Iterator[PersonalPrompt]:
        """The prompts with weights from all pairs, or from the later ones where a taste has changed."""
        timelines = [observe_in_time(pairs) for pairs in seen]
        priors = [self.prior_for(prompt.user_id) for prompt in prompts]
        present = fit_present([observe(pairs) for pairs in seen], timelines, priors)
        for prompt, now, timeline, pairs in zip(prompts, present, timelines, seen, strict=True):
            if now.turn is None:
                yield _finished(prompt, now.weights, pairs)
                continue
            persona, drift = write_present(now, timeline)
            written = tuple(claim.text for claim in persona.claims)
            changed = replace(prompt, persona=persona, written=written, drift=drift)
            yield _finished(replace(changed, notes=(*changed.notes, drift.line())), now.weights, pairs)

    def depends_on(self, user_id: str) -> Any:
        """Settings and the user's prior."""
        prior = self.prior_for(user_id)
        numbers = [f"{value:.9g}" for column in (prior.scale, prior.mean, prior.variance) for value in column]
        return [self.settings.as_json(), numbers, DRIFT_VERSION]

    def fit_each(self, todo: Iterable[Todo]) -> Iterator[Fitted]:
        """Every user's prompt, in order."""
        for item in todo:
            recorded = {item.user.user_id: item.roles}
            yield Fitted(item, next(self.fit([item.user], recorded=recorded)))

    def stop(self) -> None:
        """Nothing is under way but one user, who takes milliseconds."""

    def forget(self, user_id: str) -> None:
        """Nothing is kept of anybody."""


def _finished(prompt: PersonalPrompt, weights: Weights, pairs: Sequence[PreferencePair]) -> PersonalPrompt:
    """The prompt with its weights and with what limits them."""
    uncovered = share_uncovered(pairs)
    too_few = observe(pairs).n_choices < MIN_CHOICES
    notes = prompt.notes + ((TOO_FEW,) if too_few else ())
    notes += (f"{uncovered:.0%} {UNCOVERED}",) if uncovered else ()
    return replace(prompt, weights=pack_weights(weights), notes=notes, too_few_pairs=too_few)


def sample_choices(users: Iterable[User], *, most: int = SAMPLE) -> dict[str, Choices]:
    """Context choices of at most `most` users, those whose hashed ids are smallest."""
    kept: list[tuple[bytes, str, Choices]] = []
    for user in users:
        digest = hashlib.sha256(user.user_id.encode("utf-8", "surrogatepass")).digest()
        key = bytes(255 - byte for byte in digest)  # larger for smaller hashes, so that a min-heap drops the right one
        if len(kept) == most and key <= kept[0][0]:
            continue
        context = split_context(user.pairs).context
        if not context:
            continue
        entry = (key, user.user_id, observe(context))
        if len(kept) < most:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)
    return {user_id: choices for _, user_id, choices in sorted(kept, key=lambda entry: entry[1])}
