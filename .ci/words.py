"""Count phrases and spellings that are on their way out; fails where there are more than `words.json` allows.

    python .ci/words.py                  counts beside ceilings; exit code 1 above one
    python .ci/words.py --list TITLE     every place, with its line
    python .ci/words.py --lower          write lower ceilings where fewer are left, never higher ones

What each phrase gives way to stands beside it in `PHRASES`. Ceilings only fall, so that what was mended stays so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

CEILINGS = Path(__file__).with_name("words.json")
TOPS = ("src", "benchmarks", "examples", "tests", "docs", ".ci", "README.md", "CONTRIBUTING.md", "Makefile")
ENDINGS = (".py", ".md", ".yaml", ".toml", ".txt", "Makefile")
LEFT_OUT = (".ci/words.py", "tests/test_words.py", "docs/log.md", "docs/decisions")
"""The list itself, and what tells of the past in the words of its time."""

_COMPARATIVES = (
    "longer|larger|smaller|higher|lower|later|earlier|better|worse|slower|faster|greater|shorter|more|less|fewer|other"
)
_LOOP_NAMES = "one|found|told|own|each"
_IZE = (
    "standard|optim|normal|initial|summar|recogn|organ|personal|general|minim|maxim|serial|token|random|regular|"
    "penal|priorit|visual|categor|equal|final|local|material|memor|real|special|stabil|util|anonym|vector|linear"
)
PHRASES: Mapping[str, str] = {
    "is no X": rf"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!(?:{_COMPARATIVES})\b)[a-z]",
    "loop variable that names nothing": rf"\bfor (?:\(?\w+, )*\(?(?:{_LOOP_NAMES})\)?(?:, \w+\)?)* in\b",
    "British spelling": rf"(?i)(?:(?:{_IZE})is(?:e|es|ed|er|ers|ing|ation)|colour|behaviour|favour|neighbour|honour"
    r"|labell(?:ed|ing)|modell(?:ed|ing)|cancell(?:ed|ing)|analys(?:e|ed|ing)\b|centred?\b|artefact|misspelt)\w*",
    "metaphor of ours": r"\b(?:doors?|house|ROOMS)\b|\b(?:this|every|which|lower|upper|its) rooms?\b"
    r"|(?<!np\.)(?<!math\.)\bfloors?\b(?!\()",
    "two names for published settings": r"\bFAITHFUL\b",
    "text that is not in the repository": r"\b(?:the specification|promises? \d|reward_models\.md|STYLE\b|issue \d+)",
}
"""Pattern by title. Instead: "is not a X"; the noun that is held; American spelling; what is meant; `.faithful()`;
the thing itself written out. Where a saved file has an old spelling as its key, that key stays counted."""


def read_lines(checkout: Path) -> Iterator[tuple[str, int, str]]:
    """Every line that is counted: file, number and text."""
    for top in TOPS:
        place = checkout / top
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            name = path.relative_to(checkout).as_posix()
            if path.is_file() and name.endswith(ENDINGS) and not name.startswith(LEFT_OUT):
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    yield name, number, line


def find(checkout: Path) -> dict[str, list[str]]:
    """Every place of every phrase: `file:number: line`, as often as the line holds it."""
    places: dict[str, list[str]] = {title: [] for title in PHRASES}
    patterns = {title: re.compile(pattern) for title, pattern in PHRASES.items()}
    for name, number, line in read_lines(checkout):
        for title, pattern in patterns.items():
            places[title] += [f"{name}:{number}: {line.strip()}" for _ in pattern.finditer(line)]
    return places


def lowered(ceilings: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """The ceilings, fallen to the counts; a phrase that is new has its count for a ceiling."""
    return {title: min(count, ceilings.get(title, count)) for title, count in counts.items()}


def above(ceilings: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
    """A sentence for each phrase of which there are more than allowed."""
    return [
        f"{count} of {title!r}, {ceilings.get(title, 0)} are allowed; see python .ci/words.py --list {title!r}"
        for title, count in counts.items()
        if count > ceilings.get(title, 0)
    ]


def main(arguments: list[str]) -> int:
    """Count, list or lower; gives back the exit code."""
    places = find(Path(__file__).parents[1])
    if arguments[:1] == ["--list"]:
        print("\n".join(places[arguments[1]]))
        return 0
    counts = {title: len(found) for title, found in places.items()}
    ceilings = json.loads(CEILINGS.read_text(encoding="utf-8")) if CEILINGS.exists() else {}
    if arguments == ["--lower"]:
        CEILINGS.write_text(json.dumps(lowered(ceilings, counts), indent=1) + "\n", encoding="utf-8")
        return 0
    for sentence in above(ceilings, counts):
        print(f"words: {sentence}", file=sys.stderr)
    return 1 if above(ceilings, counts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
