"""Trained reward models as rows of the benchmark: who is learned from, and one training or one for each fold of users.

Where the data splits its users there is one training, of the pool that is asked for: at most everything that is not a
target of a dev or test user, and dev users' targets choose the step. Elsewhere users are dealt into folds by a hash of
their id, and a model is asked about users it has not seen; so, as with the embedded engine, what everybody else prefers
never contains the user. Target pairs of scored users are never learned from.

Heads on embeddings are trained in memory, in seconds. A language model is one method on one base model for one dataset,
seed and fold: it is trained when a cell first needs it and kept in the run folder; every other cell, and a run that was
killed, reads it back, and a training that was under way goes on from its checkpoint. Only one is held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.messages import conversation_digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prepared_prompts import PreparedPrompts
from personalrm.preferences.splits import split_context, split_user
from personalrm.preferences.users import User
from personalrm.rewards.methods import Pool, Recipe
from personalrm.rewards.reward_model import DevUser, RewardModel, margins
from personalrm.rewards.trained import CHECKPOINT, RECORD, as_dev, finish_folder, hash_byte
from personalrm.whole_files import make_private, private_folder

N_FOLDS = 5
DEV_SHARE = 0.2
"""Share of the training users whose validation pairs decide when to stop."""
NO_PROMPT = "no prompt, judged knowing nothing"
NOT_FINITE = "the reward model gave no finite reward"
PoolFinal = Literal["selection", "paper"]


@dataclass(frozen=True)
class PoolSettings:
    """Which pairs are learned from, where the data splits its users."""

    pool: Pool = "unfiltered"
    """`train_users`, `plus_context` (and the context pairs of dev and test users), `unfiltered` (and whatever was
    filtered out)."""
    pool_final: PoolFinal = "selection"
    """`selection`: dev users choose the step; `paper`: their targets are learned from too and nobody chooses."""


@dataclass(frozen=True, repr=False)
class Portion:
    """One training."""

    fold: int
    pairs: tuple[PreferencePair, ...]
    dev: tuple[DevUser, ...]
    n_unfiltered: int = 0
    """Pairs that come from the unfiltered ones alone."""
    n_left_out: int = 0
    """Unfiltered pairs left out, since they are of a conversation that holds a target."""
    n_equal: int = 0
    """Other pairs left out, since the same pair is a target too."""


@dataclass(frozen=True, repr=False)
class Division:
    """All trainings of a row, and which of them is asked about whom."""

    portions: tuple[Portion, ...]
    fold_of: Callable[[str], int]
    """Of a scored user's id."""
    is_cross_fitted: bool


@dataclass(frozen=True, repr=False)
class RunPrompts:
    """The personal prompts of a dataset's users, and where they come from."""

    prompts: PreparedPrompts
    source: str
    """`written by LABEL`, or the name of a file."""


class Shelf:
    """Where the language models of a base model, dataset and seed are kept; the rows on it share what is in memory.

    Args:
        folder: Folder of the model of a row and fold.
        prompts: Reads or writes the personal prompts; asked once, and by rows that are told personas only.
    """

    def __init__(self, folder: Callable[[str, int], Path], prompts: Callable[[HeldOut], RunPrompts]) -> None:
        self.folder, self._make_prompts = folder, prompts
        self._prompts: RunPrompts | None = None
        self._opened: tuple[Path, RewardModel[Any]] | None = None

    def prompts(self, held_out: HeldOut) -> RunPrompts:
        """The personal prompts, made or read once."""
        if self._prompts is None:
            self._prompts = self._make_prompts(held_out)
        return self._prompts

    def opened(
        self, folder: Path, load: Callable[[], RewardModel[Any]], release: Callable[[], None]
    ) -> RewardModel[Any]:
        """The model of a folder; the one in memory goes for it."""
        if self._opened is None or self._opened[0] != folder:
            self.close(release)
            self._opened = folder, load()
        return self._opened[1]

    def close(self, release: Callable[[], None]) -> None:
        """Let go of the model in memory."""
        if self._opened is not None:
            self._opened = None
            release()


