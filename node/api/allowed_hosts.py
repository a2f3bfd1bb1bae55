"""The names under which an API may be asked for: a page's own name can be made to lead anywhere, so to this node too.

A browser puts the name that its page was fetched under into the header Host. The owner of a name of the public DNS may
let it lead to 127.0.0.1 and read, as if it were its own, all that answers there.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from node.errors import ForeignHost
from node.system.addresses import ListenAddress


def check_host(header: str | None, listen: ListenAddress, names: Collection[str]) -> None:
    """Raise `ForeignHost` unless a request asks for an address, for localhost, for what is listened on, or for a name.

    Where an API listens on more than this machine's own addresses, a name without a dot will do as well, such as that
    of a container's service: the public DNS has none. A program may leave the header out, a browser does not.
    """
    if header is None:
        return
    host = _read_name(header)
    if host in ("localhost", listen.host, *names) or _is_address(host):
        return
    if host and "." not in host and not _is_loopback(listen.host):
        return
    raise ForeignHost(host=header[:80])


def _read_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
