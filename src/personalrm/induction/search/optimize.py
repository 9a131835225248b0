"""Optimizing the persona prompt (paper section 3.2, appendix F): from people to a better prompt.

Examples are bootstrapped on train users, instructions proposed by the model, and the two
searched together for what its personas gain on dev users. The result is a `PersonaPrompt`
that travels: to other people, other data, other models (paper 6.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personalrm.errors import BadInput
from personalrm.induction.forecast import REASONING, REPLY_TOKENS
from personalrm.induction.search.candidates import (
    AskTexts,
    Bootstrapped,
    Proposed,
    bootstrap_examples,
    check_instructions,
    draw_example_sets,
    proposal_calls,
    propose_instructions,
    texts_from,
)
from personalrm.induction.search.gain import Gain, JudgeUnder, gain_calls, judge_under
from personalrm.induction.search.loop import SearchResult, search, search_cost
from personalrm.induction.search.people import People, Subject, divide, gather, gather_calls
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.search.trials_file import Combination, TrialsFile, Values
from personalrm.judging.model import ModelJudge
from personalrm.lm.prices import CHARACTERS_A_TOKEN, Price
from personalrm.lm.protocol import Usage
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.persona_prompts import PersonaPrompt
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import PersonaQuestion, Question
from personalrm.prompts.rendering import shipped_persona_prompt
from personalrm.wording import count

Tell = Callable[[str], object]


@dataclass(frozen=True, repr=False)
class Searcher:
    """Who is asked, and where a search begins."""

    judge_under: JudgeUnder
    """The judge that writes personas by a given persona prompt."""
    name: str
    """What provenance calls it."""
    identity: str
    """All that decides its answers; another one makes another search."""
    ask: AskTexts | None = None
    """Who proposes instructions; with None only the caller's are tried."""
    start: PersonaPrompt | None = None
    """The prompt to improve; ours when None."""
    instructions: tuple[str, ...] = ()
    """Instruction candidates of the caller."""

    @property
    def prompt(self) -> PersonaPrompt:
        """The prompt to improve."""
        return self.start or shipped_persona_prompt()


@dataclass(frozen=True, repr=False)
class Optimized:
    """What a search came to."""

    prompt: PersonaPrompt
    """The best persona prompt found, with its provenance."""
    score: float
    """Its gain over the default judge, mean over dev users."""
    start_score: float
    """The same of the prompt it began with."""
    default_accuracy: float | None
    """Of the default judge on the dev users' target pairs, mean over users."""
    n_dev_users: int
    n_unscored: int
    """Dev users whose gain could not be measured with the best prompt."""
    notes: tuple[str, ...] = ()
    """What was odd, a sentence each."""

    def as_json(self) -> dict[str, Any]:
        """The result without texts of anybody."""
        result = {name: getattr(self, name) for name in ("score", "start_score", "default_accuracy", "n_dev_users")}
        result |= {"n_unscored": self.n_unscored, "notes": list(self.notes)}
        more = {key: value for key, value in self.prompt.provenance.items() if key not in result and key != "seen"}
        return result | more


def optimize_persona_prompt(
    train: Iterable[User],
    dev: Iterable[User],
    judge: ModelJudge,
    *,
    settings: SearchSettings | None = None,
    start: PersonaPrompt | None = None,
    instructions: Sequence[str] = (),
    trials_file: str | Path | None = None,
) -> Optimized:
    """The best persona prompt a search finds for this model.

    Args:
        train: Users that example personas are bootstrapped on.
        dev: Other users; candidates are scored on their target pairs.
        judge: The model, see `personalrm.judging.model.open_model_judge`.
        settings: Numbers of candidates, trials and users, seed.
        start: The prompt to improve; ours when None. It is returned unless a better one is found.
        instructions: Candidates of your own, tried beside those the model proposes.
        trials_file: Keeps the trials, so that a killed search goes on; with a cache on disk nothing is paid twice.

    Raises:
        BadInput: If users are in both parts, or none can be scored.
        NoScoredPairs: If nothing could be measured.
        ModelUnavailable: If the run was stopped; the same call goes on from there.
    """
    chosen = settings or SearchSettings()
    people = divide(train, dev, max_train_users=chosen.max_train_users, seed=chosen.seed)
    searcher = searcher_of(judge, start, instructions)
    return optimize(people, searcher, chosen, Path(trials_file) if trials_file is not None else None)


