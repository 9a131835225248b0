"""What a persona is worth: accuracy of the judge that has it minus accuracy of the judge that knows nobody.

That is the metric of the paper's search (appendix F), measured on the same pairs in both
orders. A pair that one of the two left unscored is left out for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personalrm.errors import BadInput
from personalrm.induction.search.people import Subject
from personalrm.induction.search.trials_file import Values
from personalrm.induction.waves import Calls
from personalrm.judging.both_orders import judge_both_orders
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Judge, Question, Verdict

JudgeUnder = Callable[[PersonaPrompt], Judge]
"""The judge that writes personas by a persona prompt. How it judges must not depend on that prompt."""


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
        new = [one for one in subjects if one.user_id not in self._default]
        chances = _right(self._plain, [(one, None) for one in new])
        self._default |= {one.user_id: found for one, found in zip(new, chances, strict=True)}

    def write(self, prompt: PersonaPrompt, subjects: Sequence[Subject]) -> list[Persona]:
        """A persona each, empty where the replies could not be read."""
        return self._judge_under(prompt).describe([one.question for one in subjects])

    def of(self, personas: Sequence[Persona], subjects: Sequence[Subject]) -> Values:
        """The gain of each persona on its subject, in [-1, 1]; None where no pair was scored with and without it.

        A persona that could not be written is not measured: it neither gains nor loses.
        """
        self.prepare(subjects)
        known = [(one, persona) for one, persona in zip(subjects, personas, strict=True) if persona.claims]
        found = iter(_right(self._plain, known))
        values: list[float | None] = []
        for one, persona in zip(subjects, personas, strict=True):
            values.append(_mean_difference(next(found), self._default[one.user_id]) if persona.claims else None)
        return tuple(values)

    def accuracy(self, subjects: Sequence[Subject]) -> float | None:
        """Accuracy of the default judge, the mean over users; None where nothing was scored."""
        self.prepare(subjects)
        scored = [[c for c in self._default[one.user_id] if c is not None] for one in subjects]
        means = [sum(found) / len(found) for found in scored if found]
        return sum(means) / len(means) if means else None


def gain_calls(n_pairs: int) -> Calls:
    """What a persona costs: its text, and every pair of its user in both orders."""
    return Calls(questions=2 * n_pairs, texts=1)


def _right(judge: Judge, known: Sequence[tuple[Subject, Persona | None]]) -> list[list[float | None]]:
    """For each subject and pair 1 for right, 0 for wrong, 0.5 for a tie of the two orders, None for unscored."""
    questions = [_question(one, pair, persona) for one, persona in known for pair in one.scored]
    verdicts = iter([both.verdict for both in judge_both_orders(judge, questions)])
    return [[_score(next(verdicts)) for _ in one.scored] for one, _ in known]


def _question(subject: Subject, pair: PreferencePair, persona: Persona | None) -> Question:
    return Question(subject.user_id, pair.conversation, pair.chosen, pair.rejected, persona)


def _score(verdict: Verdict) -> float | None:
    """The chosen completion was asked as the first; `judge_both_orders` asks the other order too."""
    if verdict.probability is None:
        return None
    return 1.0 if verdict.probability > 0.5 else 0.5 if verdict.probability == 0.5 else 0.0


def _mean_difference(with_persona: Sequence[float | None], without: Sequence[float | None]) -> float | None:
    if len(with_persona) != len(without):
        raise BadInput("a subject was scored on other pairs than before; measure each user with one set of pairs")
    both = [(a, b) for a, b in zip(with_persona, without, strict=True) if a is not None and b is not None]
    return sum(a - b for a, b in both) / len(both) if both else None
