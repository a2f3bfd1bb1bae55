"""Members come and go while a network runs: a newcomer seals and votes, one revoked does neither, finality goes on.

One chain first, then DU1, JY1 and LH1 with a message between them under each set of members.
"""

from dataclasses import replace

import pytest

from consensus.errors import NotASealer, UnknownSigner, WrongVoters
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate, check_vote, sign_statement, verify_certificate
from consensus.relays import Relay, check_relay
from ledger.accounts import get_sealers
from ledger.codec import decode, encode
from ledger.errors import MemberRevoked
from ledger.genesis import Authority, Genesis
from ledger.membership import Admission, get_credential, sign_act
from ledger.overlay import Overlay
from ledger.params import Area, ConsensusParams, Line, MarketParams, SchedulingParams
from ledger.sealers import SEALERS, get_voters
from ledger.siblings import get_sibling
from ledger.snapshot import get_snapshot
from ledger.transaction import make_transaction
from simulation.world.networks import key_of, make_network
from simulation.world.world import World, open_worlds

PERIOD_MS = 20_000
NAMES = ("n0", "n1", "n2", "n3")
CHAIRS = (key_of("chair-0"), key_of("chair-1"))
NEWCOMER = key_of("n4")
SCHEDULING = SchedulingParams(
    quota_ppm=4_000_000,
    verdict_ppm=500_000,
    areas=(Area(name="north", wheeling_uyuan_per_kwh=20_000),),
    lines=(Line(name="a", area="north", capacity_wh=500_000),),
)
MARKET = MarketParams(open_ppm=4_000_000, gate_ppm=2_000_000, deadline_ppm=0, settle_ppm=3_000_000)
PBFT = ConsensusParams(engine="pbft", empty_after_ms=1_000, block_interval_ms=1_000)


def make_genesis(**fields):
    """A network with an authority of two keys; of three chains DU1 runs PBFT."""
    genesis = make_network(NAMES, period_ms=PERIOD_MS, **fields).genesis
    siblings = [
        chain.model_copy(update={"consensus": PBFT}) if chain.name == "DU1" else chain for chain in genesis.siblings
    ]
    authority = Authority(threshold=2, keys=tuple(chair.public_key for chair in CHAIRS))
    return Genesis(
        params=genesis.params,
        time_ms=genesis.time_ms,
        members=genesis.members,
        siblings=tuple(siblings),
        authority=authority,
    )


KEYS = {**{name: key_of(name) for name in NAMES}, "n4": NEWCOMER}


def admission(genesis):
    return Admission(
        serial=1_000,
        name="n4",
        role="prosumer",
        key=NEWCOMER.public_key,
        tls_key=b"",
        capacity_wh=1_000,
        position="",
        owner=b"",
        seals=tuple(chain.name for chain in genesis.chains),
        not_before_ms=genesis.time_ms,
        not_after_ms=genesis.time_ms + 10**9,
    ).to_value()


def send(world, sender, kind, *payload, sequence):
    """Have a member's own node take a transaction on."""
    transaction = make_transaction(
        KEYS[sender], chain_id=world.chain_id, sequence=sequence, expiry_height=9_000, kind=kind, payload=payload
    )
    return world.submit(sender, transaction)[0]


def act(world, body, *, sequence):
    assert send(world, "n0", body[0], *sign_act(world.genesis.network_id, body, CHAIRS), sequence=sequence) is None


def elapsed_to(world, periods):
    """Let time pass to a number of periods after the start."""
    world.run_for(world.genesis.time_ms + int(periods * PERIOD_MS) - world.now_ms)


def state(world, name="n0"):
    return world.node(name).chain.head.state


def sealers(world):
    return set(get_sealers(Overlay(state(world))))


def producers(world, since_ms):
    """The producers of the chain's blocks from a time on."""
    chain = world.node("n0").chain
    found, entry = set(), chain.head
    while entry is not None and entry.header.timestamp_ms >= since_ms:
        found.add(entry.header.producer)
        entry = chain.get(entry.header.parent)
    return found


def certificates(world, name="n0"):
    """The certificates this node has heard of, by slot."""
    slots = sorted({event[1] for event in world.peers[name].published if event[0] == "certificate"})
    return {slot: world.node(name).get_certificate(slot) for slot in slots}


def signers(certificate):
    return {key for key, _ in certificate.signatures}


