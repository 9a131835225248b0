"""What commands print: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from personalrm.errors import BadInput
from personalrm.wording import count, visible

if TYPE_CHECKING:
    from personalrm.preferences.pairs import PreferencePair
    from personalrm.preferences.personal_prompts import PersonalPrompt
    from personalrm.preferences.personas import Claim

WIDTH = 96
BAR = 24
MINUTE_S = 60.0
"""Between two lines in a log."""
MOST_LISTED = 10
"""Bad rows that are listed where they stop a command, and users or cells in a summary."""
BEGINNING = 72
"""Characters of a completion on a terminal."""
CHARACTERS = 240
"""Of a completion that is shown in a personal prompt."""
BY_HAND, UNSUPPORTED = "written by hand", "no supporting pair"
_TOKEN = os.urandom(8).hex()
BOLD, PLAIN = f"\x0e{_TOKEN}1", f"\x0e{_TOKEN}0"
"""Stand for the terminal's own codes, which somebody's text may hold; this token it cannot know."""
CLEAR_LINE = "\r\033[K"


class Harmless:
    """A terminal that shows characters that would steer it as JSON escapes them.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unescaped = stream

    def write(self, text: str) -> int:
        """Write the text, escaped."""
        parts = text.replace(PLAIN, f"{BOLD}{PLAIN}").split(BOLD)
        shown = [visible(parts[0])]
        for part in parts[1:]:
            is_end = part.startswith(PLAIN)
            shown.append(("\033[0m" if is_end else "\033[1m") + visible(part.removeprefix(PLAIN) if is_end else part))
        return self.unescaped.write("".join(shown))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unescaped, name)


def harmless(stream: TextIO) -> Any:
    """The stream, with what would steer it escaped if a person is looking; pipes get every byte."""
    return Harmless(stream) if stream.isatty() else stream


def redraw(line: str, stream: TextIO) -> None:
    """Put a line of ours in the place of the last; its code is the one thing that goes past `Harmless`."""
    print(f"{CLEAR_LINE}{visible(line)}", end="", file=getattr(stream, "unescaped", stream), flush=True)


def print_error(error: object, code: int) -> int:
    """One sentence on stderr; returns the exit code."""
    print(f"personalrm: {error}", file=sys.stderr)
    return code


def confirm(is_confirmed: bool, what: str, done: str) -> None:
    """Ask on the terminal, unless --yes was given; without a terminal nobody is asked, and the answer is no.

    Args:
        is_confirmed: Whether --yes was given.
        what: What would be done, such as `erase 2 versions of u17`.
        done: What was not done otherwise, such as `erased`.

    Raises:
        BadInput: If the answer is no.
    """
    if not is_confirmed and sys.stdin.isatty():
        is_confirmed = input(f"{what}? [y/N] ").strip().lower() in ("y", "yes")
    if not is_confirmed:
        raise BadInput(f"nothing was {done}; pass --yes to {what}")


def print_problems(problems: Iterable[object]) -> int:
    """A sentence on stderr for each; returns the exit code, 3 where there is any."""
    return max([print_error(problem, 3) for problem in problems], default=0)


def print_bad_rows(bad: Sequence[object], *, is_skipping: bool, undone: str) -> bool:
    """List rows that cannot be read: all that are left out, or the first of those that stop the command.

    Args:
        bad: What is wrong with each.
        is_skipping: Whether the command goes on without them.
        undone: What was not done because of them, such as `nothing was scored`.

    Returns:
        Whether the command stops.
    """
    is_stopped = bool(bad) and not is_skipping
    for error in bad[:MOST_LISTED] if is_stopped else bad:
        print_error(error, 2)
    if is_stopped:
        first = f", the first {MOST_LISTED} above" if len(bad) > MOST_LISTED else ""
        print_error(f"{count(len(bad), 'bad row')}{first}, {undone}; fix them or pass --skip-bad", 2)
    return is_stopped


def print_counts(*counted: tuple[int, str, str]) -> None:
    """A line for each number that is not 0: the number with its noun, and what is the matter with them."""
    for number, noun, what in counted:
        if number:
            print(f"{count(number, noun)} {what}")


def print_json(value: Any) -> None:
    """JSON for machines, one document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def bold(text: str) -> str:
    """Bold on a terminal that wants colors, else unchanged."""
    wants = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return f"{BOLD}{text}{PLAIN}" if wants else text


def print_wrapped(text: str, indent: str = "") -> None:
    """Text folded to a readable width, every line indented."""
    for paragraph in text.splitlines():
        print(textwrap.fill(paragraph, WIDTH, initial_indent=indent, subsequent_indent=indent) or indent.rstrip())


def shortened(text: str, characters: int) -> str:
    """The text in one line, cut with an ellipsis."""
    return textwrap.shorten(" ".join(text.split()), characters, placeholder=" ...")


def ranked_lines(order: Sequence[int], rewards: Sequence[float], completions: Sequence[str]) -> list[str]:
    """Completions best first, a line each: number in the row (from 1), reward, and on a terminal how each begins.

    Elsewhere the texts stay out: what a command prints into a file is often a log.
    """
    is_seen = sys.stdout.isatty()
    width = len(str(len(order)))
    beginnings = [f"  {shortened(text, BEGINNING)}" if is_seen else "" for text in completions]
    return [f"  {place + 1:{width}}  {rewards[place]:+.3f}{beginnings[place]}" for place in order]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int] = ()) -> None:
    """Columns aligned by spaces; the first and those numbered in `left` to the left, the others to the right."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if place in (0, *left) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())


