"""Fine-tuned language models as rows of the benchmark: trained once, kept in the run folder, asked from there.

A model is one method on one base model for one dataset, seed and fold. It is trained when a
cell first needs it and saved; every other cell, and a run that was killed, reads it back, and
a training that was under way goes on from its checkpoint. Only one is held in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from personalrm.bench.methods.method import Item, Judgement, Knowledge, Surveys
from personalrm.bench.methods.pools import Division, PoolSettings, Portion, divide
from personalrm.bench.methods.trained import judgement_of
from personalrm.datasets.targets import HeldOut
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import NotFitted, StoreError
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prepared_prompts import PreparedPrompts
from personalrm.preferences.users import User
from personalrm.rewards.language_models import Device, LanguageMethod, Settings, Told, language_method
from personalrm.rewards.reward_model import DevUser, RewardModel, margins
from personalrm.store.atomic import replace_file

CHECKPOINT = "checkpoint.safetensors"
RECORD = "training.json"
"""Written last: a folder that holds it holds a whole model."""
NO_PROMPT = "no prompt, judged knowing nothing"


@dataclass(frozen=True, repr=False)
class RunPrompts:
    """The personal prompts of a dataset's users, and where they come from."""

    prompts: PreparedPrompts
    source: str
    """`written by LABEL`, or the name of a file."""


@dataclass(frozen=True, repr=False)
class LanguageTools:
    """What the rows on one base model share on one dataset under one seed."""

    base: str
    """Name on the hub or folder."""
    settings: Callable[[str], Settings]
    """Of a row."""
    pool: Callable[[str], PoolSettings]
    """Of a row."""
    folder: Callable[[str, int], Path]
    """Where the model of a row and fold is kept."""
    prompts: Callable[[HeldOut], RunPrompts]
    """Reads or writes them; asked for once, and by rows that are told personas only."""
    store: Callable[[], EmbeddingStore]
    """Opens the embeddings of users' choices, for rows that read them."""
    device: Device = "auto"


class Trainings:
    """The trained models of one base model, dataset and seed; the rows made here share what is in memory.

    Args:
        tools: What they are made of.
    """

    def __init__(self, tools: LanguageTools) -> None:
        self._tools = tools
        self._rows: dict[str, LanguageRow] = {}
        self._prompts: RunPrompts | None = None
        self._opened: tuple[Path, RewardModel[Any]] | None = None

    def row(self, name: str) -> LanguageRow:
        """The row of a name; the same one for all its cells."""
        if name not in self._rows:
            self._rows[name] = LanguageRow(language_method(name), name, self)
        return self._rows[name]

    def pool(self, name: str) -> PoolSettings:
        """What a row learns from."""
        return self._tools.pool(name)

    def prompts(self, held_out: HeldOut) -> RunPrompts:
        """The personal prompts, made or read once."""
        if self._prompts is None:
            self._prompts = self._tools.prompts(held_out)
        return self._prompts

    def train(self, row: LanguageRow, portion: Portion, prompts: RunPrompts | None, *, is_cross_fitted: bool) -> None:
        """Train and save the model of a portion, unless that was done before."""
        folder = self._tools.folder(row.name, portion.fold)
        if (folder / RECORD).is_file():
            return
        self._close(row)
        told = self._told(row, prompts, portion.pairs)
        settings = self._tools.settings(row.name)
        model = row.method.make(
            self._tools.base, settings, told, device=self._tools.device, checkpoint=folder / CHECKPOINT
        )
        model.fit(portion.pairs, dev=portion.dev)
        model.save(folder)
        facts = {"method": row.name, "is_cross_fitted": is_cross_fitted, **asdict(self.pool(row.name))}
        _write(folder, facts | _record(portion, prompts, getattr(model, "training", None)))
        for checkpoint in folder.glob(f"{Path(CHECKPOINT).stem}*"):  # a soup keeps one a cluster
            checkpoint.unlink()
        del model
        row.method.release()

    def opened(self, row: LanguageRow, fold: int, prompts: RunPrompts | None) -> RewardModel[Any]:
        """The saved model of a fold; the one in memory goes for it."""
        folder = self._tools.folder(row.name, fold)
        if self._opened is None or self._opened[0] != folder:
            self._close(row)
            told = self._told(row, prompts)
            settings = self._tools.settings(row.name)
            model = row.method.load(folder, self._tools.base, settings, told, device=self._tools.device)
            self._opened = folder, model
        return self._opened[1]

    def _told(self, row: LanguageRow, prompts: RunPrompts | None, pairs: Sequence[PreferencePair] = ()) -> Told:
        store = self._tools.store() if row.method.reads_embeddings else None
        return Told(prompts.prompts if prompts else PreparedPrompts(), pairs, store)

    def _close(self, row: LanguageRow) -> None:
        if self._opened is not None:
            self._opened = None
            row.method.release()


