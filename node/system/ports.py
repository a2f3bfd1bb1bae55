"""The ports of a node, taken before it opens anything else: so it starts whole, or not at all."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from node.errors import AddressInUse
from node.system.addresses import ListenAddress

_BACKLOG = 128  # connections that the system holds until they are accepted
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # as of ::1, where a machine has no IPv6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The sockets of both ports."""

    peers: tuple[socket.socket, ...]
    api: tuple[socket.socket, ...]

    def close(self) -> None:
        for listening in (*self.peers, *self.api):
            listening.close()


def take_ports(*, peer_listen: ListenAddress, api_listen: ListenAddress) -> Ports:
    """Listen at both, or at neither. Raises `AddressInUse`."""
    ports = Ports(peers=take_port(peer_listen, "peer_listen"), api=())
    try:
        return replace(ports, api=take_port(api_listen, "api_listen"))
    except AddressInUse:
        ports.close()
        raise


def take_port(address: ListenAddress, setting: str) -> tuple[socket.socket, ...]:
    """Listen at an address, which is `setting` of node.toml: a socket for each that its host's name stands for here.

    Connections wait until somebody accepts them. Raises `AddressInUse`.
    """
    with ExitStack() as stack:
        try:
            taken = _take(address, stack)
        except OSError as error:
            number = error.errno or 0  # negative where a name is not known
            detail = os.strerror(number) if number > 0 else error.strerror or str(error)
            raise AddressInUse(address=str(address), setting=setting, detail=detail) from None
        stack.pop_all()
    return taken


def lengthen_queue(listening: socket.socket) -> None:
    """Let more connections wait with the system than are accepted at a time."""
    listening.listen(_BACKLOG)


def _take(address: ListenAddress, stack: ExitStack) -> tuple[socket.socket, ...]:
    host, port = address
    taken: list[socket.socket] = []
    missing: OSError | None = None
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, place in dict.fromkeys(places):
        listening = socket.socket(family, kind, protocol)
        stack.callback(listening.close)
        try:
            _listen(listening, (place[0], port, *place[2:]))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            missing = error
            continue
        taken.append(listening)
        port = listening.getsockname()[1]  # the same for all, where the system chooses
    if missing is not None and not taken:
        raise missing
    return tuple(taken)


def _listen(listening: socket.socket, place: tuple[Any, ...]) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind(place)
    lengthen_queue(listening)
