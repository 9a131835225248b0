"""Policy checks beside a personal judge: a verdict that breaks a policy is vetoed, with a reason.

The paper asks for personal reward models to be deployed beside strict guidelines
("Ethical Considerations"). A policy looks at both completions; where the preferred one
breaks it and the other does not, the verdict is turned into unscored with the reason, or
given to the other side. A persona never sees the policy, so it cannot argue with it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from personalrm.errors import BadInput, ModelUnavailable
from personalrm.judging.personal import ToJudge
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Request, Sampling, Schema
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import Choice
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, PersonaQuestion, Question, Verdict
from personalrm.prompts.delimiters import field, neutralize
from personalrm.prompts.rendering import conversation_messages, fill_template
from personalrm.prompts.replies import read_yes_or_no

MOST_CHARACTERS = 24_000
"""Of the conversation shown; the oldest turns go first."""


VETOED = "vetoed: "
"""Beginning of the reason of every veto."""


@dataclass(frozen=True, repr=False)
class ToCheck:
    """A completion that a judge would prefer."""

    conversation: Conversation
    completion: str


@dataclass(frozen=True)
class PolicyFinding:
    """What a policy says of a completion."""

    is_broken: bool
    reason: str = ""
    """Which rule, or why the check could not be made."""


class Policy(Protocol):
    """Decides whether completions may be preferred by anybody; many at once, in order, whatever the user likes.

    A completion that could not be checked is broken, with the reason: a guard that fails must fail closed.
    """

    def check(self, items: Sequence[ToCheck]) -> list[PolicyFinding]:
        """One finding a completion."""
        ...


class RulePolicy:
    """A policy of patterns.

    Args:
        rules: Name of a rule -> regular expression that a completion must not match, whatever its case.

    Raises:
        BadInput: If a rule is not a regular expression.
    """

    def __init__(self, rules: Mapping[str, str]) -> None:
        self._rules: dict[str, re.Pattern[str]] = {}
        for name, pattern in rules.items():
            try:
                with warnings.catch_warnings():  # of what a later Python may read otherwise, such as `[[`
                    warnings.simplefilter("ignore", FutureWarning)
                    self._rules[name] = re.compile(pattern, re.IGNORECASE)
            except (re.error, OverflowError, RecursionError) as error:
                raise BadInput(f"rule {name!r} is not a regular expression ({error}); fix it") from None

    def check(self, items: Sequence[ToCheck]) -> list[PolicyFinding]:
        """The first rule that each completion breaks."""
        broken = [next((n for n, rule in self._rules.items() if rule.search(item.completion)), None) for item in items]
        return [PolicyFinding(name is not None, f"rule {name!r}" if name else "") for name in broken]


class ModelPolicy:
    """A policy in words that a language model applies.

    Args:
        caller: Who asks.
        policy: The guidelines.
        max_tokens: Of a reply.
    """

    def __init__(self, caller: Caller, policy: str, *, max_tokens: int = 256) -> None:
        self._caller, self._policy, self._sampling = caller, policy, Sampling(0.0, max_tokens)

    def check(self, items: Sequence[ToCheck]) -> list[PolicyFinding]:
        """What the model says of each completion; no readable answer counts as broken.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        # The user's persona is not in the messages.
        system = Message("system", fill_template("policy", {"policy": neutralize(self._policy)}))
        questions = []
        for item in items:
            turns = conversation_messages(item.conversation, MOST_CHARACTERS).messages
            shown = "\n".join((*(turn.content for turn in turns), field("first", item.completion)))
            questions.append((system, Message("user", shown)))
        asks: list[Ask[bool]] = [
            Ask(lambda q=q: Request(q, self._sampling, BROKEN, "guard"), lambda reply: read_yes_or_no(reply.text))  # type: ignore[misc]
            for q in questions
        ]
        outcomes = self._caller.ask_all(asks)
        if any(outcome.is_stopped for outcome in outcomes):
            raise self._caller.stopped or ModelUnavailable("the run was stopped")
        return [
            PolicyFinding(True, f"not checked ({outcome.reason})")
            if outcome.value is None
            else PolicyFinding(outcome.value, "the model says it breaks the policy" if outcome.value else "")
            for outcome in outcomes
        ]


class GuardedJudge:
    """A judge whose verdicts a policy may veto.

    Args:
        judge: Who decides.
        policy: What may not be preferred.
        yields: Whether a veto hands the verdict to the other completion where that one keeps the policy;
            otherwise a vetoed verdict is unscored.
    """

    def __init__(self, judge: Judge, policy: Policy, *, yields: bool = False) -> None:
        self._judge, self._policy, self._yields = judge, policy, yields

    @property
    def name(self) -> str:
        """The judge's name."""
        return self._judge.name

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """The verdicts, those that break the policy vetoed with the reason."""
        return guard_verdicts(self._policy, questions, self._judge.judge(questions), yields=self._yields)

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        """The judge's personas."""
        return self._judge.describe(questions)


def guard_verdicts(
    policy: Policy, items: Sequence[Question | ToJudge], verdicts: Sequence[Verdict], *, yields: bool = False
) -> list[Verdict]:
    """Verdicts that were given, those that break the policy vetoed with the reason.

    A tie prefers both completions, so either of them may veto it.

    Args:
        policy: What may not be preferred.
        items: What the verdicts are about.
        verdicts: One an item.
        yields: As for `GuardedJudge`.
    """
    findings = policy.check([ToCheck(item.conversation, text) for item in items for text in (item.first, item.second)])
    guarded = []
    for verdict, first, second in zip(verdicts, findings[::2], findings[1::2], strict=True):
        is_first = first.is_broken if verdict.choice is None else verdict.choice == "first"
        preferred, other = (first, second) if is_first else (second, first)
        reason = f"{VETOED}{preferred.reason}"
        if not verdict.is_scored or not preferred.is_broken:
            guarded.append(verdict)
        elif other.is_broken or not yields:
            guarded.append(replace(verdict, choice=None, probability=None, unscored_reason=reason))
        else:
            choice: Choice = "second" if is_first else "first"
            guarded.append(replace(verdict, choice=choice, probability=float(not is_first), reasoning=reason))
    return guarded


BROKEN = Schema(
    "policy",
    {
        "type": "object",
        "properties": {"reasoning": {"type": "string"}, "answer": {"type": "string", "enum": ["yes", "no"]}},
        "required": ["reasoning", "answer"],
        "additionalProperties": False,
    },
)
