"""Make `old.tar.gz`: a home folder, a run folder, kept answers, trained models and prepared prompts.

Run by the version whose data is to stay readable, as one that may serve port 1, for the address of the model is part of
what answers are kept under; the tests then ask without a server:

    python -m tests.golden.make_old_data

`expected.json` in it is what that version printed. The archive holds what version 0.1.0 wrote before the clean-up
of its code, and stays as it is: a new format gets an archive of its own.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.golden.identities import FEW, QUICK, WHOLE_PROMPT, example_rows, run, save_base_model, write_rows

from personalrm.testing.fake_server import FakeServer
from personalrm.testing.scripted_models import counting

ARCHIVE = Path(__file__).with_name("old.tar.gz")
URL = "http://127.0.0.1:1/v1"
ASKED = ("--model", "tiny", "--base-url", URL, "--attempts", "1")
FIT = ("fit", "few.jsonl", *ASKED, "--trials", "2")
JUDGE = ("judge", "pairs.jsonl", *ASKED, "--json", "--home", "home")
RANK = ("rank", "many.jsonl", *ASKED, "--json", "--home", "home")
SHOWN = ("nadia", "tobias", "henrik é")
PRINTED: Mapping[str, tuple[str, ...]] = {
    **{f"show {user}": ("show", user, "--home", "home", "--evidence") for user in SHOWN},
    **{f"history {user}": ("history", user, "--home", "home") for user in SHOWN},
    "cache": ("cache", "info", "--home", "home", "--json"),
    "ls": ("bench", "validate", "run"),
    "judge": JUDGE,
}
"""Commands that print the same of the old data, in every version."""
MODELS = ("low_rank", "bt")
SETTINGS = QUICK["bradley_terry"] | {"max_tokens": 1024}  # personas are long
SPEC = {
    "name": "old",
    "datasets": [{"name": "people", "path": "people.jsonl", "min_pairs": 3, "shows_texts": True}],
    "models": [{"label": "m", "name": "tiny", "base_url": URL, "scripted": True}],
    "encoders": [{"label": "stylometric"}],
    "base_models": [{"label": "tiny", "name": "tiny", "device": "cpu", "n_parameters": 1e6, "prompts": "prompts.jsonl"}],
    "methods": [
        "random", "longer", "population", "personal", "default", "persona_and_demonstrations", "low_rank",
        "bradley_terry", "bradley_terry_persona",
    ],
    "reward_models": [
        {"method": name, "settings": SETTINGS} for name in ("bradley_terry", "bradley_terry_persona")
    ],
    "trials": 1,
    "identical": 2,
    "shuffled_users": {"embedded": 1},
}  # fmt: skip


def rewards_of(name: str) -> list[list[float]]:
    """What a trained model gives the completions of each row."""
    told = ("--prompts", "prompts.jsonl") if name == "bt" else ()
    context = ("--context", "people.jsonl", "--home", "home")
    printed = run("score", "many.jsonl", "--model-folder", f"model-{name}", *context, *told, "--json")
    return [json.loads(line)["rewards"] for line in printed.splitlines()]


@contextmanager
def opened() -> Iterator[Path]:
    """The archive unpacked into a folder that goes afterwards, which is the working folder meanwhile."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="personalrm-old-") as name:
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(name, filter="data")
        os.chdir(name)
        try:
            _bring_people_over(Path("home"))
            yield Path(name)
        finally:
            os.chdir(before)


