"""The version of the protocol between peers, `major.minor`: every batch comes with it, in the head of its request.

It stands outside the batch, for it says how that is to be read. Nodes of different major versions do not understand
each other, and refuse each other by name. A later minor version adds kinds of messages, which older nodes leave out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from node.errors import OtherWireVersion

HEADER = "Gridmerit-Wire"
_FORM = re.compile(r"([1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")


class WireVersion(NamedTuple):
    """A version of the protocol between peers; the later one is the greater."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OURS = WireVersion(2, 1)
_UNNAMED = "1.0"


def check_version(text: str | None) -> WireVersion:
    """The version that a request names; none stands for 1.0, from before it was named.

    Raises `OtherWireVersion` where the two would not understand each other.
    """
    named = _UNNAMED if text is None else text
    found = _FORM.fullmatch(named)
    if found is None or int(found[1]) != OURS.major:
        raise OtherWireVersion(actual=named[:16], expected=str(OURS))
    return WireVersion(int(found[1]), int(found[2]))
