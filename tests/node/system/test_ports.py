"""The ports of a node: both or neither, by every name, and one that is taken is named with its setting."""

import socket

import pytest

from node.errors import AddressInUse
from node.system.addresses import ListenAddress
from node.system.ports import take_port, take_ports
from tests.support.local_network import choose_loopback

ANY_PORT = ListenAddress("127.0.0.1", 0)


def place_of(listening):
    return ListenAddress(*listening.getsockname()[:2])


def close_all(sockets):
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize("setting", ["peer_listen", "api_listen"])
def test_one_that_is_taken_is_named_with_its_setting(setting):
    with socket.create_server(ANY_PORT) as taken:
        busy = place_of(taken)
        with pytest.raises(AddressInUse) as caught:
            take_ports(**{"peer_listen": ANY_PORT, "api_listen": ANY_PORT, setting: busy})
    text = f"cannot listen on {busy}, which is {setting} in node.toml: Address already in use"
    assert str(caught.value) == text


def test_nothing_stays_open_where_the_second_is_taken():
    [first] = take_port(ANY_PORT, "peer_listen")
    free = place_of(first)
    first.close()
    with socket.create_server(ANY_PORT) as taken, pytest.raises(AddressInUse) as caught:
        take_ports(peer_listen=free, api_listen=place_of(taken))
    close_all(take_port(free, "peer_listen"))  # though the error, and what it refers to, lives on
    del caught


def test_a_port_that_is_held_is_taken_though_nobody_accepts():
    held = take_port(ANY_PORT, "api_listen")
    try:
        with pytest.raises(AddressInUse):
            take_port(place_of(held[0]), "api_listen")
        with socket.create_connection(place_of(held[0])):
            pass  # it waits
    finally:
        close_all(held)


def test_a_name_stands_for_every_address_it_has_here_at_one_port():
    held = take_port(ListenAddress("localhost", 0), "api_listen")
    try:
        assert len({place_of(listening).port for listening in held}) == 1
        known = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {place_of(listening).host for listening in held} <= known
    finally:
        close_all(held)


@pytest.mark.parametrize(
    ("host", "detail"), [("192.0.2.1", "Cannot assign requested address"), ("no.such.invalid", "")]
)
def test_a_host_that_is_not_here_is_said_so(host, detail):
    with pytest.raises(AddressInUse, match=f"cannot listen on {host}:9, .*{detail}$"):
        take_port(ListenAddress(host, 9), "peer_listen")


def test_ipv6_and_ipv4_are_two_ports():
    """On a machine that has both: else `::` is refused, and 0.0.0.0 is what there is."""
    if choose_loopback() != "::1":
        with pytest.raises(AddressInUse):
            take_port(ListenAddress("::", 0), "peer_listen")
    every = ListenAddress("::" if choose_loopback() == "::1" else "0.0.0.0", 0)
    [held] = take_port(every, "peer_listen")
    other = ListenAddress("0.0.0.0", place_of(held).port if held.family == socket.AF_INET6 else 0)
    close_all((held, *take_port(other, "peer_listen")))
