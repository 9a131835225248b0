from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from personalrm.bench.personas.map import OTHER, map_personas, persona_vectors
from personalrm.errors import BadInput
from personalrm.preferences.personal_prompts import FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.stylometry.feature_words import NAMES


def weighted(user: str, shift: float, rng) -> PersonalPrompt:
    weights = tuple(FeatureWeight(name, 1.0, 0.0, 1.0, shift + rng.normal(), 1.0) for name in NAMES)
    return PersonalPrompt(user, Persona(), weights=weights)


def people(n: int, gap: float, seed: int = 0) -> tuple[list[PersonalPrompt], dict[str, dict[str, str]]]:
    rng = np.random.default_rng(seed)
    groups = ["left" if k % 2 else "right" for k in range(n)]
    prompts = [weighted(f"u{k}", gap * (group == "left"), rng) for k, group in enumerate(groups)]
    return prompts, {"side": {f"u{k}": group for k, group in enumerate(groups)}}


@pytest.mark.slow
def test_groups_that_lie_apart_are_told_apart_and_others_are_not():
    apart = map_personas(*people(24, 3.0)).separability[0]
    mixed = map_personas(*people(24, 0.0)).separability[0]
    assert (apart.accuracy > 0.9, apart.accuracy_p < 0.01, apart.silhouette_p < 0.01) == (True, True, True)
    assert (mixed.accuracy_p > 0.05, abs(mixed.chance - 0.5) < 0.1) == (True, True)


@pytest.mark.slow
def test_the_same_people_give_the_same_map():
    one, other = (map_personas(*people(12, 1.0)) for _ in range(2))
    assert json.dumps(one.as_json(), allow_nan=False) == json.dumps(other.as_json())


@pytest.mark.slow
def test_small_groups_and_missing_labels_lose_their_colour_and_nobody_their_point():
    prompts, _ = people(10, 1.0)
    found = map_personas(prompts, {"age": {"u0": "old", "u1": "old", "u2": ""}})
    assert (len(found.points), set(found.labels["age"]), found.left_out) == (10, {OTHER}, ("age",))


@pytest.mark.slow
def test_people_who_are_all_alike_have_a_map_without_numbers_that_are_none():
    prompts = [PersonalPrompt(f"u{k}", Persona((Claim("Wants brief answers."),))) for k in range(8)]
    found = map_personas(prompts, {"side": {f"u{k}": "ab"[k % 2] for k in range(8)}})
    assert np.isfinite(found.points).all()
    assert found.separability[0].accuracy_p > 0.05


def test_without_weights_features_and_words_of_the_sentences_are_the_vector():
    texts = ("Wants brief answers.", "Wants brief answers.", "Loves meadows.")
    kind, vectors = persona_vectors([PersonalPrompt(f"u{k}", Persona((Claim(t),))) for k, t in enumerate(texts)])
    assert "sentences" in kind
    assert np.array_equal(vectors[0], vectors[1]) and not np.array_equal(vectors[0], vectors[2])


@pytest.mark.slow
def test_silhouette_and_left_out_accuracy_agree_with_scikit_learn():
    from sklearn.linear_model import RidgeClassifier
    from sklearn.metrics import balanced_accuracy_score, silhouette_score
    from sklearn.model_selection import LeaveOneOut, cross_val_predict

    prompts, columns = people(20, 0.6, seed=4)
    found = map_personas(prompts, columns).separability[0]
    x, sides = persona_vectors(prompts)[1], [columns["side"][prompt.user_id] for prompt in prompts]
    assert found.silhouette == pytest.approx(silhouette_score(x, sides))
    named = cross_val_predict(RidgeClassifier(alpha=x.shape[1]), x, sides, cv=LeaveOneOut())
    assert found.accuracy == pytest.approx(balanced_accuracy_score(sides, named), abs=0.051)


@pytest.mark.parametrize("prompts", [[], people(4, 1.0)[0], [people(6, 1.0)[0][0]] * 6])
def test_too_few_different_people_are_refused(prompts):
    with pytest.raises(BadInput, match="a map needs 5 different users"):
        map_personas(prompts, {})


def test_without_scikit_learn_the_extra_is_named():
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from personalrm.bench.personas.map import map_personas\n"
        "from personalrm.preferences.personal_prompts import PersonalPrompt\n"
        "from personalrm.preferences.personas import Persona\n"
        "try:\n    map_personas([PersonalPrompt(str(k), Persona()) for k in range(6)], {})\n"
        "except ImportError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "personalrm[plots]" in out
