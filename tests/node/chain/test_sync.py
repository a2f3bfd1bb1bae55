"""Headers first: what links and holds is followed, what does not is a fault, and bodies come in the chain's order."""

from dataclasses import replace

import pytest

from consensus.errors import WrongCredit, WrongDifficulty
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate, Statement
from ledger.chain import Chain
from ledger.store import MemoryStore
from node.chain.downloads import Downloads
from node.chain.skeleton import JUDGED_AHEAD, Claim
from node.chain.sync import BODY_WINDOW, FAR_BEHIND, HEADERS_TIMEOUT_MS, Sync
from node.errors import BrokenHeaders
from simulation.world.networks import make_network
from simulation.world.world import World

A, B, C = b"a", b"b", b"c"
STALL_BEATS = 3
PERIOD_MS = 200_000  # some hundred blocks


class Behind:
    """A chain that has blocks up to a height, and all blocks of a longer one that it may be shown."""

    def __init__(self, genesis, blocks, height=0):
        self.store = MemoryStore()
        self.chain = Chain(genesis, self.store)
        self.engine = PocaEngine(genesis)
        self.check = self.engine.check_header
        self.blocks = blocks  # entries by height, from 0
        self.bodies = Downloads(timeout_ms=100, max_wanted=1_000, max_offered=1_000, max_per_peer=1_000)
        self.sync = Sync(self.chain, self.bodies, stall_beats=STALL_BEATS)
        self.now_ms = blocks[-1].header.timestamp_ms
        for entry in blocks[1 : height + 1]:
            self.take(entry)

    def headers(self, first, last):
        return tuple(entry.header for entry in self.blocks[first : last + 1])

    def hear(self, peer, headers, **options):
        return self.sync.on_headers(peer, headers, self.now_ms, check=self.check, **options)

    def take(self, entry):
        """Execute a block, as the node does."""
        own = self.chain.add(entry.block, entry.execution, work=entry.work, base_n_diff=entry.base_n_diff)
        self.store.write(self.chain.move_head(own).changes)

    def import_next(self):
        ready = self.sync.next_block()
        if ready is None:
            return None
        self.take(self.blocks[ready[0].header.height])
        self.sync.skip_known()
        self.sync.judge(self.check, self.now_ms)
        return ready[0].header.height

    def give(self, height, peer=B):
        return self.sync.on_block(self.blocks[height].block, peer)


def grow_long(period_ms, count, seed=3):
    network = make_network(period_ms=period_ms)
    world = World(network.genesis, network.keys, seed=seed)
    world.run_until(lambda: world.node("n0").chain.head.height > count, limit_ms=4_000 * count)
    chain = world.node("n0").chain
    return network, [*chain.ancestors(chain.ancestor_at(chain.head, count))][::-1]


def up_to(heights, *, bodies_from=1):
    """The blocks that peers with heads at these heights have, by peer."""
    return {peer: range(bodies_from, height + 1) for peer, height in heights.items()}


@pytest.fixture(scope="module")
def grown():
    return grow_long(PERIOD_MS, 110)


@pytest.fixture
def behind(grown):
    network, blocks = grown
    return Behind(network.genesis, blocks)


def forge(behind, header, key, **changes):
    """The header with other values, signed by a member that did no work for it."""
    return replace(header, producer=key.public_key, **changes).sealed(7, key)


def test_bodies_are_wanted_from_all_who_are_high_enough_and_imported_in_order(behind):
    assert behind.hear(A, behind.headers(1, 100)) == (behind.blocks[100].hash,)
    behind.sync.want_bodies(up_to({A: 100, B: BODY_WINDOW, C: 10}))
    asked = behind.bodies.requests(0)
    assert {identity for ids in asked.values() for identity in ids} == {
        entry.hash for entry in behind.blocks[1 : BODY_WINDOW + 1]
    }
    heights = {entry.hash: entry.height for entry in behind.blocks}
    assert {peer: max(heights[identity] for identity in ids) <= 10 for peer, ids in asked.items()} == {
        A: False,
        B: False,
        C: True,
    }, "who is not as high is asked for what lies below"
    for height in range(BODY_WINDOW, 0, -1):
        assert behind.sync.next_block() is None
        assert behind.give(height)
    assert [behind.import_next() for _ in range(BODY_WINDOW)] == [*range(1, BODY_WINDOW + 1)]
    assert behind.import_next() is None
    assert behind.sync.target_height == 100


