"""Checkpoints: which are due for signing, when votes certify one, and what waits for the next block."""

from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.checkpoints import Checkpoints
from consensus.contracts import CERTIFICATE, DOUBLE_VOTE, EQUIVOCATION
from consensus.errors import ShortCertificate, UnexpectedView, UnknownSigner, VoteTooFarAhead, WrongVoters
from consensus.evidence import Equivocation
from consensus.quorum import DoubleVote, QuorumCertificate, checkpoint_quorum
from consensus.signing_record import SigningRecord
from ledger.checkpoints import get_certified_height, get_checkpoints, get_undecided, mark_certified, update_checkpoints
from ledger.errors import InvalidSignature, WrongChain
from ledger.genesis import GenesisMember, build_state
from ledger.overlay import Overlay

OTHER_HASH = b"\x99" * 32


class Watcher:
    """Checkpoints of one node that follows a chain."""

    def __init__(self, sealed):
        self.sealed = sealed
        self.checkpoints = Checkpoints(sealed.params, sealed.chain_id)
        self.look(sealed.chain.head)

    def look(self, entry=None):
        """All that is due under a head, the chain's unless another is given."""
        entry = entry or self.sealed.chain.head
        return self.checkpoints.on_head(entry.state, height=entry.height)

    def vote(self, name, statement):
        return self.checkpoints.add_vote(self.sealed.vote(name, statement))

    def waiting(self, entry=None):
        """Kinds of what the next block ought to hold."""
        return [kind for kind, _ in self.checkpoints.for_the_next_block((entry or self.sealed.chain.head).state)]


@pytest.fixture
def slotted(make_chain):
    """genesis ── g (opens slot 1) ── h   <- head; depth 1; `slotted.checkpoint` is the statement on g."""
    chain = make_chain(consensus={"checkpoint_depth": 1})
    g = chain.open_slot("anna", 1)
    chain.extend("bert")
    chain.checkpoint = chain.statement(1, g.hash)
    return chain


def certified(entry, slot):
    """The entry after a certificate for the slot's checkpoint."""
    view = Overlay(entry.state)
    mark_certified(view, next(item for item in get_undecided(view) if item.slot == slot))
    view.commit()
    return replace(entry, state=view.finish()[0])


# --- what is due -----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_a_checkpoint_is_due_at_the_configured_depth(make_chain, depth):
    chain = make_chain(consensus={"checkpoint_depth": depth, "checkpoints_per_period": 1})
    g = chain.open_slot("anna", 1)
    watcher = Watcher(chain)
    assert watcher.look() == ()  # nobody knows the block's hash in its own state
    for height in range(2, 8):
        chain.extend("bert")
        due = (chain.statement(1, g.hash),) if height >= 1 + depth else ()
        assert watcher.look() == due


def test_checkpoints_are_due_in_order_until_they_or_later_ones_are_certified(slotted):
    chain = slotted
    second = chain.statement(2, chain.open_slot("anna", 2).hash)
    third = chain.statement(3, chain.open_slot("bert", 3).hash)
    head = chain.extend("cleo")
    watcher = Watcher(chain)
    assert watcher.look() == (chain.checkpoint, second, third)
    assert watcher.look(certified(head, 1)) == (second, third)
    assert watcher.look(certified(head, 2)) == (third,), "a certificate covers what is before it"
    assert watcher.look(certified(head, 3)) == ()


def test_a_checkpoint_is_given_up_after_its_lifetime(make_chain):
    chain = make_chain(consensus={"checkpoint_depth": 0, "checkpoint_lifetime": 2})
    watcher = Watcher(chain)
    for slot in range(1, 5):
        chain.open_slot("anna", slot)
        chain.extend("bert")
        assert [statement.slot for statement in watcher.look()] == [1, 2, 3, 4][max(0, slot - 2) : slot]


