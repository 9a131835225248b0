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
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from personalrm.bench.personas.text_vectors import STOP_WORDS, cluster_texts
from personalrm.errors import BadInput
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Request, Sampling, Schema
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Persona
from personalrm.prompts.persona_questions import (
    concept_question,
    distill_question,
    read_concept,
    read_phrases,
    score_question,
)
from personalrm.prompts.replies import read_yes_or_no
from personalrm.stylometry.feature_words import BY_NAME
from personalrm.stylometry.sentences import read_claim

MOST_CONCEPTS = 12
MOST_QUOTES = 2
MOST_SHOWN = 20
"""Phrases of a cluster shown to the model."""
LEAST_PERSONAS = 2
"""A word in fewer personas is not a concept."""
Value = TypeVar("Value")
Personas = Mapping[str, Persona]
PHRASES = Schema(
    "phrases",
    {
        "type": "object",
        "properties": {"phrases": {"type": "array", "items": {"type": "string"}}},
        "required": ["phrases"],
    },
)
CONCEPT = Schema(
    "concept",
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "criterion": {"type": "string"}},
        "required": ["name", "criterion"],
    },
)


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
    # what is said -> user -> the first sentence in which that user's persona says it
    features: dict[str, dict[str, str]] = {}
    words: dict[str, dict[str, str]] = {}
    for user, claim in ((user, claim) for user, persona in said.items() for claim in persona.claims):
        leanings = read_claim(claim.text)
        for leaning in leanings:
            feature = BY_NAME[leaning.feature]
            features.setdefault(feature.more if leaning.shift > 0 else feature.less, {}).setdefault(user, claim.text)
        for word in set() if leanings else _words(claim.text):
            words.setdefault(word, {}).setdefault(user, claim.text)

    def concept(name: str, criterion: str, sentences: Mapping[str, str]) -> Concept:
        quotes = Counter(sentences.values()).most_common(MOST_QUOTES)  # those of many users first
        return Concept(name, criterion, tuple(sentences), tuple(text for text, _ in quotes))

    by_feature = [concept(name, "a feature the embedded engine reads", who) for name, who in features.items()]
    by_word = [
        concept(word, "a word of sentences the embedded engine cannot read", who)
        for word, who in words.items()
        if len(who) >= LEAST_PERSONAS
    ]
    concepts = (*_most_frequent(by_feature, most), *_most_frequent(by_word, most))
    return Concepts("embedded engine", len(said), len(personas) - len(said), concepts)


class ConceptModel:
    """Induces concepts by a language model.

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
        distilled = self._ask([distill_question(persona.text) for persona in said.values()], PHRASES, read_phrases)
        phrases = [
            phrase
            for read, persona in zip(distilled, said.values(), strict=True)
            for phrase in (read or [claim.text for claim in persona.claims])
        ]
        clusters = cluster_texts(phrases, most, seed=self._seed) if phrases else []
        named = self._ask([concept_question(cluster[:MOST_SHOWN]) for cluster in clusters], CONCEPT, read_concept)
        different = {concept.name.lower(): concept for concept in named if concept is not None}
        answers = self._ask(
            [score_question(c.criterion, persona.text) for c in different.values() for persona in said.values()],
            Schema.of_choice("fulfils", "answer", ("yes", "no")),
            read_yes_or_no,
        )
        concepts, users = [], list(said)
        for place, concept in enumerate(different.values()):
            about_concept = answers[place * len(users) : (place + 1) * len(users)]
            who = [user for user, answer in zip(users, about_concept, strict=True) if answer]
            wanted = _words(f"{concept.name} {concept.criterion}")
            quotes = tuple(  # of each persona the sentence with most words of the concept
                max((claim.text for claim in said[user].claims), key=lambda text: len(_words(text) & wanted))
                for user in who[:MOST_QUOTES]
            )
            concepts.append(Concept(concept.name, concept.criterion, tuple(who), quotes, about_concept.count(None)))
        return Concepts(
            self.caller.lm.name,
            len(said),
            len(personas) - len(said),
            _most_frequent(concepts, most),
            distilled.count(None),
            named.count(None),
        )

    def _ask(
        self, prompts: Sequence[tuple[Message, ...]], schema: Schema, read: Callable[[str], Value]
    ) -> list[Value | None]:
        requests = [partial(Request, messages, self._sampling, schema, "concepts") for messages in prompts]
        asks = [Ask(request, lambda reply: read(reply.text)) for request in requests]
        return [outcome.value for outcome in self.caller.ask_all_or_raise(asks)]


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]{4,}", text.lower()) if word not in STOP_WORDS}


def _most_frequent(concepts: Sequence[Concept], most: int) -> tuple[Concept, ...]:
    return tuple(sorted(concepts, key=lambda concept: (-len(concept.user_ids), concept.name))[:most])
