"""Where the benchmark comes from: Chatbot Arena and PRISM, by hub name or from local files of the same layout.

How a row becomes pairs is told by the layouts in `preferences/reading/layouts.py`. The rule for
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
from personalrm.preferences.reading.rows import Numbered, Row
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
    """Layout of the rows; None: recognised."""
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


@dataclass(frozen=True, repr=False)
class OpenSource:
    """A source with its files found; rows are read when `pairs` is iterated."""

    source: Source
    files: tuple[Path, ...]
    options: ReadOptions
    survey_files: tuple[Path, ...] = ()
    tally: Tally = field(default_factory=Tally)
    """What was read, once `pairs` has been."""
    n_responses: dict[str, int] = field(default_factory=dict)
    """Scored responses by kind, which is what the published count of PRISM counts."""
    _hashes: dict[str, str] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[int, PreferencePair]]:
        """Pairs with their row numbers, in the order of the rows.

        Raises:
            BadFile: If a file cannot be read.
            BadInput: If rows are bad and `skip_bad` is off.
        """
        return pairs_of_rows(self._counted(), self.options, self.tally, where=self.source.title)

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

    def _counted(self) -> Iterator[Numbered]:
        for line, row in rows_of_files(self.files):
            if isinstance(row, Mapping):
                self.n_responses["scored"] = self.n_responses.get("scored", 0) + _n_responses(row)
            yield line, row


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
    path, known = Path(where), _named(str(where))
    if path.exists():
        known = _recognised(path)
        source = replace(known, title=f"{known.title}, local copy", hub_name="") if known else Source(path.name, "", ())
        root = path
    elif known is not None:
        source, root = known, fetch(known.hub_name, _patterns(known, config))
    else:
        names = ", ".join((*SOURCES, *(one.hub_name for one in SOURCES.values())))
        raise UnknownName(f"source {str(where)[:200]!r} is neither a file nor a folder nor one of {names}")
    wanted = config or source.config
    source = replace(source, layout=source.layout if wanted == source.config else None)
    read = options or ReadOptions()
    files = data_files(root, wanted if root.is_dir() else None)
    return OpenSource(
        source, tuple(files), replace(read, layout=read.layout or source.layout), tuple(_survey(source, root, survey))
    )


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


def _named(name: str) -> Source | None:
    return SOURCES.get(name) or next((one for one in SOURCES.values() if one.hub_name == name), None)


def _patterns(source: Source, config: str | None) -> tuple[str, ...]:
    return source.patterns if config is None else (*source.patterns, f"{config}.jsonl")


def _recognised(path: Path) -> Source | None:
    """The source whose snapshot a folder is; a folder with a PRISM survey and conversations is PRISM's."""
    if not path.is_dir():
        return None
    try:
        data_files(path, SOURCES["prism"].config)
    except BadFile:
        return None
    return SOURCES["prism"]


def _survey(source: Source, root: Path, given: str | Path | None) -> list[Path]:
    if given is not None:
        return data_files(given)
    if source.survey is None or not root.is_dir():
        return []
    try:
        return data_files(root, source.survey)
    except BadFile:
        return []


def _n_responses(row: Row) -> int:
    """Scored responses of a row of PRISM; 0 for other layouts."""
    history = row.get("conversation_history")
    if isinstance(history, list):
        return sum(isinstance(one, Mapping) and one.get("role") == "model" for one in history)
    return int("model_response" in row)
