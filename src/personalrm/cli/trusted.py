"""What a run file or judges file may name, since it may be somebody else's: variables, files, and who gets a key.

It names variables that begin with PERSONALRM_, and files in its own folder, PERSONALRM_DATA and PERSONALRM_MODELS;
others are allowed by a flag. A key goes to the server that it was given for.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from personalrm.cli.options import PREFIX
from personalrm.errors import BadInput

if TYPE_CHECKING:
    from personalrm.bench.plan.spec import RunSpec
    from personalrm.datasets.building.model_stages import JudgeEntry

API_KEY = f"{PREFIX}API_KEY"
HOST = "_HOST"
"""Behind the name of a key's variable: a variable with the one host that gets it."""
PORTS = {"http": 80, "https": 443}


def add_trust(parser: argparse.ArgumentParser, what: str) -> None:
    """--allow-path and --allow-variable.

    Args:
        parser: Of the command.
        what: The file, such as `the run file`.
    """
    add = parser.add_argument
    add(
        "--allow-path",
        action="append",
        metavar="PATH",
        help=f"a file or folder that {what} may name beside those in its own folder, PERSONALRM_DATA and "
        "PERSONALRM_MODELS; may be repeated",
    )
    add(
        "--allow-variable",
        action="append",
        metavar="NAME",
        help=f"an environment variable with a key that {what} may name beside those that begin with {PREFIX}",
    )


@dataclass(frozen=True)
class Trusted:
    """What one file may name."""

    file: Path
    folders: tuple[Path, ...]
    """Resolved: links are followed before a path is looked for in them."""
    variables: frozenset[str]
    own_urls: tuple[str, ...]
    """Servers that the user named, not the file."""

    @classmethod
    def of(cls, file: str | Path, options: argparse.Namespace, own_urls: Iterable[str] = ()) -> Trusted:
        """What the file may name under the command's flags and the environment."""
        folders = [str(Path(file).parent), *_several(options.allow_path), getattr(options, "data", None)]
        folders += [os.environ.get(f"{PREFIX}{name}") for name in ("DATA", "MODELS")]
        urls = [*own_urls, os.environ.get(f"{PREFIX}BASE_URL"), getattr(options, "base_url", None)]
        return cls(
            Path(file),
            tuple(Path(folder).resolve() for folder in folders if folder),
            frozenset(_several(options.allow_variable)),
            tuple(url for url in urls if url),
        )

    def check_path(self, written: str, what: str, places: Iterable[Path]) -> None:
        """Refuse a path that leads out of what may be named, be it there or not.

        Args:
            written: What the file says; a name on the hub lies in no other folder and passes.
            what: What the path is of, for the error.
            places: Folders it may be relative to; the first where it is there counts.

        Raises:
            BadInput: If it leads elsewhere.
        """
        try:
            candidates = [place / written for place in places]
            path = next((path for path in candidates if path.exists()), candidates[0]).resolve()
            is_inside = any(path.is_relative_to(folder) for folder in self.folders)
        except (OSError, ValueError, RuntimeError):  # a NUL byte, a name too long, links in a circle
            is_inside = False
        if not is_inside:
            raise BadInput(
                f"{what} in {str(self.file)!r} is {written[:200]!r}, which lies neither beside that file nor in "
                f"{PREFIX}DATA or {PREFIX}MODELS; if you trust the file, pass --allow-path {written[:200]!r}"
            )

    def key_of(self, variable: str | None, base_url: str | None, what: str) -> str | None:
        """The key of a model that the file describes; None where its name says where to look, empty for none.

        Raises:
            BadInput: If the file may not name the variable, or the key was given for another server.
        """
        is_own = base_url is not None and any(same_server(base_url, url) for url in self.own_urls)
        if variable is None and base_url is None:
            return os.environ.get("OPENAI_API_KEY", "") if self.own_urls else None
        if variable is None:
            return os.environ.get(API_KEY, "") if is_own else ""
        if not variable.startswith(PREFIX) and variable not in self.variables:
            raise BadInput(
                f"key_variable of {what} in {str(self.file)!r} is {variable[:80]!r}; a file may name variables that "
                f"begin with {PREFIX}, such as {PREFIX}KEY_MINE; set that, or pass --allow-variable {variable[:80]}"
            )
        host = urlsplit(base_url).hostname if base_url is not None else "api.openai.com"
        bound = os.environ.get(f"{variable}{HOST}")
        if bound is not None and bound.lower() != host:
            raise BadInput(
                f"the key {variable!r} of {what} was given for {bound!r} ({variable}{HOST}) and {str(self.file)!r} "
                f"sends it to {host!r}; correct the base_url or the variable"
            )
        if variable == API_KEY and not is_own:
            raise BadInput(
                f"{API_KEY} is for the server that you name yourself ({PREFIX}BASE_URL), and {str(self.file)!r} sends "
                f"it to {host!r}; set {PREFIX}KEY_MINE and name that in key_variable of {what}"
            )
        return os.environ.get(variable, "")