def test_a_signer_with_a_guard_signs_once_per_slot_across_reorgs_and_restarts(make_chain):
    # genesis ── a1 ── a2 ── a3         a1 opens slot 1
    #         └─ b1 ── b2 ── b3 ── b4   b1 opens slot 1
    chain = make_chain(consensus={"checkpoint_depth": 1})
    branches = []
    for name, length in (("anna", 2), ("bert", 3)):
        branch = [chain.add(chain.root, name, at=chain.begin_of(1))]
        for _ in range(length):
            branch.append(chain.add(branch[-1], name))
        branches.append(branch)
    guard, signed = SigningRecord(), []
    for entry in (branches[0][1], branches[0][2], branches[1][2], branches[1][3], branches[0][2]):
        watcher = Watcher(chain)  # a restart before every head
        for statement in watcher.look(entry):
            if guard.may_sign(statement):
                guard = SigningRecord.from_value(guard.after_vote(statement).to_value())
                signed.append(statement)
    assert set(signed) == {chain.statement(1, branches[0][0].hash)}


# --- votes and certificates ------------------------------------------------------------------------


def test_more_than_m_identical_statements_certify_the_checkpoint(slotted):
    watcher = Watcher(slotted)
    assert watcher.vote("anna", slotted.checkpoint) is None
    assert watcher.vote("anna", slotted.checkpoint) is None  # said again
    assert watcher.vote("bert", replace(slotted.checkpoint, block_hash=OTHER_HASH)) is None  # not identical
    assert watcher.vote("cleo", slotted.checkpoint) is None
    assert watcher.checkpoints.get_certificate(1) is None
    certificate = watcher.vote("dora", slotted.checkpoint)
    assert isinstance(certificate, QuorumCertificate)
    assert certificate == slotted.certify(slotted.checkpoint, "anna", "cleo", "dora")
    assert watcher.checkpoints.get_certificate(1) == certificate
    assert watcher.checkpoints.certificate_of(slotted.checkpoint.block_hash) == certificate
    assert watcher.checkpoints.certificate_of(b"?" * 32) is None
    assert len(watcher.checkpoints.votes(1)) == 4
    assert watcher.checkpoints.votes(6) == ()


def test_votes_that_count_for_nothing_are_named(slotted):
    watcher = Watcher(slotted)
    with pytest.raises(UnknownSigner):
        watcher.vote("grid", slotted.checkpoint)
    with pytest.raises(WrongChain):
        watcher.vote("anna", replace(slotted.checkpoint, chain_id=b"\xee" * 32))
    with pytest.raises(WrongVoters):
        watcher.vote("anna", replace(slotted.checkpoint, since_slot=1))
    with pytest.raises(InvalidSignature):
        watcher.checkpoints.add_vote(replace(slotted.vote("anna", slotted.checkpoint), signature=bytes(64)))
    with pytest.raises(VoteTooFarAhead) as caught:
        watcher.vote("anna", replace(slotted.checkpoint, slot=22))
    assert caught.value.values == {"slot": 22, "last": 21}, "the lifetime and some more"
    with pytest.raises(UnexpectedView, match="a vote for a checkpoint has no view, this one has 1"):
        watcher.vote("anna", replace(slotted.checkpoint, view=1))
    assert watcher.checkpoints.votes(1) == ()


@pytest.mark.parametrize("slot", [5, 6, 8, 16])
def test_slots_whose_voters_may_still_change_are_nobodys_to_certify_yet(slotted, slot):
    watcher = Watcher(slotted)  # the first block of period 2, which opens slot 5 at the earliest, may announce others
    statement = slotted.statement(slot, OTHER_HASH)
    for version in (statement, slotted.statement(slot, b"\x98" * 32)):
        with pytest.raises(VoteTooFarAhead) as caught:
            watcher.vote("anna", version)
        assert caught.value.values == {"slot": slot, "last": 1}
    with pytest.raises(VoteTooFarAhead):
        watcher.checkpoints.add_certificate(slotted.certify(statement, "anna", "bert", "cleo"))
    assert watcher.checkpoints.votes(slot) == ()
    assert watcher.checkpoints.get_certificate(slot) is None
    assert watcher.waiting() == [], "and nobody is blamed for either"


