"""One replica of four, told by hand what the others say. Member v leads view v, for the height is 8."""

from dataclasses import replace

import pytest

from consensus.errors import ShortCertificate, UnjustifiedProposal, UnknownSigner, WrongLeader, WrongVoters
from consensus.pbft.effects import (
    Behind,
    Broadcast,
    Decide,
    FetchBlock,
    PersistRecord,
    Propose,
    ReportEvidence,
    ReportFault,
    Send,
    SetTimer,
)
from consensus.pbft.messages import (
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
    build_certificate,
    build_new_view,
    build_prepared,
    content_of,
    sign_pre_prepare,
    sign_prepare,
    sign_view_change,
)
from consensus.pbft.record import PbftRecord
from consensus.pbft.replica import Pbft, Timeouts
from consensus.pbft.validators import DoubleBallot
from consensus.pbft.watermarks import CERTIFICATES_KEPT, HEIGHTS_AHEAD
from consensus.quorum import DoubleVote, Statement, Vote, pbft_quorum, sign_statement, verify_certificate
from ledger.errors import InvalidSignature
from ledger.signatures import SigningKey

CHAIN = b"\x01" * 32
KEYS = [SigningKey(bytes([seed + 1]) * 32) for seed in range(8)]
FOUR = tuple(key.public_key for key in KEYS[:4])
STRANGER = SigningKey(b"\xff" * 32)
A, B, C = b"\xaa" * 32, b"\xbb" * 32, b"\xcc" * 32
HEIGHT = 8
TIMEOUTS = Timeouts(base_ms=1_000, max_ms=5_000)


def prepare(member: int, view: int = 0, block_hash: bytes = A, *, height: int = HEIGHT) -> Prepare:
    return sign_prepare(KEYS[member], CHAIN, height=height, view=view, block_hash=block_hash)


def prepared(view: int = 0, block_hash: bytes = A, members=(0, 1, 2)) -> PreparedCertificate:
    return build_prepared([prepare(member, view, block_hash) for member in members])


def commit(member: int, view: int = 0, block_hash: bytes = A, *, height: int = HEIGHT) -> Vote:
    return sign_statement(Statement(chain_id=CHAIN, slot=height, view=view, block_hash=block_hash), KEYS[member])


def commit_to(result: bytes, member: int) -> Vote:
    """A commit to A in view 0 with a result."""
    return sign_statement(Statement(chain_id=CHAIN, slot=HEIGHT, block_hash=A, result=result), KEYS[member])


def certificate(view: int = 0, block_hash: bytes = A, *, height: int = HEIGHT, members=(0, 1, 2)):
    return build_certificate([commit(member, view, block_hash, height=height) for member in members])


def view_change(member: int, view: int = 1, claim: PreparedCertificate | None = None, *, height: int = HEIGHT):
    return sign_view_change(KEYS[member], CHAIN, height=height, view=view, prepared=claim)


def pre_prepare(view: int = 0, block_hash: bytes = A, new_view=None, *, height: int = HEIGHT) -> PrePrepare:
    if new_view is None:
        new_view = [view_change(member, view) for member in range(3)] if view else []
    key = KEYS[(height + view) % 4]
    new_view = build_new_view(new_view) if new_view else ()
    return sign_pre_prepare(key, CHAIN, height=height, view=view, block_hash=block_hash, new_view=new_view)


