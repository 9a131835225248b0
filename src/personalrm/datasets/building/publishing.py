"""The dataset that a build ends in: files of train, dev and test users, a manifest, a card.

Nothing in it tells when it was made, so two builds of the same things are equal byte by byte.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from personalrm.datasets.building.build import Build, BuildReport, Watch
from personalrm.datasets.building.funnel import StageRow
from personalrm.datasets.building.settings import FileKind
from personalrm.datasets.building.stage_files import cannot_write, read_users, write_json
from personalrm.datasets.personalizable import FilterAccuracy
from personalrm.datasets.published import USER_SPLIT, USER_SPLITS
from personalrm.datasets.sources import hash_of_file
from personalrm.errors import CorruptFile, MissingExtra
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading.surveys import survey_to_dict
from personalrm.typed_values import check_version, plain, saved_value
from personalrm.whole_files import replace_file
from personalrm.wording import install_hint

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


COLUMN_MEANINGS = (
    ("user_id", "whose choice it is"),
    ("conversation", "turns before the completion"),
    ("chosen, rejected", "the completion the user picked, and the other"),
    ("conversation_id, timestamp, order_index", "what orders and groups a user's choices, where the source says so"),
    ("split", "within a user: train and validation pairs may be seen, target pairs are scored"),
    ("user_split", "train, dev or test user"),
    ("agreement", "share of the consensus judges' judgements that named the chosen completion"),
    ("n_judgements, n_unscored", "judgements with and without a usable answer"),
    ("source", "what else the source knew, as JSON text; never shown to a method"),
)

COUNTS = (
    "n_users",
    "n_pairs",
    "n_train_pairs",
    "n_validation_pairs",
    "n_target_pairs",
    "n_conversations",
    "n_multi_turn",
)
"""What the manifest and the card tell of each part of the users."""


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The card as Markdown, made from the manifest alone."""
    source, measured = manifest["source"], manifest["filter_accuracy"]
    title = markdown_text(source["title"])
    origin = f"`{source['hub_name']}`" if source["hub_name"] else title
    heads = ("users", "number", "pairs", "train", "validation", "target", "conversations", "multi-turn pairs")
    parts = [(split, *(f"{n.get(name, 0):,}" for name in COUNTS)) for split, n in manifest["statistics"].items()]
    surveys = [f"`survey.jsonl` holds the surveys of {manifest['n_surveys']:,} of these users.", ""]
    stages = [
        (row["title"], *(f"{row[name]:,}" for name in ("n_pairs", "n_users", "n_pairs_removed", "n_users_removed")))
        for row in manifest["funnel"]
    ]
    accuracy = "not measured"
    if isinstance(measured, Mapping):
        percent, low, high = (100 * measured[name] for name in ("accuracy", "low", "high"))
        scripted = "; the model is a script, so this says nothing of the filter" if measured["is_scripted"] else ""
        accuracy = (
            f"{percent:.1f} % [{low:.1f}, {high:.1f}] of {measured['n']} requests by "
            f"{markdown_text(measured['model'])}, {measured['n_unscored']} not answered{scripted}"
        )
    removed = []
    for row in manifest["funnel"]:
        for reason, count in row["removed"].items():
            removed.append(f"- {row['title']}: {count:,} pairs, {reason}")
            queries = [example["query"] for example in row["examples"] if example["reason"] == reason]
            removed += [f"  - {markdown_text(query)}" for query in queries if query]
        removed += [f"- {row['title']}: {name}: {count:,}" for name, count in row["notes"].items() if count]
    lines = [
        f"# Personalized preferences of {title}",
        "",
        f"Built by `personalrm bench build` from {origin}. Licence of the source: {source['licence']}.",
        "",
        "## Users and pairs",
        "",
        *_table(heads, parts),
        "",
        *(surveys if manifest["n_surveys"] else []),
        "## Funnel",
        "",
        *_table(("stage", "pairs", "users", "pairs removed", "users removed"), stages),
        "",
        f"Accuracy of the personalizable filter: {accuracy}.",
        "",
        "## Columns",
        "",
        *_table(("column", "means"), COLUMN_MEANINGS),
        "",
        "## What was removed",
        "",
        *(removed or ["Nothing."]),
        "",
        "Settings and the hashes of all files are in `manifest.json`.",
    ]
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def markdown_text(text: str) -> str:
    """One line of Markdown that is text and nothing else, since people wrote it."""
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", " ".join(text.split()))


COLUMNS = (USER_SPLIT, "agreement", "n_judgements", "n_unscored")
"""Columns of our own, which the stages keep in `meta`."""
ROWS_AT_ONCE = 500
WriteRow = Callable[[Mapping[str, Any]], None]


