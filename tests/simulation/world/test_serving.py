"""Peers that ask without end, and peers that catch up: the first are refused, scored, and in nobody's way."""

from collections import Counter

import pytest

from node.chain import messages as wire
from node.chain.events import MessageReceived, Send, SetTimer, Started, TimerFired
from node.chain.serving import BURST_US, SHARE_US_PER_S, compute_cost_us
from simulation.attacks.policy import Policy
from simulation.world.networks import make_network
from simulation.world.world import World

FLOODER = "n3"
HONEST = ("n0", "n1", "n2")
EVERY_MS = 250
MEASURED_MS = 40_000
KEPT_SHARE = 0.8


class Asker(Policy):
    """Asks every peer for whatever costs most, again and again, once its time has come."""

    def __init__(self, node, random, begin_ms):
        super().__init__(node, random)
        self._begin_ms = begin_ms

    def step(self, event, now_ms):
        again = SetTimer(name="ask", at_ms=now_ms + EVERY_MS)
        match event:
            case Started():
                return [*self.node.step(event, now_ms), again]
            case TimerFired(name="ask"):
                asks = self._make_asks() if now_ms >= self._begin_ms else []
                return [again, *(Send(peer=peer, message=ask) for peer in self.node.peers for ask in asks)]
        return self.node.step(event, now_ms)

    def _make_asks(self):
        chain = self.node.chain
        genesis, head = chain.hash_at(0), chain.head
        blocks = tuple(chain.hash_at(height) for height in range(max(1, head.height - 15), head.height + 1))
        return [
            *[wire.GetHeaders(locator=(genesis,))] * 16,
            *[wire.GetBlocks(ids=blocks)] * 16,
            *[wire.GetTransactions(ids=(bytes(32),) * wire.MAX_ITEMS)] * 16,
            *[wire.GetSigned()] * 16,
            *[wire.Status(head=head.hash, height=head.height, work=bytes(40), final_height=0)] * 16,
        ]


@pytest.mark.parametrize("seed", [1])
def test_whoever_asks_without_end_is_served_its_share_and_scored_while_honest_commits_go_on(seed):
    network = make_network()
    begin_ms = network.genesis.time_ms + MEASURED_MS
    policies = {FLOODER: lambda node, random: Asker(node, random, begin_ms)}
    world = World(network.genesis, network.keys, seed=seed, sealing="drawn", policies=policies)
    served_us = Counter()

    def count(now_ms, peer, event, actions):
        match event:
            case MessageReceived(peer=asker) if asker == network.keys[FLOODER].public_key and peer != FLOODER:
                sent = [action.message for action in actions if isinstance(action, Send) and action.peer == asker]
                for message in sent:
                    if isinstance(message, wire.Headers | wire.Blocks):
                        size = sum(map(len, message.raw))
                        served_us[peer] += compute_cost_us(len(message.raw), size)

    world.watch(count)
    world.run_for(MEASURED_MS)
    quiet = world.node("n0").chain.head.height
    assert not any(world.peers[name].faults for name in HONEST), seed
    world.run_for(MEASURED_MS)
    kept = world.node("n0").chain.head.height - quiet
    assert kept >= KEPT_SHARE * quiet, seed
    for name in HONEST:
        faults = Counter((culprit, error.code) for culprit, error in world.peers[name].faults)
        assert set(faults) == {(FLOODER, "ServedTooMuch")}, (seed, faults)
        assert faults.total() > 500, seed
        assert served_us[name] <= BURST_US + SHARE_US_PER_S * MEASURED_MS / 1_000 + 100_000, seed


def test_a_fresh_node_catches_up_with_thousands_of_blocks_and_nobody_refuses_it():
    network = make_network(period_ms=600_000)
    world = World(network.genesis, network.keys, seed=3, sealing="drawn", latency_ms=(1, 2))
    world.crash("n3")
    world.run_until(lambda: world.node("n0").chain.head.height >= 2_500, limit_ms=100_000_000)
    for peer in world.peers.values():
        peer.faults.clear()
    world.peers["n3"].store = type(world.peers["n3"].store)()
    world.start("n3")
    started_ms = world.now_ms
    world.run_until(lambda: world.node("n3").chain.head.height >= 2_500, limit_ms=120_000)
    assert [fault for name in HONEST for fault in world.peers[name].faults if fault[0] == "n3"] == []
    assert world.now_ms - started_ms < 60_000, "at more than a thousand blocks a minute of a link of some ms"


def test_a_status_of_whoever_has_had_its_share_is_heard_and_answered_with_nothing():
    network = make_network()
    world = World(network.genesis, network.keys, seed=1, sealing="drawn")
    world.run_until(lambda: world.node("n0").chain.final_height > 0, limit_ms=600_000)
    node, peer = world.node("n0"), network.keys[FLOODER].public_key
    behind = wire.Status(head=bytes(32), height=1, work=(1).to_bytes(40, "big"), final_height=0)
    shown = node.step(MessageReceived(peer=peer, message=behind), world.now_ms)
    assert any(isinstance(one, Send) and isinstance(one.message, wire.Certificate) for one in shown)
    node._gossip.serving.charge(peer, world.now_ms, rows=0, size_bytes=BURST_US * 1_000)
    assert node.step(MessageReceived(peer=peer, message=behind), world.now_ms) == []
    assert node.peers[peer] == behind
