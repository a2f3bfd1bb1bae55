"""The audit of a store: nothing is wrong with what nodes write, and each kind of row that is damaged is found."""

from dataclasses import replace

import pytest

from ledger import rows
from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import StoreCorrupt
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from node.proofs.store_audit import KINDS, Progress, audit_store
from simulation.world.networks import make_network
from simulation.world.world import World

PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000)
ENGINES = {"poca": None, "pbft": PBFT}
_CACHE = {}
PER_KIND = 4


def grow(engine):
    """A network and the rows of one of its peers, after some blocks with transactions in them."""
    if engine not in _CACHE:
        network = make_network(consensus=ENGINES[engine])
        world = World(network.genesis, network.keys, seed=4)
        world.submit("n0", *(transfer(network, sequence) for sequence in range(3)))
        world.run_until(lambda: world.node("n0").chain.final_height > 12, limit_ms=600_000)
        _CACHE[engine] = network, world.peers["n0"].store
    network, store = _CACHE[engine]
    return network, dict(store.scan(b""))


def transfer(network, sequence):
    return make_transaction(
        network.keys["n1"],
        chain_id=network.genesis.chain_id,
        sequence=sequence,
        expiry_height=900,
        kind="transfer",
        payload=(network.keys["n2"].address, 1),
    )


def store_of(found):
    store = MemoryStore()
    store.write([*found.items()])
    return store


@pytest.fixture(params=ENGINES)
def grown(request):
    return grow(request.param)


def test_nothing_is_wrong_with_what_a_node_has_written(grown):
    network, found = grown
    told = []
    findings = audit_store(network.genesis, store_of(found), told.append)
    assert [str(damage) for damage in findings.damage] == []
    assert findings.height > 12
    assert findings.final_height > 12
    assert findings.signatures > findings.height + 3
    assert told[-1].__class__ is Progress
    assert sum(tally.count for tally in findings.rows.values()) == len(found)
    assert sum(tally.size_bytes for tally in findings.rows.values()) == sum(map(len, [*found, *found.values()]))


def name_of(key):
    return KINDS[key[:1]]


@pytest.mark.parametrize("engine", ENGINES)
def test_each_kind_of_row_is_missed(engine):
    network, found = grow(engine)
    by_kind = {}
    for key in found:
        by_kind.setdefault(key[:1], []).append(key)
    unseen = set()
    for keys in by_kind.values():
        for key in keys[-PER_KIND:]:
            findings = audit_store(network.genesis, store_of({one: raw for one, raw in found.items() if one != key}))
            if not findings.damage:
                unseen.add(name_of(key))
    # What waits may have come to an end, and a certificate may be one that never came here.
    assert unseen <= {"pending", "ending", "proposal", "certificate", "results", "handover"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flipped_bit_in_each_kind_of_row_is_noticed_and_told_of_that_kind(engine):
    network, found = grow(engine)
    by_kind = {}
    for key in found:
        by_kind.setdefault(key[:1], []).append(key)
    for keys in by_kind.values():
        for key in keys[-PER_KIND:]:
            for place in (0, len(found[key]) // 2, len(found[key]) - 1):
                raw = bytearray(found[key])
                raw[place] ^= 1
                findings = audit_store(network.genesis, store_of({**found, key: bytes(raw)}))
                # That rows of an earlier version are yet to be cleared away is no damage.
                assert findings.damage or (name_of(key), place) == ("version", 2), (name_of(key), place)


class Rotten(MemoryStore):
    """One key of it fails its checksum."""

    def __init__(self, found, rotten):
        super().__init__()
        self.write([*found.items()])
        self.rotten = rotten

    def get(self, key):
        if key == self.rotten:
            raise StoreCorrupt(detail="checksum mismatch")
        return super().get(key)

    def scan(self, prefix):
        for key, value in super().scan(prefix):
            if key == self.rotten:
                raise StoreCorrupt(detail="checksum mismatch")
            yield key, value


def test_a_row_that_cannot_be_read_is_named_and_the_others_are_looked_at(grown):
    network, found = grown
    for prefix in {key[:1] for key in found}:
        key = [one for one in found if one[:1] == prefix][-1]
        findings = audit_store(network.genesis, Rotten(found, key))
        codes = {(damage.code, damage.values.get("kind")) for damage in findings.damage}
        assert ("RowUnreadable", KINDS[prefix]) in codes
        if prefix not in (rows.HEAD, rows.RECORD):
            assert findings.height > 12


def test_rows_that_belong_to_nothing_are_counted(grown):
    network, found = grown
    strays = rows.block_key(10**6), rows.TRANSACTION + bytes(32), rows.height_key(10**6), rows.HEIGHT + bytes(32), b"Z!"
    for key in strays:
        findings = audit_store(network.genesis, store_of({**found, key: b"x"}))
        [damage] = findings.damage
        assert (damage.code, damage.values["count"]) == ("StrayRows", 1)


@pytest.mark.parametrize(
    "spoil", [lambda raw: None, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])], ids=["lost", "wrong"]
)
def test_the_places_of_a_damaged_blocks_transactions_are_no_strays(grown, spoil):
    network, found = grown
    place = found[rows.TRANSACTION + transfer(network, 0).id]
    height = rows.read_height(found[rows.HEIGHT + rows.read_place(place)[0]])
    spoilt = {**found, rows.block_key(height): spoil(found[rows.block_key(height)])}
    stray = {rows.TRANSACTION + bytes(32): rows.write_place(bytes(32), 0)}
    for rest, expected in (({}, []), (stray, ["place"])):
        left = {key: raw for key, raw in {**spoilt, **rest}.items() if raw is not None}
        first, *others = audit_store(network.genesis, store_of(left)).damage
        assert first.values["kind"] == "block"
        assert [damage.values["kind"] for damage in others if damage.code == "StrayRows"] == expected


