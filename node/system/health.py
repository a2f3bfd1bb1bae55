"""The health check of a container: it runs every few seconds, so it imports little.

python -m node.system.health            the node of $GRIDMERIT_NODE answers, at the address that its node.toml has
python -m node.system.health FILE       FILE has been touched within the last minute
"""

from __future__ import annotations

import os
import socket
import sys
import time
import tomllib
from pathlib import Path

from node.system.addresses import ListenAddress, parse_listen

_FILE = "node.toml"
_USUAL = ListenAddress("127.0.0.1", 9200)
_REQUEST = b"GET /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n"
_PATIENCE_S = 4.0
_FRESH_S = 60.0


def find_address(place: str | None) -> ListenAddress:
    """The address of a node's API: by the node.toml of `place`, or of this directory, where that has one.

    Raises `OSError`, `ValueError` or `KeyError` where the file does not say.
    """
    directory = Path() if place is None else Path(place)
    file = directory if directory.name == _FILE else directory / _FILE
    if place is None and not file.exists():
        return _USUAL
    return parse_listen(tomllib.loads(file.read_text(encoding="utf-8-sig"))["api_listen"]).nearest


def is_answering(address: tuple[str, int], *, patience_s: float = _PATIENCE_S) -> bool:
    """Return True if a status comes back in time."""
    try:
        with socket.create_connection(address, timeout=patience_s) as connection:
            connection.sendall(_REQUEST)
            return connection.recv(64).split()[1:2] == [b"200"]
    except OSError:
        return False


def is_fresh(file: str, *, within_s: float = _FRESH_S) -> bool:
    """True for a file that has been touched lately; what is dated ahead was touched before the clock was set back."""
    try:
        return abs(time.time() - os.stat(file).st_mtime) < within_s  # noqa: TID251 - a driver, and of another process's file
    except OSError:
        return False


def check(arguments: list[str]) -> str:
    """A line on what is wrong, empty where all is well."""
    if arguments:
        return "" if is_fresh(arguments[0]) else f"{arguments[0]} has not been touched within {_FRESH_S:.0f} s"
    place = os.environ.get("GRIDMERIT_NODE")
    try:
        address = find_address(place)
    except (OSError, ValueError, KeyError) as error:
        return f"the node.toml of {place or 'this directory'} does not say where to ask: {error}"
    return "" if is_answering(address) else f"{address} does not answer"


if __name__ == "__main__":
    sys.exit(check(sys.argv[1:]) or 0)
