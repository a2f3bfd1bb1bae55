"""The program around the peer: all that a person types or reads.

Commands, the making and running of networks, players, the demonstration and the paper's report. Above `simulation`,
and imported by nothing below it. For programs there is `from gridmerit import Client`, a node's API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.api.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """Import the client when it is asked for: `gridmerit --help` needs no HTTP."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from node.api.client import Client

    return Client