def run_build(
    build: Build, *, watch: Watch = lambda point: None, accuracy: FilterAccuracy | None = None
) -> BuildReport:
    """Run what is missing of a build and write its dataset folder.

    Args:
        build: The build.
        watch: As for `Build.run`; also told `dataset begun`, `files written` and `dataset done`.
        accuracy: Of the personalizable filter; None is written as "not measured".

    Raises:
        BadInput: If the folder holds something else, or a stage leaves nobody.
        ModelUnavailable: If a model cannot be asked any more; the same build goes on from there.
        StoreError: If the disk is full or the folder cannot be written.
    """
    reused: list[str] = []

    def look(point: str) -> None:
        if point.endswith(" reused"):
            reused.append(point)
        watch(point)

    cards, last = build.run(look)
    look("dataset begun")
    data = build.folder / "data"
    try:
        (build.folder / MANIFEST).unlink(missing_ok=True)  # it stands for a whole dataset
        data.mkdir(exist_ok=True)
        for old in data.iterdir():
            old.unlink()
        counts = _write_files(data, last, build.settings.kind)
        path, of_all = build.folder / "survey.jsonl", build.source.surveys()
        surveys = [of_all[user.user_id] for user in read_users(last) if user.user_id in of_all] if of_all else []
        if surveys:
            replace_file(path, (json.dumps(survey_to_dict(survey), ensure_ascii=False) + "\n" for survey in surveys))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(data, error) from None
    look("files written")
    source = build.source.source
    files = sorted((*data.iterdir(), *build.folder.glob("survey.jsonl")))
    manifest = {
        "format": MANIFEST_FORMAT,
        "format_version": FORMAT_VERSION,
        "source": {
            "title": source.title,
            "hub_name": source.hub_name,
            "licence": source.licence,
            "files": build.source.hashes(),
        },
        "settings": asdict(build.settings),
        "stages": {stage.name: dict(stage.settings()) for stage in build.stages()},
        "filter_accuracy": accuracy.as_json() if accuracy is not None else "not measured",
        "funnel": [plain(card.funnel) for card in cards],
        "statistics": {name: dict(sorted(counts[name].items())) for name in USER_SPLITS},
        "n_surveys": len(surveys),
        "files": {path.relative_to(build.folder).as_posix(): hash_of_file(path) for path in files},
        "rows": cards[-1].rows,
    }
    try:
        replace_file(build.folder / "README.md", [dataset_card(manifest)])
    except OSError as error:
        raise cannot_write(build.folder, error) from None
    write_json(build.folder / MANIFEST, manifest)
    look("dataset done")
    return BuildReport([card.funnel for card in cards], len(reused), accuracy, manifest)


def _write_files(folder: Path, stage: Path, kind: FileKind) -> dict[str, Counter[str]]:
    """One file for each part of the users; how many pairs and users went into each."""
    counts: dict[str, Counter[str]] = {name: Counter(dict.fromkeys(COUNTS, 0)) for name in USER_SPLITS}
    with ExitStack() as stack:
        writers: dict[str, WriteRow] = {}
        for name in USER_SPLITS:
            path = folder / f"{name}.{kind}"
            rows = _parquet_rows(path) if kind == "parquet" else _json_rows(path, is_packed=kind == "jsonl.gz")
            writers[name] = stack.enter_context(rows)
        for user in read_users(stage):
            split = str(user.pairs[0].meta[USER_SPLIT])
            counts[split]["n_users"] += 1
            counts[split]["n_conversations"] += len({pair.conversation_key for pair in user.pairs})
            for pair in user.pairs:
                counts[split]["n_pairs"] += 1
                counts[split][f"n_{pair.split}_pairs"] += 1
                counts[split]["n_multi_turn"] += len(pair.conversation) > 1
                writers[split](dataset_row(pair))
    for name in USER_SPLITS:
        if not counts[name]["n_pairs"]:
            (folder / f"{name}.{kind}").unlink()  # readers take an empty file for a damaged one
    return counts


def dataset_row(pair: PreferencePair) -> dict[str, Any]:
    """A pair as a row of the dataset; what else the source knew is JSON text in `source`."""
    rest = {key: value for key, value in pair.meta.items() if key not in COLUMNS}
    columns = {name: pair.meta.get(name) for name in COLUMNS}
    optional = dict.fromkeys(("conversation_id", "pair_id", "timestamp", "order_index"))
    source = json.dumps(rest, ensure_ascii=False, sort_keys=True, default=str)
    return {**optional, **pair_to_dict(pair), **columns, "source": source}


@contextmanager
def _json_rows(path: Path, *, is_packed: bool) -> Iterator[WriteRow]:
    """Writes JSON lines, perhaps gzipped, flushed to disk at the end."""
    with path.open("wb") as file:
        # neither name nor time in the header
        with gzip.GzipFile("", "wb", 6, file, mtime=0) if is_packed else nullcontext(file) as lines:

            def write(row: Mapping[str, Any]) -> None:
                known = {name: value for name, value in row.items() if value is not None}
                lines.write(json.dumps(known, ensure_ascii=False).encode() + b"\n")

            yield write
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _parquet_rows(path: Path) -> Iterator[WriteRow]:
    """Writes Parquet in row groups of bounded size."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtra(f"a Parquet dataset needs pyarrow; {install_hint('parquet')}, or --format jsonl") from None
    text, turn = pyarrow.string(), pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()})
    kinds: dict[str, Any] = dict.fromkeys(("user_id", "chosen", "rejected", "conversation_id", "pair_id"), text)
    kinds |= {"conversation": pyarrow.list_(turn), "timestamp": pyarrow.float64(), "order_index": pyarrow.int64()}
    kinds |= {"split": text, USER_SPLIT: text, "agreement": pyarrow.float64(), "n_judgements": pyarrow.int64()}
    kinds |= {"n_unscored": pyarrow.int64(), "source": text}
    schema = pyarrow.schema(list(kinds.items()))
    held: list[Mapping[str, Any]] = []
    with pyarrow.parquet.ParquetWriter(path, schema) as file:

        def flush() -> None:
            file.write_table(pyarrow.Table.from_pylist(held, schema=schema))
            held.clear()

        def write(row: Mapping[str, Any]) -> None:
            held.append(row)
            if len(held) == ROWS_AT_ONCE:
                flush()

        yield write
        flush()
