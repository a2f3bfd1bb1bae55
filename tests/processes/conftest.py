"""Real nodes on 127.0.0.1."""

from tests.support.local_network import make_local as make_local