class Replica:
    """One replica; `asked` collects its effects by kind since the last look."""

    def __init__(
        self,
        member: int | None,
        *,
        record: PbftRecord | None = None,
        validators=FOUR,
        timeouts=TIMEOUTS,
        engine=Pbft,
        **options,
    ):
        key = None if member is None else KEYS[member]
        self.record = record or PbftRecord()
        self.pbft = engine(chain_id=CHAIN, key=key, timeouts=timeouts, record=self.record, **options)
        self.validators = validators
        self.now_ms = 0
        self.timer_ms: int | None = None
        self.effects: list = []
        self.said: list = []

    def perform(self, effects) -> "Replica":
        self.effects += effects
        for effect in effects:
            if isinstance(effect, PersistRecord):
                self.record = effect.record
            if isinstance(effect, SetTimer):
                self.timer_ms = effect.at_ms
            if isinstance(effect, Broadcast):
                self.said.append(effect.message)
        return self

    def start(self, height: int = HEIGHT, **options) -> "Replica":
        return self.perform(self.pbft.start(height, self.validators, self.now_ms, **options))

    def hear(self, *messages, peer: bytes = b"peer") -> "Replica":
        for message in messages:
            self.perform(self.pbft.receive(peer, message, self.now_ms))
        return self

    def accept(self, block_hash: bytes = A, result: bytes = b"") -> "Replica":
        return self.perform(self.pbft.accept(block_hash, self.now_ms, result=result))

    def accept_late(self, block_hash: bytes = A) -> "Replica":
        return self.perform(self.pbft.accept(block_hash, self.now_ms, is_late=True))

    def refuse(self, block_hash: bytes = A) -> "Replica":
        return self.perform(self.pbft.refuse(block_hash, self.now_ms))

    def propose(self, view: int = 0, block_hash: bytes = A) -> "Replica":
        return self.perform(self.pbft.propose(view, block_hash, self.now_ms))

    def busy(self, is_work_pending: bool = True) -> "Replica":
        return self.perform(self.pbft.wait_for(is_work_pending, self.now_ms))

    def wait(self, ms: int) -> "Replica":
        """Let time pass, with every timer that is set on the way."""
        end = self.now_ms + ms
        while self.timer_ms is not None and self.timer_ms <= end:
            self.now_ms, self.timer_ms = max(self.now_ms, self.timer_ms), None
            self.perform(self.pbft.on_timer(self.now_ms))
        self.now_ms = end
        return self

    def take(self, *kinds) -> list:
        """The effects since the last look, of these kinds where any are named."""
        taken, self.effects = self.effects, []
        return [effect for effect in taken if not kinds or isinstance(effect, kinds)]

    def take_said(self) -> list:
        said, self.said = self.said, []
        return said

    def errors(self) -> list:
        return [type(effect.error) for effect in self.take(ReportFault)]


def follower(**options) -> Replica:
    """Member 3, with work to do: it leads no early view."""
    return Replica(3, **options).start().busy()


def committed(**options) -> Replica:
    """A follower that has committed to A in view 0."""
    return follower(**options).hear(pre_prepare()).accept().hear(prepare(1))


# --- the normal case -----------------------------------------------------------------------------


def test_the_leader_proposes_and_remembers_before_it_says_so():
    leader = Replica(0).start()
    assert leader.take(Propose) == [Propose(view=0, block_hash=None, peers=())]
    remembered, said, _timer = leader.propose().take()
    assert remembered == PersistRecord(record=PbftRecord(height=HEIGHT, block_hash=A))
    assert said == Broadcast(message=pre_prepare())


def test_a_follower_gets_the_block_prepares_commits_and_decides():
    replica = follower().hear(pre_prepare(), peer=b"n7")
    assert replica.take(FetchBlock) == [FetchBlock(block_hash=A, peers=(b"n7", FOUR[0]))]
    assert replica.accept().take_said() == [prepare(3)]
    assert replica.hear(prepare(1)).take_said() == [commit(3)]
    assert replica.record.prepared == prepared(members=(0, 1, 3))
    replica.hear(commit(0))
    assert not replica.take(Decide)
    [decided] = replica.hear(commit(2)).take(Decide)
    assert decided.certificate == certificate(members=(0, 2, 3))
    verify_certificate(decided.certificate, FOUR, pbft_quorum(4), chain_id=CHAIN)


def test_everything_may_come_in_any_order():
    replica = follower().hear(commit(0), prepare(2), prepare(1), pre_prepare())
    replica.accept()
    assert replica.take_said() == [prepare(3), commit(3)]
    [decided] = replica.hear(commit(1)).take(Decide)
    assert decided.certificate.statement == commit(3).statement