def test_slots_are_certified_by_those_who_are_known_to_be_their_voters(slotted):
    watcher = Watcher(slotted)
    for slot in (2, 3, 4):
        watcher.vote("anna", slotted.statement(slot, OTHER_HASH))
        assert len(watcher.checkpoints.votes(slot)) == 1
    last = slotted.statement(4, OTHER_HASH)
    assert watcher.checkpoints.add_certificate(slotted.certify(last, "anna", "bert", "cleo"))
    opened = slotted.open_slot("bert", 5)
    watcher.look(opened)
    next_period = slotted.certify(slotted.statement(8, OTHER_HASH), "anna", "bert", "cleo")
    assert watcher.checkpoints.add_certificate(next_period)
    with pytest.raises(VoteTooFarAhead):
        watcher.vote("anna", slotted.statement(9, OTHER_HASH))


def test_a_change_that_is_announced_ends_what_todays_voters_may_certify(slotted):
    watcher = Watcher(slotted)
    head = slotted.chain.head
    view = Overlay(head.state)
    view.put(b"sealers/announced", (2, 1, 1, (slotted.key("eve").public_key,)))
    view.commit()
    state = view.finish()[0]
    watcher.look(replace(head, state=state))
    with pytest.raises(VoteTooFarAhead):
        watcher.vote("anna", slotted.statement(2, OTHER_HASH))
    certificate = slotted.certify(slotted.statement(3, OTHER_HASH), "anna", "bert", "cleo")
    with pytest.raises(VoteTooFarAhead):
        watcher.checkpoints.add_certificate(certificate)
    with pytest.raises(VoteTooFarAhead):
        watcher.checkpoints.add_certificate(certificate, state)
    watcher.vote("anna", slotted.checkpoint)


def test_votes_for_slots_gone_by_are_dropped(slotted):
    second = slotted.statement(2, slotted.open_slot("anna", 2).hash)
    head = slotted.extend("bert")
    watcher = Watcher(slotted)
    assert watcher.vote("bert", replace(slotted.checkpoint, slot=0)) is None
    assert watcher.checkpoints.votes(0) == ()
    watcher.vote("anna", slotted.checkpoint)
    watcher.vote("anna", second)
    watcher.look(certified(head, 1))
    assert watcher.checkpoints.votes(1) == ()
    assert len(watcher.checkpoints.votes(2)) == 1
    assert watcher.vote("cleo", slotted.checkpoint) is None
    assert watcher.checkpoints.votes(1) == ()


def test_a_certificate_from_a_peer_is_verified_and_taken_once(slotted):
    watcher = Watcher(slotted)
    cases = [
        (ShortCertificate, slotted.certify(slotted.checkpoint, "anna", "bert")),
        (UnknownSigner, slotted.certify(slotted.checkpoint, "anna", "bert", "eve")),
        (WrongChain, slotted.certify(replace(slotted.checkpoint, chain_id=b"\xee" * 32), "anna", "bert", "cleo")),
    ]
    for error, certificate in cases:
        with pytest.raises(error):
            watcher.checkpoints.add_certificate(certificate)
    good = slotted.certify(slotted.checkpoint, "anna", "bert", "cleo")
    assert watcher.checkpoints.add_certificate(good)
    assert not watcher.checkpoints.add_certificate(good)
    assert not watcher.checkpoints.add_certificate(slotted.certify(slotted.checkpoint, "anna", "bert", "cleo", "dora"))
    assert watcher.checkpoints.get_certificate(1) == good


def test_certificates_are_bounded_and_the_oldest_slots_go_first(slotted):
    watcher = Watcher(slotted)
    for slot in range(1, 71):
        statement = replace(slotted.checkpoint, slot=slot)
        watcher.checkpoints.keep_certificate(slotted.certify(statement, "anna", "bert", "cleo"))
    assert held_slots(watcher) == list(range(7, 71))


def test_an_old_certificate_is_no_news_however_often_it_comes(slotted):
    watcher = Watcher(slotted)
    old, *newer = [
        slotted.certify(replace(slotted.checkpoint, slot=slot), "anna", "bert", "cleo") for slot in range(1, 66)
    ]
    for certificate in newer:
        watcher.checkpoints.keep_certificate(certificate)
    for _ in range(2):
        assert not watcher.checkpoints.add_certificate(old)
    assert held_slots(watcher) == list(range(2, 66))


