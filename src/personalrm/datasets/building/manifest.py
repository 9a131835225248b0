"""What the manifest of a built dataset tells a run: the funnel that led to it, and the licence of its source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.datasets.building.funnel import FunnelRow, funnel_row_from_json
from personalrm.errors import CorruptFile, NewerVersion

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "personalrm benchmark dataset"
FORMAT_VERSION = 1


@dataclass(frozen=True, repr=False)
class BuiltFrom:
    """Where a built dataset comes from."""

    funnel: tuple[FunnelRow, ...]
    licence: str
    """Of the source."""


def read_manifest(folder: Path) -> BuiltFrom | None:
    """The origin of a dataset folder; None where `bench build` did not make it.

    Raises:
        CorruptFile: If the manifest is one of ours and damaged, or no JSON at all.
        NewerVersion: If a later personalrm wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFile(
            f"{str(path)!r} cannot be read ({type(error).__name__}); build the dataset again, or remove the file"
        ) from None
    if not isinstance(content, dict) or content.get("format") != MANIFEST_FORMAT:
        return None  # other tools call their files so too
    return _built_from(content, str(path))


def _built_from(content: Mapping[str, Any], where: str) -> BuiltFrom:
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise NewerVersion(
            f"{where!r} has format version {version}, we read up to {FORMAT_VERSION}; upgrade personalrm"
        )
    try:
        return BuiltFrom(tuple(map(funnel_row_from_json, content["funnel"])), str(content["source"]["licence"]))
    except (KeyError, TypeError) as error:
        raise CorruptFile(f"{where!r} is damaged ({type(error).__name__}: {error}); build the dataset again") from None
