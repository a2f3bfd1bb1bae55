"""The sharing out of a limit on open files: the node's own come first, and nobody's connections take them."""

import errno
import os
import socket
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import TooFewDescriptors
from node.system.descriptors import count_open, first_reserved, make_socket_factory, share_out


@given(limit=st.integers(1, 5_000), chains=st.integers(1, 4), peers=st.integers(0, 50), opened=st.integers(5, 80))
def test_all_shares_together_leave_what_the_node_needs(limit, chains, peers, opened):
    try:
        shares = share_out(limit, chains=chains, peers=peers, opened=opened)
    except TooFewDescriptors as error:
        needed = error.values["want"]
        assert limit < needed
        assert share_out(needed, chains=chains, peers=peers, opened=opened)
        return
    sizes = [size for share in (shares.peers, shares.clients) for size in astuple(share)]
    assert min(sizes) >= 1
    connections = sum(sizes) + chains * peers
    assert opened + connections <= first_reserved(limit, chains=chains) < limit
    assert abs(sum(sizes[:3]) - sum(sizes[3:])) <= 1


def test_a_node_with_three_chains_and_three_peers_runs_on_sixty_four():
    shares = share_out(64, chains=3, peers=3, opened=28)
    assert shares.peers.talking >= 2
    assert shares.clients.talking >= 2


def test_open_files_are_counted():
    before = count_open()
    with open(os.devnull), open(os.devnull):
        assert count_open() == before + 2
    assert count_open() == before


def test_a_connection_to_others_takes_nothing_of_the_reserve():
    address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))
    with make_socket_factory(first_reserved=count_open() + 100)(address) as made:
        number = made.fileno()
    with pytest.raises(OSError, match="for this node's stores") as caught:
        make_socket_factory(first_reserved=number)(address)
    assert caught.value.errno == errno.EMFILE
    with make_socket_factory(first_reserved=number + 1)(address) as made:
        assert made.fileno() == number, "the one that was refused has been closed"
