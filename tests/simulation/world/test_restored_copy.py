"""A directory put back as it was, guard file and all: whoever runs on it signs nothing twice, and comes back."""

import pytest

from consensus.signing_record import SigningRecord
from ledger.accounts import get_account
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.store import MemoryStore
from node.chain import messages as wire
from node.chain.events import MessageReceived, PersistSigningRecord, Send, StartSealing
from node.errors import RolledBack
from simulation.attacks.policy import Policy
from simulation.world.networks import make_network
from simulation.world.peer import Backup
from simulation.world.world import World

NAMES = ("n0", "n1", "n2", "n3")
OTHERS = ("n1", "n2", "n3")
PBFT = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=500, view_timeout_ms=1_000
)
ENGINES = {"poca": None, "pbft": PBFT}
OFFENCES = {"equivocation", "punished", "finality-conflict"}


@pytest.fixture(params=ENGINES)
def network(request):
    return make_network(NAMES, consensus=ENGINES[request.param], period_ms=20_000)


def open_world(network, seed, **options):
    world = World(network.genesis, network.keys, seed=seed, sealing="drawn", **options)
    world.run_for(20_000)
    return world


def height(world, name="n0"):
    return world.node(name).chain.head.height


def state(world, name="n0"):
    return world.node(name).signing_state


def signs(world, name="n0"):
    return state(world, name) == "signs"


def offences(world):
    return [event for peer in world.peers.values() for event in peer.published if event[0] in OFFENCES]


def credit(world, name="n0"):
    chain = world.node("n1").chain
    return get_account(Overlay(chain.head.state), world.peers[name].key.address).credit_upt


def told(world, name="n0"):
    """The changes of its right to sign, in order."""
    return [event[0] for event in world.peers[name].published if str(event[0]).startswith("signing-")]


def put_back(world, backup, name="n0"):
    world.crash(name)
    world.peers[name].put_back(backup)
    world.start(name)


