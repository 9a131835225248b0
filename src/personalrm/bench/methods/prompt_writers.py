"""Who writes the personal prompts of the rows that ask a language model: the induction behind each row's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personalrm.bench.methods.method import Knowledge, Surveys
from personalrm.bench.methods.model import CountCalls, Induce
from personalrm.induction.baselines import guided_profile, raw_history, remember
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.synthesize import synthesis_calls, synthesize
from personalrm.induction.waves import Induction
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User


def by_synthesis(variant: Variant) -> Induce:
    """SynthesizeMe in one of its variants."""

    def induce(user: User, settings: InductionSettings, judge: str) -> Induction:
        return synthesize(user.user_id, user.pairs, replace(settings, variant=variant), judge=judge)

    return induce


def synthesis_of(variant: Variant) -> CountCalls:
    """What `by_synthesis` asks of one user at most."""
    return lambda user, settings: synthesis_calls(split_context(user.pairs), replace(settings, variant=variant))


def by_memory(user: User, settings: InductionSettings, judge: str) -> Induction:
    """A running list of insights, choice by choice."""
    return remember(user.user_id, user.pairs, settings, judge=judge)


def by_profile(user: User, settings: InductionSettings, judge: str) -> Induction:
    """A digest and a profile: two calls."""
    return guided_profile(user.user_id, user.pairs, settings, judge=judge)


def show_history(users: Sequence[User], _: Surveys) -> list[Knowledge]:
    """The context pairs themselves; no call is made, and seed 0 decides the order in which completions are shown."""
    return [Knowledge(user.user_id, raw_history(user.user_id, user.pairs, InductionSettings())) for user in users]
