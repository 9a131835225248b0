"""The prior that ships with the package, for a user who comes alone.

Made by `python -m personalrm.stylometry.shipped` from the shipped example preferences
only; a test makes it again and compares.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from personalrm.errors import CorruptFile
from personalrm.preferences.people import example_users
from personalrm.stylometry.feature_words import NAMES
from personalrm.stylometry.observations import observe
from personalrm.stylometry.population import Prior, estimate_population

FILE = "prior.json"
DIGITS = 6


@cache
def shipped_prior() -> Prior:
    """The prior learned from the people in `personalrm/people/`."""
    content = json.loads((files("personalrm.stylometry") / FILE).read_text(encoding="utf-8"))
    if tuple(content["features"]) != NAMES:
        raise CorruptFile("the shipped prior is of other features; run python -m personalrm.stylometry.shipped")
    columns = {
        name: np.array([row[name] for row in content["features"].values()]) for name in ("scale", "mean", "variance")
    }
    return Prior(columns["scale"], columns["mean"], columns["variance"], content["n_users"])


def make_prior() -> str:
    """The text of `prior.json`, from the shipped example preferences."""
    population = estimate_population({user.user_id: observe(user.pairs) for user in example_users()})
    prior = population.prior_for("")
    rows = {
        name: {key: float(f"{getattr(prior, key)[place]:.{DIGITS}g}") for key in ("scale", "mean", "variance")}
        for place, name in enumerate(NAMES)
    }
    return (
        json.dumps({"made_from": "people/preferences.jsonl", "n_users": prior.n_users, "features": rows}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name(FILE).write_text(make_prior(), encoding="utf-8")
