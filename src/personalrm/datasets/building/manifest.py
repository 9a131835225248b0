"""What the manifest of a built dataset tells a run: the funnel that led to it, and the licence of its source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from personalrm.datasets.building.funnel import StageRow
from personalrm.errors import CorruptFile
from personalrm.typed_values import check_version, saved_value

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "personalrm benchmark dataset"
FORMAT_VERSION = 1
AGAIN = "build the dataset again"


@dataclass(frozen=True, repr=False)
class BuiltFrom:
    """Where a built dataset comes from."""

    funnel: tuple[StageRow, ...]
    licence: str
    """Of the source."""


def read_manifest(folder: Path) -> BuiltFrom | None:
    """The origin of a dataset folder; None where `bench build` did not make it.

    Raises:
        CorruptFile: If the manifest is one of ours and damaged, or not JSON at all.
        NewerVersion: If a later personalrm wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))  # any JSON: other tools call their files so too
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFile(
            f"{str(path)!r} cannot be read ({type(error).__name__}); build the dataset again, or remove the file"
        ) from None
    if not isinstance(content, dict) or content.get("format") != MANIFEST_FORMAT:
        return None
    where = repr(str(path))
    check_version(content.get("format_version"), FORMAT_VERSION, where, again=AGAIN)
    source = content.get("source")
    # of the rest of a manifest, which is for people, nothing is needed here
    needed = {"funnel": content.get("funnel"), "licence": source.get("licence") if isinstance(source, dict) else None}
    return saved_value(BuiltFrom, needed, where, again=AGAIN)
