"""A reward model in a folder: trained there, resumed there, opened from there.

<folder>/model.json, model.safetensors   the model (see `saving.py`)
<folder>/encoder.json                     what reads texts for it
<folder>/training.json                    what it was trained on and how that went; written last
<folder>/README.md                        model card
<folder>/checkpoint.safetensors           a run that is not finished

`personalrm train` makes such folders, and `bench run` keeps its language models in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, StoreError
from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.splits import split_context, split_user
from personalrm.preferences.users import User
from personalrm.rewards.controls import controls
from personalrm.rewards.encoder_spec import EncoderSpec, open_encoder
from personalrm.rewards.heads.pair_table import ITEMS
from personalrm.rewards.language.user_turns import UserTurns
from personalrm.rewards.methods import Device, Recipe, RewardMethod, reward_method
from personalrm.rewards.reward_model import DevUser, RewardModel, target_margins
from personalrm.rewards.saving import read_json, saved_part, writing
from personalrm.whole_files import UNFINISHED, replace_file
from personalrm.wording import kind_of

CHECKPOINT = "checkpoint.safetensors"
RECORD = "training.json"
"""Written last: a folder that holds it holds a whole model."""
BEGUN = "begun.json"
"""What is being trained; a folder that holds it, and no record, holds what a killed training left."""
MOST_TRIED = 1000
"""Combinations of a sweep."""


@dataclass(frozen=True)
class Tried:
    """One combination of settings."""

    settings: Mapping[str, Any]
    loss: float
    """Mean of log(1 + exp(-margin)) over the dev users' targets; 0.693 is a coin."""
    accuracy: float
    """Share of them won, ties half."""


@dataclass(frozen=True)
class TrainingReport:
    """What a model was trained on and how it does on users it has not seen."""

    method: str
    n_pairs: int
    n_users: int
    n_targets: int
    """Rows that the data itself declares targets, left out."""
    n_dev_users: int
    n_dev_targets: int
    dev: str = ""
    """Accuracy on the targets of the dev users, with its interval; they also stopped the training."""
    dev_accuracy: float | None = None
    n_steps: int | None = None
    n_skipped: int | None = None
    """Steps left out because loss or gradient were not numbers."""
    n_identical: int = 0
    """Pairs left out because a language model reads both completions alike, once they are cut to what it takes."""
    controls: str = ""
    """Active units and own minus somebody else's state over the dev users, in words."""
    active_share: float | None = None
    own_minus_shuffled: float | None = None
    """Accuracy under the dev users' own states minus that under other dev users'; None with fewer than two."""


def train_to_folder(
    users: Sequence[User],
    folder: str | Path,
    recipe: Recipe,
    *,
    encoder: EncoderSpec | None = None,
    turns: UserTurns | None = None,
    dev_percent: int = 10,
) -> TrainingReport:
    """Train a model and save it; a killed run goes on when the same call is made again.

    Args:
        users: Who to learn from; pairs the data declares targets are left out and counted.
        folder: Where the model goes.
        recipe: What is trained.
        encoder: What reads texts for it, if it reads embeddings.
        turns: What a language model is told of users in words.
        dev_percent: Share of the users, by a hash of their id, that stop the training and are not learned from.

    Raises:
        BadInput: If no pair is left to learn from.
        StoreError: If the folder cannot be written.
    """
    train, dev = divided(users, dev_percent)
    pairs = learnable(train)
    if not pairs:
        raise BadInput("there is no pair to learn from; add users, or lower --dev-percent")
    of = what_is_trained(train, dev, recipe, encoder, turns)
    path = claim_folder(folder, recipe.method.family, of)
    model = recipe.make(turns=turns, checkpoint=path / CHECKPOINT)
    model.fit(pairs, dev=dev)
    return save_trained(model, recipe.method, train, dev, path, encoder=encoder, of=of)


def what_is_trained(
    train: Sequence[User], dev: Sequence[DevUser], recipe: Recipe, encoder: EncoderSpec | None, *others: object
) -> str:
    """A hash of the data and settings of a training, so that its folder is not taken for that of another."""
    pairs = sorted(pair.hash for user in train for pair in user.pairs)
    stopping = sorted(pair.hash for user in dev for pair in (*user.context, *user.targets))
    read_by = encoder.name if encoder is not None else ""
    told = [recipe.method.family, repr(recipe.options), recipe.base or "", read_by, *map(repr, others)]
    return digest(told, pairs, stopping)