class RewardRow:
    """A reward model as a row.

    Args:
        recipe: How its model is made.
        pool: What it learns from where the data splits its users; what is usual for it where None.
        shelf: Where its models are kept; None holds them in memory and trains them anew in the next run.
        n_folds: How many models there are where it does not.
    """

    def __init__(
        self, recipe: Recipe, pool: PoolSettings | None = None, *, shelf: Shelf | None = None, n_folds: int = N_FOLDS
    ) -> None:
        self._recipe, self._method, self._shelf, self._n_folds = recipe, recipe.method, shelf, n_folds
        self._pool = pool or PoolSettings(recipe.method.usual_pool)
        self._learned_from: HeldOut | None = None
        self._division: Division | None = None
        self._prompts: RunPrompts | None = None
        self._models: dict[int, RewardModel[Any]] = {}

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Every model the row needs, trained or found where they are kept.

        Raises:
            BadInput: If there is nobody to learn from.
            TrainingFailed: If a loss is not a number, or completions are always scored alike.
            ModelUnavailable: If prompts are to be written and the model cannot be asked.
        """
        if held_out is self._learned_from:
            return
        is_head = not self._method.trains_language_model
        division = divide(
            held_out, self._pool, n_folds=self._n_folds, only_context=is_head, uses_dev=self._method.uses_dev
        )
        if self._shelf is not None and self._method.needs_prompts:
            self._prompts = self._shelf.prompts(held_out)
        for portion in division.portions:
            if self._shelf is None:
                self._models[portion.fold] = self._recipe.make(turns=self._turns(portion.pairs))
                self._models[portion.fold].fit(portion.pairs, dev=portion.dev)
            else:
                self._train(self._with_told_stoppers(portion), self._shelf, is_cross_fitted=division.is_cross_fitted)
        self._division, self._learned_from = division, held_out

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """The state of each user under every fold's model: their own pairs need one, somebody else's another.

        Of models that are kept it is the context pairs: each makes its own state of them when it is asked.
        """
        with_prompt = self._prompts.prompts.whole if self._prompts else None
        contexts = [user.pairs for user in users]
        states = {fold: model.condition_many(contexts) for fold, model in self._models.items()}
        values = [{fold: of_users[place] for fold, of_users in states.items()} for place in range(len(users))]
        return [
            Knowledge(
                user.user_id,
                value if self._shelf is None else user.pairs,
                NO_PROMPT if with_prompt is not None and user.pairs and user.user_id not in with_prompt else "",
            )
            for user, value in zip(users, values, strict=True)
        ]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The margin of every pair under the model that has not seen its owner's targets."""
        if self._division is None:
            raise NotFitted("this reward model was not trained; call learn before know and judge")
        found: list[Judgement] = [Judgement()] * len(items)
        by_fold: dict[int, list[int]] = {}
        for place, (_, pair) in enumerate(items):
            by_fold.setdefault(self._division.fold_of(pair.user_id), []).append(place)
        for fold, places in sorted(by_fold.items()):
            model = self._models[fold] if self._shelf is None else self._opened(fold, self._shelf)
            states = self._states(model, fold, [items[place][0] for place in places])
            of_pairs = margins(model, states, [items[place][1] for place in places])
            for place, margin in zip(places, of_pairs, strict=True):
                is_scored = math.isfinite(margin)
                found[place] = Judgement(margin=float(margin)) if is_scored else Judgement(unscored=NOT_FINITE)
        return found

    def _states(self, model: RewardModel[Any], fold: int, known: Sequence[Knowledge]) -> list[Any]:
        """The state of each item; under a model that is kept, each user's is made once."""
        if self._shelf is None:
            return [knowledge.value[fold] for knowledge in known]
        distinct = {id(knowledge): knowledge for knowledge in known}
        made = model.condition_many([knowledge.value for knowledge in distinct.values()])
        states = dict(zip(distinct, made, strict=True))
        return [states[id(knowledge)] for knowledge in known]

    def _train(self, portion: Portion, shelf: Shelf, *, is_cross_fitted: bool) -> None:
        """Train and keep the model of a portion, unless that was done before."""
        folder = shelf.folder(self._method.name, portion.fold)
        if (folder / RECORD).is_file():
            return
        shelf.close(self._method.release)
        private_folder(folder.parent)  # a model of another package may want to make its own folder
        model = self._recipe.make(turns=self._turns(portion.pairs), checkpoint=folder / CHECKPOINT)
        model.fit(portion.pairs, dev=portion.dev)
        model.save(folder)
        facts = {"method": self._method.name, "is_cross_fitted": is_cross_fitted, **asdict(self._pool)}
        finish_folder(folder, facts | _record(portion, self._prompts, getattr(model, "training", None)))
        make_private(folder)  # which torch, PEFT and safetensors have written by the umask
        del model
        self._method.release()

    def _opened(self, fold: int, shelf: Shelf) -> RewardModel[Any]:
        """The kept model of a fold."""
        folder = shelf.folder(self._method.name, fold)
        return shelf.opened(folder, lambda: self._recipe.load(folder, turns=self._turns()), self._method.release)

    def _turns(self, pairs: Sequence[PreferencePair] = ()) -> Any:
        return self._recipe.turns(self._prompts.prompts if self._prompts else PreparedPrompts(), pairs)

    def _with_told_stoppers(self, portion: Portion) -> Portion:
        """Where users learned from stop the training too, each of their validation conversations apart.

        Their whole prompt has seen these choices, so only those count of whom there is a
        prompt made without the conversation.
        """
        prompts = self._prompts.prompts if self._prompts is not None else PreparedPrompts()
        targets = [pair for user in portion.dev for pair in user.targets if pair.user_id in prompts.whole]
        if not any(pair.hash in prompts.whole[pair.user_id].context_hashes for pair in targets):
            return portion
        apart = []
        for user in portion.dev:
            owner, everything = user.targets[0].user_id, (*user.context, *user.targets)
            if owner not in prompts.whole:  # nothing was written of them, so nothing has seen their choices
                apart.append(user)
                continue
            for key in dict.fromkeys(pair.conversation_key for pair in user.targets):
                if (owner, key) in prompts.cross_fitted:
                    context = tuple(pair for pair in everything if pair.conversation_key != key)
                    apart.append(DevUser(context, tuple(pair for pair in user.targets if pair.conversation_key == key)))
        return replace(portion, dev=tuple(apart))