def test_no_body_is_asked_of_a_peer_that_has_pruned_it_not_even_of_the_source(behind):
    behind.hear(A, behind.headers(1, 40))
    behind.sync.want_bodies({**up_to({A: 40}, bodies_from=20), **up_to({B: 40}), C: range(1, 11)})
    asked = behind.bodies.requests(0)
    heights = {entry.hash: entry.height for entry in behind.blocks}
    wanted = {peer: sorted(heights[identity] for identity in ids) for peer, ids in asked.items()}
    assert wanted[A][0] >= 20
    assert wanted[C][-1] <= 10
    assert sorted(height for of_peer in wanted.values() for height in of_peer) == [*range(1, 41)]


def test_headers_that_do_not_link_are_a_fault(behind):
    with pytest.raises(BrokenHeaders, match="parent is unknown"):
        behind.hear(A, behind.headers(2, 5))
    with pytest.raises(BrokenHeaders, match="no link at height 5"):
        behind.hear(A, (*behind.headers(1, 3), *behind.headers(5, 5)))
    assert behind.sync.skeleton is None


def test_headers_that_do_not_link_bring_no_old_block_back_into_memory(grown):
    """A header that is known, then one on the genesis: its parent's state is undone from the head down."""
    network, blocks = grown
    full = Behind(network.genesis, blocks, height=60)
    chain = Chain(network.genesis, full.store, window=8)
    sync = Sync(chain, full.bodies, stall_beats=STALL_BEATS)
    deep = forge(full, blocks[1].header, network.keys["n3"])
    held = chain.held_count
    with pytest.raises(BrokenHeaders, match="no link at height 1"):
        sync.on_headers(A, (blocks[60].header, deep), full.now_ms, check=full.check)
    assert chain.held_count == held


def test_a_header_is_judged_as_a_block_is(behind, grown):
    """N_diff by the retarget, credit of the snapshot: what a member without hash power can make up does not pass."""
    key = grown[0].keys["n3"]
    easiest = forge(behind, behind.blocks[1].header, key, n_diff=2**256 - 1)
    with pytest.raises(WrongDifficulty):
        behind.hear(A, (easiest,))
    boastful = forge(behind, behind.blocks[1].header, key, credit_upt=100_000_000)
    with pytest.raises(WrongCredit):
        behind.hear(A, (boastful,))
    assert behind.sync.skeleton is None


def test_a_lie_behind_good_headers_is_found_before_its_body_is_asked_for(behind, grown):
    lie = forge(behind, behind.blocks[JUDGED_AHEAD + 6].header, grown[0].keys["n3"], n_diff=2**256 - 1)
    behind.hear(A, (*behind.headers(1, JUDGED_AHEAD + 5), lie))
    behind.sync.want_bodies(up_to({A: 10**9}))
    assert lie.hash not in behind.bodies
    for height in range(1, 6):
        assert behind.give(height)
        assert behind.import_next() == height
    assert behind.give(6)
    with pytest.raises(WrongDifficulty):
        behind.import_next()


def test_headers_of_the_period_after_next_wait_for_the_blocks_below_them():
    network, blocks = grow_long(10_000, 30)
    behind = Behind(network.genesis, blocks)
    behind.hear(A, behind.headers(1, 30))
    skeleton = behind.sync.skeleton
    first_of_next = next(entry.height for entry in blocks if entry.header.period > blocks[0].header.period)
    assert skeleton.sound_count == first_of_next < len(skeleton) == 30
    for height in range(1, 31):
        assert behind.give(height)
    assert [behind.import_next() for _ in range(30)] == [*range(1, 31)]


def test_headers_dated_ahead_of_the_clock_wait(behind):
    behind.now_ms = behind.blocks[5].header.timestamp_ms
    behind.hear(A, behind.headers(1, 20))
    before = behind.sync.skeleton.sound_count
    assert 5 <= before < 20
    behind.now_ms = behind.blocks[-1].header.timestamp_ms
    behind.sync.judge(behind.check, behind.now_ms)
    assert behind.sync.skeleton.sound_count == 20