def shown_date(date: str) -> str:
    """A date of the index (ISO 8601 in UTC) for people, to the minute; another text stays as it is.

    >>> shown_date("2026-11-25T12:30:59Z")
    '2026-11-25 12:30 UTC'
    """
    day, _, clock = date.partition("T")
    return f"{day} {clock[:5]} UTC" if clock.endswith("Z") else date


def print_prompt(prompt: PersonalPrompt, *, evidence: bool) -> None:
    """The persona with its evidence, what it rests on, and what limits it."""
    from personalrm.stylometry.sentences import NOT_USED, strongest_leanings, unused_sentences

    n_pairs = count(len(prompt.roles), "pair")
    print(bold(prompt.user_id) + f"  learned from {n_pairs} by the {prompt.judge} engine")
    unused = unused_sentences(prompt) if prompt.weights else []
    for claim in prompt.persona.claims:
        marks = [BY_HAND] * (claim.text not in prompt.written) + [NOT_USED] * (claim.text in unused)
        marks += [UNSUPPORTED] * (not claim.supporting)
        mark = f"  ({'; '.join(marks)})" if marks else ""
        print_wrapped(f"- {claim.text}{mark}", "  ")
        if evidence:
            print_evidence(claim, [demonstration.shown.pair for demonstration in prompt.demonstrations])
    if not prompt.persona.claims:
        print_wrapped(prompt.persona.note or "No persona.", "  ")
        if leanings := strongest_leanings(prompt):
            print_wrapped(f"Verdicts lean towards {', '.join(leanings)}: too uncertain for a sentence.", "  ")
    if prompt.demonstrations:
        print(f"  demonstrations: {', '.join(d.shown.pair.id for d in prompt.demonstrations)}")
    for note in prompt.notes:
        print_wrapped(f"note: {note}", "  ")
    if n_loose := sum(not claim.supporting for claim in prompt.persona.claims):
        print(f"  {n_loose} of {count(len(prompt.persona.claims), 'sentence')} without a supporting pair")
    if unused:
        print(f"  {len(unused)} of {count(len(prompt.persona.claims), 'sentence')} {NOT_USED}")


def print_evidence(claim: Claim, shown: Sequence[PreferencePair] = ()) -> None:
    """The pairs behind a sentence, and the first of them whose text the prompt holds."""
    print_wrapped(f"for:     {', '.join(claim.supporting) or 'no pair'}", "      ")
    print_wrapped(f"against: {', '.join(claim.contradicting) or 'no pair'}", "      ")
    for pair in [pair for pair in shown if pair.id in claim.supporting][:1]:
        print_pair(pair, "      ")


def print_pair(pair: PreferencePair, indent: str) -> None:
    """A choice as people read it, shortened."""
    asked = shortened(pair.conversation[-1].content, CHARACTERS // 2)
    print_wrapped(f"such as {pair.id}, asked: {asked}", indent)
    print_wrapped(f"chose:    {shortened(pair.chosen, CHARACTERS)}", indent + "  ")
    print_wrapped(f"not this: {shortened(pair.rejected, CHARACTERS)}", indent + "  ")


class EveryMinute:
    """A line on stderr every minute while a command works, where stderr is a file or a pipe; a terminal gets none.

    Args:
        line: Says how far it is; called in another thread.
        stream: Where to; stderr where None.
        pause_s: Between two lines.
    """

    def __init__(self, line: Callable[[], str], *, stream: TextIO | None = None, pause_s: float = MINUTE_S) -> None:
        self._line, self._stream, self._pause_s = line, stream or sys.stderr, pause_s
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._print, name="personalrm-progress", daemon=True)

    def __enter__(self) -> EveryMinute:
        if not self._stream.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()

    def _print(self) -> None:
        while not self._ends.wait(self._pause_s):
            with suppress(OSError, ValueError):  # whoever reads is gone; the command goes on
                print(self._line(), file=self._stream, flush=True)


class Progress:
    """A bar on stderr while a command works, a line a minute where stderr is not a terminal."""

    def __init__(self, what: str, total: int | None, unit: str = "users") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._since, self._drawn = 0, time.monotonic(), 0.0
        self._shown = sys.stderr.isatty()
        self._note = ""
        self._lines = EveryMinute(self._line)

    def __enter__(self) -> Progress:
        self._lines.__enter__()
        return self

    def step(self, note: str = "") -> None:
        """One more is done; the note stands behind the bar."""
        self._done += 1
        self._note = f", {note}" if note else ""
        if self._shown and time.monotonic() - self._drawn > 0.1:
            self._drawn = time.monotonic()
            print(f"\r\033[K{self._line()}", end="", file=sys.stderr, flush=True)

    def _line(self) -> str:
        elapsed = time.monotonic() - self._since
        if not self._total:
            return f"{self._what} {self._done} {self._unit}, {elapsed:.0f} s{self._note}"
        full = BAR * self._done // self._total
        bar = f" [{'#' * full}{'.' * (BAR - full)}]" if self._shown else ""
        left = f"{elapsed / self._done * (self._total - self._done):.0f} s left" if self._done else f"{elapsed:.0f} s"
        return f"{self._what}{bar} {self._done}/{self._total} {self._unit}, {left}{self._note}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.__exit__(kind, error, trace)
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
