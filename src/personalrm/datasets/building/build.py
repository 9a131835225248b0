"""A build: the stages in order, each written before the next begins, none done twice.

The dataset folder holds a hidden folder `.work` with the stages and the answers of the
models. A stage is taken from there when its key (settings and input) and its bytes are
right, so a build that was killed anywhere and run again ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.datasets.building.funnel import StageRow, StageTally
from personalrm.datasets.building.model_stages import NOT_ANSWERED, Consensus, Personalizable
from personalrm.datasets.building.settings import BuildSettings
from personalrm.datasets.building.stage_files import (
    StageCard,
    cannot_write,
    read_card,
    read_users,
    rows_hash,
    write_json,
    write_users,
)
from personalrm.datasets.building.stages import Original, PairSplit, Stage, UserFilter, UserSplitStage
from personalrm.datasets.personalizable import FilterAccuracy
from personalrm.datasets.sources import OpenSource
from personalrm.errors import BadInput
from personalrm.preferences.messages import digest
from personalrm.typed_values import plain

WORK = ".work"
Watch = Callable[[str], object]


@dataclass
class BuildReport:
    """What a build came to."""

    funnel: list[StageRow] = field(default_factory=list)
    n_reused: int = 0
    """Stages that were finished before."""
    accuracy: FilterAccuracy | None = None
    """Of the personalizable filter; None is not measured."""
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def n_not_answered(self) -> int:
        """Pairs left out because no model gave a usable answer about them."""
        return sum(row.removed.get(NOT_ANSWERED, 0) for row in self.funnel)

    @property
    def n_bad_rows(self) -> int:
        """Rows of the source that were left out."""
        return int(self.funnel[0].notes.get("bad rows, left out", 0)) if self.funnel else 0


class Build:
    """One build of a dataset folder.

    Args:
        folder: Where the dataset goes; must be new, or hold an earlier run of this very build.
        source: Raw preferences.
        settings: Options.
        personalizable: The filter by request and completions; None leaves it out.
        consensus: The filter by judges; None leaves it out.
        retry_unscored: Run a finished stage again that lacks answers.
    """

    def __init__(
        self,
        folder: str | Path,
        source: OpenSource,
        settings: BuildSettings | None = None,
        *,
        personalizable: Personalizable | None = None,
        consensus: Consensus | None = None,
        retry_unscored: bool = False,
    ) -> None:
        self.folder, self.source = Path(folder), source
        self.retry_unscored = retry_unscored
        self.settings = settings or BuildSettings()
        self.personalizable, self.consensus = personalizable, consensus

    @property
    def work(self) -> Path:
        """The folder of stages and answers."""
        return self.folder / WORK

    def stages(self) -> list[Stage]:
        """All stages, in order: a filter by users follows every filter of pairs."""
        s = self.settings
        split = UserSplitStage(s.shares, s.seed)
        stages: list[Stage] = [Original(self.source), UserFilter(s.min_pairs)]
        if s.split_at == "user_filter":
            stages.append(split)
        for filtered in (self.personalizable, self.consensus):
            if filtered is not None:
                again = UserFilter(
                    s.min_pairs, f"user_filter_after_{filtered.name}", f"user filter after {filtered.name}"
                )
                stages += [filtered, again]
        if s.split_at == "end":
            stages.append(split)
        return [*stages, PairSplit()]

    def run(self, watch: Watch = lambda point: None) -> tuple[list[StageCard], Path]:
        """Run what is missing; the cards of all stages and the file of the last.

        Args:
            watch: Told of each point where a kill must not matter: `NAME begun`, `NAME written`, `NAME done`,
                `NAME reused`.

        Raises:
            BadInput: If the folder holds something else, or a stage leaves nobody.
            ModelUnavailable: If a model cannot be asked any more; the same build goes on from there.
            StoreError: If the disk is full or the folder cannot be written.
        """
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise BadInput(f"{str(self.folder)!r} is a file; name another folder with --out")
            if self.folder.is_dir() and any(self.folder.iterdir()) and not self.work.is_dir():
                raise BadInput(
                    f"folder {str(self.folder)!r} holds something that no build left there; name another with --out"
                )
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from None
        cards: list[StageCard] = []
        path = Path()
        for number, stage in enumerate(self.stages()):
            before, path = path, self.work / f"{number:02d}-{stage.name}.jsonl.gz"
            cards.append(self._run_stage(stage, before, path, cards, watch))
            if not cards[-1].funnel.n_pairs:
                n_before = cards[-2].funnel.n_pairs if number else cards[-1].funnel.n_pairs_removed
                raise BadInput(
                    f"stage {stage.title!r} leaves no pair of {n_before}; check the source, --min-pairs and the models"
                )
        return cards, path

    def _run_stage(self, stage: Stage, before: Path, path: Path, cards: Sequence[StageCard], watch: Watch) -> StageCard:
        s = self.settings
        key = digest(stage.name, stage.settings(), cards[-1].rows if cards else "", s.n_examples, s.shows_text, s.seed)
        card_path = path.with_name(path.name.replace(".jsonl.gz", ".json"))
        card = read_card(card_path)
        redo = card is not None and self.retry_unscored and card.funnel.removed.get(NOT_ANSWERED, 0) > 0
        if card is not None and card.key == key and rows_hash(path) == card.rows and not redo:
            watch(f"{stage.name} reused")
            return card
        watch(f"{stage.name} begun")
        tally = StageTally(n_examples=s.n_examples, shows_text=s.shows_text, seed=s.seed)
        tally.n_users_in = cards[-1].funnel.n_users if cards else 0
        if card is not None and card.key != key and not cards and (self.folder / "manifest.json").exists():
            raise BadInput(
                f"folder {str(self.folder)!r} holds a finished dataset of another source; name another with --out"
            )
        card_path.unlink(missing_ok=True)
        written = write_users(path, stage.apply(lambda: read_users(before) if cards else iter(()), tally))
        watch(f"{stage.name} written")
        card = StageCard(key, written.rows, tally.row(stage.name, stage.title, written.n_pairs, written.n_users))
        write_json(card_path, plain(card))
        watch(f"{stage.name} done")
        return card