class LanguageRow:
    """A row whose reward model trains a language model.

    Args:
        method: What is trained, and what it is told of users.
        name: Of the row.
        trainings: Where its models are.
    """

    def __init__(self, method: LanguageMethod, name: str, trainings: Trainings) -> None:
        self.method, self.name, self._trainings = method, name, trainings
        self._learned_from: HeldOut | None = None
        self._division: Division | None = None
        self._prompts: RunPrompts | None = None

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Every model the row needs, trained or found in the run folder.

        Raises:
            BadInput: If there is nobody to learn from.
            TrainingFailed: If a loss is no number, or completions are always scored alike.
            ModelUnavailable: If prompts are to be written and the model cannot be asked.
        """
        if held_out is self._learned_from:
            return
        division = divide(held_out, self._trainings.pool(self.name))
        self._prompts = self._trainings.prompts(held_out) if self.method.needs_prompts else None
        for portion in division.portions:
            ready = self._with_told_stoppers(portion)
            self._trainings.train(self, ready, self._prompts, is_cross_fitted=division.is_cross_fitted)
        self._division, self._learned_from = division, held_out

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """The context pairs: each model makes its own system turn of them when it is asked."""
        with_prompt = self._prompts.prompts.whole if self._prompts else None
        return [Knowledge(user.user_id, user.pairs, NO_PROMPT if _lacks(user, with_prompt) else "") for user in users]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The margin of every pair under the model that was not trained on its owner's targets."""
        if self._division is None:
            raise NotFitted("this reward model was not trained; call learn before know and judge")
        found: list[Judgement] = [Judgement()] * len(items)
        by_fold: dict[int, list[int]] = {}
        for place, (_, pair) in enumerate(items):
            by_fold.setdefault(self._division.fold_of(pair.user_id), []).append(place)
        for fold, places in sorted(by_fold.items()):
            model = self._trainings.opened(self, fold, self._prompts)
            for place, margin in zip(places, _margins(model, [items[place] for place in places]), strict=True):
                found[place] = judgement_of(margin)
        return found

    def _with_told_stoppers(self, portion: Portion) -> Portion:
        """Where users learned from stop the training too, each of their validation conversations apart.

        Their whole prompt has seen these choices, so only those count of whom there is a
        prompt made without the conversation.
        """
        if self._prompts is None or not _is_own(portion, self._prompts.prompts):
            return portion
        apart = [one for user in portion.dev for one in _apart(user, self._prompts.prompts)]
        return replace(portion, dev=tuple(apart))


def _is_own(portion: Portion, prompts: PreparedPrompts) -> bool:
    """Whether prompts of those who stop the training have seen the pairs that stop it."""
    return any(
        pair.hash in prompts.whole[pair.user_id].context_hashes
        for user in portion.dev
        for pair in user.targets
        if pair.user_id in prompts.whole
    )


def _apart(user: DevUser, prompts: PreparedPrompts) -> list[DevUser]:
    """A user who stops a training, a conversation at a time; those without a prompt at all as they are."""
    owner = user.targets[0].user_id
    if owner not in prompts.whole:
        return [user]
    everything = (*user.context, *user.targets)
    keys = dict.fromkeys(pair.conversation_key for pair in user.targets)
    return [
        DevUser(
            tuple(pair for pair in everything if pair.conversation_key != key),
            tuple(pair for pair in user.targets if pair.conversation_key == key),
        )
        for key in keys
        if (owner, key) in prompts.cross_fitted
    ]


def _lacks(user: User, with_prompt: dict[str, Any] | None) -> bool:
    return with_prompt is not None and bool(user.pairs) and user.user_id not in with_prompt


def _margins(model: RewardModel[Any], items: Sequence[Item]) -> list[float]:
    """reward(chosen) - reward(rejected) of every item, each user's state made once."""
    distinct = {id(knowledge): knowledge for knowledge, _ in items}
    states = dict(zip(distinct, model.condition_many([one.value for one in distinct.values()]), strict=True))
    pairs: list[PreferencePair] = [pair for _, pair in items]
    return [float(margin) for margin in margins(model, [states[id(knowledge)] for knowledge, _ in items], pairs)]


def _record(portion: Portion, prompts: RunPrompts | None, training: Any) -> dict[str, Any]:
    """What a training saw and did, without texts or ids."""
    return {
        "fold": portion.fold,
        "n_pairs": len(portion.pairs),
        "n_users": len({pair.user_id for pair in portion.pairs}),
        "n_unfiltered": portion.n_unfiltered,
        "n_left_out": portion.n_left_out,
        "n_equal": portion.n_equal,
        "n_dev_users": len({pair.user_id for one in portion.dev for pair in one.targets}),
        "n_dev_targets": sum(len(one.targets) for one in portion.dev),
        "prompts": _told(portion, prompts) if prompts else None,
        "training": asdict(training) if is_dataclass(training) and not isinstance(training, type) else None,
    }


def _told(portion: Portion, prompts: RunPrompts) -> dict[str, Any]:
    """Of whom there was a persona, and on how many pairs it was written without the pair's conversation."""
    found = [(pair, prompts.prompts.for_training(pair)) for pair in portion.pairs]
    told = [(pair.user_id, pair.conversation_key) for pair, prompt in found if prompt is not None]
    return {
        "source": prompts.source,
        "n_users": len({user_id for user_id, _ in told}),
        "n_pairs_told": len(told),
        "n_pairs_cross_fitted": sum(key in prompts.prompts.cross_fitted for key in told),
    }


def _write(folder: Path, record: dict[str, Any]) -> None:
    try:
        replace_file(folder / RECORD, [json.dumps(record, indent=1, sort_keys=True) + "\n"])
    except OSError as error:
        raise StoreError(
            f"model folder {str(folder)!r} cannot be written ({error.strerror or error}); check the path and the disk"
        ) from None
