"""Consensus's records on the chain: certificates of checkpoints, and evidence, which costs credit.

These kinds are the producer's to put into its own block: they spend no sequence number and stand in a block only
where they take effect, so that they cannot be replayed.
"""

from __future__ import annotations

from typing import TypeAlias, cast

from consensus.errors import NotAnEquivocation, NothingToTake, StaleCertificate, UnknownSigner
from consensus.evidence import Equivocation, check_equivocation
from consensus.pbft.messages import ViewChange, height_of, view_of
from consensus.pbft.validators import Committee, DoubleBallot, check_double_ballot
from consensus.quorum import (
    DoubleVote,
    QuorumCertificate,
    Statement,
    check_double_vote,
    checkpoint_quorum,
    verify_certificate,
)
from ledger.accounts import get_account, put_account
from ledger.checkpoints import Checkpoint, get_undecided, mark_certified
from ledger.codec import Value, encode
from ledger.contract import BlockContext, Handler
from ledger.errors import AlreadyRecorded, WrongShape
from ledger.hashing import address_of, sha256
from ledger.outbox import OFFENCE, post
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.sealers import get_known_sealers, get_voters
from ledger.transaction import Transaction

CERTIFICATE = "certificate"
EQUIVOCATION, DOUBLE_VOTE, DOUBLE_BALLOT = "equivocation", "double-vote", "double-ballot"

Evidence: TypeAlias = Equivocation | DoubleVote | DoubleBallot

_EVIDENCE = b"e/"
_OFFENCES = b"offences"
_RETAINED_OFFENCES = 256


def consensus_handlers() -> dict[str, Handler]:
    """Handlers by kind; all of them are producer's transactions."""
    return {
        CERTIFICATE: process_certificate,
        EQUIVOCATION: process_equivocation,
        DOUBLE_VOTE: process_double_vote,
        DOUBLE_BALLOT: process_double_ballot,
    }


def compute_quorum(params: ConsensusParams, sealers: int) -> int:
    """Identical statements that certify a checkpoint: "more than m" (text 000 section 4.2, step 5)."""
    return least_quorum(sealers, params.checkpoint_m)


def least_quorum(sealers: int, checkpoint_m: int) -> int:
    """More than m, and never so few that two quorums could be without a common honest member."""
    return max(checkpoint_quorum(sealers), checkpoint_m + 1)