def test_one_validator_decides_alone():
    replica = Replica(0, validators=FOUR[:1]).start().propose()
    assert [type(effect) for effect in replica.take()] == [Propose, PersistRecord, Broadcast, Broadcast, Decide]


def test_nothing_is_prepared_before_it_is_found_valid():
    assert follower().hear(pre_prepare(), prepare(1), prepare(2)).take_said() == []


def test_commits_decide_even_where_the_proposal_never_came():
    [decided] = follower().hear(commit(0), commit(1), commit(2)).take(Decide)
    assert decided.certificate == certificate()


def test_commits_in_different_views_or_to_different_blocks_decide_nothing():
    replica = follower().hear(commit(0), commit(1, 1), commit(2, 0, B))
    assert not replica.take(Decide)
    assert replica.hear(commit(1), commit(0, 1), commit(2, 1)).take(Decide)  # the newest of each counts


@pytest.mark.parametrize("member", [None, 5])
def test_who_is_no_validator_learns_what_is_decided_and_says_nothing(member):
    replica = Replica(member).start().busy().hear(pre_prepare(), prepare(0), view_change(1), commit(0), commit(1))
    replica.wait(60_000).hear(commit(2))
    assert len(replica.take(Decide)) == 1
    assert replica.said == []
    assert replica.pbft.waiting_for() == ()


def test_a_certificate_decides_at_once():
    [decided] = follower().hear(certificate(7, B)).take(Decide)
    assert decided.certificate == certificate(7, B)


def test_a_proposal_out_of_turn_is_no_proposal():
    assert Replica(1).start().propose().take(Broadcast) == []
    assert Replica(0).start().propose(view=4).take(Broadcast) == []
    leader = Replica(0).start().propose()
    assert leader.propose(block_hash=B).take_said() == [pre_prepare()]


# --- time ----------------------------------------------------------------------------------------


def test_no_time_runs_while_there_is_nothing_to_agree_on():
    replica = Replica(3).start().wait(10**6)
    assert replica.take(SetTimer) == []
    assert replica.busy().take(SetTimer)
    replica.busy(False).wait(10**6)
    assert replica.pbft.view == 0


def test_a_proposal_is_something_to_agree_on():
    assert Replica(3).start().hear(pre_prepare()).wait(1_000).pbft.view == 1


def test_a_claim_in_a_view_change_is_something_to_agree_on():
    assert Replica(3).start().hear(view_change(0, 1)).wait(1_000).pbft.view == 0
    assert Replica(3).start().hear(view_change(0, 1, prepared())).wait(1_000).pbft.view == 1


def test_asking_again_does_not_prolong_a_view():
    replica = follower().wait(900).busy()
    assert replica.wait(99).pbft.view == 0
    assert replica.wait(1).pbft.view == 1


def test_timeouts_double_up_to_the_longest_and_begin_anew_with_a_height():
    replica = follower()
    begun, spans = 0, []
    for view in range(1, 6):
        while replica.pbft.view < view:
            replica.wait(50)
            replica.hear(*(view_change(member, replica.pbft.view) for member in (0, 1) if replica.pbft.view))
        spans.append(replica.now_ms - begun)
        begun = replica.now_ms
    assert spans == [1_000, 2_000, 4_000, 5_000, 5_000]
    replica.hear(certificate()).start(HEIGHT + 1)
    assert replica.wait(1_000).pbft.view == 1


def test_a_leader_that_was_silent_has_less_time_the_next_time():
    replica = pass_the_round()
    assert replica.busy().wait(249).pbft.view == 0
    assert replica.wait(1).pbft.view == 1


def test_a_leader_whose_proposal_was_merely_late_has_all_its_time_the_next_time():
    replica = pass_the_round(pre_prepare())
    assert replica.busy().wait(999).pbft.view == 0
    assert replica.wait(1).pbft.view == 1


