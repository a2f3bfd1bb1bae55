"""Holds: how a companion keeps the bodies that it has still to read, such as an exporter that archives a chain.

It writes a file with its own name into `holds/` beside the ledger: the lowest height that it has not read yet. Nothing
from the lowest such height on is pruned, until the file says a higher one or is gone. Only who may write to the node's
directory can hold anything.
"""

from __future__ import annotations

import re
from pathlib import Path

from node.errors import BadHold

MAX_HOLDS = 16
_DIRECTORY = "holds"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_BYTES, _MAX_DIGITS = 32, 20


def read_holds(chain_directory: Path) -> dict[str, int]:
    """The height that each companion holds, by its name. Raises `BadHold`."""
    directory = chain_directory / _DIRECTORY
    try:
        files = sorted(directory.iterdir()) if directory.exists() else []
        named = [file for file in files if _NAME.fullmatch(file.name)]  # others are drafts on their way to a name
        if len(named) > MAX_HOLDS:
            raise BadHold(path=directory, detail=f"{len(named)} companions, at most {MAX_HOLDS} are heard")
        return {file.name: _read_height(file) for file in named}
    except OSError as error:
        raise BadHold(path=directory, detail=error.strerror or str(error)) from None


def _read_height(file: Path) -> int:
    with file.open("rb") as opened:
        text = opened.read(_MAX_BYTES).strip()
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise BadHold(path=file, detail="it must hold one height in decimal digits")
    return int(text)
