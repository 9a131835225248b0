"""What personas say, counted (paper 6.2, Table 4).

Concept induction in the manner of LLooM (Lam et al. 2024): distill each persona into
phrases, cluster the phrases, synthesize a concept from each cluster, score every persona
against every concept. Without a model the phrases are the sentences themselves, the
concepts are the features that the embedded engine reads in them, and the frequent words of
sentences it cannot read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from personalrm.bench.personas.model_matcher import answer_schema
from personalrm.bench.personas.text_vectors import STOP_WORDS, cluster_texts
from personalrm.errors import BadInput, ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Reply, Request, Sampling, Schema
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Persona
from personalrm.prompts.concepts import (
    ConceptName,
    concept_question,
    distill_question,
    read_concept,
    read_phrases,
    score_question,
)
from personalrm.prompts.replies import read_yes_or_no
from personalrm.stylometry.claims import read_claim
from personalrm.stylometry.features import BY_NAME

MOST_CONCEPTS = 12
MOST_QUOTES = 2
MOST_SHOWN = 20
"""Phrases of a cluster shown to the model."""
LEAST_PERSONAS = 2
"""A word in fewer personas is no concept."""
Value = TypeVar("Value")
Personas = Mapping[str, Persona]
_PHRASES: dict[str, Any] = {"phrases": {"type": "array", "items": {"type": "string"}}}


@dataclass(frozen=True)
class Concept:
    """One thing that personas say."""

    name: str
    criterion: str
    """The question each persona was scored by, or how it was found without a model."""
    user_ids: tuple[str, ...]
    """Users whose persona says it."""
    quotes: tuple[str, ...] = ()
    """Sentences of personas that say it."""
    n_unscored: int = 0
    """Personas without a readable answer."""


@dataclass(frozen=True)
class Concepts:
    """What the personas of many users say."""

    judge: str
    n_personas: int
    n_empty: int
    """Personas that say nothing, in no other number."""
    concepts: tuple[Concept, ...]
    """Most frequent first."""
    n_undistilled: int = 0
    """Personas whose phrases could not be read; their sentences stand in for them."""
    n_unnamed: int = 0
    """Clusters for which the model gave no usable concept."""

    def as_json(self) -> dict[str, Any]:
        """As JSON values, user ids as counts."""
        rows = [
            {"name": c.name, "criterion": c.criterion, "n": len(c.user_ids), "quotes": list(c.quotes),
             "n_unscored": c.n_unscored}
            for c in self.concepts
        ]  # fmt: skip
        return {**{k: v for k, v in vars(self).items() if k != "concepts"}, "concepts": rows}


def read_concepts(personas: Personas, *, most: int = MOST_CONCEPTS) -> Concepts:
    """Concepts without a model: features that sentences name, then words of those that name none.

    Args:
        personas: Persona of each user.
        most: Most concepts of each of the two kinds.
    """
    said = {user: persona for user, persona in personas.items() if persona.claims}
    users: dict[str, dict[str, str]] = {}
    words: dict[str, dict[str, str]] = {}
    for user, claim in ((user, claim) for user, persona in said.items() for claim in persona.claims):
        leanings = read_claim(claim.text)
        for leaning in leanings:
            feature = BY_NAME[leaning.feature]
            users.setdefault(feature.more if leaning.shift > 0 else feature.less, {}).setdefault(user, claim.text)
        for word in set() if leanings else _words(claim.text):
            words.setdefault(word, {}).setdefault(user, claim.text)
    features = [
        Concept(name, "a feature the embedded engine reads", tuple(of), _some(of)) for name, of in users.items()
    ]
    frequent = [
        Concept(word, "a word of sentences the embedded engine cannot read", tuple(of), _some(of))
        for word, of in words.items()
        if len(of) >= LEAST_PERSONAS
    ]
    found = (*_most_frequent(features, most), *_most_frequent(frequent, most))
    return Concepts("embedded engine", len(said), len(personas) - len(said), found)


class ConceptModel:
    """Induces concepts by a language model, through the one door.

    Args:
        caller: Who asks.
        max_tokens: Of a reply.
        seed: Of the clusters, and sent where the server takes one.
    """

    def __init__(self, caller: Caller, *, max_tokens: int = 512, seed: int = 0) -> None:
        self.caller = caller
        self._sampling, self._seed = Sampling(0.0, max_tokens, seed), seed

    def induce(self, personas: Personas, *, most: int = MOST_CONCEPTS) -> Concepts:
        """The concepts; calls: one a persona, one a cluster, one a persona and concept.

        Raises:
            BadInput: If `most` is below 1.
            ModelUnavailable: If the run was stopped.
        """
        if most < 1:
            raise BadInput(f"most concepts must be at least 1, got {most!r}")
        said = {user: persona for user, persona in personas.items() if persona.claims}
        distilled = self._ask(
            [distill_question(one.text) for one in said.values()],
            Schema("phrases", {"type": "object", "properties": _PHRASES, "required": ["phrases"]}),
            lambda reply: read_phrases(reply.text),
        )
        phrases = [
            phrase
            for one, persona in zip(distilled, said.values(), strict=True)
            for phrase in (one or [claim.text for claim in persona.claims])
        ]
        clusters = cluster_texts(phrases, most, seed=self._seed) if phrases else []
        named = self._ask(
            [concept_question(cluster[:MOST_SHOWN]) for cluster in clusters],
            answer_concept(),
            lambda reply: read_concept(reply.text),
        )
        different = {one.name.lower(): one for one in named if one is not None}
        concepts = self._score(said, list(different.values()))
        return Concepts(
            self.caller.lm.name,
            len(said),
            len(personas) - len(said),
            _most_frequent(concepts, most),
            sum(one is None for one in distilled),
            sum(one is None for one in named),
        )

    def _score(self, personas: Personas, concepts: Sequence[ConceptName]) -> list[Concept]:
        answers = self._ask(
            [score_question(one.criterion, persona.text) for one in concepts for persona in personas.values()],
            answer_schema("fulfils", "answer", ("yes", "no")),
            lambda reply: read_yes_or_no(reply.text),
        )
        found, users = [], list(personas)
        for place, concept in enumerate(concepts):
            own = answers[place * len(users) : (place + 1) * len(users)]
            who = [user for user, answer in zip(users, own, strict=True) if answer]
            quotes = tuple(_nearest(concept, personas[user]) for user in who[:MOST_QUOTES])
            n_unscored = sum(answer is None for answer in own)
            found.append(Concept(concept.name, concept.criterion, tuple(who), quotes, n_unscored))
        return found

    def _ask(
        self, prompts: Sequence[tuple[Message, ...]], schema: Schema, read: Callable[[Reply], Value]
    ) -> list[Value | None]:
        def ask(messages: tuple[Message, ...]) -> Ask[Value]:
            return Ask(lambda: Request(messages, self._sampling, schema, "concepts"), read)

        outcomes = self.caller.ask_all([ask(messages) for messages in prompts])
        if any(outcome.is_stopped for outcome in outcomes):
            raise self.caller.stopped or ModelUnavailable("the run was stopped")
        return [outcome.value for outcome in outcomes]


def answer_concept() -> Schema:
    """A name and a criterion."""
    properties = {"name": {"type": "string"}, "criterion": {"type": "string"}}
    return Schema("concept", {"type": "object", "properties": properties, "required": ["name", "criterion"]})


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]{4,}", text.lower()) if word not in STOP_WORDS}


def _nearest(concept: ConceptName, persona: Persona) -> str:
    """The sentence of a persona with most words of a concept."""
    wanted = _words(f"{concept.name} {concept.criterion}")
    return max((claim.text for claim in persona.claims), key=lambda text: len(_words(text) & wanted))


def _some(of: Mapping[str, str]) -> tuple[str, ...]:
    """The quotes that stand for a concept, those of many users first."""
    return tuple(text for text, _ in Counter(of.values()).most_common(MOST_QUOTES))


def _most_frequent(concepts: Sequence[Concept], most: int) -> tuple[Concept, ...]:
    ordered = sorted(concepts, key=lambda one: (-len(one.user_ids), one.name))
    return tuple(replace(one) for one in ordered[:most])