def pass_the_round(*late) -> Replica:
    """The first leader lets its view pass, `late` comes after that, and all heights until its next turn are decided."""
    replica = Replica(3).start().busy().wait(1_000).hear(*late)
    assert replica.pbft.view == 1
    for height in range(HEIGHT, HEIGHT + 4):
        replica.hear(certificate(height=height)).start(height + 1)
    return replica


def test_whoever_is_cut_off_does_not_run_ahead():
    replica = follower().wait(10**5)
    assert replica.pbft.view == 1
    assert set(replica.take_said()) == {view_change(3)}
    replica.hear(view_change(0), view_change(1)).wait(2_000)
    assert replica.pbft.view == 2


def test_what_may_have_been_lost_is_said_again():
    replica = committed()
    assert replica.take_said() == [prepare(3), commit(3)]
    assert replica.wait(500).take_said() == [prepare(3), commit(3)]
    assert (
        follower().hear(pre_prepare()).wait(500).take(FetchBlock)
        == [FetchBlock(block_hash=A, peers=(b"peer", FOUR[0]))] * 2
    )


# --- view changes --------------------------------------------------------------------------------


def test_prepared_in_one_view_is_proposed_again_in_the_next():
    # member 1 leads view 1
    leader = Replica(1).start().busy().hear(pre_prepare()).accept().hear(prepare(2)).wait(1_000)
    assert leader.take_said()[-1] == view_change(1, 1, prepared())
    leader.hear(view_change(0), view_change(3))
    assert leader.take(Propose) == [Propose(view=1, block_hash=A, peers=tuple(sorted(FOUR[:3])))]
    [proposal] = leader.propose(1, A).take_said()
    assert proposal == pre_prepare(1, A, [view_change(0), view_change(1, 1, prepared()), view_change(3)])

    replica = follower().hear(proposal).accept()
    assert replica.take_said() == [prepare(3, 1)]


def test_the_leader_must_propose_the_block_prepared_last():
    claims = [view_change(0, 3, prepared(0, A)), view_change(1, 3, prepared(1, B)), view_change(2, 3)]
    replica = Replica(0).start().busy()
    assert replica.hear(pre_prepare(3, C, claims), pre_prepare(3, A, claims)).errors() == [UnjustifiedProposal] * 2
    assert replica.hear(pre_prepare(3, B, claims)).accept(B).take_said() == [prepare(0, 3, B)]


def test_a_free_leader_proposes_what_it_likes():
    leader = Replica(1).start().busy().hear(view_change(0), view_change(2), view_change(3))
    assert leader.take(Propose) == [Propose(view=1, block_hash=None, peers=())]
    assert leader.propose(1, C).take_said()[-1].block_hash == C


def test_a_prepared_block_outlives_several_views():
    replica = committed()
    replica.take_said()
    for view in (1, 2):
        replica.hear(*(view_change(member, view) for member in (0, 1, 2)))
        assert replica.take_said() == [view_change(3, view, prepared(members=(0, 1, 3)))]
    replica.hear(pre_prepare(2, A, [view_change(0, 2), view_change(1, 2), view_change(3, 2, prepared())]))
    replica.hear(prepare(0, 2))
    assert replica.take_said() == [prepare(3, 2), commit(3, 2)]  # it had found A valid in view 0
    assert replica.record.prepared == prepared(2, members=(0, 2, 3))


def test_a_later_certificate_replaces_an_earlier_one():
    replica = committed().hear(view_change(0), view_change(1))
    replica.hear(pre_prepare(1, B)).accept(B).hear(prepare(0, 1, B), prepare(2, 1, B))
    assert replica.record.prepared.view == 1
    assert replica.hear(view_change(0, 2), view_change(1, 2)).take_said()[-1] == view_change(
        3, 2, replica.record.prepared
    )


def test_a_view_left_is_never_voted_in_again():
    replica = follower().hear(pre_prepare()).wait(1_000)
    replica.take_said()
    replica.accept().hear(prepare(0), prepare(1), prepare(2), pre_prepare(), pre_prepare(0, B))
    assert replica.take_said() == []
    assert replica.hear(commit(0), commit(1), commit(2)).take(Decide)  # but what it decided counts