def check_calm(*worlds):
    """Check that none was blamed for more than an early vote, no block refused, no two checkpoints of a slot final."""
    for world in worlds:
        assert [fault for peer in world.peers.values() for fault in peer.faults if fault[1].penalty > 10] == []
        for peer in world.peers.values():
            assert {"finality-conflict", "block-refused"}.isdisjoint(event[0] for event in peer.published)


def change_members(worlds, genesis):
    """n4 is admitted in the first period, n1 revoked in the fourth."""
    first = worlds[0]
    elapsed_to(first, 0.3)
    for world in worlds:
        act(world, admission(genesis), sequence=0)
    elapsed_to(first, 3.3)
    for world in worlds:
        act(world, ("revoke", genesis.serial_of("n1"), "contract ended"), sequence=1)
    elapsed_to(first, 3.9)


@pytest.fixture(scope="module")
def changed():
    """One chain, at the end of its sixth period."""
    genesis = make_genesis()
    world = World(genesis, KEYS, seed=3)
    change_members([world], genesis)
    assert send(world, "n1", "exit", sequence=0).code == MemberRevoked.__name__
    elapsed_to(world, 6)
    return world


def test_finality_goes_on_while_one_is_admitted_and_another_revoked(changed):
    world, founders = changed, {KEYS[name].public_key for name in NAMES}
    start_ms = world.genesis.time_ms
    assert NEWCOMER.public_key in producers(world, start_ms + PERIOD_MS), "it seals"
    one = KEYS["n1"].public_key
    assert one in producers(world, start_ms + PERIOD_MS)
    assert one not in producers(world, start_ms + 4 * PERIOD_MS + 5_000)
    assert sealers(world) == (founders | {NEWCOMER.public_key}) - {one}
    assert set(get_snapshot(state(world)).members) == sealers(world)
    by_slot = certificates(world)
    assert max(by_slot) >= 21, "of 24 slots"
    assert all(NEWCOMER.public_key not in signers(by_slot[slot]) for slot in by_slot if slot <= 4)
    assert any(NEWCOMER.public_key in signers(by_slot[slot]) for slot in by_slot if slot > 4)
    assert any(one in signers(by_slot[slot]) for slot in by_slot if slot <= 16)
    assert all(one not in signers(by_slot[slot]) for slot in by_slot if slot > 16)
    check_calm(world)


