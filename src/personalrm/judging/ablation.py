"""What a claim of a persona does: it is dropped, and the user's own choices are judged again.

A sentence that changes no judgement is decoration, one that makes judgements worse is
wrong, whatever pairs are cited for it. Every judgement is made in both orders. A prompt
of the embedded engine is judged by what it says, persona and demonstrations, under the
prior it was made with: weights learned from all pairs would not miss a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.errors import BadInput
from personalrm.judging.both_orders import judge_both_orders, question_about
from personalrm.judging.embedded import EmbeddedJudge, fixed
from personalrm.judging.personal import prior_of
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Judge
from personalrm.stats.arrays import FloatArray
from personalrm.stats.paired import holm, sign_flip_p
from personalrm.stylometry.claims import link_claim
from personalrm.stylometry.features import difference
from personalrm.stylometry.observations import observe
from personalrm.stylometry.weights import probability


@dataclass(frozen=True, repr=False)
class ClaimEffect:
    """One claim, with what judgements lose without it."""

    claim: Claim
    measured: Claim | None
    """The claim with the pairs that agree and disagree by the engine's own reading; None where it cannot read it."""
    n_pairs: int
    """Pairs judged both with the claim and without."""
    n_righted: int
    """Pairs that are right with the claim and not without it."""
    n_wronged: int
    """Pairs that are not right with the claim and are without it."""
    shift: float
    """Mean over these pairs of P(real choice) with the claim minus without; NaN where none was judged."""
    p: float
    """Sign-flip test of the shift, a user's conversations being the independent units; NaN without a pair."""
    adjusted_p: float = float("nan")
    """`p` after Holm's correction over the claims that were tested."""

    @property
    def n_changed(self) -> int:
        """Pairs whose judgement the claim changes between right and not right."""
        return self.n_righted + self.n_wronged


@dataclass(frozen=True, repr=False)
class Ablation:
    """The claims of one persona, each dropped once."""

    effects: tuple[ClaimEffect, ...]
    n_pairs: int
    """Pairs that were judged with the whole persona."""
    n_right: float
    """Of these, right with the whole persona; an exact tie counts 0.5."""
    n_seen: int
    """Of the pairs, those the prompt was made from."""
    n_unscored: int
    """Pairs without a verdict for the whole persona; they are in no other number."""
    n_left_out: int = 0
    """Pairs that did not fit into the calls allowed."""


def n_ablation_calls(n_claims: int, n_pairs: int) -> int:
    """Calls of a model: every pair in both orders, with the whole persona and without each claim."""
    return 2 * n_pairs * (n_claims + 1)


def ablate_claims(
    prompt: PersonalPrompt, pairs: Sequence[PreferencePair], judge: Judge | None = None, *, max_calls: int | None = None
) -> Ablation:
    """How judgements of a user's own choices change when one claim is dropped.

    Args:
        prompt: Whose claims are tested.
        pairs: Choices of this user, those the prompt was made from or others.
        judge: A language model's judge; None judges by the embedded engine, which needs the prompt's weights.
        max_calls: Most calls of a model; the latest pairs that fit are judged, the others counted.

    Raises:
        BadInput: If there is no claim or no pair, a pair is somebody else's, or `max_calls` does not reach for one.
        ModelUnavailable: If there is no judge and a prompt without weights, or the model cannot be reached.
    """
    claims, kept = prompt.persona.claims, list(pairs)
    if not claims:
        raise BadInput(f"the persona of user {prompt.user_id!r} has no claim, so there is nothing to drop")
    if not pairs:
        raise BadInput(f"there is no choice of user {prompt.user_id!r} to judge; pass a file with their pairs")
    other = next((pair.user_id for pair in pairs if pair.user_id != prompt.user_id), None)
    if other is not None:
        raise BadInput(f"a pair is of user {other!r}, the persona of {prompt.user_id!r}; pass pairs of one user")
    if judge is not None and max_calls is not None:
        calls_a_pair = n_ablation_calls(len(claims), 1)
        if max_calls < calls_a_pair:
            raise BadInput(
                f"{max_calls!r} calls are too few: one pair with {len(claims)} claims takes {calls_a_pair}; "
                "raise --max-calls"
            )
        kept = kept[-(max_calls // calls_a_pair) :]
    chances = _chances(judge, prompt, kept)
    scored = ~np.isnan(chances[0])
    effects = [_effect(claim, chances[0], chances[1 + place], kept) for place, claim in enumerate(claims)]
    tested = [effect.p for effect in effects if effect.n_pairs]
    adjusted = iter(holm(tested))
    return Ablation(
        tuple(replace(effect, adjusted_p=next(adjusted)) if effect.n_pairs else effect for effect in effects),
        int(scored.sum()),
        float(_right(chances[0][scored]).sum()),
        sum(pair.hash in prompt.roles for pair in kept),
        int((~scored).sum()),
        len(pairs) - len(kept),
    )


def _chances(judge: Judge | None, prompt: PersonalPrompt, pairs: Sequence[PreferencePair]) -> FloatArray:
    """P(real choice), shape `(1 + claims, pairs)`: under the whole persona, then without each claim.

    By the embedded engine where there is no judge. A model is asked everything at once;
    NaN where it gave no verdict in either order.
    """
    claims = prompt.persona.claims
    variants = [claims, *(claims[:place] + claims[place + 1 :] for place in range(len(claims)))]
    if judge is None:
        engine = EmbeddedJudge(fixed(prior_of(prompt)))
        rows = np.array([difference(pair.conversation, pair.chosen, pair.rejected) for pair in pairs])
        weights = [engine.weigh(prompt.user_id, Persona(kept), prompt.demonstrations) for kept in variants]
        return np.array([probability(of_variant.margin(rows)) for of_variant in weights])
    prompts = [replace(prompt, persona=replace(prompt.persona, claims=kept)) for kept in variants]
    questions = [
        question_about(variant, pair.conversation, pair.chosen, pair.rejected) for variant in prompts for pair in pairs
    ]
    answers = [both.verdict.probability for both in judge_both_orders(judge, questions)]
    return np.array(answers, dtype=np.float64).reshape(len(variants), len(pairs))  # None becomes NaN


def _effect(claim: Claim, whole: FloatArray, without: FloatArray, pairs: Sequence[PreferencePair]) -> ClaimEffect:
    both = ~np.isnan(whole) & ~np.isnan(without)
    gain = _right(whole[both]) - _right(without[both])
    shift = whole[both] - without[both]
    keys = [pair.conversation_key for pair, is_kept in zip(pairs, both, strict=True) if is_kept]
    sums = dict.fromkeys(keys, 0.0)
    for key, value in zip(keys, shift, strict=True):
        sums[key] += float(value)
    return ClaimEffect(
        claim,
        link_claim(claim.text, observe(pairs)),
        int(both.sum()),
        int((gain > 0).sum()),
        int((gain < 0).sum()),
        float(shift.mean()) if both.any() else float("nan"),
        sign_flip_p(np.array(list(sums.values()))) if both.any() else float("nan"),
    )


def _right(chances: FloatArray) -> FloatArray:
    return np.where(chances > 0.5, 1.0, np.where(chances < 0.5, 0.0, 0.5))