def test_a_replica_jumps_to_the_highest_view_that_f_plus_one_have_come_to():
    replica = Replica(2).start()
    assert replica.hear(view_change(0, 90)).pbft.view == 0
    assert replica.hear(prepare(1, 7)).pbft.view == 7
    assert replica.take_said() == [view_change(2, 7)]
    assert replica.hear(commit(3, 30)).pbft.view == 30


def test_a_justified_proposal_takes_a_replica_along():
    replica = follower().hear(pre_prepare(6, B)).accept(B)
    assert replica.pbft.view == 6
    assert replica.take_said() == [prepare(3, 6, B)]


def test_an_invalid_block_ends_its_view_at_once():
    replica = follower().hear(pre_prepare()).refuse()
    assert replica.take_said() == [view_change(3)]
    replica.hear(pre_prepare(1, A))
    assert replica.take_said() == [view_change(3, 2)]  # not asked for again
    assert len(replica.take(FetchBlock)) == 1


# --- liars ---------------------------------------------------------------------------------------


def test_a_proposal_that_comes_too_late_for_its_gate_is_not_prepared_and_its_leader_not_waited_for():
    replica = follower().hear(pre_prepare()).accept_late()
    assert replica.take_said() == [view_change(3, 1)]
    assert replica.pbft.view == 1


def test_what_a_quorum_has_prepared_in_time_is_prepared_when_it_is_proposed_again():
    """Else one member with a slow clock could keep the others from a block that may be decided."""
    replica = follower().hear(pre_prepare()).accept_late()
    replica.take_said()
    claims = [view_change(0, 1, prepared()), view_change(1, 1), view_change(2, 1)]
    assert replica.hear(pre_prepare(1, A, claims)).take_said() == [prepare(3, 1)]


def test_a_late_proposal_that_nobody_has_prepared_is_not_prepared_in_another_view_either():
    replica = follower().hear(pre_prepare()).accept_late()
    replica.take_said()
    assert replica.hear(pre_prepare(1)).take_said() == [view_change(3, 2)]


def test_of_two_proposals_the_first_counts_and_both_convict():
    replica = follower().hear(pre_prepare(), pre_prepare(0, B), pre_prepare(0, C)).accept(B).accept()
    assert replica.take_said() == [prepare(3)]
    [convict] = replica.take(ReportEvidence)
    assert convict.evidence == DoubleBallot(first=prepare(0), second=prepare(0, 0, B))


def test_two_commits_convict_once():
    replica = follower().hear(commit(1), commit(1, 0, B), commit(1, 0, C), commit(1))
    [convict] = replica.take(ReportEvidence)
    assert convict.evidence == DoubleVote(first=commit(1), second=commit(1, 0, B))


def test_two_view_changes_convict():
    replica = follower().hear(view_change(1, 3), view_change(1, 3, prepared()))
    [convict] = replica.take(ReportEvidence)
    assert isinstance(convict.evidence.first, ViewChange)


def test_ballots_in_two_views_convict_nobody():
    assert not follower().hear(commit(1), commit(1, 1, B), prepare(1), prepare(1, 1, B)).take(ReportEvidence)


def test_twins_with_one_key_are_convicted_by_their_own():
    replica = Replica(0).start().propose()
    assert replica.hear(pre_prepare(0, B)).take(ReportEvidence)


def test_who_passes_on_what_proves_nothing_is_blamed():
    forged = replace(prepare(1), signature=prepare(2).signature)
    wrong_leader = sign_pre_prepare(KEYS[1], CHAIN, height=HEIGHT, view=0, block_hash=A, new_view=())
    stranger = sign_prepare(STRANGER, CHAIN, height=HEIGHT, view=0, block_hash=A)
    short = view_change(1, 1, prepared(members=(0, 1)))
    replica = follower().hear(forged, wrong_leader, stranger, short, certificate(members=(0, 1)))
    assert replica.errors() == [InvalidSignature, WrongLeader, UnknownSigner, ShortCertificate, ShortCertificate]
    assert replica.hear(prepare(1)).errors() == []


