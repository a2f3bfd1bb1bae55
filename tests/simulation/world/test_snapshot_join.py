"""A fresh node joins by a snapshot: beside liars, peers that serve half, and crashes at every write."""

from dataclasses import replace
from functools import cache, partial

import pytest

from consensus.errors import BrokenHandover, WrongVoters
from consensus.quorum import QuorumCertificate
from consensus.signing_record import SigningRecord
from ledger import rows
from ledger.codec import decode, encode
from ledger.errors import BelowHorizon, InvalidCertificate, InvalidProof, InvalidSignature, StoreError, WrongChain
from ledger.params import ConsensusParams
from ledger.state_chunks import StateChunk, cut_chunk
from ledger.store import MemoryStore
from node.chain import messages as wire
from node.chain import snapshot_join, snapshots
from node.chain.events import MessageReceived, PenalisePeer, Send
from node.chain.pruning import Keep
from node.chain.snapshot_offers import Offers, read_offer
from node.chain.trusted_block import TrustedBlock
from node.errors import BrokenHeaders, ServedTooMuch, UnprovenHeaders
from node.proofs.documents import verify_document
from node.proofs.store_audit import audit_store
from simulation.world.invariants import Invariants
from simulation.world.networks import make_network
from simulation.world.peer import Backup
from simulation.world.world import World
from tests.simulation.world.test_set_change_proofs import Town as ChangedTown

PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
FRESH, OTHERS, DISTANCE = "n3", ("n0", "n1", "n2"), 40
OLD_HEIGHT = 150  # so that headers with an offer do not reach down to the genesis
SMALL = 600  # bytes in a chunk: some ten of them make the state


ENGINES = {"pbft": PBFT, "poca": None}
with_both = pytest.mark.parametrize("grown", ENGINES, indirect=True)
with_poca = pytest.mark.parametrize("grown", ["poca"], indirect=True)


