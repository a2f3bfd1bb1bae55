"""Nodes on 127.0.0.1 and nodes in memory, for tests of the peer."""

from tests.support.local_network import make_local as make_local
from tests.support.market_nodes import make_runtime as make_runtime
from tests.support.market_nodes import make_world as make_world
from tests.support.market_nodes import neighbours as neighbours
from tests.support.market_nodes import story as story
from tests.support.market_nodes import story_by_merit as story_by_merit
from tests.support.market_nodes import world as world