def takes_part(world, since, name="n0"):
    """True where a block above `since` is that peer's, or the final one carries its vote."""
    chain, key = world.node("n1").chain, world.peers[name].key.public_key
    certificate = world.node("n1").final_certificate
    has_voted = certificate is not None and key in dict(certificate.signatures) and chain.final_height > since
    return has_voted or any(
        entry.header.producer == key for entry in chain.ancestors(chain.head) if entry.height > since
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("away_ms", [300, 7_000, 120_000])
def test_a_copy_put_back_signs_nothing_twice_and_comes_back(network, seed, away_ms):
    world = open_world(network, seed)
    backup, before = world.peers["n0"].back_up(), credit(world)
    world.run_for(away_ms)
    put_back(world, backup)
    since = height(world, "n1")
    world.run_until(lambda: signs(world) and takes_part(world, since + 8), limit_ms=400_000)
    world.run_for(20_000)
    assert offences(world) == []
    assert credit(world) == before
    assert height(world) >= height(world, "n1") - 3


def test_a_copy_from_long_ago_says_so_and_waits_until_the_chain_has_left_it_behind(network):
    world = open_world(network, 3)
    backup = world.peers["n0"].back_up()
    world.run_for(120_000)
    left_at = height(world)
    put_back(world, backup)
    world.run_until(lambda: state(world) == "record-behind" and height(world) >= left_at, limit_ms=60_000)
    until = world.node("n0").silent_until
    assert until > left_at
    assert world.peers["n0"].signing_record.silent_until == until, "it holds beyond another restart"
    world.crash("n0")
    world.start("n0")
    assert state(world) == "record-behind"
    chain, looks = world.node("n0").chain, []
    world.watch(lambda *_: looks.append((chain.final_height >= until, signs(world))))
    world.run_until(lambda: signs(world), limit_ms=200_000)
    assert set(looks) == {(False, False), (True, True)}, "neither sooner nor later"
    assert told(world)[-1] == "signing-signs"


def test_a_copy_that_is_cut_off_signs_nothing(network):
    world = open_world(network, 5)
    backup = world.peers["n0"].back_up()
    world.run_for(60_000)
    world.partition({"n0"}, OTHERS)
    put_back(world, backup)
    signed = []
    world.watch(lambda _, name, __, actions: signed.extend(a for a in actions if name == "n0" and is_signing(a)))
    world.run_for(120_000)
    assert (signed, state(world), height(world)) == ([], "waits", world.node("n0").chain.head.height)
    world.heal()
    world.run_until(lambda: signs(world), limit_ms=200_000)
    assert offences(world) == []


def is_signing(action):
    if isinstance(action, PersistSigningRecord | StartSealing):
        return True
    return isinstance(getattr(action, "message", None), wire.Votes | wire.Agreement | wire.NewBlock)


def test_a_directory_that_is_lost_is_a_copy_from_the_beginning(network):
    world = open_world(network, 8)
    world.run_for(30_000)
    put_back(world, Backup(MemoryStore(), SigningRecord()))
    world.run_until(lambda: signs(world) and height(world) > 20, limit_ms=300_000)
    assert "signing-record-behind" in told(world)
    assert offences(world) == []


@pytest.mark.parametrize("seed", range(2))
def test_all_ended_at_once_get_going_by_themselves(network, seed):
    world = open_world(network, seed)
    for name in NAMES:
        world.crash(name)
    world.run_for(5_000)
    for name in NAMES:
        world.start(name)
    since = world.node("n1").chain.head.height
    world.run_until(lambda: min(height(world, name) for name in NAMES) > since + 5, limit_ms=60_000)
    assert all(told(world, name).count("signing-record-behind") == 0 for name in NAMES)
    assert offences(world) == []


@pytest.mark.parametrize(
    "sides", [({"n0", "n1"}, {"n2", "n3"}), ({"n0"}, {"n1"}, {"n2", "n3"}), ({"n0"}, {"n1"}, {"n2"}, {"n3"})]
)
def test_all_ended_at_once_with_their_heads_apart_get_going_by_themselves(sides):
    """A lighter branch is fetched by nobody: who waited for those that stood on it would wait for ever."""
    network = make_network(NAMES, period_ms=20_000)
    world = open_world(network, 1)
    world.partition(*sides)
    world.run_for(6_000)
    for name in NAMES:
        world.crash(name)
    world.heal()
    for name in NAMES:
        world.start(name)
    since = world.node("n1").chain.final_height
    world.run_until(lambda: all(signs(world, name) for name in NAMES), limit_ms=30_000)
    world.run_until(lambda: world.node("n1").chain.final_height > since + 5, limit_ms=60_000)
    assert offences(world) == []


class Boaster(Policy):
    """It stands where nobody ever was."""

    def step(self, event, now_ms):
        actions = self.node.step(event, now_ms)
        return [self.boast(action) for action in actions]

    def boast(self, action):
        match getattr(action, "message", None):
            case wire.Signed():
                nowhere = wire.Signed(head=b"\xff" * 32, work=b"\xff" * 40, final_height=10**9, raw=())
                return Send(peer=action.peer, message=nowhere)
            case wire.Status(work=work, final_height=final):
                boast = wire.Status(head=b"\xff" * 32, height=10**9, work=work, final_height=final)
                return type(action)(**{**_fields(action), "message": boast})
        return action


def _fields(action):
    return {name: getattr(action, name) for name in action.__dataclass_fields__}


def test_a_liar_keeps_no_honest_member_silent(network):
    world = open_world(network, 4, policies={"n3": Boaster})
    world.crash("n0")
    world.run_for(10_000)
    world.start("n0")
    world.run_until(lambda: signs(world), limit_ms=5_000)


def test_one_other_of_four_is_not_enough(network):
    world = open_world(network, 6)
    world.partition({"n0", "n1"}, {"n2", "n3"})
    world.crash("n0")
    world.start("n0")
    world.run_for(30_000)
    assert state(world) == "waits", "the one may lie"
    world.heal()
    world.run_until(lambda: signs(world), limit_ms=60_000)


def test_a_ballot_that_nobody_has_signed_with_this_key_is_a_peers_fault(network):
    world = open_world(network, 2)
    world.partition({"n0"}, OTHERS)
    world.crash("n0")
    world.start("n0")
    world.run_for(100)
    world._step(
        world.peers["n0"],
        MessageReceived(
            peer=world.peers["n1"].key.public_key,
            message=wire.Signed(head=bytes(32), work=bytes(40), final_height=0, raw=(b"\x00",)),
        ),
    )
    assert [error.code for _, error in world.peers["n0"].faults][-1:] == ["WrongShape"]
    assert state(world) == "waits"


# --- restored from a backup, and marked as such ----------------------------------------------------


def restore(world, backup, name="n0", **options):
    world.crash(name)
    world.peers[name].put_back(Backup(backup.store, backup.signing_record.after_restore()))
    world.start(name, **options)


@pytest.mark.parametrize(("away_ms", "is_sure"), [(300, True), (60_000, False)], ids=["sure", "asks"])
def test_a_restored_backup_signs_once_the_chain_is_final_above_all_that_its_key_has_signed(network, away_ms, is_sure):
    world = open_world(network, 0)
    backup, before = world.peers["n0"].back_up(), credit(world)
    world.run_for(away_ms)
    signed_height = height(world)
    restore(world, backup, is_sure=is_sure)
    assert state(world) == "restored"
    world.run_until(lambda: state(world) != "restored", limit_ms=200_000)
    until = world.node("n0").signing_record.silent_until
    assert until > signed_height
    world.run_until(lambda: signs(world), limit_ms=200_000)
    assert world.node("n0").chain.final_height >= until > signed_height
    world.run_until(lambda: takes_part(world, until), limit_ms=200_000)
    assert offences(world) == []
    assert credit(world) == before


def test_a_restored_backup_is_not_let_off_by_what_others_say(network):
    """Two of three others answer that they hold nothing: enough for a copy, but no block has been final since."""
    world = open_world(network, 1)
    backup = world.peers["n0"].back_up()
    world.crash("n3")  # no quorum is left without n0
    restore(world, backup, is_sure=True)
    world.run_for(60_000)
    assert state(world) == "restored"
    assert world.peers["n0"].signing_record.is_restored, "it holds beyond another restart"
    world.start("n3")
    world.run_until(lambda: signs(world), limit_ms=400_000)
    assert offences(world) == []


def test_a_store_thrown_away_keeps_its_record_and_is_told_from_one_that_lost_blocks(network):
    world = open_world(network, 2)
    record = world.peers["n0"].back_up().signing_record
    world.crash("n0")
    world.peers["n0"].put_back(Backup(MemoryStore(), record))
    with pytest.raises(RolledBack):
        world.start("n0")
    world.peers["n0"].put_back(Backup(MemoryStore(), record.after_restore()))
    world.start("n0")
    world.run_until(lambda: signs(world), limit_ms=400_000)
    since = height(world, "n1")
    world.run_until(lambda: takes_part(world, since), limit_ms=200_000)
    assert offences(world) == []
