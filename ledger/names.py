"""Names as people write them: one spelling of each, and none that cannot be told from another.

"Müller" is five letters and an umlaut that is one character or two; both are the same name. Keys tell members apart,
and members are named in ASCII alone: this is for the names of owners and places that people write freely.
"""

from __future__ import annotations

import re
import unicodedata

from ledger.errors import BadName

_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")  # with letters that look alike
# What Unicode has for printable and yet draws nothing: joiners, fillers, variation selectors, the blank of Braille.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\ufe00-\ufe0f\U0001d159\U000e0100-\U000e01ef]"
)
# Capital and small letters of Cyrillic, then of Greek, and the Latin ones that they look like; then hyphens.
_LOOKALIKES = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425"
    "\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0443\u0445"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03bd"
    "\u2010\u2012\u2013\u2212",
    "ABESIJKMHOPCTYXaesijopcyxABEZHIKMNOPTYXov----",
)


def normalise_name(text: str) -> str:
    """The one spelling of a name: composed (NFC), with single spaces and none around it.

    Raises `BadName` where it cannot be told from another by reading.
    """
    name = " ".join(part for part in unicodedata.normalize("NFC", text).split(" ") if part)
    hidden = next((char for char in name if not char.isprintable() or _BLANK.match(char)), None)
    if hidden is not None:
        raise BadName(name=name, detail=f"nobody sees its character U+{ord(hidden):04X}")
    plain = unicodedata.normalize("NFKC", name)
    if plain != name:
        raise BadName(name=name, detail=f"it has characters that stand for others: write {plain!r}")
    scripts = {unicodedata.name(char, "").partition(" ")[0] for char in name if char.isalpha()}
    mixed = [script.capitalize() for script in _SCRIPTS if script in scripts]
    if len(mixed) > 1:
        raise BadName(name=name, detail=f"it mixes {' and '.join(mixed)} letters, which look alike")
    return name


def is_normal(text: str) -> bool:
    """True for a text that is a name in its one spelling."""
    try:
        return normalise_name(text) == text
    except BadName:
        return False


def get_looks(name: str) -> str:
    """The same for two names that look the same, though their letters are of different scripts."""
    return name.translate(_LOOKALIKES)
