"""Model folders from anywhere: whatever is wrong with one is told in one sentence, for every method."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.simulations.planted_encoder import PlantedEncoder
from safetensors.numpy import load_file, save_file
from tests.rewards.test_conformance import MODELS, TRAINING

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, NewerVersion, PersonalRMError, StoreError, UnknownName
from personalrm.rewards.encoder_spec import EncoderSpec
from personalrm.rewards.heads.bases import LowRankOptions
from personalrm.rewards.methods import Recipe, reward_method
from personalrm.rewards.trained import open_store, open_trained, train_to_folder
from personalrm.testing import tiny_users

pytestmark = pytest.mark.slow
METHODS = [
    "low_rank",
    "mrm",
    "soup",
    "two_level",
    "gpo",
    "pal",
    "vpl",
    "vpl_lm",
    "bradley_terry",
    "bradley_terry_soup_weights",
]


def _facts(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "model.json"
        facts = json.loads(file.read_text())
        change(facts)
        file.write_text(json.dumps(facts))

    return damage


def _arrays(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        arrays = load_file(folder / "model.safetensors")
        change(arrays)
        save_file(arrays, folder / "model.safetensors")

    return damage


def _first(arrays: dict[str, Any], put: Callable[[Any], Any]) -> None:
    """The first array that holds something, changed."""
    name = next(name for name in sorted(arrays) if arrays[name].size)
    arrays[name] = put(arrays[name])


def _no_number(array: Any) -> Any:
    array.flat[0] = np.nan
    return array


def _cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2])

    return damage


NASTY: dict[str, tuple[Callable[[Path], object], type[PersonalRMError], str]] = {
    "no json": (lambda folder: (folder / "model.json").unlink(), StoreError, "cannot be read"),
    "no numbers": (lambda folder: (folder / "model.safetensors").unlink(), StoreError, "cannot be read"),
    "cut json": (_cut("model.json"), StoreError, "train it again"),
    "cut numbers": (_cut("model.safetensors"), StoreError, "train it again"),
    "json of something else": (lambda folder: (folder / "model.json").write_text("[1]"), StoreError, "a list"),
    "bytes": (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), StoreError, "JSON"),
    "other kind": (_facts(lambda f: f.update(kind="horoscope")), BadInput, "'horoscope'"),
    "other encoder": (_facts(lambda f: f.update(encoder="other")), BadInput, "encoder"),
    "version without end": (_facts(lambda f: f.update(version=float("inf"))), StoreError, "not a number"),
    "newer file": (_facts(lambda f: f.update(version=99)), NewerVersion, "update"),
    "newer option": (_facts(lambda f: f["options"].update(warp=9)), StoreError, "'warp'"),
    "options of the wrong kind": (_facts(lambda f: f["options"].update(seed="x", ridge="x")), StoreError, "write"),
    "no options": (_facts(lambda f: f.pop("options")), StoreError, "options"),
    "options out of range": (_facts(lambda f: f["options"].update(ridge=-1.0, width=0, epochs=0)), StoreError, "at"),
    "no numbers in the numbers": (_arrays(lambda a: _first(a, _no_number)), StoreError, "not numbers"),
    "another shape": (_arrays(lambda a: _first(a, lambda x: np.zeros((*x.shape, 2), x.dtype))), StoreError, "shape"),
    "one array less": (_arrays(lambda a: a.pop(min(a))), StoreError, "lacks"),
    "one array more": (_arrays(lambda a: a.update(strange=np.zeros(1, np.float32))), StoreError, "strange"),
}
LOOSE = {"options of the wrong kind", "options out of range"}
"""Here the methods have different options, so an unknown one may be told first."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return EmbeddingStore(tmp_path_factory.mktemp("store"), PlantedEncoder())


@pytest.fixture(scope="module")
def saved(store: EmbeddingStore, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a fitted model by its row, made once."""

    @cache
    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp("model")
        MODELS[name].make(store).fit(TRAINING).save(folder)
        return folder

    return save


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("nasty", NASTY)
def test_a_nasty_model_folder_is_refused_in_a_sentence(
    name: str, saved: Callable[[str], Path], store: EmbeddingStore, tmp_path: Path, nasty: str
) -> None:
    folder = shutil.copytree(saved(name), tmp_path / "model")
    damage, kind, told = NASTY[nasty]
    damage(folder)
    with pytest.raises(kind) as caught:
        MODELS[name].load(folder, store)
    assert "; " in str(caught.value)
    assert nasty in LOOSE or told in str(caught.value)


@pytest.mark.parametrize("name", ["vpl_lm", "bradley_terry", "bradley_terry_soup_weights"])
def test_a_language_model_that_does_not_say_over_which_is_refused(
    name: str, saved: Callable[[str], Path], store: EmbeddingStore, tmp_path: Path
) -> None:
    folder = shutil.copytree(saved(name), tmp_path / "model")
    _facts(lambda facts: facts.pop("base"))(folder)
    with pytest.raises(CorruptFile, match=r"base of model folder .* is empty, not a text"):
        MODELS[name].load(folder, store)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    options = LowRankOptions(n_bases=1, n_iterations=2)
    recipe = Recipe(reward_method("low_rank"), options, lambda: open_store(folder.parent, EncoderSpec()))
    train_to_folder(tiny_users(), folder, recipe, encoder=EncoderSpec())
    return folder


@pytest.mark.parametrize("name", ["training.json", "encoder.json"])
@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"\xff\xfe", b"[1]", b'{"method": "horoscope", "warp": 9}', b"null"]
)
def test_a_nasty_file_beside_the_model_is_refused_in_a_sentence(
    trained: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((StoreError, UnknownName), match="; "):
        open_trained(tmp_path, trained.parent)
