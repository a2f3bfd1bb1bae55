"""The health check of a container: it runs every few seconds, so it imports little.

python -m node.system.health            the node of this machine answers
python -m node.system.health FILE       FILE has been touched within the last minute
"""

from __future__ import annotations

import os
import socket
import sys
import time

_ADDRESS = ("127.0.0.1", 9200)
_REQUEST = b"GET /v1/status HTTP/1.0\r\nHost: localhost\r\n\r\n"
_PATIENCE_S = 4.0
_FRESH_S = 60.0


def is_answering(address: tuple[str, int] = _ADDRESS, *, patience_s: float = _PATIENCE_S) -> bool:
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


if __name__ == "__main__":
    sys.exit(0 if (is_fresh(sys.argv[1]) if sys.argv[1:] else is_answering()) else 1)