@pytest.mark.parametrize(
    ("consensus", "seed"),
    [(None, 4), (PBFT, 4), (PBFT, 0), (PBFT, 8)],
    ids=["poca", "pbft", "pbft-0", "pbft-8"],
)
def test_one_that_slept_through_the_changes_catches_up(consensus, seed):
    genesis = make_genesis(consensus=consensus)
    world = World(genesis, KEYS, seed=seed)
    elapsed_to(world, 0.5)
    world.crash("n3")
    change_members([world], genesis)
    elapsed_to(world, 5)
    world.start("n3")
    world.run_for(PERIOD_MS // 2)
    assert world.node("n3").chain.final_height >= world.node("n0").chain.final_height - 10
    assert set(get_sealers(Overlay(state(world, "n3")))) == sealers(world)
    learnt = [[one.name for one in world.node(name).handovers] for name in ("n0", "n3")]
    assert learnt[0] == learnt[1]
    assert len(learnt[0]) == 2
    check_calm(world)


@pytest.mark.parametrize("key", [KEYS["n1"], *CHAIRS], ids=["revoked", "authority", "authority-2"])
def test_neither_the_revoked_nor_the_authority_votes_or_seals(changed, key):
    """Their signatures are nobody's: no vote, no part of a certificate, no block."""
    node = changed.node("n0")
    slot, certificate = max(certificates(changed).items())
    voters = get_voters(Overlay(state(changed)), slot)
    vote = sign_statement(certificate.statement, key)
    with pytest.raises(UnknownSigner):
        check_vote(vote, voters.keys, since_slot=voters.since_slot)
    signatures = tuple(sorted((*certificate.signatures, (vote.signer, vote.signature))))
    with pytest.raises(UnknownSigner):
        verify_certificate(replace(certificate, signatures=signatures), voters.keys, 3, since_slot=voters.since_slot)
    engine, head = PocaEngine(changed.genesis), node.chain.head
    assert engine.propose(key.public_key, head, node.chain, changed.now_ms) is None
    timestamp_ms = head.header.timestamp_ms + 1
    child = replace(head.header, height=head.height + 1, parent=head.hash, timestamp_ms=timestamp_ms)
    with pytest.raises(NotASealer):
        engine.check_header(replace(child, producer=key.public_key), head, node.chain)


# --- three chains ----------------------------------------------------------------------------------


def handovers(world, name="n0"):
    """The relays of this chain's changes that a node keeps, in order."""
    rows = sorted(world.peers[name].store.scan(b"K"))
    return [Relay.from_value(decode(raw, max_bytes=10**6)) for _, raw in rows]


def forge(relay, keys, voters):
    """The same message under a certificate of other members, signed as one of these voters."""
    statement = replace(relay.certificate.statement, slot=20, since_slot=voters.since_slot)
    votes = sorted((key.public_key, sign_statement(statement, key).signature) for key in keys)
    return replace(relay, certificate=QuorumCertificate(statement=statement, signatures=tuple(votes)))


def test_the_other_chains_learn_of_each_change_from_those_who_went_before():
    genesis = make_genesis(scheduling=SCHEDULING, market=MARKET)
    worlds = open_worlds(genesis, KEYS, seed=6)
    jy1, lh1, du1 = worlds["JY1"], worlds["LH1"], worlds["DU1"]
    change_members(list(worlds.values()), genesis)
    elapsed_to(jy1, 5)

    members = {KEYS[name].public_key for name in ("n0", "n2", "n3", "n4")}
    for world in worlds.values():
        assert sealers(world) == members
        assert world.node("n0").chain.final_height >= world.node("n0").chain.head.height - 20
        for other in worlds.values():
            if other is not world:
                known = get_sibling(Overlay(state(world)), other.chain_id)
                assert set(known.sealers) == members, (world.genesis.params.name, other.genesis.params.name)
                slots = range(17, 21) if other is not du1 else range(60, 100)  # a slot may have no block
                assert known.since_slot in slots
    check_calm(jy1, lh1, du1)

    before, after = handovers(jy1)
    assert (before.kind, before.certificate.statement.slot) == (SEALERS, 4)
    assert NEWCOMER.public_key not in signers(before.certificate)
    known = get_sibling(Overlay(state(lh1)), jy1.chain_id)
    with pytest.raises(WrongVoters):
        check_relay(after, known)
    check_relay(after, known._replace(since_slot=5, sealers=tuple(sorted({*members, KEYS["n1"].public_key}))))
    with pytest.raises(UnknownSigner):
        check_relay(forge(after, [KEYS[name] for name in ("n0", "n1", "n2", "n3")], known), known)
    check_relay(forge(after, [KEYS[name] for name in ("n0", "n2", "n4")], known), known)


def test_a_chain_that_was_away_during_a_change_is_told_of_it_by_the_old_set():
    """The message of a handover is kept with the proof that only the old set could give."""
    genesis = make_genesis(scheduling=SCHEDULING, market=MARKET)
    worlds = open_worlds(genesis, KEYS, seed=7)
    jy1, lh1 = worlds["JY1"], worlds["LH1"]
    elapsed_to(jy1, 0.5)
    for name in KEYS:
        lh1.crash(name)
    act(jy1, admission(genesis), sequence=0)
    elapsed_to(jy1, 3.5)
    assert NEWCOMER.public_key in sealers(jy1)
    for name in KEYS:
        lh1.start(name)
    elapsed_to(jy1, 5.5)
    assert NEWCOMER.public_key in get_sibling(Overlay(state(lh1)), jy1.chain_id).sealers
    assert encode(get_credential(Overlay(state(lh1)), NEWCOMER.address)) == encode(None), "LH1 has not admitted it"


def test_under_pbft_the_set_changes_with_the_height_after_the_boundary():
    genesis = make_genesis(consensus=PBFT)
    world = World(genesis, KEYS, seed=8)
    change_members([world], genesis)
    elapsed_to(world, 5)
    members = {KEYS[name].public_key for name in ("n0", "n2", "n3", "n4")}
    assert sealers(world) == members
    node = world.node("n0")
    assert node.chain.final_height == node.chain.head.height > 80
    assert producers(world, genesis.time_ms + 4 * PERIOD_MS + 5_000) <= members
    assert NEWCOMER.public_key in producers(world, genesis.time_ms + PERIOD_MS)
    assert signers(node.final_certificate) <= members
    check_calm(world)
