"""Fitting many users with a language model: their inductions overlap, so the server never idles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from personalrm.errors import ModelUnavailable
from personalrm.induction.fit_job import NOT_DONE, Fitted, Todo
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import synthesize
from personalrm.induction.waves import STOPPED, Finished, Induction, run_overlapping
from personalrm.judging.embedded import MIN_CHOICES
from personalrm.judging.model import PROMPTS_VERSION, ModelJudge
from personalrm.preferences.users import User
from personalrm.prompts.linting import lint_persona
from personalrm.wording import count

TOO_FEW = "too few pairs for anything personal"

FEW_USERS = 4
"""Users under way at one time where a budget may end the run."""


class ModelFit:
    """A language model as engine of a fit (see `FitEngine`).

    Args:
        judge: Who is asked.
        settings: Variant, trials, schedule, seed.
    """

    def __init__(self, judge: ModelJudge, settings: InductionSettings) -> None:
        self._judge, self._settings = judge, settings

    def learn(self, users: Iterable[User]) -> None:
        """Nobody else is needed; only the file is checked."""
        for _ in users:
            pass

    def depends_on(self, user_id: str) -> Any:
        """Model, sampling, prompts and settings."""
        prompt = self._judge.persona_prompt
        examples = [[example.choices, example.persona] for example in prompt.examples]
        return [
            self._judge.caller.lm.identity,
            PROMPTS_VERSION,
            asdict(self._judge.options),
            [prompt.instruction, examples],
            self._settings.as_json(),
        ]

    def fit_each(self, todo: Iterable[Todo]) -> Iterator[Fitted]:
        """Every user's prompt, as they are ready."""
        caller = self._judge.caller
        waiting: dict[int, Todo] = {}
        skipped: list[Todo] = []

        def begin() -> Iterator[Induction]:
            for place, item in enumerate(todo):
                if caller.stopped is not None:
                    skipped.append(item)
                    continue
                waiting[place - len(skipped)] = item
                user = item.user
                yield synthesize(
                    user.user_id, user.context_pairs, self._settings, judge=self._judge.name, recorded=item.roles
                )

        # Under a budget few, so that what it pays for are whole users and not a beginning of everybody.
        users_at_once = FEW_USERS if caller.purse.is_limited else caller.limits.max_in_flight
        for finished in run_overlapping(begin(), self._judge, users_at_once=users_at_once):
            yield self._fitted(waiting.pop(finished.place), finished)
        for item in skipped:
            yield Fitted(item, None, NOT_DONE)

    def stop(self) -> None:
        """Send nothing more; answers under way are kept, so the same command goes on from them."""
        self._judge.caller.stop(ModelUnavailable("interrupted"))

    def forget(self, user_id: str) -> None:
        """Erase the user's kept answers."""
        cache = self._judge.caller.cache
        if cache is not None and str(cache.path) != ":memory:":
            cache.erase(user_id)

    def _fitted(self, todo: Todo, finished: Finished) -> Fitted:
        prompt = finished.prompt
        if prompt is None:
            return Fitted(todo, None, NOT_DONE if finished.reason == STOPPED else finished.reason)
        too_few = len({pair.choice_key for pair in todo.user.context_pairs}) < MIN_CHOICES
        n_unscored = len(finished.unscored)
        notes = prompt.notes + ((TOO_FEW,) if too_few else ())
        notes += (f"the model gave no readable answer for {count(n_unscored, 'verdict')}",) if n_unscored else ()
        words = [turn.content for pair in todo.user.pairs for turn in pair.conversation if turn.role == "user"]
        # the example people of the persona prompt are the other users, whose words do not belong into the persona
        others = [
            text for example in self._judge.persona_prompt.examples for text in (example.choices, example.persona)
        ]
        sentences = [claim.text for claim in prompt.persona.claims]
        notes += tuple(finding.line() for finding in lint_persona(sentences, words, others))
        reason = finished.unscored[0] if finished.unscored else ""
        return Fitted(todo, replace(prompt, notes=notes, too_few_pairs=too_few), reason, n_unscored)
