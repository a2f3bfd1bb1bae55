"""Addresses as text: `host:port`, an IPv6 address in brackets."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import NamedTuple

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # of this machine, where all of its addresses are listened at
ANY_HOST = tuple(_LOOPBACK)
_LAST_PORT = 65_535
_PORT_DIGITS = 5


class ListenAddress(NamedTuple):
    """The address that a server listens at; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self}"

    @property
    def nearest(self) -> ListenAddress:
        """The address at which programs of the same machine reach it."""
        return self._replace(host=_LOOPBACK.get(self.host, self.host))


def parse_listen(value: str) -> ListenAddress:
    """`host:port`. Raises `ValueError` with what is wanted."""
    host, colon, port = value.rpartition(":")
    if (right := add_brackets(value)) is not None:
        raise ValueError(f'an IPv6 address in brackets, "{right if "]:" in right else f"{right}:9200"}"')
    if not colon or not host or not (port.isascii() and port.isdecimal()):
        raise ValueError('host:port, for example "127.0.0.1:9200"')
    if len(port) > _PORT_DIGITS or int(port) > _LAST_PORT:
        raise ValueError(f"a port from 0 to {_LAST_PORT}")
    if not host.startswith("["):
        return ListenAddress(host, int(port))
    if not host.endswith("]") or not _is_ipv6(host[1:-1]):
        raise ValueError('an IPv6 address in the brackets, for example "[::1]:9200"')
    return ListenAddress(host[1:-1], int(port))


def add_brackets(place: str) -> str | None:
    """The right form of an IPv6 address, with a port or without, that lacks its brackets; None where it lacks none.

    What could be either is taken for an address with a port.
    """
    if place.count(":") < 2 or place.startswith("["):
        return None
    host, _, port = place.rpartition(":")
    if _is_ipv6(host) and port.isdecimal():
        return f"[{host}]:{port}"
    return f"[{place}]" if _is_ipv6(place) else "[::1]"


def add_brackets_to_url(url: str) -> str | None:
    """The same of a URL."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    right = add_brackets(place)
    return None if right is None else f"{scheme}{separator}{right}{slash}{path}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
