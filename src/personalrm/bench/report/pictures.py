"""Vega-Lite specifications rendered to SVG and PNG, without a browser and without the network."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from personalrm.errors import MissingExtra
from personalrm.wording import install_hint

SCALE = 2.0
"""Pixels of a PNG for each unit of the specification; 2 is sharp in print at half a column."""


def check(specification: dict[str, Any]) -> None:
    """Refuse a specification that is not Vega-Lite, by the schema that Altair ships.

    The schema alone is asked: building Altair's objects checks every part anew and takes five times as long.

    Raises:
        MissingExtra: If Altair is not installed.
        ValueError: If the specification breaks the schema; a mistake of ours.
    """
    try:
        _extra("altair").Root.validate(specification)
    except _extra("jsonschema").ValidationError as error:
        raise ValueError(f"not a Vega-Lite specification: {error.message[:200]}") from None


def as_svg(specification: dict[str, Any]) -> str:
    """The picture as SVG text.

    Raises:
        MissingExtra: If vl-convert-python is not installed.
    """
    svg = str(_extra("vl_convert").vegalite_to_svg(specification))
    # The renderer numbers ids through the life of the process; here every picture begins at 0.
    ids = dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg))
    names = {name: re.sub(r"[0-9]+$", "", name) + str(place) for place, name in enumerate(ids)}
    return re.sub(r'(\bid="|url\(#|href="#)([^")]+)', lambda hit: hit[1] + names.get(hit[2], hit[2]), svg)


def as_png(svg: str) -> bytes:
    """The same picture as PNG bytes.

    Raises:
        MissingExtra: If vl-convert-python is not installed.
    """
    return bytes(_extra("vl_convert").svg_to_png(svg, scale=SCALE))


def _extra(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(
            f"pictures need {module.replace('_', '-')}, which is not installed; {install_hint('plots')}"
        ) from None