def test_what_a_peer_claims_stops_nobody(behind):
    behind.hear(A, behind.headers(1, 60))
    assert not behind.sync.is_far_behind, "not before blocks have become the head"
    assert behind.give(1)
    assert behind.import_next() == 1
    assert behind.sync.is_far_behind
    assert [behind.sync.on_beat() for _ in range(2)] == [None, None]
    assert not behind.sync.is_far_behind, "nor while none comes any more"
    for height in range(2, 60 - FAR_BEHIND + 1):
        behind.give(height)
        behind.import_next()
    assert not behind.sync.is_far_behind, "a few are left"


def test_a_second_message_goes_on_where_the_first_ended(behind):
    behind.hear(A, behind.headers(1, 5))
    assert behind.hear(A, behind.headers(6, 10)) == (behind.blocks[10].hash,)
    assert behind.sync.target_height == 10
    assert behind.hear(A, behind.headers(1, 10)) == ()


def test_the_source_may_leave_the_branch_it_told_of_before(behind, grown):
    behind.hear(A, behind.headers(1, 10))
    other = replace(behind.blocks[9].header, timestamp_ms=behind.now_ms + 1)  # nothing is known of it but its parent
    assert behind.hear(A, (other,)) == (other.hash,)
    assert [header.hash for header in behind.sync.skeleton.headers[-2:]] == [behind.blocks[8].hash, other.hash]


def test_only_more_sound_work_takes_the_place_of_a_skeleton(behind):
    behind.hear(A, behind.headers(1, 10))
    behind.sync.want_bodies(up_to({A: 10}))
    assert behind.give(2, A)
    assert behind.hear(B, behind.headers(1, 8)) == ()
    assert behind.hear(B, behind.headers(1, 10)) == ()
    assert behind.sync.skeleton.source == A
    assert behind.hear(B, behind.headers(1, 12)) != ()
    assert behind.sync.skeleton.source == B
    assert behind.blocks[1].hash in behind.bodies, "it is on its way"
    assert behind.give(1, A)
    assert [behind.import_next(), behind.import_next()] == [1, 2], "what has come stays"


def test_a_longer_skeleton_on_the_same_next_block_leaves_a_node_catching_up(behind):
    behind.hear(A, behind.headers(1, 20))
    behind.sync.want_bodies(up_to({A: 20}))
    assert behind.give(1, A)
    behind.import_next()
    assert behind.sync.is_far_behind
    assert behind.hear(B, behind.headers(2, 22)) != ()
    assert (behind.sync.skeleton.source, behind.sync.is_far_behind) == (B, True)
    behind.sync.reset()
    assert behind.hear(A, behind.headers(2, 24)) != ()
    assert not behind.sync.is_far_behind, "nothing of this one has come yet"


def test_another_skeleton_does_not_clear_who_withholds(behind):
    """Under PBFT the same chain with one block more takes its place each second: nobody would ever have failed."""
    behind.hear(A, behind.headers(1, 10))
    behind.sync.want_bodies(up_to({A: 10}))
    behind.bodies.requests(0)
    behind.bodies.requests(200)  # none has come
    behind.sync.want_bodies(up_to({A: 10}))
    behind.bodies.requests(200)
    behind.hear(B, behind.headers(1, 12))
    behind.sync.reset()
    behind.bodies.offer(b"one", A)
    behind.bodies.offer(b"one", B)
    assert behind.bodies.requests(300) == {B: [b"one"]}


def test_each_peer_has_one_open_request_and_no_silence_keeps_others_from_being_asked(behind):
    sync = behind.sync
    assert sync.may_ask(A, 0, claim=Claim(5, 0))
    assert not sync.may_ask(A, HEADERS_TIMEOUT_MS - 1)
    assert sync.may_look(0)
    assert sync.may_ask(B, 0)
    assert not sync.may_look(0), "two at a time"
    assert sync.may_ask(C, 0), "who shows a block with an unknown parent"
    assert sync.may_look(HEADERS_TIMEOUT_MS)
    assert sync.answered(A).claim == Claim(5, 0)
    assert sync.answered(A) is None
    sync.lost(B)
    assert sync.answered(B) is None


