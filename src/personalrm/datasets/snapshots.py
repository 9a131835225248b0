"""Folders as the hub has them: which files hold which configuration and split, and their rows.

A folder is a snapshot of a dataset repository (`data/train-00000-of-00002.parquet`,
`survey.jsonl`, `survey/train/0000.parquet`), what `datasets` saved to disk
(`train/data-00000-of-00001.arrow`), or what `bench build` wrote. `fetch_snapshot` gets one
by its name on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from personalrm.errors import BadFile, MissingExtra, ModelUnavailable
from personalrm.preferences.reading.rows import SUFFIXES, Numbered, iter_rows
from personalrm.wording import install_hint

Fetch = Callable[[str, Sequence[str]], Path]
"""From a hub name and patterns of files to a folder that holds them."""
NOT_DATA = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "manifest.json", "survey.jsonl"}
)
"""Files beside the rows; a survey is asked for by its name only."""
UserSplit = Literal["train", "dev", "test"]
SPLIT_NAMES: dict[str, UserSplit] = {
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Names of splits over users, as files and columns spell them."""


def fetch_snapshot(hub_name: str, patterns: Sequence[str]) -> Path:
    """A folder with the files of a dataset on the hub that match; kept in the hub's own cache.

    Raises:
        MissingExtra: If huggingface_hub is not installed.
        ModelUnavailable: If the hub cannot be reached or refuses, as it does for gated sets without a token.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra(
            f"{hub_name!r} is on the hub, which needs huggingface_hub; {install_hint('hub')}, or pass a local copy"
        ) from None
    try:
        return Path(snapshot_download(hub_name, repo_type="dataset", allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelUnavailable(
            f"dataset {hub_name!r} cannot be fetched ({type(error).__name__}); check the network, accept its terms on "
            "the hub and log in with `hf auth login`, or pass a local copy"
        ) from None


def data_files(folder: str | Path, config: str | None = None) -> list[Path]:
    """The files with rows of a configuration, in the order of their names; a file stands for itself.

    Args:
        folder: A folder or a single file.
        config: Name of the configuration, which is a file's or a folder's name; None takes every file with rows.

    Raises:
        BadFile: If there are none.
    """
    root = Path(folder)
    if root.is_file():
        return [root]
    try:
        paths = sorted(
            path
            for path in root.rglob("*")
            if path.name.lower().removesuffix(".gz").endswith(SUFFIXES) and path.is_file()
        )
    except OSError as error:
        raise BadFile(f"{str(root)!r} cannot be read ({error.strerror or error}); check the rights") from None
    inside = [(path, path.relative_to(root)) for path in paths]
    shown = [(path, name) for path, name in inside if not any(part.startswith(".") for part in name.parts)]
    if config is None:
        files = [path for path, name in shown if name.name not in NOT_DATA]
    else:
        files = [path for path, name in shown if config in _words(name)]
    if not files:
        what = f"files of {config!r}" if config else "files with rows"
        raise BadFile(f"{str(root)[:200]!r} does not hold {what}; expected {', '.join(SUFFIXES)}, as the hub has them")
    return files


def split_of(path: Path, root: Path) -> UserSplit | Literal[""]:
    """The split over users that a file's or its folder's name says: train, dev, test, or empty."""
    words = _words(path.relative_to(root)) if path != root else _words(Path(path.name))
    return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), "")


def rows_of_files(files: Iterable[Path]) -> Iterator[Numbered]:
    """The rows of all files, one after the other, numbered through."""
    n_before = 0
    for file in files:
        last = 0
        for last, row in iter_rows(file):
            yield n_before + last, row
        n_before += last


def _words(name: Path) -> list[str]:
    """The folders of a file and the first word of its name: `data/train-00000-of-00002.parquet` is data, train."""
    return [*name.parts[:-1], name.name.split(".")[0].split("-")[0]]