def _bring_people_over(home: Path) -> None:
    """Put the prompts of a home of that version, which were files, into the database of this one."""
    dates = {}
    for line in (home / "index.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        dates[entry["user"], entry["version"]] = entry["date"]
    lines = []
    for path in sorted(home.glob("users/*/v*.json")):
        prompt, number = json.loads(path.read_text(encoding="utf-8")), int(path.stem[1:])
        line = {"user_id": prompt["user_id"], "version": number, "prompt": prompt}
        lines.append(line | {"date": dates[path.parent.name, number]})
    write_rows(Path("versions.jsonl"), lines)
    shutil.rmtree(home / "users")
    (home / "index.jsonl").unlink()
    run("import", "versions.jsonl", "--home", home)


def _make() -> dict[str, object]:
    write_rows(Path("people.jsonl"), example_rows())
    few = [row for row in example_rows() if row["user_id"] in FEW]
    write_rows(Path("few.jsonl"), few)
    drafts = [{"user_id": row["user_id"], "conversation": row["conversation"]} for row in few[:2]]
    write_rows(Path("pairs.jsonl"), [row | {"first": "Yes. 2 of them.", "second": "It might be so."} for row in drafts])
    write_rows(
        Path("many.jsonl"), [row | {"completions": ["Yes. 2 of them.", "It might be so.", "No."]} for row in drafts]
    )
    save_base_model(Path("tiny"))
    _home_with_a_whole_prompt()
    run("prepare-prompts", "people.jsonl", "--min-pairs", "3", "--out", "prompts.jsonl", "--hold-out", "--home", "home")
    Path("run.yaml").write_text(json.dumps(SPEC, indent=1), encoding="utf-8")
    Path("settings.yaml").write_text(json.dumps(SETTINGS), encoding="utf-8")
    with FakeServer(counting(0.95, 1.0), port=1):
        run(*FIT, "--home", "home")
        run("bench", "run", "-c", "run.yaml", "--folder", "run", "--home", "home")
        run(*JUDGE)
        known = _keys()
        ranked = run(*RANK)
        _leave_in_the_journal(known)
    home = ("--home", "home")
    run("train", "low_rank", "people.jsonl", "--out", "model-low_rank", "--dev-percent", "0", *home)
    more = ("--base", "tiny", "-c", "settings.yaml", "--dev-percent", "0", "--prompts", "prompts.jsonl")
    run("train", "bt", "people.jsonl", "--out", "model-bt", *more, *home)
    shutil.rmtree("home/embeddings", ignore_errors=True)
    shutil.copytree("home", "kept")
    expected = {
        "printed": {name: run(*command) for name, command in PRINTED.items()},
        "rank": ranked,
        "rewards": {name: rewards_of(name) for name in MODELS},
    }
    run("bench", "report", "run", "--output", "report")
    expected["report"] = Path("report/report.md").read_text(encoding="utf-8")
    shutil.rmtree("report")
    shutil.rmtree("home")
    shutil.move("kept", "home")
    return expected


def _home_with_a_whole_prompt() -> None:
    """A user whose prompt says something in every field, beside others by the embedded engine."""
    text = WHOLE_PROMPT.read_text(encoding="utf-8")
    row = example_rows()[0] | {"user_id": json.loads(text)["user_id"]}
    write_rows(Path("whole.jsonl"), [row])
    run("fit", "whole.jsonl", "--home", "home")
    (path,) = Path("home/users").rglob("v0001.json")
    path.write_text(text, encoding="utf-8")
    run("fit", "few.jsonl", "--home", "home")


def _keys() -> set[bytes]:
    with sqlite3.connect("home/cache.sqlite") as cache:
        return {key for (key,) in cache.execute("SELECT key FROM answers")}


def _leave_in_the_journal(known: set[bytes]) -> None:
    """Put answers that are not among the known ones where a killed process leaves them."""
    with sqlite3.connect("home/cache.sqlite") as cache:
        rows = cache.execute("SELECT key, owner, answer FROM answers JOIN owners USING (key)").fetchall()
        fresh = [row for row in rows if row[0] not in known]
        for table in ("answers", "owners"):
            cache.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key, _, _ in fresh])
    assert fresh
    lines = []
    for key, owner, answer in fresh:
        body = f"{key.hex()} {owner.hex()} answer {answer[answer.index('{') :]}".encode("ascii")
        lines.append(b"%08x %b\n" % (zlib.crc32(body), body))
    Path("home/cache.sqlite.arrived-00ff00ff00ff00ff").write_bytes(b"\n" + b"\n".join(lines))


def _pack(folder: Path) -> None:
    """Equal content gives equal bytes: no dates, no owners, sorted."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            member = archive.gettarinfo(path, str(path.relative_to(folder)))
            member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
            if path.is_file():
                with path.open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    ARCHIVE.write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="personalrm-old-") as name:
        os.chdir(name)
        expected = _make()
        Path("expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _pack(Path(name))
        os.chdir("/")