def held_slots(watcher):
    return [slot for slot in range(1, 71) if watcher.checkpoints.get_certificate(slot)]


# --- what waits for a block ------------------------------------------------------------------------


def test_a_certificate_waits_until_its_checkpoint_is_certified_on_the_branch(slotted):
    watcher = Watcher(slotted)
    certificate = slotted.certify(slotted.checkpoint, "anna", "bert", "cleo")
    assert watcher.waiting() == []
    watcher.checkpoints.add_certificate(certificate)
    assert watcher.waiting(slotted.root) == []
    ((kind, item),) = watcher.checkpoints.for_the_next_block(slotted.chain.head.state)
    assert (kind, item) == (CERTIFICATE, certificate.to_value())
    recorded = slotted.extend("cleo", slotted.lab.sign("cleo", kind, item))
    assert get_certified_height(Overlay(recorded.state)) == 1
    assert watcher.waiting() == []


def test_of_several_certificates_the_newest_waits_for_it_covers_the_others(slotted):
    second = slotted.statement(2, slotted.open_slot("anna", 2).hash)
    slotted.extend("bert")
    watcher = Watcher(slotted)
    certificates = [slotted.certify(statement, "anna", "bert", "cleo") for statement in (second, slotted.checkpoint)]
    for certificate in certificates:
        assert watcher.checkpoints.add_certificate(certificate)
    ((kind, item),) = watcher.checkpoints.for_the_next_block(slotted.chain.head.state)
    assert (kind, item) == (CERTIFICATE, certificates[0].to_value())
    slotted.extend("cleo", slotted.lab.sign("cleo", kind, item))
    assert watcher.waiting() == []


def test_a_certificate_for_another_branchs_checkpoint_does_not_wait_here(slotted):
    watcher = Watcher(slotted)
    other = replace(slotted.checkpoint, block_hash=OTHER_HASH)
    watcher.checkpoints.add_certificate(slotted.certify(other, "anna", "bert", "cleo"))
    assert watcher.waiting() == []


def equivocation(chain, name, number):
    parent = number.to_bytes(32, "big")
    block = chain.lab.build(chain.root, producer=name)[0]
    headers = [replace(block.header, parent=parent).sealed(nonce, chain.key(name)) for nonce in (0, 1)]
    first, second = sorted(headers, key=lambda header: header.hash)
    return Equivocation(first=first, second=second)


def test_two_statements_by_one_member_become_evidence_once(slotted):
    watcher = Watcher(slotted)
    watcher.vote("dora", slotted.checkpoint)
    evidence = watcher.vote("dora", replace(slotted.checkpoint, block_hash=OTHER_HASH))
    assert isinstance(evidence, DoubleVote)
    assert watcher.vote("dora", replace(slotted.checkpoint, block_hash=b"\x33" * 32)) is None
    assert not watcher.checkpoints.add_evidence(evidence)
    ((kind, item),) = watcher.checkpoints.for_the_next_block(slotted.chain.head.state)
    assert (kind, item) == (DOUBLE_VOTE, evidence.to_value())
    slotted.extend("anna", slotted.lab.sign("anna", kind, item))
    assert watcher.waiting() == []


def test_evidence_waits_until_it_is_recorded_on_the_branch(slotted):
    watcher = Watcher(slotted)
    evidence = equivocation(slotted, "dora", 1)
    assert watcher.checkpoints.add_evidence(evidence)
    assert not watcher.checkpoints.add_evidence(evidence)
    assert not watcher.checkpoints.add_evidence(replace(evidence, second=evidence.first))  # the same offence
    assert watcher.waiting() == [EQUIVOCATION]
    fork = slotted.chain.head
    recorded = slotted.extend("anna", slotted.lab.sign("anna", EQUIVOCATION, evidence.to_value()))
    assert watcher.waiting(recorded) == []
    assert watcher.waiting(fork) == [EQUIVOCATION]  # after a reorg it waits again