@cache
def grow(engine):
    """A network after some time; one block under proof of credit comes so late that its N_diff is relieved."""
    network = make_network(consensus=ENGINES[engine])
    world = World(network.genesis, network.keys, seed=11)
    world.crash(FRESH)
    world.run_until(lambda: world.node("n0").chain.final_height > OLD_HEIGHT // 2, limit_ms=900_000)
    for act in (world.crash, partial(world.start, is_sure=True)) if engine == "poca" else ():
        for name in OTHERS:
            act(name)
        world.run_for(20_000)
    world.run_until(lambda: world.node("n0").chain.final_height > OLD_HEIGHT, limit_ms=900_000)
    return network, world.now_ms, {name: peer.back_up() for name, peer in world.peers.items() if name != FRESH}


@pytest.fixture
def grown(request):
    """The stores and records of a network that has run for a while without n3: under PBFT, if nothing else is said."""
    return grow(getattr(request, "param", "pbft"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    whole = snapshots.cut_chunk
    monkeypatch.setattr(snapshots, "cut_chunk", lambda state, asked: whole(state, asked, max_bytes=SMALL))
    monkeypatch.setattr(snapshot_join, "_SHORT_BYTES", SMALL // 64)


class Town:
    """That network again, on a fresh copy of its stores, and its liars: what they answer instead."""

    def __init__(self, grown, *, seed=1, lies=None, keep=None):
        network, now_ms, backups = grown
        self.lies = lies or {}
        policies = {name: lambda node, random, lie=lie: Liar(node, lie) for name, lie in self.lies.items()}
        self.world = World(network.genesis, network.keys, seed=seed, policies=policies, keep=keep)
        for name in network.keys:
            self.world.crash(name)
        self.world.run_for(now_ms - self.world.now_ms)
        for name, backup in backups.items():
            store = MemoryStore()
            store.write(list(backup.store.scan(b"")))
            self.world.peers[name].put_back(backup._replace(store=store))
            self.world.start(name, is_sure=True)
        self.world.peers[FRESH].store = MemoryStore()
        self.invariants = Invariants([self.world], command="again")
        self.world.run_for(3_000)

    @property
    def fresh(self):
        return self.world.node(FRESH)

    @property
    def peer(self):
        return self.world.peers[FRESH]

    @property
    def faults(self):
        return [(name, type(error)) for name, error in self.peer.faults]

    def state_of(self, name, block_hash):
        """A state that a peer hands out."""
        (state,) = (kept.state for kept, _ in self.world.node(name)._snapshots._kept if kept.hash == block_hash)
        return state

    def start(self, **options):
        self.world.start(FRESH, **{"snapshot_distance": DISTANCE, **options})

    def events(self, name):
        return [event for event in self.peer.published if event[0] == name]

    def join(self, limit_ms=90_000):
        self.world.run_until(lambda: self.fresh.chain.bodies_from > 1, limit_ms=limit_ms)

    def check_it_follows_and_signs(self):
        """It comes to the others' head, signs, and knows the headers down to the genesis block."""
        other = self.world.node("n0").chain
        self.world.run_until(
            lambda: (
                self.fresh.signing_state == "signs"
                and self.fresh.chain.final_height > self.fresh.chain.bodies_from + 7
                and self.fresh.chain.lowest_height == 0
            ),
            limit_ms=200_000,
        )
        height = min(self.fresh.chain.final_height, other.final_height)
        assert [*map(self.fresh.chain.hash_at, range(height))] == [*map(other.hash_at, range(height))]
        self.world.crash("n2")
        self.world.run_until(lambda: other.final_height > height + 3, limit_ms=200_000)  # not without its votes
        self.world.start("n2", is_sure=True)
        assert not self.events("snapshot-work-differs")


ANSWERS = wire.Chunk | wire.Snapshot | wire.Ancestors | wire.Bodies


class Liar:
    """A node that serves something else than it should in the place of some answers; None for nothing at all."""

    def __init__(self, node, lie):
        self.node, self._lie, self._count = node, lie, 0

    def step(self, event, now_ms):
        actions = []
        for action in self.node.step(event, now_ms):
            if isinstance(action, Send) and isinstance(action.message, ANSWERS):
                self._count += 1
                message = self._lie(action.message, self._count)
                action = None if message is None else replace(action, message=message)
            if action is not None:
                actions.append(action)
        return actions


def change_chunk(message, _):
    if not isinstance(message, wire.Chunk):
        return message
    chunk = StateChunk.from_value(decode(message.raw, max_bytes=10**7))
    items = tuple((key, value + b"\x00") for key, value in chunk.items)
    return replace(message, raw=encode(replace(chunk, items=items or ((b"stranger", b""),)).to_value()))


def lose_leaf(message, _):
    if not isinstance(message, wire.Chunk):
        return message
    chunk = StateChunk.from_value(decode(message.raw, max_bytes=10**7))
    return replace(message, raw=encode(replace(chunk, items=chunk.items[1:]).to_value())) if chunk.items else message


def withhold_half(message, count):
    return message if count % 2 or isinstance(message, wire.Snapshot) else None


def withhold_all(message, _):
    return message if isinstance(message, wire.Snapshot) else None


def offer_junk(message, _):
    return replace(message, headers=message.headers[::-1]) if isinstance(message, wire.Snapshot) else message


def claim_work(message, _):
    if not isinstance(message, wire.Snapshot):
        return message
    return replace(message, work=(int.from_bytes(message.work, "big") + 10**9).to_bytes(40, "big"))


def skip_headers(message, _):
    return replace(message, raw=message.raw[:-1]) if isinstance(message, wire.Ancestors) else message


# --- joining -------------------------------------------------------------------------------------------


@with_both
def test_a_fresh_node_joins_follows_and_signs(grown):
    town = Town(grown)
    town.start()
    town.join()
    (taken,) = town.events("snapshot-taken")
    assert taken[1] > OLD_HEIGHT - 60
    assert taken[3] == len(town.fresh.chain.get(taken[2]).state)
    assert not [key for key, _ in town.peer.store.scan(b"") if key[:1] in (b"S", b"Y")]
    assert town.fresh.chain.get_block(town.fresh.chain.hash_at(0)) is not None
    assert town.fresh.chain.get_block(taken[2]) is None, "bodies below the snapshot are not held"
    town.check_it_follows_and_signs()
    assert not [error for _, error in town.peer.faults if error.penalty > 10]
    assert not [fault for name in ("n0", "n1", "n2") for fault in town.world.peers[name].faults]


def test_chunks_come_from_several_peers(grown):
    town = Town(grown)
    asked = set()
    town.world.watch(lambda now_ms, name, event, actions: asked.update(_asked_for_chunks(name, actions)))
    town.start()
    town.join()
    assert len(asked) == 3


def _asked_for_chunks(name, actions):
    return [
        action.peer
        for action in actions
        if name == FRESH and isinstance(action, Send) and isinstance(action.message, wire.GetChunk)
    ]


def test_one_that_has_joined_hands_it_on_and_opens_again(grown):
    town = Town(grown)
    town.start()
    town.join()
    town.check_it_follows_and_signs()
    bodies_from = town.fresh.chain.bodies_from
    town.world.crash(FRESH)
    town.start()
    assert (town.fresh.chain.bodies_from, town.fresh.chain.lowest_height) == (bodies_from, 0)
    town.world.run_for(30_000)
    assert town.fresh.chain.head.height >= town.world.node("n0").chain.head.height - 2
    town.world.crash("n2")
    town.world.peers["n2"].put_back(Backup(MemoryStore(), SigningRecord()))
    town.world.start("n2", snapshot_distance=DISTANCE)
    town.world.run_until(lambda: town.world.node("n2").chain.bodies_from > bodies_from, limit_ms=120_000)


def test_headers_that_were_asked_for_before_are_not_followed_meanwhile(grown):
    town = Town(grown)
    town.start()
    sync, peer = town.fresh._gossip.sync, town.world.peers["n0"].key.public_key
    assert sync.may_ask(peer, town.world.now_ms)
    sync.hold()
    assert sync.answered(peer) is None


def test_without_a_distance_or_with_a_greater_one_the_chain_is_replayed(grown):
    for distance in (None, 100_000):
        town = Town(grown)
        town.start(snapshot_distance=distance)
        town.world.run_until(lambda town=town: town.fresh.chain.head.height > OLD_HEIGHT, limit_ms=90_000)
        assert town.fresh.chain.bodies_from == 1


def test_where_all_peers_have_pruned_what_comes_next_a_snapshot_is_taken_at_any_distance(grown):
    town = Town(grown, keep=dict.fromkeys(OTHERS, Keep("periods", 1)))
    town.world.run_until(
        lambda: all(town.world.node(f"n{one}").chain.bodies_from > 1 for one in range(3)), limit_ms=60_000
    )
    town.start(snapshot_distance=100_000)
    town.join()
    town.check_it_follows_and_signs()


@with_poca
def test_it_answers_at_once_for_the_headers_right_below_its_snapshot(grown):
    town = Town(grown)
    town.start()
    town.join()
    base, asker = town.fresh.chain.bodies_from - 1, town.world.peers["n0"].key.public_key
    wanted = wire.GetHeaders(locator=(town.fresh.chain.hash_at(base - 10),))
    (answer,) = town.fresh.step(MessageReceived(peer=asker, message=wanted), town.world.now_ms)
    heights = range(base - 9, town.fresh.chain.head.height + 1)
    assert answer.message.raw == town.world.node("n0").chain.get_raw_headers(heights)


@with_poca
def test_of_what_was_replayed_before_no_row_stays(grown):
    town = Town(grown)
    town.start(snapshot_distance=None)
    town.world.run_until(lambda: town.fresh.chain.head.height > 0, limit_ms=60_000)
    town.world.crash(FRESH)
    replayed = {key for key, _ in town.peer.store.scan(b"")}
    assert town.peer.store.get(rows.block_key(1)) is not None
    town.start()
    town.join()
    base = town.fresh.chain.bodies_from - 1
    by_height = {key: int.from_bytes(key[1:], "big") for key, _ in town.peer.store.scan(b"") if key[:1] in b"bru"}
    assert [key for key, height in by_height.items() if 0 < height <= base] == []
    assert not [key for key, _ in town.peer.store.scan(rows.TRANSACTION) if key in replayed]
    town.check_it_follows_and_signs()


@with_both
def test_the_audit_of_a_store_knows_what_a_snapshot_leaves_there(grown):
    """While it is taken, once it is taken, and once all headers have come."""
    town = Town(grown)

    def find_damage(changed=()):
        store = MemoryStore()
        store.write([*town.peer.store.scan(b""), *changed])
        return [damage.values["kind"] for damage in audit_store(town.world.genesis, store).damage]

    town.start()
    town.world.run_until(lambda: len(list(town.peer.store.scan(rows.CHUNK))) > 2, limit_ms=60_000)
    assert find_damage() == []
    key, raw = next(iter(town.peer.store.scan(rows.CHUNK)))
    assert find_damage([(key, raw[:-1])]) == ["chunk"]
    assert find_damage([(rows.SNAPSHOT, b"\x90")]) == ["snapshot"]
    town.join()
    assert town.fresh.chain.lowest_height > 1
    assert find_damage() == []
    assert "lowest header" in find_damage([(rows.LOWEST, b"\x90")])
    assert set(find_damage([(rows.LOWEST, None)])) == {"hash", "record"}
    town.world.run_until(lambda: town.fresh.chain.lowest_height == 0, limit_ms=60_000)
    assert town.peer.store.get(rows.LOWEST) is None
    assert find_damage() == []


@with_poca
def test_one_that_is_sure_of_its_record_seals_at_once_on_what_it_takes_up(grown):
    """In the same step: nothing of the headers below has come to the disk."""
    town = Town(grown)
    town.start(is_sure=True)
    town.join()
    assert town.peer.search is not None


# --- an anchor -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [3, OLD_HEIGHT - 20])
def test_a_snapshot_must_stand_on_the_anchor(grown, height):
    town = Town(grown)
    anchor = TrustedBlock(height, town.world.node("n0").chain.hash_at(height))
    town.start(anchor=anchor)
    town.join()
    assert not town.fresh.trusted_branch.is_awaited
    town.world.crash(FRESH)
    town.start(anchor=anchor)
    town.check_it_follows_and_signs()


@pytest.mark.parametrize("height", [3, OLD_HEIGHT - 20])
def test_no_snapshot_is_taken_off_the_anchor(grown, height):
    town = Town(grown)
    town.start(anchor=TrustedBlock(height, b"\x05" * 32))
    town.world.run_for(50_000)
    assert town.fresh.chain.bodies_from == 1
    assert not town.events("snapshot-taken")


# --- members that have changed -------------------------------------------------------------------------


def drop_handovers(message, _):
    return replace(message, handovers=()) if isinstance(message, wire.Snapshot) else message


def drop_first_handover(message, _):
    return replace(message, handovers=message.handovers[1:]) if isinstance(message, wire.Snapshot) else message


LIES_ABOUT_MEMBERS = [("pbft", drop_handovers), ("pbft", drop_first_handover)]


@pytest.mark.parametrize(("engine", "lie"), [*[(engine, None) for engine in ENGINES], *LIES_ABOUT_MEMBERS])
def test_who_certifies_is_followed_from_the_genesis_on(engine, lie):
    """Founders, then with n4, then without n1: what the last of them certify is taken, with all handovers alone."""
    town = ChangedTown(ENGINES[engine])
    world = town.world
    world.crash(FRESH)
    world.peers[FRESH].put_back(Backup(MemoryStore(), SigningRecord()))
    if lie:
        world.policies = {name: lambda node, random: Liar(node, lie) for name in ("n0", "n1", "n2", "n4")}
        for name in world.policies:
            world.crash(name)
            world.start(name)
    world.start(FRESH, snapshot_distance=10)
    fresh = world.node(FRESH)
    if lie:
        world.run_for(8_000)  # all have been asked, and then asked once more
        assert fresh.chain.bodies_from == 1
        named = {type(error) for _, error in world.peers[FRESH].faults}
        assert (WrongVoters in named or BrokenHandover in named) == (lie is drop_first_handover)
        return
    world.run_until(lambda: fresh.chain.final_height >= fresh.chain.bodies_from > 1, limit_ms=60_000)
    assert fresh.chain.hash_at(fresh.chain.final_height) == town.node().chain.hash_at(fresh.chain.final_height)
    assert [one.name for one in fresh.handovers] == [one.name for one in town.node().handovers]
    assert verify_document(town.document(FRESH), town.genesis).is_final


# --- liars -----------------------------------------------------------------------------------------------


class RepeatChunk:
    """The first chunk once more in the place of every other."""

    def __init__(self):
        self.first = {}

    def __call__(self, message, _):
        return self.first.setdefault(message.block_hash, message) if isinstance(message, wire.Chunk) else message


@pytest.mark.parametrize("lie", [change_chunk, lose_leaf, RepeatChunk()])
def test_a_chunk_that_lies_is_found_and_its_sender_blamed(grown, lie):
    town = Town(grown, lies={"n1": lie})
    town.start()
    town.join()
    assert ("n1", InvalidProof) in town.faults
    assert {name for name, error in town.peer.faults if error.penalty == 100} == {"n1"}
    town.check_it_follows_and_signs()


@pytest.mark.parametrize(
    ("grown", "lie"),
    [
        ("pbft", withhold_half),
        ("pbft", withhold_all),
        ("poca", claim_work),
        ("pbft", offer_junk),
        ("pbft", skip_headers),
    ],
    indirect=["grown"],
)
def test_it_joins_beside_one_that_serves_half_or_lies(grown, lie):
    town = Town(grown, lies={"n1": lie})
    town.start()
    town.join()
    town.world.run_until(lambda: town.fresh.chain.lowest_height == 0, limit_ms=60_000)
    assert not town.events("snapshot-work-differs")


def test_the_genesis_block_is_no_ancestor_that_is_asked_for(grown):
    def add_genesis(message, _):
        if not isinstance(message, wire.Ancestors):
            return message
        chain = town.world.node("n1").chain
        return replace(message, raw=(chain.get_header(chain.hash_at(0)).raw, *message.raw))

    town = Town(grown, lies={"n1": add_genesis})
    town.start()
    town.join()
    for name in ("n0", "n2"):
        town.world.crash(name)
    town.world.run_until(lambda: ("n1", BrokenHeaders) in town.faults, limit_ms=60_000)
    town.world.start("n0", is_sure=True)
    town.world.start("n2", is_sure=True)
    town.check_it_follows_and_signs()


def test_one_that_says_next_to_nothing_at_length_is_asked_no_more(grown):
    def cut_narrow(message, _):
        if not isinstance(message, wire.Chunk):
            return message
        state = town.state_of("n1", message.block_hash)
        prefix = StateChunk.from_value(decode(message.raw, max_bytes=10**7)).prefix
        while prefix.depth < 30:
            prefix = prefix.halves[0]
        return replace(message, raw=encode(cut_chunk(state, prefix).to_value()))

    town = Town(grown, lies={"n1": cut_narrow})
    town.start()
    town.join()
    assert town.fresh._joining._dropped == {town.world.peers["n1"].key.public_key}
    assert not [error for name, error in town.peer.faults if name == "n1" and error.penalty > 10], "it has told no lie"


def offered(town):
    (*_, send) = town.world.node("n0")._snapshots.give_snapshots(town.peer.key.public_key, 0, town.world.now_ms)
    return send.message


@with_poca
def test_an_offer_that_proves_nothing_is_refused_by_name(grown):
    town = Town(grown)
    genesis, good = town.world.genesis, offered(town)
    read_offer(good, genesis)
    for headers in ((), good.headers[::-1], good.headers[-5:], (*good.headers[:50], *good.headers[51:])):
        with pytest.raises(BrokenHeaders):
            read_offer(replace(good, headers=headers), genesis)
    for certificate in (b"", offered_earlier(town).certificate):
        with pytest.raises(UnprovenHeaders):
            read_offer(replace(good, certificate=certificate), genesis)
    with pytest.raises(WrongChain):
        read_offer(good, make_network(("other", "network")).genesis)
    offers = Offers(town.world.node("n1")._instance)
    forged = QuorumCertificate.from_bytes(good.certificate)
    for signatures in (forged.signatures[:1], tuple((key, bytes(64)) for key, _ in forged.signatures)):
        with pytest.raises(InvalidCertificate if len(signatures) == 1 else InvalidSignature):
            offers.take(b"peer", replace(good, certificate=replace(forged, signatures=signatures).raw))
    for work in (0, 1, int.from_bytes(good.work, "big") + 7):
        offers.take(b"peer", replace(good, work=work.to_bytes(40, "big")))
        assert offers.choose((), 1) is None


def offered_earlier(town):
    before = offered(town)
    town.world.run_until(lambda: offered(town).headers != before.headers, limit_ms=100_000)
    return offered(town)


# --- serving ---------------------------------------------------------------------------------------------


def faults_of(node, peer, message, now_ms, times=1):
    """The kinds of the first faults that a peer is charged with for saying a message so many times at once."""
    for _ in range(times):
        actions = node.step(MessageReceived(peer=peer, message=message), now_ms)
        if found := {type(action.error) for action in actions if isinstance(action, PenalisePeer)}:
            return found
    return set()


def test_who_asks_too_much_is_refused(grown):
    town = Town(grown)
    node, peer, now_ms = town.world.node("n0"), town.peer.key.public_key, town.world.now_ms
    head = node.chain.head.hash
    for message in (
        wire.GetSnapshot(known=0),
        wire.GetChunk(block_hash=head, depth=0, path=bytes(32)),
        wire.GetAncestors(block_hash=head),
    ):
        now_ms += 60_000
        assert faults_of(node, peer, message, now_ms, times=20_000) == {ServedTooMuch}


def test_of_what_lies_below_its_horizon_a_node_says_so(grown):
    town = Town(grown)
    town.start()
    town.join()
    chain, peer, now_ms = town.fresh.chain, town.world.peers["n0"].key.public_key, town.world.now_ms
    assert chain.lowest_height > 1
    lowest = chain.hash_at(chain.lowest_height)
    assert chain.hash_at(chain.lowest_height - 1) is None
    for message in (wire.GetHeaders(locator=(chain.hash_at(0),)), wire.GetAncestors(block_hash=lowest)):
        assert faults_of(town.fresh, peer, message, now_ms) == {BelowHorizon}
    assert BelowHorizon.penalty == 0


def test_where_nothing_is_served_the_chain_is_replayed(grown):
    town = Town(grown, lies=dict.fromkeys(("n0", "n1", "n2"), lambda message, count: None))
    town.start()
    town.world.run_until(lambda: town.fresh.chain.head.height > OLD_HEIGHT, limit_ms=200_000)
    assert town.fresh.chain.bodies_from == 1
    assert town.events("snapshot-ended") == [("snapshot-ended", 0, b"")]


# --- crashes -----------------------------------------------------------------------------------------------


class Fuse(MemoryStore):
    """A store on which the writes after so many are lost: the machine went down."""

    def __init__(self, writes):
        super().__init__()
        self.left, self.is_blown = writes, False

    def write(self, changes, *, sync=True):
        self.is_blown = self.is_blown or self.left == 0
        if not self.is_blown:
            self.left -= 1
            super().write(changes, sync=sync)


@with_both
def test_after_a_crash_at_each_write_it_goes_on_where_it_was(grown):
    """From the first chunk to the batch that takes the chain up: one write more a life."""
    town = Town(grown)
    chunks = []
    town.world.watch(lambda now_ms, name, event, actions: chunks.extend(_keys_of_chunks(name, actions)))
    lives, bodies_from = 0, 1
    while bodies_from == 1 or town.peer.store.is_blown:
        kept = dict(town.peer.store.scan(b""))
        town.peer.store = Fuse(2)
        town.peer.store.write(list(kept.items()))
        chunks.clear()
        town.start()
        town.world.run_until(lambda: town.peer.store.is_blown or town.fresh.chain.bodies_from > 1, limit_ms=90_000)
        bodies_from = town.fresh.chain.bodies_from
        town.world.crash(FRESH)
        assert kept.keys().isdisjoint(chunks), "what had come is not fetched again"
        lives += 1
    assert lives > 5
    _reopen(town)
    town.check_it_follows_and_signs()


def _reopen(town):
    store = MemoryStore()
    store.write(list(town.peer.store.scan(b"")))
    town.peer.store = store
    town.start()


def _keys_of_chunks(name, actions):
    return [
        key
        for action in actions
        if name == FRESH and hasattr(action, "changes")
        for key, value in action.changes
        if key[:1] == b"Y" and value is not None
    ]


def test_a_chunk_that_its_own_disk_has_changed_is_the_stores_fault(grown):
    town = Town(grown)
    town.start()
    town.world.run_until(lambda: len(list(town.peer.store.scan(b"Y"))) > 2, limit_ms=60_000)
    town.world.crash(FRESH)
    key, raw = next((key, raw) for key, raw in town.peer.store.scan(b"Y") if raw != b"\x90")
    town.peer.store.write([(key, raw[:-1] + bytes([raw[-1] ^ 1]))])
    town.start()
    with pytest.raises(StoreError, match="chunk"):
        town.world.run_for(60_000)
