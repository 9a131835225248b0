"""What a language model is trained on, and who stops it: one training, or one for each fold of users.

Where the data splits its users there is one training on everything that is no target of a
dev or test user, and dev users' targets choose the step. Elsewhere users are dealt into
folds as for every other trained row, and a model is asked about users it has not seen.
Target pairs of scored users are never in a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from personalrm.bench.methods.folds import N_FOLDS, as_dev, fold_of, is_dev
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput
from personalrm.preferences.messages import conversation_digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import split_user
from personalrm.preferences.users import User
from personalrm.rewards.reward_model import DevUser


@dataclass(frozen=True)
class PoolSettings:
    """Which pairs are learned from, where the data splits its users."""

    pool: str = "unfiltered"
    """`train_users`, `plus_context` (and the context pairs of dev and test users), `unfiltered` (and whatever was
    filtered out)."""
    pool_final: str = "selection"
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


def divide(held_out: HeldOut, settings: PoolSettings | None = None, *, n_folds: int = N_FOLDS) -> Division:
    """The trainings of a row.

    Raises:
        BadInput: If nobody is left to learn from.
    """
    if held_out.has_parts:
        found = Division((_whole(held_out, settings or PoolSettings()),), lambda _: 0, is_cross_fitted=False)
    else:
        used = sorted({fold_of(user_id, n_folds) for user_id in held_out.context})
        portions = tuple(_fold(held_out, fold, n_folds) for fold in used)
        found = Division(portions, lambda user_id: fold_of(user_id, n_folds), is_cross_fitted=True)
    if not all(portion.pairs for portion in found.portions):
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


def _whole(held_out: HeldOut, settings: PoolSettings) -> Portion:
    """The training of data with train, dev and test users."""
    dev = [split_user(user.pairs) for user in held_out.dev.values() if user.pairs]
    looks = [DevUser(split.context, split.target) for split in dev if split.target]
    train, n_chosen = list(held_out.train.values()), 0
    if not looks and settings.pool_final == "selection":  # without dev users some of the train users stop the training
        looks = [one for user in train if is_dev(user) and (one := as_dev(user, is_scored=True)).targets]
        n_chosen = len(looks)
    stoppers = {pair.user_id for one in looks for pair in one.targets} if n_chosen else set()
    pairs = [pair for user in train if user.user_id not in stoppers for pair in user.pairs]
    if settings.pool != "train_users":
        pairs += [pair for split in dev for pair in split.context]
        pairs += [pair for user in held_out.context.values() for pair in user.pairs]
    targets = list(held_out.targets)
    if settings.pool_final == "paper":
        pairs, looks = pairs + dev_targets(held_out), []
    else:
        targets += dev_targets(held_out)
    more = held_out.unfiltered if settings.pool == "unfiltered" else ()
    unseen = [pair for pair in more if pair.user_id not in stoppers]
    return _portion(Portion(0, tuple(pairs), tuple(looks)), unseen, _Targets.of(targets))


def _fold(held_out: HeldOut, fold: int, n_folds: int) -> Portion:
    """The training that has not seen the users of a fold."""
    others = [user for user in held_out.learnable.values() if user.pairs and fold_of(user.user_id, n_folds) != fold]
    looks = [one for user in others if is_dev(user) and (one := as_dev(user, is_scored=True)).targets]
    stoppers = {pair.user_id for one in looks for pair in one.targets}
    train = [user for user in others if user.user_id not in stoppers]
    if not train:
        train, looks, stoppers = others, [], set()
    pairs = tuple(pair for user in train for pair in user.pairs)
    scored = {user_id for user_id in held_out.context if fold_of(user_id, n_folds) == fold}
    unseen = [pair for pair in held_out.unfiltered if pair.user_id not in scored | stoppers]
    return _portion(Portion(fold, pairs, tuple(looks)), unseen, _Targets.of(held_out.targets))


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