def test_repetitions_cost_no_signature_check():
    def forge(message):
        return replace(message, signature=bytes(64))

    messages = [pre_prepare(), prepare(1), commit(1), view_change(1)]
    replica = follower().hear(*messages)
    assert replica.hear(*map(forge, messages)).errors() == []
    ahead = [prepare(1, height=HEIGHT + 1), commit(1, height=HEIGHT + 1)]
    assert replica.hear(*ahead).hear(*map(forge, ahead)).errors() == []


def test_a_flood_leaves_three_ballots_of_each_validator():
    replica = follower()
    for view in range(200):
        replica.hear(prepare(1, view), commit(1, view), view_change(1, view + 1))
        replica.hear(prepare(1, height=HEIGHT + 1 + view), commit(1, view, height=HEIGHT + 1))
    ballots = replica.pbft._ballots
    assert [len(kind) for kind in (ballots._prepares, ballots._votes, ballots._view_changes)] == [1, 1, 1]
    assert sum(map(len, replica.pbft._ahead._held.values())) == HEIGHTS_AHEAD + 1
    for number in range(100):
        replica.hear(pre_prepare(number * 4)).accept(number.to_bytes(32, "big"))
    assert len(replica.pbft._verdicts) <= 16


# --- crashes -------------------------------------------------------------------------------------


def revive(replica: Replica, member: int = 3) -> Replica:
    return Replica(member, record=replica.record).start().busy()


def test_a_restarted_replica_says_what_it_said_and_nothing_else():
    before = committed()
    said = before.take_said()
    after = revive(before)
    assert after.take_said() == said
    after.hear(pre_prepare(0, B)).accept(B).hear(prepare(1, 0, B), prepare(2, 0, B))
    assert after.take_said() == []
    assert after.hear(commit(0), commit(1)).take(Decide)


def test_a_restarted_leader_repeats_its_proposal_with_the_same_new_view():
    leader = Replica(1).start().busy().hear(view_change(0), view_change(2), view_change(3)).propose(1, C)
    [*_, proposal] = leader.take_said()
    after = revive(leader, 1)
    assert after.take_said() == [proposal]
    assert after.take(Propose) == []


def test_a_restarted_replica_stays_in_its_view():
    replica = follower().hear(*(view_change(member, 6) for member in (0, 1)))
    after = revive(replica)
    assert after.pbft.view == 6
    assert after.take_said() == [view_change(3, 6)]


def test_a_block_lost_in_a_crash_is_fetched_before_it_is_committed_to():
    after = revive(follower().hear(pre_prepare()).accept()).hear(prepare(1), pre_prepare())
    assert after.take(FetchBlock) == [FetchBlock(block_hash=A, peers=(FOUR[0],))]
    assert after.take_said() == [prepare(3)]
    assert after.accept().take_said() == [commit(3)]


def test_a_replica_whose_chain_has_lost_blocks_signs_nothing_until_it_has_caught_up():
    replica = Replica(3, record=PbftRecord(height=HEIGHT + 1, block_hash=B)).start().busy()
    replica.hear(pre_prepare()).accept().hear(prepare(1)).wait(10**4)
    assert replica.said == []
    assert replica.hear(certificate()).take(Decide)
    assert replica.start(HEIGHT + 1).take_said() == [prepare(3, 0, B, height=HEIGHT + 1)]


# --- other heights -------------------------------------------------------------------------------


def test_messages_of_the_next_height_wait_for_it():
    early = [pre_prepare(height=HEIGHT + 1, block_hash=B), prepare(3, 0, B, height=HEIGHT + 1)]
    replica = Replica(0).start().hear(*early)
    assert replica.take(FetchBlock) == []
    replica.hear(certificate()).start(HEIGHT + 1)
    assert replica.take(FetchBlock) == [FetchBlock(block_hash=B, peers=(b"peer", KEYS[1].public_key))]
    assert replica.accept(B).take_said() == [prepare(0, 0, B, height=HEIGHT + 1), commit(0, 0, B, height=HEIGHT + 1)]


