"""File descriptors, shared out: stores and guard files first, then connections to peers, from peers, and from clients.

A guard file that cannot be opened ends the node, as it must. So nothing that others can ask for may take its place:
connections are counted, and none has a number among the last, which are for what the node itself opens now and then.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.errors import TooFewDescriptors

_ENOUGH = 65_536  # more than this node has use for
_OF_EACH_CHAIN = 4  # its guard file; its store's next log, a table that is written, one that is read
_OF_THE_NODE = 6  # certificates, contacts, the DNS, and a connection that is being refused
_LEAST = 8  # connections from others


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The connections that one port takes: that have sent a request, that have not, and that come in at one moment."""

    talking: int
    silent: int
    at_once: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The shares of the two ports, neither at the other's cost."""

    peers: Share
    clients: Share


def raise_limit() -> None:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def get_limit() -> int:
    """The number of files that this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _ENOUGH if soft == resource.RLIM_INFINITY else soft


def count_open() -> int:
    """The number of files that this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # the listing's own


def first_reserved(limit: int, *, chains: int) -> int:
    """The lowest number that no connection may have.

    The system gives the lowest number that is free, so as long as none has it, all above are there for the node itself.
    """
    return limit - _OF_THE_NODE - _OF_EACH_CHAIN * chains


def share_out(limit: int, *, chains: int, peers: int, opened: int) -> Shares:
    """Divide a limit between the two ports, where so many files are `opened` by then, the ports themselves included.

    A connection to each of `peers` for each chain finds a descriptor. Raises `TooFewDescriptors`.
    """
    left = first_reserved(limit, chains=chains) - opened - chains * peers
    if left < _LEAST:
        raise TooFewDescriptors(limit=limit, want=limit - left + _LEAST)
    clients = left // 2
    return Shares(peers=_divide(left - clients), clients=_divide(clients))


def _divide(places: int) -> Share:
    third = places // 3
    at_once = max(1, third // 3)
    silent = max(1, third - at_once)
    return Share(talking=places - silent - at_once, silent=silent, at_once=at_once)


def make_socket_factory(first_reserved: int) -> Callable[[Any], socket.socket]:
    """The maker of sockets for connections to others; it raises `OSError` where only the reserve is left."""

    def make(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        if made.fileno() >= first_reserved:
            made.close()
            raise OSError(errno.EMFILE, "the files left are for this node's stores")
        return made

    return make