def check_run_file(spec: RunSpec, trusted: Trusted, data: Path | None) -> None:
    """Refuse files that a run file may not name.

    Raises:
        BadInput: Naming the first.
    """
    for written, what, places in _paths_of(spec, trusted.file.parent, data):
        trusted.check_path(written, what, places)


def _paths_of(spec: RunSpec, base: Path, data: Path | None) -> Iterator[tuple[str, str, tuple[Path, ...]]]:
    """Every path of a run file, what it is of, and what it may be relative to."""
    from personalrm.bench.plan.spec import EXAMPLE
    from personalrm.lm.opening import ModelName
    from personalrm.rewards.encoder_spec import STYLOMETRIC

    beside = (base,)
    with_data = (base, data) if data is not None else beside
    for dataset in spec.datasets:
        if dataset.path != EXAMPLE:
            yield dataset.path, f"path of dataset {dataset.name!r}", with_data
        for name in ("unfiltered", "surveys"):
            if (written := getattr(dataset, name)) is not None:
                yield written, f"{name} of dataset {dataset.name!r}", with_data
    for model in spec.models:
        if ModelName(model.name, model.base_url).is_file:
            yield model.name, f"name of model {model.label!r}", model_folders(base)
        if model.persona_prompt is not None:
            yield model.persona_prompt, f"persona_prompt of model {model.label!r}", beside
    for trunk in spec.base_models:
        yield trunk.name, f"name of base model {trunk.label!r}", (*beside, Path())
        if trunk.prompts is not None:
            yield trunk.prompts, f"prompts of base model {trunk.label!r}", beside
    for encoder in spec.encoders:
        if (
            encoder.name != STYLOMETRIC
        ):  # read relative to where the command runs; what is not there is a name on the hub
            places = (Path(),) if Path(encoder.name).exists() else beside
            yield encoder.name, f"name of encoder {encoder.label!r}", places


def with_keys(judges: Iterable[JudgeEntry], trusted: Trusted) -> tuple[JudgeEntry, ...]:
    """The judges of a file with their keys.

    Raises:
        BadInput: If the file names what it may not.
    """
    from personalrm.lm.opening import found_in

    entries = []
    for judge in judges:
        model, what = judge.model, f"judge {judge.model.name!r}"
        if model.is_file:
            folders = model_folders(trusted.file.parent)
            trusted.check_path(model.name, f"model of {what}", folders)
            model = replace(model, name=found_in(folders, model.name))
        if model.key_file is not None:
            trusted.check_path(model.key_file, f"key_file of {what}", (trusted.file.parent,))
            key_file = str(trusted.file.parent / model.key_file)
            entries.append(replace(judge, model=replace(model, key_file=key_file)))
            continue
        key = trusted.key_of(judge.key_variable, model.base_url, what)
        if judge.key_variable is not None and not key:
            raise BadInput(f"variable {judge.key_variable!r} with the key of {what} is not set; set it")
        entries.append(replace(judge, model=replace(model, key=key)))
    return tuple(entries)


def model_folders(base: Path) -> tuple[Path, ...]:
    """Where the GGUF files that a file names are looked for: beside it, then in PERSONALRM_MODELS."""
    named = os.environ.get(f"{PREFIX}MODELS")
    return (base, Path(named)) if named else (base,)


def other_key(model: str, base_url: str | None) -> str:
    """The key of a server that is not the one of `--base-url`, to which PERSONALRM_API_KEY belongs."""
    is_openai = base_url is None and model.startswith("openai/")
    return os.environ.get("OPENAI_API_KEY", "") if is_openai else ""


def same_server(one: str, other: str) -> bool:
    """Whether two base URLs are of one server.

    >>> same_server("https://a.example/v1", "https://A.example:443"), same_server("http://a:1/v1", "http://a:2/v1")
    (True, False)
    """
    return _server(one) == _server(other)


def _server(url: str) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None


def _several(value: list[str] | str | None) -> list[str]:
    """What a flag that may be repeated was given; the environment and a settings file give one text."""
    return [value] if isinstance(value, str) else value or []
