"""The model card that lies beside a saved Bradley-Terry model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalrm.rewards.model_card import adapter_row, model_card

TOLD = {
    "nothing": "nothing; the model is the same for everybody",
    "persona": "their persona, in the system turn",
    "persona_demonstrations": "their persona and choices they made, in the system turn",
    "history": "some of their choices, in the system turn",
}


def bradley_terry_card(facts: Mapping[str, Any]) -> str:
    """Markdown with what the model is, what it was trained on and what it is not for; no user's text or id."""
    options, training = facts["options"], facts["training"]
    rows = {
        "told of a user": TOLD[facts["knows"]],
        "trained": adapter_row(options["lora"], "linear head"),
        "loss": "-log sigmoid(r(chosen) - r(rejected))"
        + (f" + {options['centering']:g} (r(chosen) + r(rejected))^2" if options["centering"] else ""),
        "pairs, users": f"{training['n_pairs']:,}, {training['n_users']:,} ({training['n_users_told_of']:,} told of)",
    }
    return model_card(facts, rows, loader="personalrm.rewards.language.bradley_terry.model.BradleyTerry")


def soup_card(facts: Mapping[str, Any], n_clusters: int) -> str:
    """The card of a soup; its table is of everybody's model, from which each cluster's adapter went on."""
    card = bradley_terry_card(facts).replace("model.BradleyTerry.load", "cluster_soups.BradleyTerrySoup.load")
    mixed = f"{n_clusters} adapters, one a cluster of users, mixed for each user by weights fitted on their choices."
    return card.replace("\n\n| | |", f"\n\n{mixed} The table is of everybody's model, where each began.\n\n| | |")
