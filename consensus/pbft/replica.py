"""Practical Byzantine fault tolerance in block form: one instance of agreement per height, on hashes of blocks.

Castro and Liskov (OSDI 1999) with prepared certificates that anyone can recheck; text 001 section II-A. Pure: messages
and times come in, effects go out. Safe with at most f = ⌊(n − 1)/3⌋ Byzantine validators at any timing, live once
messages arrive in bounded time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from consensus.pbft.ballots import Ballots
from consensus.pbft.effects import (
    Behind,
    Broadcast,
    Decide,
    Effect,
    FetchBlock,
    Peer,
    PersistRecord,
    Propose,
    ReportEvidence,
    ReportFault,
    Send,
    SetTimer,
)
from consensus.pbft.messages import (
    Ballot,
    Message,
    Prepare,
    PrePrepare,
    ViewChange,
    build_certificate,
    build_new_view,
    build_prepared,
    get_prepared,
    height_of,
    sign_pre_prepare,
    sign_view_change,
)
from consensus.pbft.phases import Phase
from consensus.pbft.record import PbftRecord
from consensus.pbft.validators import Committee, check_message
from consensus.pbft.watermarks import DecidedHeights, FutureMessages
from consensus.quorum import QuorumCertificate, Statement, Vote, sign_statement
from ledger.errors import GridmeritError, InvalidCertificate
from ledger.results import NOTHING
from ledger.signatures import SigningKey

_VERDICTS_KEPT = 16  # blocks of one height found valid or not
_IMPATIENCE = 4  # by how much a height's first view is shorter where its leader was silent when it last should have led


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The length of a view: `base_ms` in view 0, twice as long in each further one, at most `max_ms`."""

    base_ms: int
    max_ms: int

    def __post_init__(self) -> None:
        assert 0 < self.base_ms <= self.max_ms, self

    def of_view(self, view: int) -> int:
        return min(self.base_ms << min(view, 32), self.max_ms)

    @property
    def repeat_ms(self) -> int:
        """The interval after which messages that may have been lost are sent again."""
        return max(1, self.base_ms // 2)


class _Verdict(NamedTuple):
    """A node's verdict on a block."""

    is_valid: bool
    result: bytes = NOTHING


class Pbft:
    """One replica; without a key, or while its key is no validator's, it only learns what is decided.

    So does a replica whose record is of a greater height than it starts at: its store has lost blocks since it signed,
    and it signs nothing until it has caught up. So does one that is `silent`, until it is allowed to sign. Call `start`
    before anything else.
    """

    def __init__(
        self,
        *,
        chain_id: bytes,
        key: SigningKey | None,
        timeouts: Timeouts,
        record: PbftRecord,
        is_silent: bool = False,
    ) -> None:
        self._chain_id = chain_id
        self._key = key
        self._timeouts = timeouts
        self._record = self._remembered = record
        self._is_silent = is_silent
        self._effects: list[Effect] = []
        self._ahead = FutureMessages()
        self._decided = DecidedHeights()
        self._silent: set[bytes] = set()  # leaders that proposed nothing, as seen from here, when it was their turn
        self._is_work_pending = False
        self._timer_ms: int | None = None
        self._begin(0, self._make_committee(()))

    def _begin(self, height: int, committee: Committee) -> None:
        """Forget everything about any other height."""
        self._height = height
        self._committee = committee
        self._ballots = Ballots()
        self._is_decided = False
        self._verdicts: dict[bytes, _Verdict] = {}
        self._late: set[bytes] = set()
        self._reported_height = 0
        self._repeat_at_ms: int | None = None
        self._is_late = False  # whether it has taken so long that what may have been lost was said again
        self._enter(0)

    def _enter(self, view: int) -> None:
        self._view = view
        self._proposal: bytes | None = None
        self._source: Peer | None = None  # where the proposal came from
        self._is_again = False  # whether a quorum has prepared the proposal in an earlier view
        self._new_view: tuple[ViewChange, ...] = ()  # if this replica leads the view
        self._deadline_ms: int | None = None

    def _make_committee(self, validators: tuple[bytes, ...], since_slot: int = 0) -> Committee:
        return Committee(chain_id=self._chain_id, validators=validators, since_slot=since_slot)

    # --- what a node may ask -----------------------------------------------------------------------

    @property
    def height(self) -> int:
        return self._height

    @property
    def view(self) -> int:
        return self._view

    @property
    def phase(self) -> Phase:
        """The phase of the agreement for this replica: `phases.LIFE` has what leads from one phase to the next."""
        if self._is_decided:
            return Phase.DECIDED
        if not self._is_voting():
            return Phase.WATCHING
        if self._record.view == self._view and self._record.block_hash is not None:
            return Phase.COMMITTED if self._record.has_committed else Phase.PREPARED
        if self._proposal is not None:
            return Phase.PROPOSED
        if self._view == 0:
            return Phase.WAITING
        return Phase.LEADING if self._new_view else Phase.CHANGING

    def waiting_for(self) -> tuple[bytes, ...]:
        """The validators whose message the current step lacks, where it has taken longer than messages should.

        Empty while there is nothing to agree on, and in the moments that any step takes.
        """
        if not (self._is_late or self._view) or not self._is_busy() or self._key is None:
            return ()
        if self._proposal is None:
            known = self._ballots.views
            absent = tuple(one for one in self._others() if self._view and known.get(one, 0) < self._view)
            has_quorum = len(self._committee.validators) - len(absent) >= self._committee.quorum
            return (self._leader(),) if has_quorum and self._leader() != self._key.public_key else absent
        heard: list[Ballot] = []
        if not self._has_committed():
            heard += self._ballots.prepares(self._view, self._proposal)
        else:
            heard += self._ballots.votes(self._own_statement())
        signers = {ballot.signer for ballot in heard}
        return tuple(one for one in self._others() if one not in signers)

    def said_by(self, signer: bytes) -> tuple[Ballot, ...]:
        """The ballots that this replica has heard of a validator, of this height and those ahead, or has on record."""
        recorded = self._record.said_by(signer) if self._record.height == self._height else ()
        return tuple(dict.fromkeys((*self._ballots.said_by(signer), *self._ahead.said_by(signer), *recorded)))

    # --- what happens ------------------------------------------------------------------------------

    def start(
        self,
        height: int,
        validators: tuple[bytes, ...],
        now_ms: int,
        *,
        since_slot: int = 0,
        last: QuorumCertificate | None = None,
    ) -> list[Effect]:
        """Begin (after a restart: go on with) the agreement on the block at `height` among `validators`.

        They are the validators since height `since_slot`. `last` is the certificate of the block below, to answer
        late peers.
        """
        assert validators
        assert height > self._height or not self._committee.validators, "heights only grow"
        self._begin(height, self._make_committee(validators, since_slot))
        self._ahead.on_validators(validators)
        if last is not None:
            self._decided.add(last)
        if self._is_voting():
            self._resume()
        for peer, message in self._ahead.take(height):
            if not self._is_decided:
                with suppress(InvalidCertificate):  # it was checked against the validators of an earlier height
                    self._receive(peer, message)
        return self._finish(now_ms)

    def fall_silent(self) -> None:
        """Sign nothing until it is allowed again."""
        self._is_silent = True

    def allow(self, now_ms: int) -> list[Effect]:
        """Sign from now on; what was signed at this height is said again."""
        self._is_silent = False
        if self._is_voting() and not self._is_decided:
            self._resume()
        return self._finish(now_ms)

    def propose(self, view: int, block_hash: bytes, now_ms: int, *, result: bytes = NOTHING) -> list[Effect]:
        """This node has the block that `Propose` asked for in `view`; nothing happens where that has passed."""
        if self._may_propose(view):
            required = get_prepared(self._new_view)
            assert required is None or required.block_hash == block_hash, "a prepared block must be proposed again"
            self._judge(block_hash, _Verdict(True, result))
            self._proposal = block_hash
            self._prepare()
        return self._finish(now_ms)

    def accept(self, block_hash: bytes, now_ms: int, *, result: bytes = NOTHING, is_late: bool = False) -> list[Effect]:
        """The node has that block, a valid one on the head, and has computed that result: what a commit is to.

        One that is `is_late` by this node's clock it does not prepare, unless a quorum has in an earlier view.
        """
        if is_late and block_hash not in self._verdicts:
            self._late.add(block_hash)
        self._judge(block_hash, _Verdict(True, result))
        self._act_on_proposal()
        self._try_to_commit()
        return self._finish(now_ms)

    def refuse(self, block_hash: bytes, now_ms: int) -> list[Effect]:
        """The node has that block, and it breaks a rule: its leader is not waited for."""
        self._judge(block_hash, _Verdict(False))
        self._act_on_proposal()
        return self._finish(now_ms)

    def receive(self, peer: Peer, message: Message, now_ms: int) -> list[Effect]:
        """A message came from `peer`, which need not be its signer."""
        height = height_of(message)
        try:
            if height > self._height:
                proven = self._ahead.add(peer, message, self._committee, height=self._height)
                self._report_behind(proven, least=2)
            elif height < self._height or self._is_decided:
                self._answer(peer, message, now_ms)
            else:
                self._receive(peer, message)
        except GridmeritError as error:
            self._effects.append(ReportFault(peer=peer, error=error))
        return self._finish(now_ms)

    def wait_for(self, is_work_pending: bool, now_ms: int) -> list[Effect]:
        """Note if anything waits for a block, as far as this node knows. Holds until it is said otherwise."""
        self._is_work_pending = is_work_pending
        return self._finish(now_ms)

    def on_timer(self, now_ms: int) -> list[Effect]:
        """The time of the last `SetTimer` has come; any other call does nothing."""
        self._timer_ms = None
        if self._deadline_ms is not None and now_ms >= self._deadline_ms and self._is_voting():
            if self._proposal is None:
                self._silent.add(self._leader())
            self._move_to(self._view + 1)
        elif self._repeat_at_ms is not None and now_ms >= self._repeat_at_ms:
            self._repeat_at_ms = None
            self._is_late = True
            self._repeat()
        return self._finish(now_ms)

    # --- the steps of an agreement -------------------------------------------------------------------

    def _receive(self, peer: Peer, message: Message) -> None:
        """A message of this height, which is not decided."""
        match message:
            case QuorumCertificate():
                check_message(message, self._committee)
                self._decide(message)
            case PrePrepare():
                if self._is_voting():
                    self._on_pre_prepare(peer, message)
            case Vote():
                if self._add_vote(message):
                    self._try_to_decide(message.statement)
            case Prepare() | ViewChange():
                if self._is_voting():
                    self._add_vote(message)
        if self._is_voting() and not self._is_decided:
            self._follow()
            self._try_to_lead()
            self._try_to_commit()

    def _add_vote(self, ballot: Ballot) -> bool:
        """Check and keep a ballot that is news; whether it counts."""
        if not self._ballots.is_news(ballot):
            return False
        check_message(ballot, self._committee)
        return self._keep(ballot)

    def _keep(self, ballot: Ballot) -> bool:
        evidence = self._ballots.add(ballot)
        if evidence is not None:
            self._effects.append(ReportEvidence(evidence=evidence))
        return evidence is None

    def _on_pre_prepare(self, peer: Peer, message: PrePrepare) -> None:
        if message.view < self._view:
            if message.signer in self._silent:
                check_message(message, self._committee)
                self._silent.discard(message.signer)  # merely late
            return
        if message.view == self._view and self._proposal is not None:
            self._add_vote(message.prepare)  # the leader may have proposed two blocks
            return
        check_message(message, self._committee)
        if message.view > self._view:
            self._enter(message.view)  # its new view shows that a quorum is there
        if self._ballots.is_news(message.prepare):
            self._keep(message.prepare)
        self._silent.discard(message.signer)
        self._proposal, self._source = message.block_hash, peer
        self._is_again = get_prepared(message.new_view) is not None
        if message.block_hash not in self._verdicts:
            self._want()
        self._act_on_proposal()

    def _act_on_proposal(self) -> None:
        """Prepare the proposal if it is known to be valid, leave the view if it is known not to be, or came late."""
        if self.phase != Phase.PROPOSED:
            return
        assert self._proposal is not None
        verdict = self._verdicts.get(self._proposal)
        if verdict is None:
            return
        if verdict.is_valid and (self._is_again or self._proposal not in self._late):
            self._prepare()
        else:
            self._move_to(self._view + 1)

    def _prepare(self) -> None:
        assert self._proposal is not None
        self._record = self._record.after_prepare(self._view, self._proposal, self._new_view)
        self._say_prepare()
        self._try_to_commit()

    def _try_to_commit(self) -> None:
        """Commit to what this replica and a quorum have prepared in the current view."""
        if self.phase != Phase.PREPARED:
            return
        block_hash = self._record.block_hash
        assert block_hash is not None
        verdict = self._verdicts.get(block_hash)
        if verdict is None or not verdict.is_valid:
            return  # prepared before a crash, in which the block was lost
        prepares = self._ballots.prepares(self._view, block_hash)
        if len(prepares) >= self._committee.quorum:
            self._record = self._record.after_commit(build_prepared(prepares), verdict.result)
            self._say_commit()

    def _try_to_decide(self, statement: Statement) -> None:
        """The commits of a quorum in any one view decide."""
        votes = self._ballots.votes(statement)
        if len(votes) >= self._committee.quorum and not self._is_decided:
            self._decide(build_certificate(votes))

    def _decide(self, certificate: QuorumCertificate) -> None:
        self._is_decided = True
        self._decided.add(certificate)
        self._effects.append(Decide(certificate=certificate))

    # --- view changes --------------------------------------------------------------------------------

    def _move_to(self, view: int) -> None:
        """Leave the current view for a later one and ask the others to come."""
        self._enter(view)
        self._record = self._record.after_view_change(view)
        self._say_view_change()
        self._try_to_lead()

    def _follow(self) -> None:
        """Jump to the highest view that f + 1 others have come to: one of them is honest."""
        mine = self._require_key().public_key
        views = sorted((view for signer, view in self._ballots.views.items() if signer != mine), reverse=True)
        faulty = self._committee.faulty
        if len(views) > faulty and views[faulty] > self._view:
            self._move_to(views[faulty])

    def _try_to_lead(self) -> None:
        if not self._is_leader() or self.phase != Phase.CHANGING:
            return
        view_changes = self._ballots.view_changes(self._view)
        if len(view_changes) < self._committee.quorum:
            return
        self._new_view = build_new_view(view_changes)
        prepared = get_prepared(self._new_view)
        if prepared is None:
            self._effects.append(Propose(view=self._view, block_hash=None, peers=()))
        else:
            peers = tuple(signer for signer, _ in prepared.signatures)
            self._effects.append(Propose(view=self._view, block_hash=prepared.block_hash, peers=peers))

    def _may_propose(self, view: int) -> bool:
        return view == self._view and self.phase in (Phase.WAITING, Phase.LEADING) and self._is_leader()

    # --- saying, and saying again --------------------------------------------------------------------

    def _resume(self) -> None:
        """Go on from the record: say again what was said, be bound by it."""
        self._record = self._record.at_height(self._height)
        self._enter(self._record.view)
        self._new_view = self._record.new_view
        self._proposal = self._record.block_hash
        if self._proposal is not None and not self._record.has_committed:
            self._want()
        if self.phase == Phase.WAITING and self._is_leader():
            self._effects.append(Propose(view=0, block_hash=None, peers=()))
        self._say_again()

    def _say_again(self) -> None:
        if not self._is_voting() or self._is_decided or self._record.view != self._view:
            return
        if self._record.block_hash is not None:
            self._say_prepare()
        elif self._view > 0:
            self._say_view_change()
        if self._record.has_committed:
            self._say_commit()

    def _say_prepare(self) -> None:
        """As a pre-prepare, if this replica leads the view."""
        key, block_hash = self._require_key(), self._record.block_hash
        assert block_hash is not None
        message = sign_pre_prepare(
            key,
            self._chain_id,
            height=self._height,
            view=self._record.view,
            block_hash=block_hash,
            new_view=self._record.new_view,
        )
        self._say(message if self._is_leader() else message.prepare, message.prepare)

    def _say_commit(self) -> None:
        vote = sign_statement(self._own_statement(), self._require_key())
        self._say(vote, vote)
        self._try_to_decide(vote.statement)

    def _say_view_change(self) -> None:
        message = sign_view_change(
            self._require_key(),
            self._chain_id,
            height=self._height,
            view=self._record.view,
            prepared=self._record.prepared,
        )
        self._say(message, message)

    def _say(self, message: Message, ballot: Ballot) -> None:
        self._effects.append(Broadcast(message=message))
        if self._ballots.is_news(ballot):
            self._keep(ballot)

    def _repeat(self) -> None:
        self._say_again()
        if self._proposal is not None and self._proposal not in self._verdicts and not self._is_decided:
            self._want()
        self._report_behind(0, least=1)

    def _want(self) -> None:
        assert self._proposal is not None
        signers = [prepare.signer for prepare in self._ballots.prepares(self._view, self._proposal)]
        peers = dict.fromkeys([self._source or self._leader(), *signers])
        peers.pop(self._require_key().public_key, None)
        self._effects.append(FetchBlock(block_hash=self._proposal, peers=tuple(peers)))

    # --- other heights -------------------------------------------------------------------------------

    def _answer(self, peer: Peer, message: Message, now_ms: int) -> None:
        pause_ms = self._timeouts.repeat_ms // 2
        certificate = self._decided.answer(peer, message, self._committee, now_ms, pause_ms=pause_ms)
        if certificate is not None:
            self._effects.append(Send(peer=peer, message=certificate))

    def _report_behind(self, proven: int, *, least: int) -> None:
        """Say so where the others are at least `least` heights ahead: one ahead may just have been faster."""
        height = max(proven, self._get_height_ahead())
        is_far = height >= self._height + self._is_decided + least
        if is_far and (height > self._reported_height or proven or least == 1):
            self._reported_height = height
            self._effects.append(Behind(height=height))

    def _get_height_ahead(self) -> int:
        return self._ahead.get_height(self._committee, None if self._key is None else self._key.public_key)

    # --- time ----------------------------------------------------------------------------------------

    def _finish(self, now_ms: int) -> list[Effect]:
        """The effects in order: everything signed is remembered before anything is sent."""
        self._plan(now_ms)
        effects, self._effects = self._effects, []
        if self._record is not self._remembered and any(isinstance(effect, Broadcast) for effect in effects):
            self._remembered = self._record
            effects.insert(0, PersistRecord(record=self._record))
        return effects

    def _plan(self, now_ms: int) -> None:
        """Let time run only while there is something to agree on."""
        is_busy = self._is_busy()
        if not (is_busy and self._is_voting() and not self._is_decided and self._is_view_due()):
            self._deadline_ms = None
        elif self._deadline_ms is None:
            is_silent = self._view == 0 and self._leader() in self._silent  # later views give everybody ever more time
            self._deadline_ms = now_ms + self._timeouts.of_view(self._view) // (_IMPATIENCE if is_silent else 1)
        if not is_busy:
            self._repeat_at_ms = None
        elif self._repeat_at_ms is None:
            self._repeat_at_ms = now_ms + self._timeouts.repeat_ms
        times = [at_ms for at_ms in (self._deadline_ms, self._repeat_at_ms) if at_ms is not None]
        if times and min(times) != self._timer_ms:
            self._timer_ms = min(times)
            self._effects.append(SetTimer(at_ms=self._timer_ms))

    def _is_busy(self) -> bool:
        """Return True if there is anything to agree on: work, a proposal, a prepared block, or others far ahead."""
        if self._is_decided:
            return self._get_height_ahead() > self._height + 1
        return (
            self._is_work_pending
            or self._proposal is not None
            or (self._is_voting() and self._record.prepared is not None)
            or self._ballots.has_claim()
            or self._get_height_ahead() > self._height
        )

    def _is_view_due(self) -> bool:
        """Return True if the view can be expected to get on.

        Only a quorum that has come to it can leave it, so that a replica that
        is cut off does not run ahead."""
        if self._view == 0 or self._proposal is not None:
            return True
        mine = self._require_key().public_key
        here = sum(1 for signer, view in self._ballots.views.items() if signer != mine and view >= self._view)
        return here + 1 >= self._committee.quorum

    # --- small things --------------------------------------------------------------------------------

    def _is_voting(self) -> bool:
        if self._key is None or self._is_silent or self._record.height > self._height:
            return False
        return self._key.public_key in self._committee.validators

    def _judge(self, block_hash: bytes, verdict: _Verdict) -> None:
        self._verdicts[block_hash] = verdict
        if len(self._verdicts) > _VERDICTS_KEPT:
            del self._verdicts[next(iter(self._verdicts))]

    def _has_committed(self) -> bool:
        return self._record.view == self._view and self._record.has_committed

    def _own_statement(self) -> Statement:
        """The statement on the prepared block that this replica has committed to in its view."""
        assert self._record.prepared is not None
        return Statement(
            chain_id=self._chain_id,
            slot=self._height,
            view=self._view,
            since_slot=self._committee.since_slot,
            block_hash=self._record.prepared.block_hash,
            result=self._record.result,
        )

    def _leader(self) -> bytes:
        return self._committee.leader(self._height, self._view)

    def _is_leader(self) -> bool:
        return self._leader() == self._require_key().public_key

    def _others(self) -> tuple[bytes, ...]:
        mine = None if self._key is None else self._key.public_key
        return tuple(one for one in self._committee.validators if one != mine)

    def _require_key(self) -> SigningKey:
        assert self._key is not None
        return self._key