def divide(
    held_out: HeldOut,
    settings: PoolSettings | None = None,
    *,
    n_folds: int = N_FOLDS,
    only_context: bool = False,
    uses_dev: bool = True,
) -> Division:
    """The trainings of a row.

    Args:
        held_out: The data.
        settings: The pool where the data splits its users.
        n_folds: Number of folds where it does not.
        only_context: In folds, learn from context pairs alone, each as often as it stands there, as heads do; language
            models also learn from whatever was filtered out, and from each pair once.
        uses_dev: Whether anybody stops the training; else those who would are learned from, if they are train users.

    Raises:
        BadInput: If nobody is left to learn from.
    """
    if held_out.has_parts:
        whole = _whole(held_out, settings or PoolSettings())
        if not uses_dev:
            stoppers = [pair for user in whole.dev for pair in (*user.context, *user.targets)]
            kept = [pair for pair in stoppers if pair.user_id in held_out.train]
            whole = replace(whole, pairs=(*whole.pairs, *kept), dev=())
        found = Division((whole,), lambda _: 0, is_cross_fitted=False)
    else:
        used = sorted({fold_of(user_id, n_folds) for user_id in held_out.context})
        portions = tuple(_fold(held_out, fold, n_folds, only_context=only_context, uses_dev=uses_dev) for fold in used)
        found = Division(portions, lambda user_id: fold_of(user_id, n_folds), is_cross_fitted=True)
    if not found.portions or not all(portion.pairs for portion in found.portions):
        raise BadInput(
            "a reward model learns from other users' pairs and there are none; add users, or choose a wider pool"
        )
    return found


