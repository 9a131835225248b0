"""A reward model in a folder: trained there, resumed there, opened from there.

<folder>/model.json, model.safetensors   the model (see `saving.py`)
<folder>/encoder.json                     what reads texts for it
<folder>/training.json                    what it was trained on and how that went
<folder>/README.md                        model card
<folder>/checkpoint.safetensors           a run that is not finished
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, StoreError
from personalrm.preferences.messages import digest
from personalrm.preferences.splits import split_context, split_user
from personalrm.preferences.users import User
from personalrm.rewards.encoder_spec import EncoderSpec, open_encoder
from personalrm.rewards.methods import LANGUAGE_METHODS, load_reward_model, make_reward_model
from personalrm.rewards.reward_model import DevUser, RewardModel
from personalrm.rewards.saving import saved_part
from personalrm.rewards.training_report import TrainingReport, controls_section, make_report, model_card
from personalrm.store.atomic import replace_file

if TYPE_CHECKING:
    from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup
    from personalrm.rewards.language.bradley_terry.model import BradleyTerry
    from personalrm.rewards.language.user_turns import UserTurns

LANGUAGE_MODELS = {"BradleyTerry": "bradley_terry", "BradleyTerrySoup": "bradley_terry_soup"}
"""The methods that train a language model instead of a head on embeddings, by their classes."""
CHECKPOINT = "checkpoint.safetensors"
OUR_FILES = {"training.json", "encoder.json", CHECKPOINT, CHECKPOINT + ".tmp"}
OUR_FILES |= {"model.json", "model.safetensors", "model.json.tmp", "model.safetensors.tmp"}
"""A folder that holds one of them was made by a training."""


@dataclass(frozen=True)
class Embedded:
    """A model that stands on embeddings: how it is made again."""

    method: str
    encoder: EncoderSpec
    store_folder: str | Path
    """Where embeddings of all encoders are kept."""
    options: Any = None
    """Of the method; its defaults where None."""
    base: str | None = None
    """The language model that is trained along, for methods that do."""
    watch: Callable[[int, int], None] | None = None
    """Told how many of how many texts are embedded."""

    def make(self, folder: Path | None) -> RewardModel[Any]:
        """The untrained model; a killed training goes on from a file in the folder, if there is one."""
        store = open_store(self.store_folder, self.encoder, watch=self.watch)
        checkpoint = folder / CHECKPOINT if folder else None
        return make_reward_model(self.method, store, self.options, base=self.base, checkpoint=checkpoint)


def train_to_folder(
    users: Sequence[User],
    folder: str | Path,
    made: Embedded | BradleyTerry | BradleyTerrySoup,
    *,
    dev_percent: int = 10,
) -> TrainingReport:
    """Train a model and save it; a killed run goes on when the same call is made again.

    Args:
        users: Who to learn from; pairs the data declares targets are left out and counted.
        folder: Where the model goes.
        made: What is trained: a method on embeddings, or a Bradley-Terry language model, or a
            soup of them, whose `checkpoint` lies in the folder.
        dev_percent: Share of the users, by a hash of their id, that stop the training and are not learned from.

    Raises:
        BadInput: If no pair is left to learn from.
        StoreError: If the folder cannot be written.
    """
    train, dev = divided(users, dev_percent)
    pairs = [pair for user in train for pair in user.pairs if pair.split != "target"]
    if not pairs:
        raise BadInput("there is no pair to learn from; add users, or lower --dev-percent")
    path = claim_folder(folder, _name(made))
    model: Any = made.make(path) if isinstance(made, Embedded) else made
    model.fit(pairs, dev=dev)
    return save_trained(model, made, train, dev, path)


def save_trained(
    model: Any,
    made: Embedded | BradleyTerry | BradleyTerrySoup,
    train: Sequence[User],
    dev: Sequence[DevUser],
    path: Path,
) -> TrainingReport:
    """Write a trained model with its report and card; returns the report.

    The report goes first and comes last: a folder that has one holds a whole model, and never that of another.
    """
    (path / "training.json").unlink(missing_ok=True)
    model.save(path)
    pairs = [pair for user in train for pair in user.pairs if pair.split != "target"]
    n_targets = sum(pair.split == "target" for user in train for pair in user.pairs)
    method = _name(made)
    report = make_report(method, model, pairs, dev, n_targets)
    if isinstance(made, Embedded):
        _write(path, "encoder.json", _json(asdict(made.encoder)))
    if isinstance(made, Embedded) and made.base is None:
        _write(path, "README.md", model_card(report, made.encoder))
    else:  # a language model has written its own
        _write(path, "README.md", (path / "README.md").read_text(encoding="utf-8") + controls_section(report))
    _write(path, "training.json", _json(asdict(report)))
    for checkpoint in path.glob("checkpoint*.safetensors"):
        checkpoint.unlink()
    return report


def open_trained(
    folder: str | Path, store_folder: str | Path, *, turns: UserTurns | None = None, device: str | None = None
) -> RewardModel[Any]:
    """The model of a folder.

    Args:
        folder: What `train_to_folder` wrote.
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
    method = str(_read(path, "training.json").get("method"))
    if method in LANGUAGE_MODELS.values():
        return _moved(_open_language_model(method, path, turns), device)
    encoder = saved_part(EncoderSpec, {"encoder.json": _read(path, "encoder.json")}, "encoder.json", path)
    encoder = encoder.on(device) if device is not None else encoder
    model = load_reward_model(method, path, open_store(store_folder, encoder))
    return _moved(model, device) if method in LANGUAGE_METHODS else model


