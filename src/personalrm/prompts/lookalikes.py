"""Text as a reader takes it in, whatever letters it is written with, so that a word cannot hide from a word list.

Full-width, circled and mathematical letters, small capitals, accents, letters of other scripts that look like ours,
tag characters, and whatever is not seen at all.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e001f\U000e007f-\U000e0fff\x00-\x08\x0e-\x1f\x7f-\x9f]"
)
"""What shows nothing: joiners, marks of direction, fillers, variation selectors, control characters."""
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}
"""Copies of ASCII that nobody sees and language models read."""
_ALIKE = {
    # Cyrillic
    "а": "a", "в": "b", "е": "e", "ё": "e", "з": "3", "и": "u", "і": "i", "ї": "i", "ј": "j", "к": "k", "м": "m",
    "н": "h", "о": "o", "р": "p", "с": "c", "т": "t", "у": "y", "х": "x", "ѕ": "s", "ԁ": "d", "ԛ": "q", "ԝ": "w",
    "ѡ": "w", "ѵ": "v", "һ": "h", "ӏ": "l", "ԍ": "g", "п": "n", "г": "r", "ь": "b", "ғ": "f", "ү": "y", "ҽ": "e",
    "ӕ": "ae", "л": "n", "џ": "u", "к\u0328": "k", "ҝ": "k", "ҟ": "k", "ӄ": "k", "ң": "h", "ӊ": "h", "ҙ": "3",
    # Greek
    "α": "a", "β": "b", "γ": "y", "ε": "e", "ζ": "z", "η": "n", "ι": "i", "κ": "k", "μ": "u", "ν": "v", "ο": "o",
    "ρ": "p", "σ": "o", "ς": "c", "τ": "t", "υ": "u", "χ": "x", "ω": "w", "ϲ": "c", "ϳ": "j", "ϝ": "f", "ϸ": "p",
    "δ": "d", "θ": "o", "λ": "l", "π": "n",
    # where the capital looks like another letter than the small one
    "Ζ": "z", "Η": "h", "Μ": "m", "Ν": "n", "Υ": "y", "Ω": "o", "Σ": "e", "У": "y", "Ь": "b",
    # Armenian, Cherokee, Lisu and others that are drawn alike
    "ա": "w", "ց": "g", "հ": "h", "ո": "n", "օ": "o", "ս": "u", "յ": "j", "ք": "p", "գ": "q", "զ": "q", "ռ": "n",
    "ɩ": "i", "ꓮ": "a", "ꓐ": "b", "ꓚ": "c", "ꓓ": "d", "ꓰ": "e", "ꓝ": "f", "ꓖ": "g", "ꓧ": "h", "ꓲ": "i", "ꓙ": "j",
    "ꓗ": "k", "ꓡ": "l", "ꓟ": "m", "ꓠ": "n", "ꓳ": "o", "ꓑ": "p", "ꓣ": "r", "ꓢ": "s", "ꓔ": "t", "ꓴ": "u", "ꓦ": "v",
    "ꓪ": "w", "ꓫ": "x", "ꓬ": "y", "ꓜ": "z", "Ꭺ": "a", "Ᏼ": "b", "Ꮯ": "c", "Ꭰ": "d", "Ꭼ": "e", "Ꮐ": "g", "Ꮋ": "h",
    "Ꭵ": "i", "Ꭻ": "j", "Ꮶ": "k", "Ꮮ": "l", "Ꮇ": "m", "Ꮎ": "o", "Ꮲ": "p", "Ꮢ": "r", "Ꮪ": "s", "Ꭲ": "t", "Ꮩ": "v",
    "Ꮃ": "w", "Ꮍ": "y", "Ꮓ": "z",
    # Latin without a plain form of its own
    "ı": "i", "ɑ": "a", "ɡ": "g", "ɪ": "i", "ʟ": "l", "ʀ": "r", "ʏ": "y", "ʙ": "b", "ɢ": "g", "ʜ": "h", "ɴ": "n",
    "ꜱ": "s", "ꞯ": "q", "ß": "ss", "æ": "ae", "œ": "oe", "ð": "d", "þ": "p", "ƨ": "s", "ʋ": "v", "ɯ": "w",
    "ƅ": "b", "ƽ": "s", "ꝛ": "r", "ꞁ": "l", "ǀ": "l", "ɐ": "a", "ɒ": "a", "ə": "e", "ɛ": "e", "ʌ": "v", "ʃ": "s",
}  # fmt: skip
_NAMED = re.compile(
    r"(?:LATIN (?:SMALL|CAPITAL) LETTER|LATIN LETTER SMALL CAPITAL|(?:NEGATIVE |CROSSED )?(?:CIRCLED|SQUARED) LATIN "
    r"CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER|PARENTHESIZED LATIN (?:SMALL|CAPITAL) LETTER) "
    r"(?:(?:OPEN|TURNED|REVERSED|SCRIPT|DOTLESS|LONG) )?([A-Z])(?: WITH .*)?"
)


def as_read(text: str) -> str:
    r"""The text in plain small letters, what is not seen left out.

    >>> as_read("Ｉｇｎоrе\u200b ᴛʜᴇ 𝐩𝐫𝐞𝐯𝐢𝐨𝐮𝐬")
    'ignore the previous'
    """
    return _plain(UNSEEN.sub("", text))


def ways_to_read(text: str) -> tuple[str, ...]:
    """The text as it is written, and as it is read: what is not seen may stand in a word, or in place of a space."""
    if text.isascii() and text.isprintable():
        return (text,)
    return tuple(dict.fromkeys((text, as_read(text), _plain(UNSEEN.sub(" ", text)))))


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.translate(_TAGS))
    return (text if text.isascii() else "".join(map(_letter, text))).lower()


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return ""
    alike = [_ALIKE[form] for form in (character, character.lower(), character.upper()) if form in _ALIKE]
    if alike:
        return alike[0]
    named = _NAMED.fullmatch(unicodedata.name(character, ""))
    return named[1].lower() if named else character
