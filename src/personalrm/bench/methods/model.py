"""Rows that ask a language model: what each knows of a user is a personal prompt, judged in both orders.

A baseline differs from SynthesizeMe only in who wrote the prompt and from what, so all
are judged by the same code and the same template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.datasets.targets import HeldOut
from personalrm.errors import ModelUnavailable
from personalrm.induction.baselines import raw_history
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.synthesize import synthesis_calls, synthesize
from personalrm.induction.waves import STOPPED, Calls, Induction, run_overlapping
from personalrm.judging.both_orders import judge_both_orders, question_about
from personalrm.judging.model import ModelJudge
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Question
from personalrm.prompts.rendering import describe_demographics

NO_SURVEY = "no survey, judged knowing nothing"
Write = Callable[[Sequence[User], Surveys], list[Knowledge]]
"""What is known of each user, in order: a personal prompt."""
CountCalls = Callable[[User, InductionSettings], Calls]
"""What learning one user asks a language model at most."""


class Induce(Protocol):
    """The induction of one user's prompt by a judge of a name."""

    def __call__(
        self, user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings, *, judge: str
    ) -> Induction:
        """A generator of waves."""
        ...


class ModelMethod:
    """A row whose knowledge of each user is a personal prompt.

    Args:
        judge: Who judges the pairs.
        write: Makes the prompts of users.
    """

    def __init__(self, judge: ModelJudge, write: Write) -> None:
        self._judge, self._write = judge, write
        self._surveys: Surveys = {}

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Nothing but who filled in a survey: a language model is given everything in its prompt."""
        self._surveys = surveys

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """The personal prompt of each user."""
        return self._write(users, self._surveys)

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """Every pair in both orders, all in one wave.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        return self._asked([_question(known, pair, pair.rejected) for known, pair in items])

    def judge_identical(self, items: Sequence[Item]) -> list[Judgement]:
        """Every pair with the chosen completion in both places; `chosen_first` is the chance of the first of equals.

        Both orders are one and the same request, so each is asked once.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        return self._asked([_question(known, pair, pair.chosen) for known, pair in items])

    def _asked(self, questions: Sequence[Question]) -> list[Judgement]:
        """Both orders of each pair; the chosen completion stood first as asked."""
        judgements = []
        for verdicts in judge_both_orders(self._judge, questions):
            as_asked, swapped = verdicts.as_asked, verdicts.swapped
            second = None if swapped.probability is None else 1.0 - swapped.probability
            unscored = as_asked.unscored_reason or swapped.unscored_reason
            reasoning = as_asked.reasoning or swapped.reasoning
            judgements.append(Judgement(as_asked.probability, second, unscored=unscored, reasoning=reasoning))
        return judgements


def know_nobody(users: Sequence[User], _: Surveys) -> list[Knowledge]:
    """Nothing of anybody."""
    return [Knowledge(user.user_id, nobody(user.user_id)) for user in users]


def read_surveys(users: Sequence[User], surveys: Surveys) -> list[Knowledge]:
    """A sentence from each user's survey."""
    return [
        Knowledge(user.user_id, PersonalPrompt(user.user_id, describe_demographics(surveys[user.user_id].demographics)))
        if user.user_id in surveys
        else Knowledge(user.user_id, nobody(user.user_id), NO_SURVEY)
        for user in users
    ]


class Inductions:
    """Prompts that a judge writes, each induced once however many rows use it.

    Args:
        judge: Who answers the inductions' questions.
        settings: Trials and seed; every row sets its own variant.
    """

    def __init__(self, judge: ModelJudge, settings: InductionSettings) -> None:
        self._judge, self._settings = judge, settings
        self._known: dict[tuple[object, ...], Knowledge] = {}

    def writer(self, induce: Induce, name: str) -> Write:
        """Knowledge by this induction; users induced under this name before are not induced again."""

        def write(users: Sequence[User], _: Surveys) -> list[Knowledge]:
            keys = {user.user_id: (name, user.user_id, *(pair.hash for pair in user.pairs)) for user in users}
            missing = [user for user in users if keys[user.user_id] not in self._known]
            found = {user.user_id: Knowledge(user.user_id, nobody(user.user_id)) for user in missing}
            able = [user for user in missing if user.pairs]
            judge, settings = self._judge, self._settings
            inductions = (induce(user.user_id, user.pairs, settings, judge=judge.name) for user in able)
            for finished in run_overlapping(inductions, judge, users_at_once=judge.caller.limits.max_in_flight):
                user_id = able[finished.place].user_id
                if finished.reason == STOPPED:
                    raise judge.caller.stopped or ModelUnavailable("the run was stopped")
                found[user_id] = Knowledge(user_id, finished.prompt or nobody(user_id), finished.reason)
            self._known |= {keys[user_id]: knowledge for user_id, knowledge in found.items()}
            return [self._known[keys[user.user_id]] for user in users]

        return write


def persona_only(write: Write) -> Write:
    """The same prompts without their demonstrations."""

    def written(users: Sequence[User], surveys: Surveys) -> list[Knowledge]:
        return [
            replace(knowledge, value=replace(knowledge.value, demonstrations=())) for knowledge in write(users, surveys)
        ]

    return written


def nobody(user_id: str) -> PersonalPrompt:
    """A prompt that knows nothing."""
    return PersonalPrompt(user_id, Persona())


def _question(known: Knowledge, pair: PreferencePair, other: str) -> Question:
    """The chosen completion and another, by the taste of whoever it is known of; the request is the pair's owner's."""
    return question_about(replace(known.value, user_id=pair.user_id), pair.conversation, pair.chosen, other)


def by_synthesis(variant: Variant) -> Induce:
    """SynthesizeMe in one of its variants."""

    def induce(user_id: str, pairs: Sequence[PreferencePair], settings: InductionSettings, *, judge: str) -> Induction:
        return synthesize(user_id, pairs, replace(settings, variant=variant), judge=judge)

    return induce


def synthesis_of(variant: Variant) -> CountCalls:
    """What `by_synthesis` asks of one user at most."""
    return lambda user, settings: synthesis_calls(split_context(user.pairs), replace(settings, variant=variant))


def show_history(users: Sequence[User], _: Surveys) -> list[Knowledge]:
    """The context pairs themselves; no call is made, and seed 0 decides the order in which completions are shown."""
    return [Knowledge(user.user_id, raw_history(user.user_id, user.pairs, InductionSettings())) for user in users]