def pool_users(held_out: HeldOut, min_pairs: int) -> list[User]:
    """Everybody of whom a persona may be written, with the pairs it may be written from; no targets.

    Train and dev users with fewer pairs than asked for are left out.
    """
    dev = [
        User(user.user_id, split_user(user.pairs).context) for user in held_out.dev.values() if len(user) >= min_pairs
    ]
    train = [user for user in held_out.train.values() if len(user) >= min_pairs]
    return [user for user in (*held_out.context.values(), *train, *dev) if user.pairs]


def dev_targets(held_out: HeldOut) -> list[PreferencePair]:
    """Target pairs of the dev users."""
    return [pair for user in held_out.dev.values() if user.pairs for pair in split_user(user.pairs).target]


def stopping(users: Sequence[User], held_out: HeldOut) -> dict[str, set[str]]:
    """Conversations that stop a training of users whose whole prompt has seen them: one prompt without each."""
    if held_out.dev:
        return {}
    stoppers = [user for user in users if is_dev(user)]
    return {user.user_id: {pair.conversation_key for pair in split_context(user.pairs).validation} for user in stoppers}


def n_conversations(user: User, only: Mapping[str, Collection[str]] | None) -> int:
    """How many prompts a user gets that are made without one conversation."""
    keys = {pair.conversation_key for pair in user.pairs}
    wanted = len(keys if only is None else keys & set(only.get(user.user_id, ())))
    return wanted if len(keys) > 1 else 0


def fold_of(user_id: str, n_folds: int) -> int:
    """The fold of a user, by a hash of their id."""
    return hash_byte("fold", user_id) % n_folds


def is_dev(user: User) -> bool:
    """Whether a user is one of those who stop a training, by a hash of their id."""
    return hash_byte("dev", user.user_id) < 256 * DEV_SHARE


def _whole(held_out: HeldOut, settings: PoolSettings) -> Portion:
    """The training of data with train, dev and test users."""
    splits = [split_user(user.pairs) for user in held_out.dev.values() if user.pairs]
    looks = [DevUser(split.context, split.target) for split in splits if split.target]
    train, n_chosen = list(held_out.train.values()), 0
    if not looks and settings.pool_final == "selection":  # without dev users some of the train users stop the training
        looks = [dev for user in train if is_dev(user) and (dev := as_dev(user, is_scored=True)).targets]
        n_chosen = len(looks)
    stoppers = {pair.user_id for user in looks for pair in user.targets} if n_chosen else set()
    pairs = [pair for user in train if user.user_id not in stoppers for pair in user.pairs]
    if settings.pool != "train_users":
        pairs += [pair for split in splits for pair in split.context]
        pairs += [pair for user in held_out.context.values() for pair in user.pairs]
    targets = list(held_out.targets)
    if settings.pool_final == "paper":
        pairs, looks = pairs + dev_targets(held_out), []
    else:
        targets += dev_targets(held_out)
    more = held_out.unfiltered if settings.pool == "unfiltered" else ()
    unseen = [pair for pair in more if pair.user_id not in stoppers]
    return _portion(Portion(0, tuple(pairs), tuple(looks)), unseen, _Targets.of(targets))


