"""The bodies below a snapshot come later: beside liars, to the horizon of each choice, and on after a crash."""

from dataclasses import replace

import pytest

from consensus.signing_record import SigningRecord
from ledger import rows
from ledger.block import Block
from ledger.codec import encode
from ledger.errors import WrongReceiptRoot, WrongTransactionRoot
from ledger.store import MemoryStore
from node.chain import messages as wire
from node.chain.events import MessageReceived, PenalisePeer, Send
from node.chain.pruning import Keep
from node.errors import BlockPruned, BrokenHeaders
from node.proofs.store_audit import audit_store
from simulation.world.peer import Backup
from tests.simulation.world.test_snapshot_join import DISTANCE, FRESH, OTHERS, Town, grow, with_both


@pytest.fixture
def grown(request):
    return grow(getattr(request, "param", "poca"))


def filled(town, height=1):
    town.world.run_until(lambda: town.fresh.chain.bodies_from == height, limit_ms=90_000)


def bodies_of(chain, height):
    block_hash = chain.hash_at(height)
    return block_hash, chain.get_raw_block(block_hash), chain.get_receipts(block_hash)


def find_damage(town):
    store = MemoryStore()
    store.write(list(town.peer.store.scan(b"")))
    return audit_store(town.world.genesis, store).damage


@with_both
def test_one_that_keeps_all_comes_to_hold_what_its_peers_do(grown):
    town = Town(grown)
    town.start()
    town.join()
    base = town.fresh.chain.bodies_from - 1
    filled(town, base - 15)
    assert find_damage(town) == []
    filled(town)
    assert find_damage(town) == []
    fresh, other = town.fresh.chain, town.world.node("n0").chain
    assert [bodies_of(fresh, height) for height in range(base)] == [bodies_of(other, height) for height in range(base)]
    for height in range(1, base):
        for index, transaction in enumerate(fresh.get_block(fresh.hash_at(height)).transactions):
            assert fresh.find_transaction(transaction.id) == (fresh.hash_at(height), index)
    assert town.fresh._gossip.status().bodies_from == 1
    assert not [error for _, error in town.peer.faults if error.penalty > 10]
    assert not [fault for name in OTHERS for fault in town.world.peers[name].faults]
    asked = []
    town.world.watch(lambda now_ms, name, event, actions: asked.extend(_asked_for_bodies(actions)))
    town.world.run_for(5_000)
    assert asked == [], "there is no more to come"


def _asked_for_bodies(actions):
    return [one for one in actions if isinstance(one, Send) and isinstance(one.message, wire.GetBodies)]


def test_it_goes_on_after_a_crash_where_it_was(grown):
    town = Town(grown)
    town.start()
    town.join()
    base = town.fresh.chain.bodies_from - 1
    filled(town, base - 15)
    town.world.crash(FRESH)
    town.start(snapshot_distance=None)
    assert town.fresh.chain.bodies_from == base - 15
    filled(town)
    assert find_damage(town) == []


@pytest.mark.parametrize("kept", [Keep("periods", 5), Keep("bytes", 30_000)], ids=str)
def test_it_ends_where_the_choice_to_keep_does(grown, kept):
    town = Town(grown, keep={FRESH: kept})
    town.start()
    town.join()
    held = [town.fresh.chain.bodies_from]
    town.world.watch(lambda now_ms, name, event, actions: held.append(town.fresh.chain.bodies_from))
    town.world.run_for(20_000)
    lowest = held.index(min(held))
    assert 1 < held[lowest] < held[0], "some, not all"
    assert held[lowest:] == sorted(held[lowest:]), "what is dropped does not come again"
    assert find_damage(town) == []


def test_it_ends_where_no_peer_has_more(grown):
    town = Town(grown, keep=dict.fromkeys(OTHERS, Keep("periods", 1)))
    town.world.run_for(10_000)
    lowest = min(town.world.node(name).chain.bodies_from for name in OTHERS)
    assert lowest > 1
    town.start()
    town.join()
    town.world.run_for(20_000)
    assert lowest <= town.fresh.chain.bodies_from <= max(town.world.node(name).chain.bodies_from for name in OTHERS)
    assert not [error for _, error in town.peer.faults if error.penalty > 10]


