"""Where the benchmark comes from: Chatbot Arena and PRISM, by hub name or from local files of the same layout.

How a row becomes pairs is said by the layouts in `preferences/reading/layouts.py`. The rule for
Arena battles of several turns stands there at `read_arena`: both sides must have the same
user turns; what comes before the first difference is the conversation; each completion
carries its own earlier answers only where they differ.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from personalrm.datasets.snapshots import Fetch, data_files, fetch_snapshot, rows_of_files
from personalrm.errors import BadFile, UnknownName
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.files import Tally, pairs_of_rows
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.rows import Numbered
from personalrm.preferences.reading.surveys import Survey, surveys_from_rows

BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A data set with raw preferences."""

    title: str
    hub_name: str
    """Name of the dataset on the hub."""
    patterns: tuple[str, ...]
    """Files of it that are needed."""
    config: str | None = None
    """Configuration that holds the choices; None: there is only one."""
    survey: str | None = None
    """Configuration that holds the survey; None: there is none."""
    layout: str | None = None
    """Layout of the rows; None: recognized."""
    licence: str = "unknown"
    """What its card says; prompts and completions of Arena have different ones."""


SOURCES: dict[str, Source] = {
    "arena": Source(
        "Chatbot Arena",
        "lmsys/chatbot_arena_conversations",
        ("data/*.parquet",),
        layout="arena",
        licence="user prompts CC-BY-4.0, model outputs CC-BY-NC-4.0",
    ),
    "prism": Source(
        "PRISM",
        "HannahRoseKirk/prism-alignment",
        ("conversations.jsonl", "survey.jsonl"),
        config="conversations",
        survey="survey",
        layout="prism_conversations",
        licence="human texts CC-BY-4.0, model texts CC-BY-NC-4.0",
    ),
}
"""PRISM's `utterances` can be read too (`config`) and hold the same choices, but no dates, which order a person's
conversations in time; `metadata` holds nothing that makes a pair."""


@dataclass(repr=False)
class OpenSource:
    """A source with its files found; rows are read when `pairs` is iterated."""

    source: Source
    files: tuple[Path, ...]
    options: ReadOptions
    survey_files: tuple[Path, ...] = ()
    tally: Tally = field(default_factory=Tally)
    """What was read, once `pairs` has been."""
    n_responses: int = 0
    """Scored responses, which is what the published count of PRISM counts."""
    _hashes: dict[str, str] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[int, PreferencePair]]:
        """Pairs with their row numbers, in the order of the rows.

        Raises:
            BadFile: If a file cannot be read.
            BadInput: If rows are bad and `skip_bad` is off.
        """

        def counted() -> Iterator[Numbered]:
            for line, row in rows_of_files(self.files):
                if isinstance(row, Mapping):
                    history = row.get("conversation_history")
                    if isinstance(history, list):
                        self.n_responses += sum(
                            isinstance(turn, Mapping) and turn.get("role") == "model" for turn in history
                        )
                    else:
                        self.n_responses += "model_response" in row
                yield line, row

        return pairs_of_rows(counted(), self.options, self.tally, where=self.source.title)

    def surveys(self) -> dict[str, Survey]:
        """The survey of every user who filled one in.

        Raises:
            BadInput: If rows are bad.
        """
        return surveys_from_rows(rows_of_files(self.survey_files), where="survey") if self.survey_files else {}

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, by name (with its folder's where names repeat); read once."""
        if not self._hashes:
            files = (*self.files, *self.survey_files)
            names = Counter(file.name for file in files)
            for file in files:
                name = file.name if names[file.name] == 1 else f"{file.parent.name}/{file.name}"
                self._hashes[name] = hash_of_file(file)
        return self._hashes


def open_source(
    where: str | Path,
    options: ReadOptions | None = None,
    *,
    config: str | None = None,
    survey: str | Path | None = None,
    fetch: Fetch = fetch_snapshot,
) -> OpenSource:
    """A source by its short name, its hub name, or from a local file or folder of any known layout.

    Args:
        where: `arena`, `prism`, a hub name of theirs, or a path; a path that exists wins.
        options: How to read the rows.
        config: Configuration of a folder, such as PRISM's `utterances`.
        survey: A survey file, where it does not lie in the folder.
        fetch: How files come from the hub.

    Raises:
        UnknownName: If it is neither a path nor a source we know.
        BadFile: If the folder lacks the files.
    """
    root, name = Path(where), str(where)
    if root.exists():
        # a folder that holds PRISM's conversations is a copy of PRISM
        is_prism = root.is_dir() and _files_of(root, SOURCES["prism"].config)
        prism = replace(SOURCES["prism"], title=f"{SOURCES['prism'].title}, local copy", hub_name="")
        source = prism if is_prism else Source(root.name, "", ())
    else:
        known = SOURCES.get(name) or next((known for known in SOURCES.values() if known.hub_name == name), None)
        if known is None:
            names = ", ".join((*SOURCES, *(known.hub_name for known in SOURCES.values())))
            raise UnknownName(f"source {name[:200]!r} is neither a file nor a folder nor one of {names}")
        source = known
        root = fetch(source.hub_name, source.patterns if config is None else (*source.patterns, f"{config}.jsonl"))
    wanted = config or source.config
    source = replace(source, layout=source.layout if wanted == source.config else None)
    read = options or ReadOptions()
    files = data_files(root, wanted if root.is_dir() else None)
    surveys: list[Path] = []
    if survey is not None:
        surveys = data_files(survey)
    elif source.survey is not None and root.is_dir():
        surveys = _files_of(root, source.survey)
    return OpenSource(source, tuple(files), replace(read, layout=read.layout or source.layout), tuple(surveys))


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        BadFile: If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as error:
        raise BadFile(f"{str(path)!r} cannot be read ({error.strerror or error}); check the rights") from None
    return digest.hexdigest()


def _files_of(root: Path, config: str | None) -> list[Path]:
    """The files of a configuration; empty where the folder has none."""
    try:
        return data_files(root, config)
    except BadFile:
        return []