def save_trained(
    model: Any,
    method: RewardMethod,
    train: Sequence[User],
    dev: Sequence[DevUser],
    path: Path,
    *,
    encoder: EncoderSpec | None = None,
    of: str = "",
) -> TrainingReport:
    """Write a trained model with its report and card; returns the report.

    The report goes first and comes last: a folder that has one holds a whole model, and never that of another.
    """
    with writing(path):
        (path / RECORD).unlink(missing_ok=True)
    model.save(path)
    pairs = learnable(train)
    report = make_report(method.family, model, pairs, dev, sum(len(user.pairs) for user in train) - len(pairs))
    card = path / "README.md"
    with writing(path):
        if encoder is not None and "store" in method.made_of:
            replace_file(path / "encoder.json", [_json(asdict(encoder))])
        if method.trains_language_model and card.exists():  # it has written its own
            replace_file(card, [card.read_text(encoding="utf-8"), controls_section(report)])
        else:
            replace_file(card, [model_card(report, method, encoder)])
    finish_folder(path, asdict(report) | {"of": of})
    return report


def finish_folder(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a training whose model is saved, and take its checkpoints away.

    Raises:
        StoreError: If the folder cannot be written.
    """
    with writing(path):
        replace_file(path / RECORD, [_json(record)])
        for checkpoint in (path / BEGUN, *path.glob("checkpoint*")):  # a soup keeps one a cluster
            checkpoint.unlink(missing_ok=True)


def open_trained(
    folder: str | Path, store_folder: str | Path, *, turns: UserTurns | None = None, device: str | None = None
) -> RewardModel[Any]:
    """The model of a folder.

    Args:
        folder: What `train_to_folder` or a run of the benchmark wrote.
        store_folder: Where embeddings of all encoders are kept.
        turns: What a Bradley-Terry language model is told of users; of the kind it was trained with.
        device: Where encoder or language model run: `auto`, `cpu`, `cuda`; where None, the encoder where it ran in
            training, the language model on the CPU.

    Raises:
        StoreError: If there is none.
        CorruptFile: If a file is damaged.
        BadInput: If the turns are not of the kind it was trained with, or the device is not there.
    """
    path = Path(folder)
    record = read_json(path, RECORD)
    method = reward_method(str(record.get("method")))
    if turns is not None and "turns" not in method.made_of and method.trains_language_model:
        raise BadInput(
            f"the {method.name} in {str(path)!r} is told nothing of users in words; leave --prompts and --history out"
        )
    store = None
    if "store" in method.made_of:
        # A run of the benchmark keeps no encoder.json; an encoder other than the usual is refused with the model.
        is_of_run = "fold" in record and not (path / "encoder.json").exists()
        facts = asdict(EncoderSpec()) if is_of_run else read_json(path, "encoder.json")
        encoder = saved_part(EncoderSpec, {"encoder.json": facts}, "encoder.json", path)
        store = open_store(store_folder, encoder.on(device) if device is not None else encoder)
    where = cast(Device, device)  # refused where it is none of them
    return method.load(path, store=store, turns=turns, device=where if method.trains_language_model else None)


def sweep(
    users: Sequence[User],
    folder: str | Path,
    recipe: Recipe,
    settings: Sequence[Mapping[str, Any]],
    *,
    encoder: EncoderSpec | None = None,
    dev_percent: int = 10,
) -> Iterator[Tried | TrainingReport]:
    """Train every combination of settings in one process, telling of each; at last the best is saved and reported.

    Texts are embedded once. The settings with the least loss on the dev users' targets are kept; that loss is the best
    of many on the same pairs, so it flatters: measure on other users.

    Args:
        users: As for `train_to_folder`.
        folder: Where the best model goes.
        recipe: What is trained; its options are replaced.
        settings: What `combinations` returned.
        encoder: As for `train_to_folder`.
        dev_percent: As for `train_to_folder`.

    Raises:
        BadInput: If there are no dev users to choose by, or no pair to learn from.
    """
    train, dev = divided(users, dev_percent)
    if not dev:
        raise BadInput("a sweep chooses by dev users and there are none; raise --dev-percent or add users")
    of = what_is_trained(train, dev, recipe, encoder, settings)
    path = claim_folder(folder, recipe.method.family, of)
    best: tuple[float, RewardModel[Any]] | None = None
    options = [recipe.method.options(content, where="the sweep") for content in settings]  # all checked first
    for content, chosen in zip(settings, options, strict=True):
        model = replace(recipe, options=chosen).make()
        model.fit(learnable(train), dev=dev)
        won = target_margins(model, dev)
        tried = Tried(content, float(np.logaddexp(0.0, -won).mean()), float((0.5 * (1.0 + np.sign(won))).mean()))
        if best is None or tried.loss < best[0]:
            best = (tried.loss, model)
        yield tried
    assert best is not None
    yield save_trained(best[1], recipe.method, train, dev, path, encoder=encoder, of=of)


def combinations(grid: Mapping[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Every combination of the values in lists; `a.b` is key b inside a.

    >>> combinations({"n_bases": [2, 4], "optimization.n_steps": [100]}, where="grid")
    [{'n_bases': 2, 'optimization': {'n_steps': 100}}, {'n_bases': 4, 'optimization': {'n_steps': 100}}]

    Raises:
        BadInput: If a value is not a list, a list is empty, or there are too many combinations.
    """
    if not isinstance(grid, Mapping):
        raise BadInput(f"{where} holds {kind_of(grid)}, not keys and values; write lines such as `n_bases: [2, 4]`")
    for name, values in grid.items():
        if not isinstance(name, str):
            raise BadInput(f"a key of {where} is {kind_of(name)}, not a name; write lines such as `n_bases: [2, 4]`")
        if not isinstance(values, list) or not values:
            raise BadInput(
                f"{name[:80]} of {where} is {kind_of(values)}; write a list of values to try, such as [2, 4, 8]"
            )
    n_combinations = int(np.prod([len(values) for values in grid.values()], dtype=np.int64))
    if n_combinations > MOST_TRIED:
        raise BadInput(f"{where} has {n_combinations:,} combinations; try at most {MOST_TRIED:,} at a time")
    found: list[dict[str, Any]] = []
    for values in product(*grid.values()):
        found.append({})
        for name, value in zip(grid, values, strict=True):
            outer, dot, inner = name.partition(".")
            if dot:
                found[-1].setdefault(outer, {})[inner] = value
            else:
                found[-1][outer] = value
    return found


def learnable(users: Sequence[User]) -> list[PreferencePair]:
    """Their pairs, but those that the data itself declares targets."""
    return [pair for user in users for pair in user.pairs if pair.split != "target"]


def open_store(
    folder: str | Path, encoder: EncoderSpec, *, watch: Callable[[int, int], None] | None = None
) -> EmbeddingStore:
    """The store of an encoder inside a folder that holds one for each; `watch` is told how far embedding is."""
    opened = open_encoder(encoder)
    return EmbeddingStore(Path(folder) / digest(opened.identity), opened, watch=watch)


def divided(users: Sequence[User], dev_percent: int) -> tuple[list[User], list[DevUser]]:
    """Users to learn from, and dev users with something to stop by, which is never a row the data calls target."""
    train, dev = [], []
    for user in users:
        # Where the data declares targets, they are scored elsewhere.
        apart = as_dev(user, is_scored=any(pair.split for pair in user.pairs))
        if hash_byte("dev", user.user_id) < 256 * dev_percent / 100 and apart.context and apart.targets:
            dev.append(apart)
        else:
            train.append(user)
    return train, dev


def as_dev(user: User, *, is_scored: bool) -> DevUser:
    """A dev user by their own targets; a user who is scored elsewhere by the validation pairs of their context."""
    if is_scored:
        kept = split_context(user.pairs)
        return DevUser(kept.train, kept.validation)
    split = split_user(user.pairs)
    return DevUser(split.context, split.target)


def hash_byte(what: str, user_id: str) -> int:
    """A number from 0 to 255 that a user's id alone decides, another one for each purpose."""
    return hashlib.sha256(f"{what} {user_id}".encode("utf-8", "surrogatepass")).digest()[0]


def claim_folder(folder: str | Path, method: str, of: str) -> Path:
    """The folder of a model, made before hours are spent; only the very same training may replace what it holds.

    Args:
        folder: Made if need be.
        method: What is trained.
        of: `what_is_trained`.

    Raises:
        BadInput: If it holds something else, or a finished model of another method, other data or other settings.
        StoreError: If it cannot be made or read.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = {file.name for file in path.iterdir()}
    except OSError as error:
        raise StoreError(
            f"folder {str(path)!r} cannot be used ({error.strerror or error}); check the path and the rights"
        ) from None
    left = {name for name in held if name.startswith((CHECKPOINT, UNFINISHED)) or name.endswith(".tmp")}
    if held - left and not held & {RECORD, BEGUN}:  # model.safetensors alone may be anybody's
        raise BadInput(f"folder {str(path)!r} holds something that no training left there; name another folder")
    if RECORD in held:
        record = read_json(path, RECORD)
        if record.get("method") != method:
            raise BadInput(
                f"folder {str(path)!r} holds a model of {record.get('method')!r}; name another folder for {method}"
            )
        if record.get("of") != of:
            raise BadInput(
                f"folder {str(path)!r} holds a finished model of other data or settings; name another folder"
            )
    with writing(path):
        replace_file(path / BEGUN, [_json({"method": method, "of": of})])
    return path


def make_report(
    method: str, model: Any, pairs: Sequence[PreferencePair], dev: Sequence[DevUser], n_targets: int
) -> TrainingReport:
    """The report of a model that was just trained; the dev users are asked once more."""
    curve, found = getattr(model, "curve", None), controls(model, dev)
    against = found.against_shuffled if found else None
    if (store := getattr(model, "store", None)) is not None:  # pairs without vectors were left out
        reading = getattr(model, "reading", ITEMS)
        pairs = [pair for pair in pairs if not store.has_lost(reading.of(pair))]
    return TrainingReport(
        method=method,
        n_pairs=len(pairs),
        n_users=len({pair.user_id for pair in pairs}),
        n_targets=n_targets,
        n_dev_users=len(dev),
        n_dev_targets=sum(len(user.targets) for user in dev),
        dev=str(found.own) if found else "",
        dev_accuracy=found.own.accuracy if found else None,
        n_steps=len(curve.losses) if curve else None,
        n_skipped=curve.n_skipped if curve else None,
        n_identical=getattr(getattr(model, "training", None), "n_identical", 0),
        controls=str(found) if found else "",
        active_share=found.active_share if found else None,
        own_minus_shuffled=against.difference if against else None,
    )


def model_card(report: TrainingReport, method: RewardMethod, encoder: EncoderSpec | None) -> str:
    """A model card that says what the model is, what it saw, and what it must not be used for."""
    role = ", who also stopped the training or chose settings" if method.uses_dev else ""
    what = "A personal reward model" if method.is_personal else "A reward model, the same for everybody,"
    read_by = f"- encoder: `{encoder.name}`; the model only works with vectors of this encoder\n" if encoder else ""
    return f"""# {method.title}

{what} trained by personalrm (`personalrm train {report.method}`), after {method.source}.

{read_by}- learned from {report.n_pairs:,} preference pairs of {report.n_users:,} users
- held-out pairs of {report.n_dev_users:,} other users{role}: {report.dev or "not measured"}
- whether it is personal, over the same users: {report.controls or "not measured"}

Rewards are real numbers without unit: compare them within one conversation and one user only. The model predicts what
a person prefers, which may be wrong or harmful; deploy it beside a policy that does not depend on taste.
"""


def controls_section(report: TrainingReport) -> str:
    """What is added to the card a language model writes of itself."""
    return (
        f"\n## On dev users\n\n- accuracy on {report.n_dev_targets:,} held-out pairs of {report.n_dev_users:,} users, "
        f"who also stopped the training: {report.dev or 'not measured'}\n"
        f"- whether it is personal, over the same users: {report.controls or 'not measured'}\n"
    )


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