def test_a_peer_that_was_connected_all_the_while_learns_what_it_has_come_to_hold(grown):
    # n0 keeps all, n1 has pruned; n2 has lost its disk, replays, and hears n1 and the newcomer alone
    town = Town(grown, keep={"n1": Keep("periods", 1)})
    town.world.run_for(10_000)
    assert town.world.node("n1").chain.bodies_from > 1
    town.world.crash("n2")
    town.world.peers["n2"].put_back(Backup(store=MemoryStore(), signing_record=SigningRecord()))
    town.world.cut("n2", "n0")
    town.world.start("n2")
    town.start()
    town.join()
    base = town.fresh.chain.bodies_from - 1
    heard = []
    newcomer = town.peer.key.public_key
    town.world.watch(lambda *_: heard.append(town.world.node("n2").peers[newcomer].bodies_from))
    town.world.run_until(lambda: town.world.node("n2").chain.head.height > base, limit_ms=90_000)
    assert (max(heard), heard[-1]) == (base + 1, 1)
    assert not [error for _, error in town.world.peers["n2"].faults if error.penalty > 10]


# --- liars -----------------------------------------------------------------------------------------------


def lie_of(change):
    return lambda message, _: replace(message, raw=change(message.raw)) if isinstance(message, wire.Bodies) else message


def without_transactions(raw):
    whole = [
        Block.from_bytes(one, max_bytes=10**7, max_transactions=10**4, max_transaction_bytes=10**6) for one in raw[::2]
    ]
    blocks = [replace(block, transactions=()).raw for block in whole]
    return tuple(part for block in blocks for part in (block, encode(())))


LIES = {
    "transactions": (without_transactions, WrongTransactionRoot),
    "codes": (lambda raw: tuple(encode(("Lie",)) if part == encode(("",)) else part for part in raw), WrongReceiptRoot),
    "count": (lambda raw: tuple(encode(()) if index % 2 else part for index, part in enumerate(raw)), WrongReceiptRoot),
    "order": (lambda raw: raw[2:] + raw[:2], BrokenHeaders),
}


@pytest.mark.parametrize(("change", "error"), LIES.values(), ids=LIES)
def test_a_body_that_its_header_does_not_bear_out_is_named_and_not_kept(grown, change, error):
    town = Town(grown, lies={"n1": lie_of(change)})
    town.start()
    town.join()
    filled(town)
    assert ("n1", error) in town.faults
    assert {name for name, one in town.peer.faults if one.penalty > 10} == {"n1"}
    assert find_damage(town) == []


def test_of_one_that_gives_none_the_others_are_asked(grown):
    town = Town(grown, lies={"n1": lambda message, _: None if isinstance(message, wire.Bodies) else message})
    town.start()
    town.join()
    filled(town)


def test_what_was_not_asked_for_is_not_looked_at(grown):
    town = Town(grown)
    town.start()
    town.join()
    peer = town.world.peers["n0"].key.public_key
    before = town.fresh.chain.bodies_from
    assert town.fresh.step(MessageReceived(peer=peer, message=wire.Bodies(raw=(b"x", b"y"))), town.world.now_ms) == []
    assert town.fresh.chain.bodies_from == before


def test_whoever_asks_for_what_has_been_pruned_is_told_so_and_not_blamed(grown):
    town = Town(grown, keep={"n0": Keep("periods", 1)})
    town.world.run_for(10_000)
    node, peer = town.world.node("n0"), town.world.peers["n1"].key.public_key
    first = wire.GetBodies(block_hash=node.chain.hash_at(1))
    (blame,) = node.step(MessageReceived(peer=peer, message=first), town.world.now_ms)
    assert isinstance(blame, PenalisePeer)
    assert isinstance(blame.error, BlockPruned)
    assert blame.error.penalty == 0
    lowest = wire.GetBodies(block_hash=node.chain.hash_at(node.chain.bodies_from + 1))
    (answer,) = node.step(MessageReceived(peer=peer, message=lowest), town.world.now_ms)
    assert len(answer.message.raw) == 4, "two blocks are left"


def test_the_row_of_the_snapshot_is_audited(grown):
    town = Town(grown)
    town.start()
    town.join()
    assert town.fresh.chain.taken_from == rows.read_height(town.peer.store.get(rows.TAKEN)) > DISTANCE
    town.peer.store.write([(rows.TAKEN, b"\x90")])
    assert [damage.values["kind"] for damage in find_damage(town)] == ["taken from"]
