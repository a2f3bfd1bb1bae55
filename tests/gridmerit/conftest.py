"""A command line in this process, and nodes to ask, for tests of the program."""

from tests.support.coin_lab import coin as coin
from tests.support.local_network import gridmerit as gridmerit
from tests.support.local_network import make_local as make_local
from tests.support.market_nodes import make_runtime as make_runtime
from tests.support.market_nodes import make_world as make_world
from tests.support.market_nodes import world as world
