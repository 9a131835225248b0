"""What a persona is worth: accuracy of the judge that has it minus accuracy of the judge that knows nobody.

That is the metric of the paper's search (appendix F), measured on the same pairs in both
orders. A pair that one of the two left unscored is left out for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from personalrm.errors import BadInput
from personalrm.induction.search.people import Subject
from personalrm.induction.search.trials_file import Values
from personalrm.induction.waves import Calls
from personalrm.judging.both_orders import judge_both_orders
from personalrm.judging.model import ModelJudge
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, PersonaQuestion, Question, Verdict

JudgeUnder = Callable[[PersonaPrompt], Judge]
"""The judge that writes personas by a persona prompt. How it judges must not depend on that prompt."""


def judge_under(judge: ModelJudge) -> JudgeUnder:
    """The same model with another persona prompt: one caller, so one cache, one budget and one log for everything."""
    return lambda prompt: ModelJudge(judge.caller, judge.options, prompt)


@dataclass(frozen=True, repr=False)
class _Together:
    """Personas of one judge, verdicts of another."""

    writer: Judge
    decider: Judge

    @property
    def name(self) -> str:
        return f"{self.writer.name}, judged by {self.decider.name}"

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return self.decider.judge(questions)

    def describe(self, questions: Sequence[PersonaQuestion]) -> list[Persona]:
        return self.writer.describe(questions)


def decided_by(decider: Judge, writer_under: JudgeUnder) -> JudgeUnder:
    """Personas of one judge measured with another, such as the embedded engine, whose verdicts cost nothing."""
    return lambda prompt: _Together(writer_under(prompt), decider)


class Gain:
    """Measures personas on subjects.

    Args:
        judge_under: Whose personas are written and judged with.
        start: The persona prompt of the default judge; any will do, it writes no persona there.
    """

    def __init__(self, judge_under: JudgeUnder, start: PersonaPrompt) -> None:
        self._judge_under, self._plain = judge_under, judge_under(start)
        self._default: dict[str, list[float | None]] = {}

    def prepare(self, subjects: Sequence[Subject]) -> None:
        """Judge the subjects' pairs knowing nobody; asked once."""
        new = [subject for subject in subjects if subject.user_id not in self._default]
        right = _right(self._plain, [(subject, None) for subject in new])
        self._default |= {subject.user_id: pairs for subject, pairs in zip(new, right, strict=True)}

    def write(self, prompt: PersonaPrompt, subjects: Sequence[Subject]) -> list[Persona]:
        """A persona each, empty where the replies could not be read."""
        return self._judge_under(prompt).describe([subject.question for subject in subjects])

    def of(self, personas: Sequence[Persona], subjects: Sequence[Subject]) -> Values:
        """The gain of each persona on its subject, in [-1, 1]; None where no pair was scored with and without it.

        A persona that could not be written is not measured: it neither gains nor loses.
        """
        self.prepare(subjects)
        known = [(subject, persona) for subject, persona in zip(subjects, personas, strict=True) if persona.claims]
        right = iter(_right(self._plain, known))
        values: list[float | None] = []
        for subject, persona in zip(subjects, personas, strict=True):
            if not persona.claims:
                values.append(None)
                continue
            with_persona, without = next(right), self._default[subject.user_id]
            if len(with_persona) != len(without):
                raise BadInput(
                    "a subject was scored on other pairs than before; measure each user with one set of pairs"
                )
            both = [(a, b) for a, b in zip(with_persona, without, strict=True) if a is not None and b is not None]
            values.append(sum(a - b for a, b in both) / len(both) if both else None)
        return tuple(values)

    def accuracy(self, subjects: Sequence[Subject]) -> float | None:
        """Accuracy of the default judge, the mean over users; None where nothing was scored."""
        self.prepare(subjects)
        scored = [[pair for pair in self._default[subject.user_id] if pair is not None] for subject in subjects]
        means = [sum(pairs) / len(pairs) for pairs in scored if pairs]
        return sum(means) / len(means) if means else None


def gain_calls(n_pairs: int) -> Calls:
    """What a persona costs: its text, and every pair of its user in both orders."""
    return Calls(questions=2 * n_pairs, texts=1)


def _right(judge: Judge, known: Sequence[tuple[Subject, Persona | None]]) -> list[list[float | None]]:
    """For each subject and pair 1 for right, 0 for wrong, 0.5 for a tie of the two orders, None for unscored."""
    questions = [
        Question(subject.user_id, pair.conversation, pair.chosen, pair.rejected, persona)
        for subject, persona in known
        for pair in subject.scored
    ]
    # The chosen completion is asked as the first; `judge_both_orders` asks the other order too.
    chances = [both.verdict.probability for both in judge_both_orders(judge, questions)]
    right = iter(
        [None if chance is None else 1.0 if chance > 0.5 else 0.5 if chance == 0.5 else 0.0 for chance in chances]
    )
    return [[next(right) for _ in subject.scored] for subject, _ in known]