def test_the_validators_may_change_with_a_height():
    newcomer = sign_prepare(KEYS[4], CHAIN, height=HEIGHT + 1, view=0, block_hash=B)
    replica = follower().hear(newcomer, pre_prepare(height=HEIGHT + 1))
    assert replica.errors() == []  # of a height whose validators are not known yet
    replica.validators = (KEYS[4].public_key, *FOUR[1:])
    replica.hear(certificate()).start(HEIGHT + 1)
    assert replica.hear(newcomer).errors() == []
    assert replica.hear(prepare(0, height=HEIGHT + 1)).errors() == [UnknownSigner]


def test_votes_name_the_validators_as_who_they_are_signed():
    """Those for a height to come wait for it; then they count if they name the validators that it has."""

    def as_later(member, since_slot):
        statement = replace(commit(member, height=HEIGHT + 1).statement, since_slot=since_slot)
        return sign_statement(statement, KEYS[member])

    replica = follower().hear(as_later(0, HEIGHT + 1), as_later(1, HEIGHT + 1), as_later(2, 1))
    replica.hear(certificate()).take()
    assert replica.start(HEIGHT + 1, since_slot=HEIGHT + 1).take(Decide) == []
    assert replica.hear(as_later(2, 1)).errors() == [WrongVoters]
    [decided] = replica.hear(as_later(2, HEIGHT + 1)).take(Decide)
    assert decided.certificate.statement.since_slot == HEIGHT + 1
    new = Replica(3).start(since_slot=HEIGHT).busy().hear(pre_prepare()).accept().hear(prepare(1))
    assert [said.statement.since_slot for said in new.take_said() if isinstance(said, Vote)] == [HEIGHT]


def test_who_is_late_gets_the_certificate():
    replica = committed().hear(commit(0), commit(1))
    replica.take()
    assert replica.hear(commit(2), prepare(2)).take(Send) == []  # merely the last to commit
    [told] = replica.hear(commit(2), commit(2), peer=b"n2").take(Send)  # once for a while
    assert told.peer == b"n2"
    assert told.message == certificate(members=(0, 1, 3))
    replica.start(HEIGHT + 1)
    assert replica.wait(500).hear(commit(2), peer=b"n2").take(Send) == [told]
    assert len(replica.hear(view_change(1), peer=b"n1").take(Send)) == 1


def test_the_last_certificate_is_known_after_a_restart():
    replica = Replica(3).start(HEIGHT + 1, last=certificate())
    assert replica.hear(view_change(1)).take(Send) == [Send(peer=b"peer", message=certificate())]


def test_who_is_very_late_gets_the_newest_certificate_and_knows_it_is_behind():
    replica = Replica(3)
    for height in range(1, CERTIFICATES_KEPT + 10):
        replica.start(height + 1, last=certificate(height=height))
    [told] = replica.hear(view_change(1, height=2)).take(Send)
    assert told.message.statement.slot == height
    late = Replica(1).start(2).hear(told.message)
    assert late.take(Behind) == [Behind(height=height + 1)]
    assert late.take(Decide) == []


def test_whoever_hears_f_plus_one_of_greater_heights_is_behind():
    replica = follower().hear(prepare(0, height=100))
    assert replica.take(Behind) == []  # may be a lie
    assert replica.hear(commit(1, height=70)).take(Behind) == [Behind(height=70)]
    assert replica.hear(commit(1, height=70)).take(Behind) == []
    assert Behind(height=70) in replica.wait(500).take(Behind)


def test_one_height_behind_is_worth_a_word_only_after_a_while():
    replica = follower().hear(prepare(0, height=HEIGHT + 1), prepare(1, height=HEIGHT + 1))
    assert replica.take(Behind) == []
    assert replica.wait(500).take(Behind) == [Behind(height=HEIGHT + 1)]


# --- whom it waits for ---------------------------------------------------------------------------


def members_of(keys) -> list[int]:
    return [FOUR.index(key) for key in keys]


