"""Change the sentences of a user's persona, in an editor or by flags; the old ones stay in the history.

Example: personalrm edit u17 --sentence "Prefers far shorter answers than most people."
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_prompt
from personalrm.errors import BadFile, BadInput, PersonalRMError

COMMENT = "#"
HEADING = """\
# The persona of a user, one sentence a line; lines that begin with # are left out.
# Change, add and delete lines, save and leave. Delete all of them to change nothing.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="user id")
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--sentence", action="append", metavar="TEXT", help="a sentence of the new persona; repeat for more"
    )
    given.add_argument("--file", metavar="FILE", help="file with one sentence a line; - reads standard input")
    add_output(parser, "home", "database", "config", "json")


def run(options: argparse.Namespace) -> int:
    from personalrm.home.home import Home
    from personalrm.stylometry.sentences import unused_sentences

    person = Home(options.home, database=options.database).person(options.user)
    before = person.prompt
    sentences: list[str] | None
    if options.sentence is not None:
        sentences = [str(text) for text in options.sentence]
    elif options.file is not None:
        sentences = _read(options.file).splitlines()
    else:
        sentences = None
    text = HEADING + "".join(f"{claim.text}\n" for claim in before.persona.claims)
    with nullcontext(sentences) if sentences is not None else _edited(text) as lines:
        number = person.edit(lines)
    edited = person.prompt
    is_changed = edited != before
    if options.json:
        texts = [claim.text for claim in edited.persona.claims]
        # A language model reads every sentence; only the embedded engine has some it can make nothing of.
        unused = unused_sentences(edited) if edited.weights else []
        content = {"user_id": options.user, "version": number, "changed": is_changed, "sentences": texts}
        print_json(content | {"not_used": unused})
    else:
        print(f"saved as version {number}" if is_changed else f"nothing changed, version {number} stays")
        print_prompt(edited, evidence=False)
    return 0


def _read(path: str) -> str:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise BadFile(f"{path!r} cannot be read ({reason}); pass a UTF-8 file with one sentence a line") from None


@contextmanager
def _edited(text: str) -> Iterator[list[str]]:
    """The lines after the user's editor; in a file only they can read, gone afterwards.

    What was typed outlives a refusal: where an error follows it is kept in a file that the error names.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if not editor.strip():
        raise BadInput("no editor is set; set EDITOR, or pass --sentence or --file")
    with tempfile.TemporaryDirectory(prefix="personalrm-") as folder:
        path = Path(folder) / "persona.txt"
        path.write_text(text, encoding="utf-8")
        try:
            try:
                code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
            except (OSError, ValueError) as error:
                raise BadInput(f"editor {editor!r} cannot be started ({type(error).__name__}); set EDITOR") from None
            if code:
                raise BadInput(f"editor {editor!r} ended with code {code}; nothing was changed")
            yield [line for line in _read(str(path)).splitlines() if not line.startswith(COMMENT)]
        except PersonalRMError as error:
            kept = _kept(path, text)
            if kept is None:
                raise
            raise type(error)(
                f"{error}; what you typed is kept in {kept!r}, correct it and pass it with --file"
            ) from None


def _kept(path: Path, text: str) -> str | None:
    """A file with what was typed, which only the user can read; None where nothing was."""
    try:
        typed = path.read_bytes()
        lines = [line for line in typed.splitlines() if line.strip() and not line.startswith(COMMENT.encode())]
        if typed == text.encode("utf-8") or not lines:
            return None
        handle, name = tempfile.mkstemp(prefix="personalrm-persona-", suffix=".txt")
        with os.fdopen(handle, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
    except OSError:
        return None  # the editor took the file away, or there is no place: the error itself is what is left to say
    return name
