"""What the training of a language model saw and did, and the model card that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Training:
    """What a training saw and did, for the model card."""

    n_pairs: int = 0
    n_users: int = 0
    n_users_told_of: int = 0
    """Users with a system turn."""
    n_truncated: int = 0
    """Pairs whose oldest turns were left out."""
    n_cut: int = 0
    """Pairs that were too long even so, and were cut from the front."""
    n_identical: int = 0
    """Pairs whose completions the model reads alike, left out."""
    n_steps: int = 0
    n_skipped: int = 0
    """Steps left out because loss or gradient were not numbers."""
    best_step: int = 0
    dev_losses: list[tuple[int, float]] = field(default_factory=list)
    n_tokens_run: int | None = None
    """Tokens that this process put through the model since it started or went on; None where they were not counted."""
    active_share: float | None = None
    """Share of active units of VPL's z over the dev users; None where there is none or nobody to look at."""


def model_card(facts: Mapping[str, Any], own: Mapping[str, str], *, loader: str) -> str:
    """Markdown with what the model is, what it was trained on and what it is not for; no user's text or id.

    Args:
        facts: What is saved beside the model: base, options, training.
        own: Rows of the method.
        loader: Class that loads it, with its module.
    """
    options, training = facts["options"], facts["training"]
    best = min((loss for _, loss in training["dev_losses"]), default=None)
    rows = {
        "base model": f"`{facts['base']}`",
        **own,
        "precision of the base model": options["network"]["precision"],
        "truncated, cut": f"{training['n_truncated']:,} pairs lost their oldest turns, "
        f"{training['n_cut']:,} were cut too",
        "left out": f"{training['n_identical']:,} pairs whose completions are read alike",
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
        f"The score is read at the token that closes the completion. Load it with `{loader}.load`; the base model is "
        "needed beside it.\n\n"
        "Learned from what these users chose, so it carries their tastes and their errors. It judges how well a reply "
        "suits somebody, not whether it is true or safe.\n"
    )


def adapter_row(lora: Mapping[str, Any], heads: str) -> str:
    """What is trained, in words."""
    return f"LoRA rank {lora['rank']}, alpha {lora['alpha']:g} on {', '.join(lora['targets'])}; {heads}, fp32"


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