def _fold(held_out: HeldOut, fold: int, n_folds: int, *, only_context: bool, uses_dev: bool) -> Portion:
    """The training that has not seen the users of a fold."""
    others = [user for user in held_out.learnable.values() if user.pairs and fold_of(user.user_id, n_folds) != fold]
    chosen = [user for user in others if uses_dev and is_dev(user)]
    looks = tuple(dev for user in chosen if (dev := as_dev(user, is_scored=True)).targets)
    # Those who were chosen and have nothing to look at are learned from by language models only.
    stoppers = {user.user_id for user in chosen} if only_context else {user.targets[0].user_id for user in looks}
    train = [user for user in others if user.user_id not in stoppers]
    if not train:
        train, looks, stoppers = others, looks if only_context else (), set()
    portion = Portion(fold, tuple(pair for user in train for pair in user.pairs), looks)
    if only_context:
        return portion
    scored = {user_id for user_id in held_out.context if fold_of(user_id, n_folds) == fold}
    unseen = [pair for pair in held_out.unfiltered if pair.user_id not in scored | stoppers]
    return _portion(portion, unseen, _Targets.of(held_out.targets))


def _portion(portion: Portion, unfiltered: Sequence[PreferencePair], targets: _Targets) -> Portion:
    """The portion with the unfiltered pairs that may be learned from, every pair once and none that is a target."""
    own = {pair.hash: pair for pair in portion.pairs if pair.hash not in targets.hashes}
    may = [pair for pair in unfiltered if not targets.share_a_conversation(pair)]
    more = {pair.hash: pair for pair in may if pair.hash not in own}
    return replace(
        portion,
        pairs=(*own.values(), *more.values()),
        n_unfiltered=len(more),
        n_left_out=len(unfiltered) - len(may),
        n_equal=sum(pair.hash in targets.hashes for pair in portion.pairs),
    )


@dataclass(frozen=True, repr=False)
class _Targets:
    """Pairs that must not be learned from, and what tells that another pair is of one of their conversations.

    Raw data may name conversations where the benchmark does not, or the other way round;
    then the same opening of the same user is taken for the same conversation.
    """

    hashes: frozenset[str]
    conversations: frozenset[tuple[str, str]]
    openings: frozenset[tuple[str, str]]
    nameless: frozenset[tuple[str, str]]
    """Openings of targets whose conversation has no name."""

    @classmethod
    def of(cls, targets: Iterable[PreferencePair]) -> _Targets:
        pairs = list(targets)
        return cls(
            frozenset(pair.hash for pair in pairs),
            frozenset((pair.user_id, pair.conversation_key) for pair in pairs),
            frozenset(map(_opening, pairs)),
            frozenset(_opening(pair) for pair in pairs if not pair.conversation_id),
        )

    def share_a_conversation(self, pair: PreferencePair) -> bool:
        """Whether a pair is a target or of a target's conversation."""
        openings = self.nameless if pair.conversation_id else self.openings
        return (
            pair.hash in self.hashes
            or (pair.user_id, pair.conversation_key) in self.conversations
            or _opening(pair) in openings
        )


def _opening(pair: PreferencePair) -> tuple[str, str]:
    return pair.user_id, conversation_digest(pair.conversation[:1])


def _record(portion: Portion, prompts: RunPrompts | None, training: Any) -> dict[str, Any]:
    """What a training saw and did, without texts or ids.

    Of the prompts: of whom there was a persona, and on how many pairs it was written without the pair's conversation.
    """
    told = None
    if prompts is not None:
        with_persona = [pair for pair in portion.pairs if prompts.prompts.for_training(pair) is not None]
        keys = [(pair.user_id, pair.conversation_key) for pair in with_persona]
        told = {
            "source": prompts.source,
            "n_users": len({user_id for user_id, _ in keys}),
            "n_pairs_told": len(keys),
            "n_pairs_cross_fitted": sum(key in prompts.prompts.cross_fitted for key in keys),
        }
    return {
        "fold": portion.fold,
        "n_pairs": len(portion.pairs),
        "n_users": len({pair.user_id for pair in portion.pairs}),
        "n_unfiltered": portion.n_unfiltered,
        "n_left_out": portion.n_left_out,
        "n_equal": portion.n_equal,
        "n_dev_users": len({pair.user_id for user in portion.dev for pair in user.targets}),
        "n_dev_targets": sum(len(user.targets) for user in portion.dev),
        "prompts": told,
        "training": asdict(training) if is_dataclass(training) and not isinstance(training, type) else None,
    }