def searcher_of(judge: ModelJudge, start: PersonaPrompt | None = None, instructions: Sequence[str] = ()) -> Searcher:
    """A model that writes personas, judges, and proposes instructions."""
    identity = f"{judge.caller.lm.identity} {judge.options}"
    return Searcher(judge_under(judge), judge.name, identity, texts_from(judge), start, tuple(instructions))


def optimize(
    people: People,
    searcher: Searcher,
    settings: SearchSettings,
    trials_file: Path | None = None,
    tell: Tell = lambda _: None,
) -> Optimized:
    """The search over any judge; `optimize_persona_prompt` is the same over a model.

    Args:
        people: Train and dev users.
        searcher: Who is asked, and what to improve.
        settings: Numbers of candidates, trials and users, seed.
        trials_file: Keeps the trials.
        tell: Called with what is being done, for progress.
    """
    given, start = check_instructions(searcher.instructions), searcher.prompt
    if 1 + len(given) > settings.n_instructions:
        raise BadInput(f"{len(given)} instruction candidates were given, {settings.n_instructions} are tried at most")
    gain = Gain(searcher.judge_under, start)
    train, dev = gather_people(people, searcher.judge_under(start), settings, tell)
    tell("default judge and example personas")
    gain.prepare((*train, *dev))
    bootstrapped = bootstrap_examples(train, gain, start, settings)
    sets = draw_example_sets(bootstrapped.examples, start, settings)
    tell("proposals")
    proposed = propose_instructions(searcher.ask, start, given, (train, bootstrapped.examples), settings)
    # What the search is known by: anything that could change a value.
    seen = [[subject.user_id, subject.pairs, [shown.reasoning for shown in subject.evidence]] for subject in dev]
    texts = [[[example.choices, example.persona] for example in examples] for examples in sets]
    known_as = digest(searcher.identity, settings.as_json(), list(proposed.instructions), texts, seen)

    def measure(cell: Combination, users: Sequence[int]) -> Values:
        tell("trials")
        subjects = [dev[user] for user in users]
        candidate = PersonaPrompt(proposed.instructions[cell.instruction], sets[cell.examples])
        return gain.of(gain.write(candidate, subjects), subjects)

    grid = (len(proposed.instructions), len(sets))
    result = search(grid, len(dev), measure, settings, TrialsFile(trials_file, known_as))
    # Scores, no texts, people as hashes of their pairs.
    provenance = {
        "method": "search",
        "model": searcher.name,
        "settings": settings.as_json(),
        "score": result.score,
        "start_score": result.start_score,
        "n_train_users": len(train),
        "n_dev_users": len(dev),
        "n_instructions": len(proposed.instructions),
        "n_example_sets": len(sets),
        "n_measured": result.n_measured,
        "measured_on_all": [[cell.instruction, cell.examples, score] for cell, score in result.full],
        "seen": sorted({pair for subject in (*train, *dev) for pair in subject.pairs}),
    }
    prompt = PersonaPrompt(
        proposed.instructions[result.best.instruction],
        sets[result.best.examples],
        f"optimized from {start.source!r}",
        provenance=provenance,
    )
    notes = _notes(people, bootstrapped, proposed, result)
    return Optimized(prompt, result.score, result.start_score, gain.accuracy(dev), len(dev), result.n_unscored, notes)


def gather_people(
    people: People, judge: Any, settings: SearchSettings, tell: Tell
) -> tuple[list[Subject], list[Subject]]:
    """Train and dev users with their reasonings (step 1 of a fit)."""
    tell("reasonings")
    train = gather(people.train, judge, settings, on_target=False)
    return train, gather(people.dev, judge, settings, on_target=True)