def test_evidence_is_bounded(make_chain, make_lab):
    names = [f"n{number}" for number in range(17)]
    chain = make_chain(members=found_members(make_lab, names))
    watcher = Watcher(chain)
    for number in range(4):
        for name in names:
            assert watcher.checkpoints.add_evidence(equivocation(chain, name, number))
    assert watcher.waiting() == [EQUIVOCATION] * 64


def found_members(make_lab, sealers):
    grid = GenesisMember(name="grid", role="grid-operator", key=make_lab.key("grid").public_key)
    return grid, *(
        GenesisMember(name=name, role="prosumer", key=make_lab.key(name).public_key, seals=True) for name in sealers
    )


def test_one_member_cannot_crowd_out_the_evidence_against_another(slotted):
    watcher = Watcher(slotted)
    assert watcher.checkpoints.add_evidence(equivocation(slotted, "anna", 0))
    news = [watcher.checkpoints.add_evidence(equivocation(slotted, "dora", number)) for number in range(70)]
    assert news == [True] * 4 + [False] * 66
    watcher.vote("dora", slotted.checkpoint)
    watcher.vote("dora", replace(slotted.checkpoint, block_hash=OTHER_HASH))
    authors = [
        Equivocation.from_value(value).producer
        for _, value in watcher.checkpoints.for_the_next_block(slotted.chain.head.state)
    ]
    assert authors == [slotted.key("anna").public_key, *[slotted.key("dora").public_key] * 4]


def test_a_further_offence_is_kept_once_earlier_ones_are_recorded(slotted):
    watcher = Watcher(slotted)
    for number in range(4):
        evidence = equivocation(slotted, "dora", number)
        assert watcher.checkpoints.add_evidence(evidence)
        slotted.extend("anna", slotted.lab.sign("anna", EQUIVOCATION, evidence.to_value()))
    head = slotted.chain.head
    watcher.checkpoints.on_head(head.state, height=head.height)
    assert watcher.checkpoints.add_evidence(equivocation(slotted, "dora", 4))


# --- locks -----------------------------------------------------------------------------------------


def test_whoever_signed_a_checkpoint_stays_with_its_branch_for_its_lifetime(slotted):
    # genesis ── g (slot 1) ── h (slot 2)   <- signed g
    #         └─ b (slot 2) … (slots 3, 4) ── (slot 5)
    chain, checkpoints = slotted, Watcher(slotted).checkpoints
    h = chain.open_slot("anna", 2)
    signed = SigningRecord().after_vote(chain.checkpoint)
    later = chain.statement(6, b"\x06" * 32)
    assert not checkpoints.is_locked(h.state, later, signed), "what was signed is on this branch"
    assert checkpoints.is_locked(chain.root.state, later, signed), "it is not on this one"
    assert not checkpoints.is_locked(chain.root.state, chain.statement(1, OTHER_HASH), signed), "the guard's matter"
    other = chain.root
    for slot in (2, 3, 4):
        other = chain.add(other, "bert", at=chain.begin_of(slot))
        assert checkpoints.is_locked(other.state, later, signed), "on that branch, slot 1 could still be certified"
    other = chain.add(other, "bert", at=chain.begin_of(5))
    assert not checkpoints.is_locked(other.state, later, signed), "it is given up"
    elsewhere = SigningRecord().after_vote(chain.statement(1, OTHER_HASH))
    assert checkpoints.is_locked(h.state, later, elsewhere), "another checkpoint of the same slot"


def test_a_change_of_voters_unlocks_what_the_voters_before_them_have_decided(slotted):
    checkpoints = Watcher(slotted).checkpoints
    later = slotted.statement(6, OTHER_HASH)
    signed = SigningRecord().after_vote(slotted.checkpoint)
    as_other = SigningRecord().after_vote(replace(slotted.checkpoint, since_slot=1))
    state = slotted.chain.head.state
    assert not checkpoints.is_locked(state, later, signed)
    assert checkpoints.is_locked(state, later, as_other), "it was signed where other members were voters"
    view = Overlay(state)
    view.put(b"sealers/previous", (4, 2, ()))  # in force from slot 2 to 4, hence certified, as all before it
    view.commit()
    assert not checkpoints.is_locked(view.finish()[0], later, as_other)


