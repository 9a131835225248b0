"""What is said of a training afterwards: `training.json` and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.controls import Controls, controls
from personalrm.rewards.encoder_spec import EncoderSpec
from personalrm.rewards.methods import reward_method
from personalrm.rewards.reward_model import DevUser
from personalrm.stats.accuracy import percent
from personalrm.stats.paired import points


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
    """Steps left out because loss or gradient were no numbers."""
    controls: str = ""
    """Active units and own minus somebody else's state over the dev users, in words."""
    active_share: float | None = None
    own_minus_shuffled: float | None = None
    """Accuracy under the dev users' own states minus that under other dev users'; None with fewer than two."""


def make_report(
    method: str, model: Any, pairs: Sequence[PreferencePair], dev: Sequence[DevUser], n_targets: int
) -> TrainingReport:
    """The report of a model that was just trained; the dev users are asked once more."""
    curve, found = getattr(model, "curve", None), controls(model, dev)
    against = found.against_shuffled if found else None
    return TrainingReport(
        method=method,
        n_pairs=len(pairs),
        n_users=len({pair.user_id for pair in pairs}),
        n_targets=n_targets,
        n_dev_users=len(dev),
        n_dev_targets=sum(len(one.targets) for one in dev),
        dev=str(found.own) if found else "",
        dev_accuracy=found.own.accuracy if found else None,
        n_steps=len(curve.losses) if curve else None,
        n_skipped=curve.n_skipped if curve else None,
        controls=in_words(found) if found else "",
        active_share=found.active_share if found else None,
        own_minus_shuffled=against.difference if against else None,
    )


def in_words(found: Controls) -> str:
    """One line of both controls."""
    line = f"{percent(found.active_share)} % of the units of a user's state are active"
    against = found.against_shuffled
    if against is None:
        return line + "; own minus another's state needs two users"
    if found.is_same_for_all:
        return "rewards are the same for everybody: whose state it is makes no difference"
    interval = f" [{points(against.low)}, {points(against.high)}]" if against.low == against.low else ""
    return f"{line}; own minus another user's state {points(against.difference)} points{interval}"


def model_card(report: TrainingReport, encoder: EncoderSpec) -> str:
    """A model card that says what the model is, what it saw, and what it must not be used for."""
    method = reward_method(report.method)
    role = ", who also stopped the training or chose settings" if method.uses_dev else ""
    what = "A personal reward model" if method.is_personal else "A reward model, the same for everybody,"
    return f"""# {method.title}

{what} trained by personalrm (`personalrm train {report.method}`), after {method.source}.

- encoder: `{encoder.name}`; the model only works with vectors of this encoder
- learned from {report.n_pairs:,} preference pairs of {report.n_users:,} users
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