def calls_by_purpose(people: People, settings: SearchSettings, n_samples: int) -> dict[str, int]:
    """What `optimize` asks at most, by purpose.

    Args:
        people: Train and dev users.
        settings: Numbers of candidates, trials and users.
        n_samples: Replies a question.
    """
    splits = [split for _, split in (*people.train, *people.dev)]
    on_dev = [gain_calls(len(split.target)) for _, split in people.dev]
    on_train = [gain_calls(len(split.validation)) for _, split in people.train]
    return {
        "reasonings": sum(gather_calls(split, settings).total(n_samples) for split in splits),
        # knowing nobody: the same questions without a persona
        "default judge": sum(calls.questions * n_samples for calls in (*on_dev, *on_train)),
        "example personas": sum(calls.total(n_samples) for calls in on_train),
        "proposals": proposal_calls(settings),
        "trials": search_cost([calls.total(n_samples) for calls in on_dev], settings),
    }


def _notes(people: People, bootstrapped: Bootstrapped, proposed: Proposed, result: SearchResult) -> tuple[str, ...]:
    notes = []
    if people.n_left_out:
        notes.append(f"{count(people.n_left_out, 'user')} without a pair to score a persona on, left out")
    if not bootstrapped.examples:
        notes.append(
            f"no persona of {count(bootstrapped.n_tried, 'train user')} beat the default judge, so none is an example"
        )
    if bootstrapped.n_unscored:
        notes.append(f"{count(bootstrapped.n_unscored, 'persona')} of train users could not be measured")
    if proposed.n_unreadable:
        notes.append(f"{count(proposed.n_unreadable, 'proposal')} could not be used")
    if len(proposed.instructions) == 1:
        notes.append("there was no instruction to try but the first")
    if result.n_unscored:
        notes.append(f"{count(result.n_unscored, 'dev user')} could not be measured with the best prompt")
    if result.score <= result.start_score:
        notes.append("nothing better than the prompt to start from was found, so it stays")
    return tuple(notes)


LOOKED_AT = 50
"""Pairs whose length is taken for all."""


@dataclass(frozen=True)
class SearchForecast:
    """At most so many calls; answers that are kept already are not counted off."""

    n_train_users: int
    n_dev_users: int
    calls: dict[str, int]
    """By purpose."""
    n_calls: int
    n_tokens: int
    """About."""
    n_reply_tokens: int
    """Of these."""
    cost: float | None
    """In US dollars at list prices; None where the price is unknown."""

    def as_json(self) -> dict[str, Any]:
        """The forecast for machines."""
        return asdict(self)

    def line(self) -> str:
        """The forecast in a sentence."""
        cost = "price unknown" if self.cost is None else f"about {self.cost:.2f} USD"
        parts = ", ".join(f"{name} {n:,}" for name, n in self.calls.items())
        return (
            f"would search over {self.n_train_users:,} train and {count(self.n_dev_users, 'dev user')}: at most "
            f"{self.n_calls:,} calls ({parts}), about {self.n_tokens:,} tokens, {cost}"
        )


def forecast_search(people: People, judge: ModelJudge, calls: dict[str, int], price: Price | None) -> SearchForecast:
    """Upper bound of calls, and about how many tokens they take.

    Args:
        people: Train and dev users.
        judge: Who would be asked; nothing is asked.
        calls: What the search asks at most, by purpose: `calls_by_purpose`, or `mipro_calls_by_purpose`.
        price: What tokens cost.
    """
    n_calls = sum(calls.values())
    lengths = []
    for _, split in people.dev[:LOOKED_AT]:
        # About how long a prompt is, over judgements with and without demonstrations and personas' prompts.
        shown = tuple(Demonstration(OrderedPair(pair, chosen_first=True), REASONING) for pair in split.train)
        pair = split.target[0]
        question = Question(pair.user_id, pair.conversation, pair.chosen, pair.rejected)
        judged = judge.judge_request(question, "judge").n_characters
        written = judge.persona_request(PersonaQuestion(pair.user_id, shown)).n_characters
        n = 2 * len(split.target)
        lengths.append((n * judged + written) / (n + 1))
    n_prompt = int(n_calls * (sum(lengths) / len(lengths)) / CHARACTERS_A_TOKEN)
    usage = Usage(n_prompt, n_calls * REPLY_TOKENS)
    cost = price.of(usage) if price else None
    n_tokens = n_prompt + usage.completion_tokens
    n_people = len(people.train), len(people.dev)
    return SearchForecast(*n_people, calls, n_calls, n_tokens, usage.completion_tokens, cost)