def flip_middle(raw):
    """A bit of the header, which still reads as one."""
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


@pytest.mark.parametrize("spoil", [lambda raw: None, lambda raw: raw[:-1], flip_middle], ids=["lost", "cut", "flipped"])
@pytest.mark.parametrize("has_transactions", [False, True])
def test_the_rows_of_a_block_whose_record_is_damaged_are_no_strays(grown, spoil, has_transactions):
    network, found = grown
    place = found[rows.TRANSACTION + transfer(network, 0).id]
    height = rows.read_height(found[rows.HEIGHT + rows.read_place(place)[0]]) if has_transactions else 5
    spoilt = {**found, rows.record_key(height): spoil(found[rows.record_key(height)])}
    findings = audit_store(network.genesis, store_of({key: raw for key, raw in spoilt.items() if raw is not None}))
    first, *others = findings.damage
    assert (first.values["kind"], first.values["height"]) == ("record", height)
    assert [damage.values["kind"] for damage in others if damage.code == "StrayRows"] == []


def test_a_pruned_store_is_sound_and_what_it_should_have_dropped_is_not(grown):
    network, found = grown
    store = store_of(found)
    chain = Chain(network.genesis, store, window=4)
    store.write(chain.prune(6, limit=100))
    assert chain.bodies_from == 6
    assert not audit_store(network.genesis, store).damage
    for key in (rows.block_key(5), rows.receipts_key(5)):
        again = store_of(dict(store.scan(b"")))
        again.write([(key, found[key])])
        [damage] = audit_store(network.genesis, again).damage
        assert (damage.code, damage.values["count"]) == ("StrayRows", 1)


@pytest.mark.parametrize("version", [3, 5])
def test_a_store_of_another_version_is_not_judged(grown, version):
    network, found = grown
    findings = audit_store(network.genesis, store_of({**found, b"V": encode((version, 1))}))
    [damage] = findings.damage
    assert (damage.values["kind"], findings.height) == ("version", None)
    assert f"it is {version}, this release reads 4" in str(damage)


def test_another_chains_store_is_told(grown):
    _, found = grown
    other = make_network(("m0", "m1", "m2", "m3"))
    findings = audit_store(other.genesis, store_of(found))
    assert findings.damage[0].values["kind"] == "chain id"


def test_an_empty_store_has_no_head(grown):
    network, _ = grown
    findings = audit_store(network.genesis, MemoryStore())
    assert findings.height is None
    assert {damage.code for damage in findings.damage} == {"RowMissing"}


def height_of(found, key):
    """The height of the block that a transaction's place names."""
    return rows.read_height(found[rows.HEIGHT + rows.read_place(found[key])[0]])


def test_another_body_under_a_good_header_is_told_by_its_root(grown):
    network, found = grown
    [key, *_] = [one for one in found if one[:1] == rows.TRANSACTION]
    place = rows.block_key(height_of(found, key))
    block = rows.read_block(found[place], network.genesis.params.ledger)
    findings = audit_store(network.genesis, store_of({**found, place: replace(block, transactions=()).raw}))
    assert any("WrongTransactionRoot" in str(damage) for damage in findings.damage)


def test_other_outcomes_in_the_receipts_are_told_by_their_root(grown):
    network, found = grown
    [key, *_] = [one for one in found if one[:1] == rows.TRANSACTION]
    place = rows.receipts_key(height_of(found, key))
    receipts = rows.read_receipts(found[place])
    other = encode(tuple((receipt.transaction_id, "Expired") for receipt in receipts))
    findings = audit_store(network.genesis, store_of({**found, place: other}))
    assert any("WrongReceiptRoot" in str(damage) for damage in findings.damage)