def test_what_arrived_by_another_way_is_skipped(behind):
    behind.hear(A, behind.headers(1, 3))
    behind.sync.want_bodies(up_to({A: 3}))
    for height in (1, 2):
        behind.take(behind.blocks[height])
    behind.sync.skip_known()
    assert behind.blocks[1].hash not in behind.bodies
    behind.give(3, A)
    assert behind.import_next() == 3
    assert behind.sync.skeleton is None


def test_a_skeleton_without_progress_is_given_up_after_some_heartbeats(behind):
    behind.hear(A, behind.headers(1, 20))
    behind.sync.want_bodies(up_to({A: 20}))
    assert behind.sync.on_beat() is None
    behind.give(1)
    behind.import_next()
    assert [behind.sync.on_beat() for _ in range(STALL_BEATS - 1)] == [None] * (STALL_BEATS - 1)
    behind.hear(A, behind.headers(21, 40))  # headers are no progress
    given_up = behind.sync.on_beat()
    assert (given_up.source, given_up.imported, given_up.was_asked_for) == (A, 1, True)
    assert behind.sync.skeleton is None
    assert behind.sync.on_beat() is None


def test_another_skeleton_from_the_same_peer_is_no_progress(behind):
    behind.hear(A, behind.headers(1, 5))
    assert [behind.sync.on_beat() for _ in range(STALL_BEATS - 1)] == [None] * (STALL_BEATS - 1)
    other = replace(behind.blocks[1].header, timestamp_ms=behind.now_ms + 1)
    behind.hear(A, (other,))
    assert behind.sync.on_beat().source == A


def test_nor_is_one_whose_bodies_are_asked_for_in_their_turn(behind):
    """One that withholds would show another branch of its own whenever its time is nearly up."""
    _, others = grow_long(PERIOD_MS, 6, seed=4)
    behind.hear(A, behind.headers(1, 5))
    behind.sync.want_bodies(up_to({A: 5}))
    assert [behind.sync.on_beat() for _ in range(STALL_BEATS - 1)] == [None] * (STALL_BEATS - 1)
    behind.hear(A, tuple(entry.header for entry in others[1:]))
    assert behind.sync.skeleton.first.hash == others[1].hash
    behind.sync.want_bodies(up_to({A: 6}))
    assert behind.sync.on_beat().source == A


def test_headers_that_a_quorum_has_certified_hold_whatever_they_say(behind):
    statement = Statement(chain_id=behind.chain.chain_id, slot=8, block_hash=behind.blocks[8].hash)
    certificate = QuorumCertificate(statement=statement, signatures=())  # verified before, by the node
    behind.hear(A, behind.headers(1, 8), certificate=certificate)
    skeleton = behind.sync.skeleton
    assert skeleton.sound_count == 8
    assert skeleton.is_certified(behind.blocks[3].hash)
    assert not skeleton.is_certified(behind.blocks[9].hash)
    assert skeleton.certificate_of(behind.blocks[8].hash) == certificate
    behind.hear(A, behind.headers(9, 12))
    assert skeleton.sound_count == 8, "nothing stands behind those above"


def test_an_answer_that_continues_what_was_given_up_is_nobodys_fault(behind):
    behind.hear(A, behind.headers(1, 10))
    assert behind.sync.may_ask(A, 0, goes_on=True)
    assert behind.sync.may_ask(B, 0)
    behind.sync.reset()
    late = behind.headers(11, 20)
    assert behind.sync.is_out_of_place(A, behind.sync.answered(A), late)
    assert not behind.sync.is_out_of_place(B, behind.sync.answered(B), late), "which then is a fault"
    behind.hear(B, behind.headers(1, 15))
    assert behind.sync.may_ask(A, 0, goes_on=True)
    assert behind.sync.is_out_of_place(A, behind.sync.answered(A), late), "though another's skeleton has its parent"


def test_whoever_is_asked_late_has_all_the_time_that_others_have(behind):
    """Its headers were ahead of the clock, say, until that was set: the wait before was not for its blocks."""
    behind.hear(A, behind.headers(1, 3))
    assert [behind.sync.on_beat() for _ in range(STALL_BEATS - 1)] == [None] * (STALL_BEATS - 1)
    behind.sync.want_bodies(up_to({A: 3}))
    assert [behind.sync.on_beat() for _ in range(STALL_BEATS - 1)] == [None] * (STALL_BEATS - 1)
    behind.sync.want_bodies(up_to({A: 3}))
    assert behind.sync.on_beat().source == A
