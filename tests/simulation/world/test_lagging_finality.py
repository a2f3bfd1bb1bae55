"""A node looks up its members at little cost, also where nothing has become final for very long."""

from ledger.chain import WINDOW
from node.peer.active_members import _DEEPEST, FinalMembers
from simulation.world.networks import make_network
from simulation.world.world import World


def test_who_the_members_are_costs_few_states_a_block(monkeypatch):
    """Two of four are away, so nobody certifies: the block that counts lies far below what is in memory."""
    network = make_network()
    world = World(network.genesis, network.keys, seed=5, sealing="drawn")
    world.run_for(2_000)  # those who may sign begin to
    world.crash("n2")
    world.crash("n3")
    node = world.node("n0")
    world.run_until(lambda: node.chain.head.height > _DEEPEST + WINDOW, limit_ms=2_000_000)
    assert node.chain.final_height == 0
    members, read = FinalMembers(node), []
    from_store = node.chain._entry_from_store
    monkeypatch.setattr(node.chain, "_entry_from_store", lambda *row: read.append(row) or from_store(*row))
    heights = []

    def look(_now_ms, name, _event, _actions):
        if name == "n0":
            members.refresh()
            heights.append((node.chain.head.height, members._basis.height))

    world.watch(look)
    first = node.chain.head.height
    world.run_until(lambda: node.chain.head.height > first + 2 * WINDOW, limit_ms=2_000_000)
    assert all(_DEEPEST <= head - basis < _DEEPEST + WINDOW for head, basis in heights)
    assert len({basis for _, basis in heights}) == 3
    assert len(read) < 3 * (_DEEPEST + WINDOW), "not that many with every block"