def test_a_checkpoint_whose_hash_is_not_known_yet_locks_too(make_chain):
    chain = make_chain()
    signed = SigningRecord().after_vote(chain.statement(1, OTHER_HASH))
    g = chain.open_slot("anna", 1)
    assert Watcher(chain).checkpoints.is_locked(g.state, chain.statement(2, OTHER_HASH), signed)


class Branch:
    """A branch that honest voters may follow: the states of its heads, a block for every given slot or none new."""

    def __init__(self, genesis, tag, slots):
        self.states, self.heights = [], {}
        state, parent = build_state(genesis), genesis.chain_id
        period_ms, per_period = genesis.params.ledger.period_ms, genesis.params.consensus.checkpoints_per_period
        for height, slot in enumerate(slots, 1):
            view = Overlay(state)
            elapsed_ms = -(-slot * period_ms // per_period)
            update_checkpoints(view, genesis.params, parent=parent, height=height, elapsed_ms=elapsed_ms)
            view.commit()
            state, parent = view.finish()[0], bytes([tag, height]) * 16
            self.states.append(state)
            self.heights[parent] = height

    def newest_slot(self, height):
        recent = get_checkpoints(Overlay(self.states[height - 1]))
        return recent[-1].slot if recent else 0


def sign_along(genesis, branches, visits, *, is_locked):
    """Votes of three honest voters of four on their way over heads, and under which head; the fourth signs all of it.

    `visits` are (voter, branch, height); each voter keeps its guard's record and asks `is_locked`.
    """
    signed = {}
    records = [SigningRecord()] * 3
    for voter, side, height in visits:
        branch = branches[side]
        height = 1 + height % len(branch.states)
        state = branch.states[height - 1]
        checkpoints = Checkpoints(genesis.params.consensus, genesis.chain_id)
        for statement in checkpoints.on_head(state, height=height):
            record = records[voter]
            if record.may_sign(statement) and not is_locked(checkpoints, state, statement, record):
                records[voter] = record.after_vote(statement)
                signed.setdefault((side, statement), {})[voter] = branch.newest_slot(height)
    return signed


def find_conflicts(genesis, signed):
    """Pairs of statements that a quorum signed on two branches, while the earlier slot was open on the later's."""
    honest = checkpoint_quorum(4) - 1  # the fourth signs everything
    final = [
        (side, statement, sorted(heads.values())[honest - 1])  # the branch's newest slot when a quorum was reached
        for (side, statement), heads in signed.items()
        if len(heads) >= honest
    ]
    lifetime = genesis.params.consensus.checkpoint_lifetime
    return [
        (one, two)
        for side, one, _ in final
        for other_side, two, newest in final
        if side != other_side and one.slot <= two.slot and newest < one.slot + lifetime
    ]


slots = st.lists(st.integers(0, 3), min_size=1, max_size=10).map(lambda steps: tuple(accumulate(steps)))
visits = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 9)), max_size=40)


@pytest.fixture(scope="module")
def genesis(make_lab):
    return make_lab(consensus={"checkpoint_depth": 1, "checkpoint_lifetime": 3}).genesis


@settings(max_examples=150)
@given(slots, slots, visits)
def test_no_two_branches_are_both_certified_within_a_checkpoints_lifetime(genesis, left, right, visits):
    branches = [Branch(genesis, 1, left), Branch(genesis, 2, right)]
    assert not find_conflicts(genesis, sign_along(genesis, branches, visits, is_locked=Checkpoints.is_locked))


def test_without_the_lock_the_same_check_finds_two_certified_branches(genesis):
    # genesis ── a1 (slot 1) ── a2    two voters sign a1,
    #         └─ b1 (slot 2) ── b2    then follow the other branch and would sign b1
    branches = [Branch(genesis, 1, (1, 1)), Branch(genesis, 2, (2, 2))]
    visits = [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert not find_conflicts(genesis, sign_along(genesis, branches, visits, is_locked=Checkpoints.is_locked))
    ((one, two),) = find_conflicts(genesis, sign_along(genesis, branches, visits, is_locked=lambda *_: False))
    assert (one.slot, two.slot) == (1, 2)