def _moved(model: Any, device: str | None) -> RewardModel[Any]:
    """A language model's reward model, its network on the device."""
    from personalrm.rewards.language.placing import Device, placed

    if device is not None:
        model.network.to(placed(cast(Device, device)))  # it refuses what is none
    moved: RewardModel[Any] = model
    return moved


def _read(path: Path, name: str) -> dict[str, Any]:
    """The keys and values of a JSON file of the folder."""
    try:
        content = json.loads((path / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(
            f"there is no trained model in {str(path)!r} ({error.strerror or error}); make one with personalrm train"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"model folder {str(path)!r} is damaged ({type(error).__name__}); train it again") from None
    if not isinstance(content, dict):
        raise CorruptFile(f"{name} of model folder {str(path)!r} holds no keys and values; train it again")
    return content


def _open_language_model(method: str, path: Path, turns: UserTurns | None) -> RewardModel[Any]:
    if method == "bradley_terry":
        from personalrm.rewards.language.bradley_terry.model import BradleyTerry

        return BradleyTerry.load(path, turns=turns)
    from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup

    if turns is not None:
        raise BadInput(
            f"the soup in {str(path)!r} is told nothing of users in words; leave --prompts and --history out"
        )
    return BradleyTerrySoup.load(path)


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
        byte = hashlib.sha256(f"dev {user.user_id}".encode("utf-8", "surrogatepass")).digest()[0]
        look = _as_dev(user)
        if byte < 256 * dev_percent / 100 and look.context and look.targets:
            dev.append(look)
        else:
            train.append(user)
    return train, dev


def _as_dev(user: User) -> DevUser:
    if any(pair.split for pair in user.pairs):
        declared = split_context(user.pairs)
        return DevUser(declared.train, declared.validation)
    split = split_user(user.pairs)
    return DevUser(split.context, split.target)


def _name(made: Embedded | BradleyTerry | BradleyTerrySoup) -> str:
    """The method, as reports name it."""
    return made.method if isinstance(made, Embedded) else LANGUAGE_MODELS[type(made).__name__]


def claim_folder(folder: str | Path, method: str) -> Path:
    """The folder of a model, made before hours are spent; a model may replace one of its method, nothing else.

    Raises:
        BadInput: If it holds something else, or a model of another method.
        StoreError: If it cannot be made or read.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = {one.name for one in path.iterdir()}
    except OSError as error:
        raise StoreError(
            f"folder {str(path)!r} cannot be used ({error.strerror or error}); check the path and the rights"
        ) from None
    if held and not held & OUR_FILES:
        raise BadInput(f"folder {str(path)!r} holds something that no training left there; name another folder")
    there = _read(path, "training.json").get("method") if "training.json" in held else method
    if there != method:
        raise BadInput(f"folder {str(path)!r} holds a model of {there!r}; name another folder for {method}")
    return path


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _write(path: Path, name: str, text: str) -> None:
    try:
        replace_file(path / name, [text])
    except OSError as error:
        raise StoreError(
            f"model folder {str(path)!r} cannot be written ({error.strerror or error}); check the path and the disk"
        ) from None
