"""What stands in the `model.json` of a Bradley-Terry model besides what every method writes (`rewards/saving.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personalrm.errors import BadInput
from personalrm.rewards.language.bradley_terry.training import BradleyTerryOptions
from personalrm.rewards.saving import read_facts, saved_part, saved_text

KIND = "bradley_terry"


@dataclass(frozen=True)
class SavedSettings:
    """What must be known before the base model is opened."""

    folder: str
    options: BradleyTerryOptions
    base: str
    """The base model, where it was when the model was trained."""
    knows: str
    """What kind of thing it was told of users."""

    def refuse_other_turns(self, knows: str) -> None:
        """Refuse turns of another kind than those of the training.

        Raises:
            BadInput: Then.
        """
        if knows != self.knows:
            raise BadInput(
                f"model folder {self.folder!r} was trained with the user turn {self.knows!r}, got {knows!r}; "
                "pass turns of that kind"
            )


def saved_settings(folder: str | Path, kind: str = KIND) -> SavedSettings:
    """The settings of a saved model.

    Args:
        folder: What `save` wrote.
        kind: The method it must be of.

    Raises:
        StoreError: If there is no model or it cannot be read.
        CorruptFile: If `model.json` is not what `save` writes.
        BadInput: If it is of another method.
    """
    facts = read_facts(folder, kind)
    options = saved_part(BradleyTerryOptions, facts, "options", folder)
    base, knows = (saved_text(facts, name, folder) for name in ("base", "knows"))
    return SavedSettings(str(folder), options, base, knows)