def test_a_replica_knows_whom_it_waits_for():
    replica = Replica(3).start()
    assert replica.pbft.waiting_for() == ()
    assert replica.busy().pbft.waiting_for() == (), "any step takes a moment"
    assert members_of(replica.wait(500).pbft.waiting_for()) == [0]  # the leader's proposal
    replica.hear(pre_prepare()).accept()
    assert members_of(replica.pbft.waiting_for()) == [1, 2]  # prepares
    replica.hear(prepare(1))
    assert members_of(replica.pbft.waiting_for()) == [0, 1, 2]  # commits
    replica.hear(commit(0)).wait(1_000)
    assert members_of(replica.pbft.waiting_for()) == [0, 1, 2]  # view changes
    replica.hear(view_change(0), view_change(2))
    assert members_of(replica.pbft.waiting_for()) == [1]  # the new leader
    assert replica.hear(certificate()).pbft.waiting_for() == ()


def test_a_replica_waits_for_nobody_while_messages_come_in_time():
    replica = Replica(3).start().busy()
    for message in (pre_prepare(), prepare(1), prepare(2), commit(0), commit(1)):
        assert replica.pbft.waiting_for() == ()
        replica.wait(50).hear(message).accept()
    assert replica.pbft.waiting_for() == ()


# --- contents ------------------------------------------------------------------------------------


def test_a_claim_counts_as_content_of_a_view_change():
    assert content_of(view_change(1, 3)) < content_of(view_change(1, 3, prepared())) < (1, b"")


# --- results ---------------------------------------------------------------------------------------

RESULT, OTHER_RESULT = b"\x11" * 32, b"\x22" * 32


def test_a_commit_is_to_the_result_that_this_replica_has_computed():
    replica = follower().hear(pre_prepare()).accept(result=RESULT).hear(prepare(1))
    assert replica.take_said()[-1] == commit_to(RESULT, 3)
    assert replica.record.result == RESULT


def test_a_leader_commits_to_its_own_result_too():
    leader = Replica(0).start()
    leader.perform(leader.pbft.propose(0, A, leader.now_ms, result=RESULT))
    assert leader.hear(prepare(1), prepare(2)).take_said()[-1] == commit_to(RESULT, 0)


def test_a_quorum_is_of_identical_results_and_who_computes_another_is_not_in_it():
    replica = follower().hear(pre_prepare()).accept(result=RESULT).hear(prepare(1))
    replica.hear(commit_to(OTHER_RESULT, 0), commit_to(RESULT, 1))
    assert not replica.take(Decide)
    [decided] = replica.hear(commit_to(RESULT, 2)).take(Decide)
    assert decided.certificate == build_certificate([commit_to(RESULT, member) for member in (1, 2, 3)])
    assert replica.take(ReportEvidence) == [], "a wrong result is no double vote"


def test_with_two_liars_of_four_nothing_is_decided():
    replica = follower().hear(pre_prepare()).accept(result=RESULT).hear(prepare(1))
    replica.hear(commit_to(OTHER_RESULT, 0), commit_to(OTHER_RESULT, 1), commit_to(RESULT, 2))
    assert not replica.take(Decide)


def test_two_results_of_one_block_convict_a_replica():
    replica = follower().hear(commit_to(OTHER_RESULT, 1), commit_to(RESULT, 1))
    [conviction] = replica.take(ReportEvidence)
    assert (conviction.evidence.first, conviction.evidence.second) == (commit_to(RESULT, 1), commit_to(OTHER_RESULT, 1))


def test_after_a_crash_the_same_result_is_said_again():
    before = follower().hear(pre_prepare()).accept(result=RESULT).hear(prepare(1))
    record = PbftRecord.from_value(before.record.to_value())
    assert record == before.record
    assert record.knows(commit_to(RESULT, 3))
    assert not record.knows(commit_to(OTHER_RESULT, 3))
    again = Replica(3, record=record).start()
    assert commit_to(RESULT, 3) in again.take_said()
