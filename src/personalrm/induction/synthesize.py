"""SynthesizeMe (paper section 3): bootstrap, persona, informative demonstrations.

`synthesize` is the whole induction of one user as a generator of waves; which steps it
takes is the variant. It never talks to a judge itself, see `waves.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from personalrm.induction.bootstrap import bootstrap, bootstrap_calls
from personalrm.induction.draws import assign_roles, in_balanced_order, record_roles
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.trials import Demonstrations, choose_demonstrations, trials_calls
from personalrm.induction.waves import Answers, Calls, Induction, Wave
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.splits import UserSplit
from personalrm.preferences.verdicts import PersonaQuestion

NO_VALIDATION = "no validation pair, so all kept reasonings were used without trials"
NO_REASONING = "no reasoning reached the user's choice, so the persona rests on the pairs alone"


def synthesize(
    user_id: str,
    pairs: Sequence[PreferencePair],
    settings: InductionSettings,
    *,
    judge: str,
    recorded: Mapping[str, str] | None = None,
) -> Induction:
    """The induction of one user: yields waves, returns the personal prompt.

    Args:
        user_id: Whose prompt it is.
        pairs: Context pairs; rows the input calls targets are left out.
        settings: Variant, trials, seed.
        judge: Name of the judge that will answer, kept in the prompt.
        recorded: Roles by pair hash from an earlier prompt of this user.
    """
    split = assign_roles(pairs, recorded or {}, settings.seed)
    train = in_balanced_order(split.train, settings.seed)
    validation = in_balanced_order(split.validation, settings.seed)
    notes: list[str] = [] if validation else [NO_VALIDATION]
    persona = Persona()
    demonstrations: Demonstrations = ()
    if settings.variant == "all_pairs":
        persona = yield from _describe(user_id, [Demonstration(ordered) for ordered in train + validation])
    elif settings.variant in ("persona", "both"):
        kept = yield from search(train, validation, None, settings)
        if not any(demonstration.has_reasoning for demonstration in kept):
            notes.append(NO_REASONING)
            kept = tuple(Demonstration(ordered) for ordered in train)
        persona = yield from _describe(user_id, kept)
    if settings.variant != "persona":
        known = None if settings.variant == "demonstrations" else persona
        demonstrations = yield from search(train, validation, known, settings)
    return PersonalPrompt(
        user_id=user_id,
        persona=persona,
        demonstrations=demonstrations,
        judge=judge,
        variant=settings.variant,
        settings=settings.as_json(),
        roles=record_roles(split),
        written=tuple(claim.text for claim in persona.claims),
        notes=tuple(notes),
    )


STEPS: Mapping[Variant, tuple[str, ...]] = {
    "all_pairs": ("persona", "bootstrap", "trials"),
    "persona": ("bootstrap", "trials", "persona"),
    "demonstrations": ("bootstrap", "trials"),
    "both": ("bootstrap", "trials", "persona", "bootstrap", "trials"),
}
"""The waves of each variant, as `synthesize` yields them."""


def synthesis_steps(split: UserSplit, settings: InductionSettings) -> list[tuple[str, Calls]]:
    """The waves of `synthesize` in order, each with its calls at most; without validation pairs there are no trials."""
    most = {
        "bootstrap": bootstrap_calls(len(split.train)),
        "trials": trials_calls(len(split.validation), settings),
        "persona": Calls(texts=1),
    }
    return [(name, most[name]) for name in STEPS[settings.variant] if name != "trials" or split.validation]


def synthesis_calls(split: UserSplit, settings: InductionSettings) -> Calls:
    """What `synthesize` asks at most."""
    return sum((calls for _, calls in synthesis_steps(split, settings)), Calls())


def search_calls(split: UserSplit, settings: InductionSettings) -> Calls:
    """What `search` asks at most."""
    return bootstrap_calls(len(split.train)) + trials_calls(len(split.validation), settings)


def search(
    train: Sequence[OrderedPair],
    validation: Sequence[OrderedPair],
    persona: Persona | None,
    settings: InductionSettings,
) -> Generator[Wave, Answers, Demonstrations]:
    """Steps 1 and 3: bootstrap, then the best candidate set; without validation all kept reasonings.

    Args:
        train: Train pairs in balanced order.
        validation: Validation pairs in balanced order.
        persona: None in step 1, and for just demonstrations.
        settings: Trials, sizes, orders, schedule, seed.
    """
    kept = yield from bootstrap(train, persona)
    if not validation:
        return tuple(kept[: settings.max_bootstrapped or len(train)])
    best = yield from choose_demonstrations(kept, train, validation, persona, settings)
    return best.demonstrations


def _describe(user_id: str, demonstrations: Sequence[Demonstration]) -> Generator[Wave, Answers, Persona]:
    """Step 2: one call that writes the persona."""
    answers = yield Wave("persona", persona_questions=(PersonaQuestion(user_id, tuple(demonstrations)),))
    return answers.personas[0]