def process_certificate(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`certificate [certificate]`: record that a checkpoint is certified, and everything before it.

    Raises `StaleCertificate` where the checkpoint is decided or is another one, or cannot be certified yet, and what
    `verify_certificate` raises.
    """
    certificate = QuorumCertificate.from_value(_only(transaction))
    statement = certificate.statement
    checkpoint = next((item for item in get_undecided(view) if item.slot == statement.slot), None)
    if checkpoint is None:
        raise StaleCertificate(slot=statement.slot, detail="its checkpoint is not open")
    if not is_about(statement, checkpoint):
        is_of_block = checkpoint.block_hash == statement.block_hash
        detail = "it says another result of the block" if is_of_block else "it is for another block"
        raise StaleCertificate(slot=statement.slot, detail=detail)
    voters = get_voters(view, statement.slot)
    if not voters.keys:
        raise StaleCertificate(slot=statement.slot, detail="the members have changed, and that is not certified yet")
    quorum = compute_quorum(block.params.consensus, len(voters.keys))
    verify_certificate(certificate, voters.keys, quorum, since_slot=voters.since_slot, chain_id=block.chain_id)
    mark_certified(view, checkpoint)
    view.emit("certified", statement.slot, checkpoint.height, statement.block_hash, len(certificate.signatures))


def is_about(statement: Statement, checkpoint: Checkpoint) -> bool:
    """Return True if a statement says of a checkpoint what this chain says."""
    return (statement.block_hash, statement.result) == (checkpoint.block_hash, checkpoint.result)


def process_equivocation(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`equivocation [evidence]`: two blocks on one parent. Under PBFT that is none: a member may lead several views.

    Raises `NotAnEquivocation`, `UnknownSigner`, `AlreadyRecorded` and what `check_equivocation` raises.
    """
    evidence = Equivocation.from_value(_only(transaction))
    if block.params.consensus.engine == "pbft":
        raise NotAnEquivocation(detail="under PBFT it is votes that nobody may sign twice")
    if evidence.producer not in get_known_sealers(view):
        raise UnknownSigner(signer=evidence.producer.hex()[:16])
    check_equivocation(evidence, block.chain_id)
    _punish(view, block, evidence.producer, slot_of(evidence))


def process_double_vote(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`double-vote [evidence]`: two statements for one slot.

    Raises `AlreadyRecorded` and what `check_double_vote` raises.
    """
    evidence = DoubleVote.from_value(_only(transaction))
    check_double_vote(evidence, get_known_sealers(view), chain_id=block.chain_id)
    _punish(view, block, evidence.signer, slot_of(evidence))


def process_double_ballot(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`double-ballot [evidence]`: two prepares, or two view changes, for one height and view, under PBFT.

    Raises `AlreadyRecorded` and what `check_double_ballot` raises.
    """
    evidence = DoubleBallot.from_value(_only(transaction))
    check_ballot_evidence(evidence, get_known_sealers(view), chain_id=block.chain_id)
    _punish(view, block, evidence.signer, slot_of(evidence))


def check_ballot_evidence(evidence: DoubleBallot, sealers: frozenset[bytes], *, chain_id: bytes) -> None:
    """As `check_double_ballot`; of the validators only the author's key matters."""
    check_double_ballot(evidence, Committee(chain_id=chain_id, validators=tuple(sorted(sealers))))


def kind_of(evidence: Evidence) -> str:
    """The kind of the transaction that records it."""
    match evidence:
        case Equivocation():
            return EQUIVOCATION
        case DoubleVote():
            return DOUBLE_VOTE
        case DoubleBallot():
            return DOUBLE_BALLOT


def is_recorded(view: Overlay, evidence: Evidence) -> bool:
    """Return True if the offence has cost its author credit already, or there is none left to take."""
    if get_account(view, address_of(author_of(evidence))).credit_upt == 0:
        return True
    return view.get(_EVIDENCE + slot_of(evidence)) is not None


def author_of(evidence: Evidence) -> bytes:
    """The public key that the evidence is against."""
    return evidence.producer if isinstance(evidence, Equivocation) else evidence.signer


def slot_of(evidence: Evidence) -> bytes:
    """The digest of the one choice that its author had: the parent sealed on, the slot and view, the phase and view."""
    match evidence:
        case Equivocation():
            return sha256(b"seal" + evidence.producer + evidence.first.parent)
        case DoubleVote():
            statement = evidence.first.statement
            return sha256(b"vote" + evidence.signer + encode((statement.slot, statement.view)))
        case DoubleBallot():
            phase = b"view-change" if isinstance(evidence.first, ViewChange) else b"prepare"
            return sha256(phase + evidence.signer + encode((height_of(evidence.first), view_of(evidence.first))))


def _punish(view: Overlay, block: BlockContext, culprit: bytes, slot: bytes) -> None:
    if view.get(_EVIDENCE + slot) is not None:
        raise AlreadyRecorded(what="evidence")
    address = address_of(culprit)
    account = get_account(view, address)
    if account.credit_upt == 0:
        raise NothingToTake(address="0x" + address.hex())  # else one could fill the state with evidence against oneself
    view.put(_EVIDENCE + slot, block.height)
    cost = block.params.consensus.equivocation_cost_upt
    credit = max(0, account.credit_upt - cost)
    if "credit" in block.siblings:  # credit is kept there; what is taken here holds until the next snapshot from there
        number = cast(int, view.get(_OFFENCES) or 0)
        view.put(_OFFENCES, number + 1)
        post(view, OFFENCE, number, [(slot, address, cost)], height=block.height, retained=_RETAINED_OFFENCES)
        put_account(view, address, account._replace(credit_upt=credit))
    else:
        put_account(view, address, account._replace(credit_upt=credit, penalty_upt=account.penalty_upt + cost))
    view.emit("punished", address, credit)


def _only(transaction: Transaction) -> Value:
    if len(transaction.payload) != 1:
        raise WrongShape(what=transaction.kind, detail="expected one item")
    return transaction.payload[0]
