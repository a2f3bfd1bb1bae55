"""Header rules, each broken alone; proposals against what is judged; fork choice."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.engine import Weighed
from consensus.errors import (
    BadParameters,
    NotASealer,
    TargetMissed,
    TimestampTooEarly,
    WrongCredit,
    WrongDifficulty,
    WrongHeight,
    WrongPeriod,
)
from consensus.poca.credit_target import MAX_TARGET, compute_n_diff_limit, compute_target, compute_weight
from consensus.poca.engine import check_params
from consensus.poca.retarget import block_work, compute_next_base, rescale
from ledger.chain import BlockNode
from ledger.errors import InvalidSignature, WrongChain
from ledger.hashing import sha256
from ledger.params import ChainParams, ConsensusParams, MarketParams
from ledger.snapshot import get_snapshot

POINT = 1_000_000
NAMES = ("anna", "bert", "cleo", "dora")


def branch_of(sealed, parent, *names, at=None):
    """A branch of one block by each name."""
    branch = []
    for name in names:
        parent = sealed.add(parent, name, at=at)
        branch.append(parent)
    return branch


def next_base(sealed, parent, grandparent):
    params = sealed.params
    return compute_next_base(
        parent.base_n_diff,
        parent.header.timestamp_ms - grandparent.header.timestamp_ms,
        interval_ms=params.block_interval_ms,
        window=params.retarget_window,
        n_diff_min=params.n_diff_min,
        n_diff_max=params.n_diff_max,
    )


# --- the rules, each broken alone ------------------------------------------------------------------


def test_a_header_that_keeps_every_rule_adds_its_work(sealed):
    a1 = sealed.extend("anna")
    block = sealed.build(a1, "bert")
    header = sealed.seal(block.header, "bert")
    base = next_base(sealed, a1, sealed.root)
    assert header.n_diff == base
    assert sealed.check(header, a1) == Weighed(work=a1.work + 2**256 // (base + 1), base_n_diff=base)
    sealed.engine.screen_header(header, sealed.sealers)


def test_the_seal_is_the_hash_under_the_credit_scaled_target(sealed):
    header = sealed.seal(sealed.build(sealed.root, "anna").header, "anna")
    target = compute_target(2**240, 90 * POINT, sealed.params.tau_upt)
    assert sealed.propose(sealed.root, "anna", 1_000).target == target
    value = int.from_bytes(hashlib.sha256(header.root + header.nonce.to_bytes(8, "big")).digest(), "big")
    assert value <= target


@pytest.mark.parametrize(
    ("change", "error", "values"),
    [
        ({"chain_id": b"\xee" * 32}, WrongChain, {"actual": "ee" * 8}),
        ({"height": 2}, WrongHeight, {"expected": 3, "actual": 2}),
        ({"height": 4}, WrongHeight, {"expected": 3, "actual": 4}),
        ({"period": 1}, WrongPeriod, {"expected": 0, "actual": 1}),
        ({"credit_upt": 90 * POINT + 1}, WrongCredit, {"expected": 90 * POINT, "actual": 90 * POINT + 1}),
        ({"credit_upt": 0}, WrongCredit, {"expected": 90 * POINT, "actual": 0}),
        ({"n_diff": 2**240 + 1}, WrongDifficulty, {"expected": 2**240, "actual": 2**240 + 1}),
        ({"n_diff": 2**239}, WrongDifficulty, {"expected": 2**240, "actual": 2**239}),
        ({"n_diff": 2**256 - 1}, WrongDifficulty, {"expected": 2**240, "actual": 2**256 - 1}),
    ],
)
def test_each_broken_rule_has_its_error(sealed, change, error, values):
    """Every other rule is kept: the header is sealed and signed for what it claims."""
    sealed.extend("anna")
    a2 = sealed.extend("bert")
    header = sealed.seal(replace(sealed.build(a2, "cleo").header, **change), "cleo")
    with pytest.raises(error) as caught:
        sealed.check(header, a2)
    assert values.items() <= caught.value.values.items()
    assert caught.value.is_final


def test_only_a_sealing_member_seals(sealed):
    for name in ("grid", "eve"):
        block = sealed.build(sealed.root, "anna")
        header = sealed.seal(replace(block.header, producer=sealed.key(name).public_key), name)
        with pytest.raises(NotASealer) as caught:
            sealed.check(header, sealed.root)
        assert str(caught.value) == f"producer {sealed.key(name).public_key.hex()[:16]} has no sealing right"


def test_a_missed_target_is_named_with_both_numbers(sealed):
    header = sealed.build(sealed.root, "anna").header
    target = compute_target(header.n_diff, header.credit_upt, sealed.params.tau_upt)
    missed = sealed.seal_missing(header, "anna", target)
    with pytest.raises(TargetMissed) as caught:
        sealed.check(missed, sealed.root)
    assert caught.value.values == {"actual": sealed.value_of(missed), "target": target}
    assert str(caught.value) == f"F(W, S) = {sealed.value_of(missed):#x} is above the target {target:#x}"


def test_a_signature_by_anybody_else_is_refused_but_not_for_ever(sealed):
    """The signature is outside the hash: whoever forges one must not make others refuse the true block."""
    header = sealed.seal(sealed.build(sealed.root, "anna").header, "anna")
    for forged in (replace(header, signature=bytes(64)), header.sealed(header.nonce, sealed.key("bert"))):
        assert forged.hash == header.hash
        for check in (
            lambda: sealed.check(forged, sealed.root),  # noqa: B023 - called at once
            lambda: sealed.engine.screen_header(forged, sealed.sealers),  # noqa: B023
        ):
            with pytest.raises(InvalidSignature) as caught:
                check()
            assert not caught.value.is_final
    sealed.check(header, sealed.root)


def test_a_seal_is_worth_nothing_on_another_parent_or_for_another_producer(sealed):
    # genesis ── a1          the seal of a2 on a1 …
    #         └─ b1          … does not make a block on b1
    a1, b1 = sealed.add(sealed.root, "anna"), sealed.add(sealed.root, "bert")
    missed = 0
    for at in range(2_000, 2_008):
        header = sealed.seal(sealed.build(a1, "cleo", at=at).header, "cleo")
        target = compute_target(header.n_diff, header.credit_upt, sealed.params.tau_upt)
        for change in ({"parent": b1.hash}, {"producer": sealed.key("dora").public_key}):
            missed += sealed.value_of(replace(header, **change)) > target
    assert missed > 8  # of 16, at a target that one hash in eight meets by chance


# --- screening -------------------------------------------------------------------------------------


def test_screening_believes_the_claims_and_checks_what_they_cost(sealed):
    header = sealed.build(sealed.root, "anna").header
    boastful = replace(header, credit_upt=100 * POINT, n_diff=2**241, height=999)
    sealed.engine.screen_header(sealed.seal(boastful, "anna"), sealed.sealers)
    target = compute_target(header.n_diff, header.credit_upt, sealed.params.tau_upt)
    with pytest.raises(TargetMissed):
        sealed.engine.screen_header(sealed.seal_missing(header, "anna", target), sealed.sealers)
    with pytest.raises(NotASealer):
        sealed.engine.screen_header(sealed.seal(header, "anna"), sealed.sealers - {header.producer})
    with pytest.raises(WrongChain):
        sealed.engine.screen_header(sealed.seal(replace(header, chain_id=b"\xee" * 32), "anna"), sealed.sealers)


# --- timestamps and periods ------------------------------------------------------------------------


def test_a_timestamp_is_above_the_median_of_eleven_on_its_own_branch(sealed):
    # genesis ── a1 … a12      one second apart
    #         └─ b1            its children look at b1 and genesis only
    for _ in range(12):
        sealed.extend("anna")
    head = sealed.chain.head
    b1 = sealed.add(sealed.root, "bert", at=1_000)
    header = sealed.build(head, "cleo").header
    median = sealed.time(7_000)  # of the blocks at 2 … 12 s
    for early in (median, median - 5_000):
        with pytest.raises(TimestampTooEarly) as caught:
            sealed.check(sealed.seal(replace(header, timestamp_ms=early), "cleo"), head)
        assert caught.value.values == {"actual": early, "median": median}
    proposal = sealed.propose(head, "cleo", 0)
    assert proposal.timestamp_ms == median + 1
    assert sealed.propose(b1, "cleo", 0).timestamp_ms == sealed.time(1_001)
    sealed.add(head, "cleo", at=7_001)  # five seconds before its parent


def test_the_period_is_the_timestamps_and_never_falls_back(sealed):
    late = sealed.extend("anna", at=41_000)
    assert late.header.period == 2
    back = sealed.extend("bert", at=41_001)
    for wrong in (1, 3):
        with pytest.raises(WrongPeriod):
            sealed.check(sealed.seal(replace(sealed.build(back, "cleo").header, period=wrong), "cleo"), back)
    assert sealed.propose(back, "cleo", 59_999).period == 2
    assert sealed.propose(back, "cleo", 60_000).period == 3


def test_a_block_dated_back_stays_in_its_parents_period(make_chain):
    sealed = make_chain()
    for at in (18_000, 18_500, 19_000, 19_500, 21_000):
        sealed.extend("anna", at=at)
    head = sealed.chain.head
    assert (head.header.period, sealed.propose(head, "bert", 19_600).period) == (1, 1)
    assert sealed.add(head, "bert", at=19_600).header.period == 1


# --- credit: the snapshot --------------------------------------------------------------------------


def test_credit_reaches_the_target_from_the_block_after_the_boundary_on(sealed):
    # period 0: a1 (bert earns 50 points) ── a2 │ period 1: a3 ── a4
    a1 = sealed.extend("anna", sealed.earn("anna", "bert", 50 * POINT), at=1_000)
    assert sealed.lab.account("bert").credit_upt == 50 * POINT
    a2 = sealed.extend("anna", at=19_999)
    claims = [(parent, at) for parent, at in ((sealed.root, 900), (a1, 2_000), (a2, 20_000))]
    assert [sealed.propose(parent, "bert", at).credit_upt for parent, at in claims] == [90 * POINT] * 3
    a3 = sealed.extend("anna", at=20_000)
    assert (a3.header.period, a3.header.credit_upt) == (1, 90 * POINT)
    proposal = sealed.propose(a3, "bert", 21_000)
    assert proposal.credit_upt == 50 * POINT
    assert proposal.target == compute_target(proposal.n_diff, 50 * POINT, sealed.params.tau_upt)
    header = sealed.seal(replace(sealed.build(a3, "bert", at=21_000).header, credit_upt=90 * POINT), "bert")
    with pytest.raises(WrongCredit) as caught:
        sealed.check(header, a3)
    assert caught.value.values == {"expected": 50 * POINT, "actual": 90 * POINT}
    sealed.add(a3, "bert", at=21_000)


def test_the_snapshot_is_that_of_the_blocks_own_ancestry(sealed):
    # genesis ── a1 (bert earns 50) ── a2 │ a3 ── …
    #         └─ b1                    ── │ b2 ── …
    a3 = sealed.root
    for at, transactions in ((1_000, [sealed.earn("anna", "bert", 50 * POINT)]), (20_000, [])):
        a3 = sealed.add(a3, "anna", *transactions, at=at)
    b2 = sealed.root
    for at in (1_500, 20_500):
        b2 = sealed.add(b2, "cleo", at=at)
    for head in (sealed.root, a3, b2):
        if head is not sealed.root:
            sealed.lab.move(head)
        credits = [sealed.add(parent, "bert", at=21_000).header.credit_upt for parent in (a3, b2)]
        assert credits == [50 * POINT, 90 * POINT]


def test_n_diff_is_rescaled_once_when_new_credits_become_active(sealed):
    a1 = sealed.extend("anna", sealed.earn("anna", "bert", 100 * POINT), at=19_000)
    a2 = sealed.extend("anna", at=20_000)  # takes the snapshot
    a3 = sealed.extend("bert", at=21_000)  # the first that is measured by it
    a4 = sealed.extend("anna", at=22_000)
    tau = sealed.params.tau_upt
    old = 4 * compute_weight(90 * POINT, tau)
    new = 3 * compute_weight(90 * POINT, tau) + compute_weight(100 * POINT, tau)
    limits = {"n_diff_min": sealed.params.n_diff_min, "n_diff_max": sealed.params.n_diff_max}
    assert a2.base_n_diff == next_base(sealed, a1, sealed.root)
    assert a3.base_n_diff == rescale(next_base(sealed, a2, a1), old, new, **limits)
    assert a3.base_n_diff < a2.base_n_diff
    assert a4.base_n_diff == next_base(sealed, a3, a2)
    assert a3.header.n_diff == a3.base_n_diff
    snapshot = get_snapshot(a3.state)
    assert snapshot.height == 2
    assert snapshot.previous[sealed.key("bert").public_key].credit_upt == 90 * POINT


def test_without_credit_in_the_target_nothing_is_rescaled(make_chain):
    sealed = make_chain(consensus={"eligibility": "work", "n_diff_initial": 2**253, "n_diff_max": 2**254})
    sealed.extend("anna", sealed.earn("anna", "bert", 100 * POINT), at=1_000)
    a2 = sealed.extend("anna", at=20_000)
    assert sealed.add(a2, "bert", at=21_000).base_n_diff == next_base(sealed, a2, sealed.chain.get(a2.header.parent))


# --- fork choice -----------------------------------------------------------------------------------


def test_work_does_not_depend_on_credit(sealed):
    """Were the credit-scaled target counted, the branch of the low-credit member would be heavier."""
    # period 0: dora falls to 10 points │ snapshot ── a1 ── a2   by anna, 90 points
    #                                               └─ d1 ── d2   by dora, 10 points, one second later
    sealed.extend("anna", sealed.earn("anna", "dora", 10 * POINT), at=1_000)
    fork = sealed.extend("anna", at=20_000)
    a2 = branch_of(sealed, fork, "anna", "anna")[-1]
    d2 = branch_of(sealed, fork, "dora", "dora")[-1]
    assert (a2.header.credit_upt, d2.header.credit_upt) == (90 * POINT, 10 * POINT)
    assert a2.work == d2.work
    assert a2.work - fork.work == sum(
        block_work(entry.header.n_diff) for entry in (a2, sealed.chain.get(a2.header.parent))
    )
    d3 = sealed.add(d2, "dora")
    a3 = sealed.add(a2, "anna")
    assert a3.work == d3.work
    assert sealed.engine.is_better(d3, a2)
    assert sealed.engine.is_better(a3, d2)
    assert not sealed.engine.is_better(a2, d3)


def test_most_work_wins_and_not_most_blocks(sealed):
    # genesis ── a1 (in time)                    work of one
    #         └─ b1 ── b2   (each relieved)      less each
    a1 = sealed.add(sealed.root, "anna", at=1_000)
    b1 = sealed.add(sealed.root, "bert", at=15_000)  # 12 intervals and three more: N_diff × 8
    b2 = sealed.add(b1, "bert", at=30_000)
    assert b1.header.n_diff == 8 * a1.header.n_diff
    assert b2.height > a1.height
    assert b2.work < a1.work
    assert sealed.engine.is_better(a1, b2)
    assert not sealed.engine.is_better(b2, a1)


@pytest.mark.parametrize(
    ("tie_break", "winner"), [("first-seen", None), ("lower-hash", "hash"), ("higher-credit", "credit")]
)
def test_each_tie_break(make_chain, tie_break, winner):
    sealed = make_chain(consensus={"tie_break": tie_break})
    sealed.extend("anna", sealed.earn("anna", "dora", 10 * POINT), at=1_000)
    fork = sealed.extend("anna", at=20_000)
    tips = [sealed.add(fork, name, at=21_000) for name in NAMES] + [sealed.add(fork, "anna", at=21_500)]
    assert len({tip.work for tip in tips}) == 1
    is_better = sealed.engine.is_better
    orders = {
        None: lambda tip: 0,
        "hash": lambda tip: sha256(tip.hash),
        "credit": lambda tip: (-tip.header.credit_upt, sha256(tip.hash)),
    }
    for one in tips:
        for other in tips:
            assert is_better(one, other) == (orders[winner](one) < orders[winner](other))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 5)), min_size=3, max_size=3))
def test_fork_choice_is_a_strict_order_whatever_the_tie_break(make_chain, tips):
    for tie_break in ("first-seen", "lower-hash", "higher-credit"):
        sealed = chain_for(make_chain, tie_break)
        root = sealed.root
        entries = [
            replace(root, work=work, header=replace(root.header, credit_upt=credit, nonce=nonce))
            for work, credit, nonce in tips
        ]
        is_better = sealed.engine.is_better
        for one in entries:
            assert not is_better(one, one)
            for other in entries:
                assert not (is_better(one, other) and is_better(other, one))
                if tie_break != "first-seen":
                    same = (one.work, one.hash) == (other.work, other.hash)
                    assert same or is_better(one, other) or is_better(other, one)
        first, second, third = entries
        if is_better(first, second) and is_better(second, third):
            assert is_better(first, third)


def chain_for(make_chain, tie_break, cache={}):  # noqa: B006 - three chains serve all examples
    if tie_break not in cache:
        cache[tie_break] = make_chain(consensus={"tie_break": tie_break})
    return cache[tie_break]


# --- stall relief ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("delay", "doublings"), [(12_999, 0), (13_000, 1), (13_999, 1), (14_000, 2), (19_500, 7)])
def test_a_stall_doubles_n_diff_and_halves_the_weight(sealed, delay, doublings):
    block = sealed.add(sealed.root, "anna", at=delay)
    assert block.header.n_diff == 2**240 << doublings
    assert block.base_n_diff == 2**240
    assert block.work == 2**256 // ((2**240 << doublings) + 1)


def test_a_relieved_block_is_outweighed_by_one_in_time(sealed):
    """A header dated forward into relief finds its seal sooner and gains nothing."""
    timely, relieved = sealed.add(sealed.root, "anna", at=1_000), sealed.add(sealed.root, "bert", at=13_000)
    assert sealed.engine.is_better(timely, relieved)
    assert 2 * relieved.work <= timely.work


def test_relief_is_the_headers_own_claim_and_checked(sealed):
    header = replace(sealed.build(sealed.root, "anna", at=12_999).header, n_diff=2**241)
    with pytest.raises(WrongDifficulty):
        sealed.check(sealed.seal(header, "anna"), sealed.root)


# --- the other eligibilities -----------------------------------------------------------------------


def test_under_work_credit_does_not_count(make_chain):
    sealed = make_chain(consensus={"eligibility": "work", "n_diff_initial": 2**253, "n_diff_max": 2**254})
    a1 = sealed.extend("anna", sealed.earn("anna", "bert", 0), at=19_000)
    a2 = sealed.extend("bert", at=20_000)
    a3 = sealed.extend("bert", at=21_000)
    assert a3.header.credit_upt == 0
    targets = [sealed.propose(parent, name, 30_000).target for parent in (a1, a2, a3) for name in ("anna", "bert")]
    assert targets[0] == targets[1]
    assert targets[4] == targets[5] == sealed.propose(a3, "anna", 30_000).n_diff


@pytest.fixture
def staked(make_chain):
    """Eq. (9) with 1000 µ¥ each: one millisecond in some 64 makes a member eligible."""
    return make_chain(consensus={"eligibility": "stake", "n_diff_initial": 2**240, "n_diff_max": 2**250})


def stake_value(parent, name, sealed, timestamp_ms):
    """SHA256(SHA256(B_prev), A, t) of Eq. (9), tagged, by hand."""
    tag = hashlib.sha256(b"gridmerit/stake").digest()
    message = parent.hash + sealed.key(name).address + timestamp_ms.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(tag + tag + message).digest(), "big")


def test_under_stake_the_first_eligible_millisecond_is_proposed_and_accepted(staked):
    target = 2**240 * 1_000
    for name in NAMES:
        eligible = next(
            at for at in range(1, 2_000) if stake_value(staked.root, name, staked, staked.time(at)) <= target
        )
        assert staked.propose(staked.root, name, eligible - 1) is None
        for now in (eligible, eligible + 500):
            proposal = staked.propose(staked.root, name, now)
            assert (proposal.timestamp_ms, proposal.target) == (staked.time(eligible), None)
        header = staked.seal(staked.build(staked.root, name, at=eligible).header, name)
        staked.check(header, staked.root)
        moved = replace(header, timestamp_ms=staked.time(missing(staked, name, target)))
        with pytest.raises(TargetMissed) as caught:
            staked.check(staked.seal(moved, name), staked.root)
        assert caught.value.values["target"] == target


def missing(staked, name, target):
    """A millisecond after genesis at which the member is not eligible."""
    return next(at for at in range(1, 99) if stake_value(staked.root, name, staked, staked.time(at)) > target)


def test_under_stake_the_snapshots_balance_counts(staked):
    staked.extend(
        "anna", staked.earn("anna", "bert", 0, 5_000), staked.earn("anna", "cleo", 0, -5, sequence=1), at=9_000
    )
    boundary = staked.extend("anna", at=30_000)
    assert boundary.header.period == 1
    assert staked.propose(boundary, "cleo", 39_000) is None  # in arrears: no stake
    shares = {
        name: sum(
            stake_value(boundary, name, staked, staked.time(at)) <= boundary.base_n_diff * balance
            for at in range(29_001, 33_000)
        )
        for name, balance in (("anna", 1_000), ("bert", 5_000))
    }
    assert shares["bert"] > 3 * shares["anna"] > 0
    proposal = staked.propose(boundary, "bert", 33_000)
    staked.check(staked.seal(staked.build(boundary, "bert", at=33_000).header, "bert"), boundary)
    assert proposal.credit_upt == 0


def test_under_stake_a_producer_looks_back_ten_seconds_at_most(make_chain):
    staked = make_chain(consensus={"eligibility": "stake", "n_diff_initial": 2**256 // 1_000 - 1, "n_diff_max": 2**255})
    assert staked.propose(staked.root, "anna", 60_000).timestamp_ms == staked.time(50_000)
    assert staked.propose(staked.root, "anna", 500).timestamp_ms == staked.time(1)


def test_a_stake_header_cannot_be_screened_by_value_but_still_by_signature(staked):
    header = staked.build(staked.root, "anna", at=5_000).header
    late = replace(header, timestamp_ms=staked.time(missing(staked, "anna", 2**240 * 1_000)))
    staked.engine.screen_header(staked.seal(late, "anna"), staked.sealers)
    with pytest.raises(InvalidSignature):
        staked.engine.screen_header(staked.seal(late, "bert"), staked.sealers)


# --- propose and check agree -----------------------------------------------------------------------

steps = st.tuples(
    st.integers(0, 3),  # which of the newest blocks to build on
    st.sampled_from(NAMES),
    st.integers(-2_000, 20_000),  # ms after the parent
    st.none() | st.tuples(st.sampled_from(NAMES), st.integers(0, 100 * POINT)),
)


@settings(max_examples=25)
@given(st.lists(steps, max_size=10), st.booleans())
def test_whatever_is_proposed_is_accepted_on_every_branch_and_after_a_restart(make_chain, script, reopens):
    sealed = make_chain(consensus={"n_diff_initial": 2**241, "tau_upt": 20 * POINT})
    known = [sealed.root]
    for back, name, delay, earning in script:
        parent = known[-1 - back % len(known)]
        at = max(0, parent.header.timestamp_ms - sealed.lab.genesis.time_ms + delay)
        sequence = sealed.lab.account("anna", parent).sequence
        transactions = [] if earning is None else [sealed.earn("anna", *earning, sequence=sequence)]
        entry = sealed.add(parent, name, *transactions, at=at)
        known.append(entry)
        if sealed.engine.is_better(entry, sealed.chain.head):
            sealed.lab.move(entry)
    if reopens:
        before = {entry.height: entry for entry in sealed.chain.ancestors(sealed.chain.head)}
        chain = sealed.lab.reopen()
        for entry in chain.ancestors(chain.head):
            assert same_standing(entry, before[entry.height])
            if entry.height:
                weighed = sealed.check(entry.header, chain.get(entry.header.parent))
                assert weighed == Weighed(work=entry.work, base_n_diff=entry.base_n_diff)


def same_standing(one: BlockNode, other: BlockNode) -> bool:
    return (one.hash, one.work, one.base_n_diff, one.state.root) == (
        other.hash,
        other.work,
        other.base_n_diff,
        other.state.root,
    )


def test_a_stranger_has_nothing_to_propose(sealed):
    assert sealed.propose(sealed.root, "grid", 1_000) is None
    assert sealed.propose(sealed.root, "eve", 1_000) is None


# --- parameters ------------------------------------------------------------------------------------


def test_n_diff_must_leave_room_for_every_credit():
    limit = compute_n_diff_limit(10 * POINT)
    assert compute_target(limit, 100 * POINT, 10 * POINT) < MAX_TARGET or limit == MAX_TARGET
    fine = {"n_diff_initial": 2**200, "tau_upt": 10 * POINT}
    check_params(ChainParams(name="JY1", consensus=ConsensusParams(n_diff_max=limit, **fine)))
    with pytest.raises(BadParameters) as caught:
        check_params(ChainParams(name="JY1", consensus=ConsensusParams(n_diff_max=limit + 1, **fine)))
    assert f"n_diff_max must be at most {limit:#x} for tau_upt 10000000" in str(caught.value)


def test_the_papers_own_temperature_needs_a_small_n_diff():
    paper = {"tau_upt": POINT, "n_diff_initial": 2**100}
    check_params(ChainParams(name="JY1", consensus=ConsensusParams(n_diff_max=2**111, **paper)))
    with pytest.raises(BadParameters):
        check_params(ChainParams(name="JY1", consensus=ConsensusParams(n_diff_max=2**112, **paper)))


def test_where_credit_does_not_count_any_n_diff_will_do():
    for eligibility in ("work", "stake"):
        params = ConsensusParams(eligibility=eligibility, n_diff_max=2**255)
        check_params(ChainParams(name="JY1", consensus=params))


def test_no_temperature_is_too_low_for_a_named_error():
    with pytest.raises(BadParameters):
        check_params(ChainParams(name="JY1", consensus=ConsensusParams(tau_upt=1)))


def test_the_nonces_of_an_interval_must_do_for_a_block():
    """A member alone, at the initial credit: 442 of them at e^{50/10} and 2^240."""
    market = MarketParams(initial_credit_upt=50 * POINT)

    def check(count):
        check_params(ChainParams(name="JY1", market=market, consensus=ConsensusParams(interval_nonces=count)))

    for count in (0, 442, 100_000):
        check(count)
    with pytest.raises(BadParameters) as caught:
        check(441)
    assert "interval_nonces must be 0 or at least 442: with fewer, a member alone" in str(caught.value)
