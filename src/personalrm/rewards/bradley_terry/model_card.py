"""The model card that lies beside a saved Bradley-Terry model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOLD = {
    "nothing": "nothing; the model is the same for everybody",
    "persona": "their persona, in the system turn",
    "persona_demonstrations": "their persona and choices they made, in the system turn",
    "history": "some of their choices, in the system turn",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """Markdown with what the model is, what it was trained on and what it is not for; no user's text or id."""
    options, training = facts["options"], facts["training"]
    lora, network = options["lora"], options["network"]
    dev = training["dev_losses"]
    best = min((loss for _, loss in dev), default=None)
    rows = {
        "base model": f"`{facts['base']}`",
        "told of a user": TOLD[facts["knows"]],
        "trained": f"LoRA rank {lora['rank']}, alpha {lora['alpha']:g} on {', '.join(lora['targets'])}; "
        "linear head, fp32",
        "loss": "-log sigmoid(r(chosen) - r(rejected))"
        + (f" + {options['centering']:g} (r(chosen) + r(rejected))^2" if options["centering"] else ""),
        "precision of the base model": network["precision"],
        "pairs, users": f"{training['n_pairs']:,}, {training['n_users']:,} ({training['n_users_told_of']:,} told of)",
        "truncated, cut": f"{training['n_truncated']:,} pairs lost their oldest turns, "
        f"{training['n_cut']:,} were cut too",
        "steps": f"{training['n_steps']:,} of {options['pairs_a_step']} pairs, {training['n_skipped']:,} left out, "
        f"step {training['best_step']:,} kept",
        "learning rate, epochs, seed": f"{options['learning_rate']:g}, {options['epochs']}, {options['seed']}",
        "lowest loss on dev users": "no dev users" if best is None else f"{best:.4f}",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "# A personal reward model\n\n"
        "Made with personalrm. Scores a completion of a conversation as its user would; only differences within one "
        f"conversation mean anything.\n\n| | |\n| --- | --- |\n{table}\n\n"
        "The score is read at the token that closes the completion. Load it with "
        "`personalrm.rewards.bradley_terry.model.BradleyTerry.load`; the base model is needed beside it.\n\n"
        "Learned from what these users chose, so it carries their tastes and their errors. It judges how well a reply "
        "suits somebody, not whether it is true or safe.\n"
    )


def soup_card(facts: Mapping[str, Any], n_clusters: int) -> str:
    """The card of a soup; its table is of everybody's model, from which each cluster's adapter went on."""
    card = model_card(facts).replace("model.BradleyTerry.load", "cluster_soups.BradleyTerrySoup.load")
    mixed = f"{n_clusters} adapters, one a cluster of users, mixed for each user by weights fitted on their choices."
    return card.replace("\n\n| | |", f"\n\n{mixed} The table is of everybody's model, where each began.\n\n| | |")
