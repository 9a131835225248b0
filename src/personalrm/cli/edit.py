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
from pathlib import Path

from personalrm.cli.options import add_output
from personalrm.cli.printing import print_json, print_prompt
from personalrm.errors import BadFile, BadInput

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
    from personalrm.judging.personal import unused_sentences

    person = Home(options.home, database=options.database).person(options.user)
    before = person.prompt
    if options.sentence is not None:
        sentences = [str(text) for text in options.sentence]
    elif options.file is not None:
        sentences = _read(options.file).splitlines()
    else:
        lines = _edited(HEADING + "".join(f"{claim.text}\n" for claim in before.persona.claims)).splitlines()
        sentences = [line for line in lines if not line.startswith(COMMENT)]
    number = person.edit(sentences)
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


def _edited(text: str) -> str:
    """The text after the user's editor; in a file only they can read, gone afterwards."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if not editor.strip():
        raise BadInput("no editor is set; set EDITOR, or pass --sentence or --file")
    with tempfile.TemporaryDirectory(prefix="personalrm-") as folder:
        path = Path(folder) / "persona.txt"
        path.write_text(text, encoding="utf-8")
        try:
            code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
        except (OSError, ValueError) as error:
            raise BadInput(f"editor {editor!r} cannot be started ({type(error).__name__}); set EDITOR") from None
        if code:
            raise BadInput(f"editor {editor!r} ended with code {code}; nothing was changed")
        return _read(str(path))
