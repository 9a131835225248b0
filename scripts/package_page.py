"""The README as the page of the package on an index, where links into the repository lead nowhere.

A hook of the build (`tool.hatch.metadata.hooks` in pyproject.toml): a link to a file becomes its words with the file's
name, which the repository and the source distribution have. Links to the web and to headings stay.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)\s]+)\)")


class PackagePage(MetadataHookInterface):
    """Sets the `readme` of the distribution."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the page to the metadata of the project."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_file_links(text)}


def without_file_links(text: str) -> str:
    """The text with `words (file)` in place of each link to a file."""
    return LINK.sub(lambda link: link[1] if link[1] == link[2] else f"{link[1]} (`{link[2].partition('#')[0]}`)", text)
